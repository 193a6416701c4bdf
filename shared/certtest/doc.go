// Package certtest makes certificates for tests: an authority of their own, and
// what it signs for servers and clients, as the PEM files that servers and our
// configuration name.
package certtest

package function

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// TLSFiles say how we know a server, and how it knows us. They are files, for
// what renews certificates writes files.
type TLSFiles struct {
	Variables  string // what the variables' names begin with, as "REDIS_TLS_", for messages
	CA         string // PEM of the authorities that sign the server; the system's where empty
	Cert, Key  string // PEM of what we show to a server that asks who we are
	ServerName string // what the server's certificate must name; the host of its address where empty
}

// Apply adds what the files hold to the configuration of a client, or reports
// all that is wrong with them by the variables that name them. Our certificate
// is read again for each connection: one that is renewed needs no restart.
func (f TLSFiles) Apply(t *tls.Config) error {
	var errs []error
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s%s: %w", Prefix, f.Variables, name, fmt.Errorf(format, args...)))
	}
	if f.ServerName != "" {
		t.ServerName = f.ServerName
	}
	if f.CA != "" {
		t.RootCAs = x509.NewCertPool()
		if pem, err := os.ReadFile(f.CA); err != nil {
			fail("CA_FILE", "cannot read certificates: %w", err)
		} else if !t.RootCAs.AppendCertsFromPEM(pem) {
			fail("CA_FILE", "expected certificates in PEM, found none in %q", f.CA)
		}
	}
	switch {
	case f.Cert == "" && f.Key == "":
		return errors.Join(errs...)
	case f.Cert == "":
		fail("CERT_FILE", "expected a certificate with %s%sKEY_FILE", Prefix, f.Variables)
	case f.Key == "":
		fail("KEY_FILE", "expected a key with %s%sCERT_FILE", Prefix, f.Variables)
	}
	for _, file := range []struct{ name, path string }{{"CERT_FILE", f.Cert}, {"KEY_FILE", f.Key}} {
		if file.path == "" {
			continue
		}
		if _, err := os.ReadFile(file.path); err != nil {
			fail(file.name, "cannot read it: %w", err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if _, err := f.pair(nil); err != nil {
		return err
	}
	t.GetClientCertificate = f.pair
	return nil
}

// pair reads our certificate. What is wrong with it names files and never
// holds what stands in them.
func (f TLSFiles) pair(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("%s%sCERT_FILE: cannot use certificate %q with key %q: %w", Prefix, f.Variables, f.Cert, f.Key, err)
	}
	return &pair, nil
}

// HearAlerts makes a connection below TLS tell why its server has hung up. A
// server that refuses our certificate says so after we believe that all hands
// are shaken, and hangs up; what we write meanwhile fails with "connection
// reset", and nobody reads what it said. Here the read that follows tells.
func HearAlerts(c net.Conn) net.Conn { return &hearing{Conn: c} }

type hearing struct {
	net.Conn
	lost atomic.Pointer[error] // of a write that failed
}

func (c *hearing) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.lost.Store(&err)
		return len(p), nil // whoever writes waits for an answer
	}
	return n, err
}

func (c *hearing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if lost := c.lost.Load(); lost != nil && err != nil && n == 0 {
		return 0, *lost
	}
	return n, err
}

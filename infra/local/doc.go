// Package local is the local runner: every function, the stores of one data
// folder, an in-process Kafka, and a dispatcher and cron that obey the very
// YAML in eventing/ that a cluster applies. One process, nothing to install.
package local

// Package connect makes the Publisher of a process from its configuration:
// straight into a Broker's external topic over Kafka, or by POST to a Broker's
// URL, each Broker its own way. It connects on first use, so that a process is
// up before Kafka is; that the topics are what a Broker needs it checks in the
// background.
package connect

// Package kafka puts CloudEvents into Kafka topics and reads them out, with
// segmentio/kafka-go underneath: a client that produces and fetches many
// partitions in one request, a broker.Publisher on it, and consumer groups
// whose commits the caller decides.
package kafka

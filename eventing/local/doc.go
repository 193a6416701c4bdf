// Package local is the Brokers and the clock of the wiring in one process, for
// a laptop, for tests and for a small merchant: a Kafka, the dispatcher that
// delivers what the Triggers ask for, the ingress that takes events, and the
// runner of the PingSources. It reads the same Wiring as the cluster and does
// what Knative's Kafka Broker does, down to what that does badly: retries end,
// a failed dead letter is a lost event, an answer with a foreign body is a
// failure. What it must not do is be kinder than the cluster.
package local

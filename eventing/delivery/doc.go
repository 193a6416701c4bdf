// Package delivery says what a Broker promises, as scenarios that run against
// any Broker of class Kafka: retries and their pauses, dead letters, filters,
// order, replies, redelivery, and the answers of the ingress. What Knative's
// own Broker does is what they expect; ours has to do the same.
//
// There is nothing here but tests. Each scenario is written once and runs
// against
//
//   - the local Broker in this process, always;
//   - the local dispatcher as a process, on the real Kafka that
//     FOOTFALL_TEST_KAFKA_BROKERS names;
//   - a Broker by its URL, which may be Knative's own.
//
// The wiring is testdata/wiring.yaml in all three. The last line that the test
// prints is a table of what was seen. How to run it in a cluster stands in
// eventing/README.md.
package delivery

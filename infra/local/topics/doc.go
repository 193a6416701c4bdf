// Package topics makes the Kafka topics that the wiring names, and tells what
// is wrong with those that are there. Knative makes no topic that a Broker
// calls external, and no Broker gets ready before its topic is there.
package topics

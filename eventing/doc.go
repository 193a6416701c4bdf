// Package eventing is Footfall's wiring, as data: which Brokers there are,
// which function each event goes to, how often a delivery is tried again and
// where an event goes that nobody could take, and which ticks the clock sends.
//
// The YAML beside this file is applied to a Knative cluster as it is. Parse
// reads the very same files for the local runner, so that the two cannot
// drift. It takes the part of Knative that Footfall uses and that the local
// dispatcher obeys to the letter; whatever it does not know it refuses, with
// the place and with what it supports. README.md is the catalogue of events.
package eventing

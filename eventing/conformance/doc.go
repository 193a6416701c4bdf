// Package conformance shows Footfall's wiring to Knative's own code: its
// types, defaults and validation must take what the local parser takes, refuse
// what Knative refuses, and its event filters must decide as ours do.
//
// Three things have no Go module to be asked, and are checked against what
// their source says: the KafkaSink (by its CRD), the keys of a Kafka Broker's
// ConfigMap, and the Java filters of the Kafka Broker's data plane.
//
// The CESQL engine is the sdk's, at the version that Footfall requires; Knative
// names an older one, which this module's build does not use.
//
// It also renders the overlays of infra/, as kustomize does, and checks what a
// cluster would get: the functions, the stores, and what overlays may change.
//
// A cold build takes minutes. Run the tests in this folder: go test ./...
package conformance

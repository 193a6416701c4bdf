// Package cluster runs Footfall on one machine as a cluster runs it: the real
// servers, each function as processes of its own, several of each behind a
// balancer, and the dispatcher as a process of its own. It is for developers,
// and for the tests that take such a system's parts away under load. A Knative
// can take the dispatcher's place.
package cluster

// Package cloudevents turns an HTTP request that carries tracking CloudEvents
// into events, in the three modes of the CloudEvents HTTP binding 1.0.2
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md):
// binary, structured and batch. It is pure: headers, body and the time of
// arrival in; events and per-event refusals out. It knows nothing of streams,
// secrets or connections.
package cloudevents

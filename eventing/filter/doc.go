// Package filter decides whether a Trigger lets a CloudEvent through: the
// attributes filter and the dialects of Knative's Trigger API. It is pure.
package filter

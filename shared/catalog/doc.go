// Package catalog is the list of every dimension and metric that a report can
// ask for: its name in Google Analytics' Data API, the short names that a
// person types, what it means, how it is worked out and how exact it is.
//
// A number that is not described here is in no answer. What Google has and
// Footfall does not have is listed with the reason.
package catalog

//go:generate go test . -run TestDocs -update

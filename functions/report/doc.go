// Package report answers merchants: reports in our words and in Google's, the
// ledger, the rejected events, and the catalog of names. shared/docs/reports.md
// describes the answers.
//
// A report reads the watermark, then the dirty hours, then records, then
// documents: in this order an event that is summarised meanwhile is seen once.
// What the question means and how its parts are put together is package
// shared/report's; this package does the reading, within limits.
package report

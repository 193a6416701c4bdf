// Package report is the question that a merchant asks and the answer to it: the
// query and its two languages (a URL that a person types, Google's Data API),
// the plan that says which parts of an answer come from summaries and which
// from documents, the table in which both meet, and the forms of the result.
//
// Everything here is pure. functions/report reads the stores and the clock.
package report

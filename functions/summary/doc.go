// Package summary is the function that closes hours: it counts what is new in
// processed data and keeps the numbers as records of hours and days of each
// merchant's own calendar.
//
// A tick plans, shards do the work. A tick means "close everything that is
// dirty below the watermark", so a lost one costs nothing but time. All of it
// may run twice, at once, or die midway: a record is a function of the
// documents, marks that say "not summarised yet" are taken off only after the
// records are written, and only by one of those who were at a merchant at the
// same time: the others leave them, and mark what they may have spoilt.
package summary

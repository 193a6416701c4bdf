// Package processed is the form of an event after ETL: a row of facts, many
// rows packed by column into a frame, and the bytes of a frame as a document.
//
// The ETL builds frames, the stores keep their bytes, summary and report
// decode them and count. A fact is true whatever a merchant's settings are:
// what depends on settings (sessions, filters, key events) is worked out by
// package summary when it reads.
package processed

// Package archive is the function that keeps every accepted batch:
// it appends each batch's Avro block to a file as it came, reading no event,
// and when a tick says so completes files, merges small ones, and removes those
// that are past their retention, where there is one.
package archive

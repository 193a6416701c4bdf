// Package archive is the function that keeps every accepted batch for ever:
// it appends each batch's Avro block to a file as it came, reading no event,
// and completes files when a tick says so.
package archive

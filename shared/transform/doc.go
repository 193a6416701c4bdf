// Package transform is the one way from an accepted batch to processed data:
// whose its events are, what they say, and how that is written. The ETL walks
// it for each batch that arrives, a reprocess for each batch of the archive, so
// that both agree to the byte.
//
// A build with the tag plantedbug reads events as an older version did, with
// three faults (see planted.go), so that a test can mend a history that went
// wrong.
package transform

// Package mongo keeps journal, processed data, visitors, registry and reprocess
// jobs in MongoDB: a replica set, or a sharded cluster by the shard keys that
// shared/docs/formats/mongodb.md names.
//
// Nothing is remembered in the process: any number of instances work on the
// same collections. Every write waits for a majority's journal, every read
// asks the primary for what a majority has (see open.go), and a write of more
// than one document is ordered so that it may be interrupted anywhere and
// repeated by whoever comes next. Only the registry and the creation of jobs,
// which are rare, take transactions.
package mongo

// Package etl is the function that turns accepted batches into processed
// data: it finds out whose events they are, enriches them, writes one document
// per merchant and hour, and says so in the journal. It applies no setting of
// a merchant that could change later.
package etl

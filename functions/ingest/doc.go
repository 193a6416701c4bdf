// Package ingest is the function that takes events in. It answers a request
// once its events are durable: requests join the current batch, and each
// flush writes its batches to the journal and to the Broker at the same time,
// once for all requests in it.
//
// On the way of an event it reads no store: what it knows of streams is
// a snapshot that is refreshed in the background, and what it does not know
// the ETL decides later.
package ingest

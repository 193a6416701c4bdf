// Package ingest is the function that takes events in. It answers a request
// once its events are durable: requests join the current batch, and each
// flush writes its batches to the journal and to the Broker at the same time,
// once for all requests in it. Where requests come together the journal alone
// is asked, for to Broker and consumers a batch costs much the same with ten events
// as with a thousand: a journal that is a store.Gatherer takes flush after flush
// as parts of one batch, which is published when it has enough of them or has
// waited long enough; with any other the batches of some flushes are published at
// once a little later. What a killed instance leaves unpublished is published at
// the next start, or by a tick.
//
// On the way of an event it reads no store: what it knows of streams is
// a snapshot that is refreshed in the background, and what it does not know
// the ETL decides later.
//
// Its event paths, /ticks and /dead-letters, are a Broker's to call: a dead
// letter that anybody could post would put made-up events into the journal. The
// process that the world reaches runs with FOOTFALL_PUBLIC and serves /events
// alone; the one that Triggers name is reached from inside the cluster only.
package ingest

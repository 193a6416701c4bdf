// Package event is Footfall's vocabulary: one tracking event, the batch that
// carries many of them, the CloudEvents types on the Brokers, and the Avro
// form in which a batch travels and is archived.
//
// It is the first and the last word of the flow: a protocol makes events,
// ingest packs them into batches, archive keeps the batches, etl reads them.
package event

// Package reprocess is the function that computes history anew: it replays what
// the archive holds of a range of arrival into a revision beside the published
// data, has the summary function count it in views of its own, compares both,
// and publishes, takes back or discards it.
//
// A job goes from state to state (package revision). advance takes it one step
// further where it can, and may be called by anybody at any time: every step is
// found again in the stores, and each is taken by a compare-and-set on the job.
// Work is cut into shards, which are events over the Broker; a shard may be done
// any number of times. Ticks tell again what got lost.
package reprocess

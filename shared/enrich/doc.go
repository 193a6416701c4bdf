// Package enrich turns an event as it was accepted into facts: whose stream it
// is, which browser, system and device sent it, whether that was a bot, from
// which place, from which source, and which page it speaks of.
//
// There is one file per family of facts, and batch.go, which applies them all
// to a batch. The ETL and a reprocess both call it and so agree to the byte.
// Everything is pure: the lists are in the program, the place file and the
// owners of streams come in as arguments, and caches change no result.
package enrich

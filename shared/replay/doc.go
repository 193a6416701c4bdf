// Package replay reads batches of the archive again and writes what they become
// now under a revision: the work of one shard of a reprocess job.
//
// One goroutine reads files and cuts them into chunks of whole blocks; workers
// take a chunk each, decode and transform its batches, pack their rows by
// merchant and hour into few documents, and write these. A chunk's documents
// depend on the files alone and are named by shard and chunk, so that a shard
// that is done again writes the same. Memory is bounded by the chunks that are
// worked on, whatever the size of a file.
package replay

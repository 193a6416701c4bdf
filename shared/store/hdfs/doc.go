// Package hdfs keeps the archive in HDFS, through colinmarc/hdfs.
//
// A file that is being written lies in <root>/_open/<instance>/ and moves, in
// one step, to <root>/YYYY/MM/DD/HH/ when it is complete. Readers such as
// Spark pass over names that begin with an underscore.
//
// HDFS itself says who is alive. Each instance holds the lease of a file named
// lock in its folder; where another one can take it, the first is dead, and
// who has taken it alone recovers what that folder holds. Names, states and
// steps stand in shared/docs/formats/archive.md.
//
// What this package must know of the client (v2.4.0):
//   - Flush sends what is buffered and waits for no datanode. dataConn reads
//     the acknowledgements that pass through it and lets the writer wait.
//   - Calls take no context. Every connection has deadlines, and one that has
//     failed is never used again, because answers would be off by one.
//   - A broken stream cannot be repaired, and the client renews the lease of
//     all that it has opened. So each file that is written has a client of its
//     own, which is closed with it: then the lease ends.
//   - Close may be called again only where it says that HDFS still replicates.
package hdfs

// Package services runs real servers on this machine for tests, without
// containers: Kafka, HDFS, Redis alone and as a cluster, and SecantusDB in
// MongoDB's stead. [Fetch] brings pinned versions into a folder once; the
// Start functions run them on free loopback ports in a folder of the caller's
// and return when they answer. Each process is a [Server] that a test can
// kill, pause, and start again on its port and its data.
//
// Servers end with the process that started them, however that ends, unless
// they are detached: the command in cmd leaves them up for a developer and
// keeps in a [State] file what it has to stop.
package services

// Package store declares the ports behind which the stores stand: what the
// stages need of MongoDB, Redis and HDFS, and nothing of how these do it.
//
// Every method takes a context whose deadline it keeps, may be called by many
// goroutines at once, and returns a *fault.Error of kind NotFound or Conflict
// where its comment says so; any other error is Transient. What a method has
// written when it returns nil survives a crash of process and machine, unless
// its comment says otherwise. A write whose deadline has passed may still
// happen: its arguments must not be changed any more. Times are kept to the
// microsecond. Package storetest holds each port's suite.
package store

// Package parallel spreads a computation over the processor's cores. Reading
// processed data and resolving it (shared/processed, shared/summary) is made of
// such work: it is all in memory. What waits for others has contexts and
// deadlines, and none here.
package parallel

// Package parallel spreads a computation over the processor's cores, as far as others
// leave them. Reading processed data and resolving it (shared/processed, shared/summary) is
// made of such work: it is all in memory. Work that nobody waits for, such as closing hours
// (functions/summary), is let through by an Elastic.
package parallel

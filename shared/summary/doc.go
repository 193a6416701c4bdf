// Package summary turns processed events into numbers: it drops duplicates,
// cuts sessions, tells new users from returning ones, counts, and keeps what it
// counted as records of an hour or a day that merge in any order.
//
// The same code counts for a closed hour's record and for a report that asks
// what no record holds, so the two agree. Everything here is pure: stores,
// clock and settings come in as arguments.
package summary

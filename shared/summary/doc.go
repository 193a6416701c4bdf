// Package summary turns processed events into numbers: it drops duplicates,
// cuts sessions, tells new users from returning ones, counts, and keeps what it
// counted as records of an hour or a day that merge in any order.
//
// The same code counts for a closed hour's record and for a report that asks
// what no record holds, so the two agree. Everything here is pure: stores,
// clock and settings come in as arguments.
//
// The way of a number: Resolve says of each event of a Window what it counts
// for (Facts), Group adds up by dimensions (Table), NewRecord keeps the usual
// tables of an hour, MergeRecords makes days of hours. Calendar cuts time by
// the merchant's clock, Affected says which hours a late document changes.
//
// All that is said of an event follows from the events of the Reach hours
// before and after its hour. Seen from there, an event is a duplicate if an
// earlier one (by time, batch, seq) in the Reach hours before it has its id.
// What is no duplicate makes sessions: per client and session id, to the first
// pause of the merchant's Inactivity. An event's session is followed back to at most Reach
// hours before the event's hour; what is measured of a session (length, views,
// time in focus), and the events that name its source and landing page, lie at
// most Reach hours after the hour in which it began.
package summary

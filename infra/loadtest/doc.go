// Package loadtest makes traffic like that of real sites, sends it to a
// running Footfall, remembers exactly what was accepted, and afterwards holds
// reports and ledger against it.
//
// Everything comes from a seed: the same seed makes the same events.
package loadtest

// Package history reads a merchant's processed data for whoever counts it: the
// summary function, which closes hours, and reports, which ask for what no
// record holds. It knows which records do not hold what is there, so that both
// count the same.
package history

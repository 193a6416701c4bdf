// Package compare says what a revision would change: per merchant, hour,
// dimension value and metric what was shown before, what would be shown after,
// and the difference; before that, totals.
//
// A Comparison reads the summary records of one merchant's hours in two views,
// and its rejects; what it finds is a Result. Results of different merchants
// merge in any order and grouping, and stay small however many there are: the
// largest changes of each metric stand in them, and the merchants that change
// most. Every row passes by once, for whoever wants them all.
//
// A record does not hold a table with too many rows; what could not be compared
// is counted as left out. Dimensions that no record has (such as the city) are
// not compared: a merchant whose events differ in nothing else has no change.
package compare

// Package history reads a merchant's processed data for whoever counts it: the
// summary function, which closes hours, and reports, which ask for what no
// record holds. Of what lies around the hours that are counted it takes what
// matters to them (Near). Who asks again and again goes on counting (Following),
// of a busy merchant with no more than the open hours in memory (fringe). It knows
// which records do not hold what is there, so that both count the same. Which view
// of the history is read is the merchant's own: callers pass access.Merchant.In.
package history

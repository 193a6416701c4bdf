// Package money reads amounts and exchange rates and converts one by the other,
// in integers: an amount is a count of millionths of a currency, a rate a count
// of 10^-12 parts. No number of it is ever a float.
package money

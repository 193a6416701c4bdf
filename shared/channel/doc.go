// Package channel names the channels by which visitors come: Paid Search,
// Email, Referral and so on. It knows public services by their hosts, the
// default channel group of Google Analytics 4, and the rules of a merchant that
// stand before it. A channel follows from source, medium and campaign alone, so
// that nothing of it is stored: facts keep what the sender said.
package channel

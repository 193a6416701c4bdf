package cloudevents

import "time"

// Limits of one event. They are generous next to Google Analytics 4's (25
// parameters of 100 characters), and bounded so that every event fits a batch.
const (
	MaxEvents    = 1000    // in one request
	MaxValues    = 400_000 // JSON values in one request: a parsed value takes 80 bytes, whatever it took in the body
	MaxID        = 256     // bytes of an event, client, user or session id
	MaxSource    = 2048    // bytes
	MaxStream    = 64      // bytes of a measurement id
	MaxName      = 40      // characters
	MaxParams    = 100     // parameters of an event, of an item, user properties
	MaxKey       = 40      // bytes
	MaxText      = 1 << 10 // bytes of any text value
	MaxURL       = 4 << 10 // bytes
	MaxItems     = 200
	MaxExtra     = 16 << 10  // bytes of data members without a field of their own
	MaxRefused   = 4 << 10   // bytes of a refused event that are kept
	maxEngaged   = 24 * 3600 // seconds
	maxQuantity  = 1_000_000_000
	maxTimeAhead = 24 * time.Hour
)

// earliest is the first instant that an event may have.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

package event

import "time"

// Event is one tracking event as it was accepted: what a visitor did, in the
// sender's words, cleaned of what must not become durable. Nothing here is
// interpreted: that is the ETL's work, so that a bug in it can be mended by
// reading the archive again. Empty strings mean absent.
type Event struct {
	ID     string // CloudEvent id: the deduplication key within the stream
	Source string // CloudEvent source
	Stream string // measurement id of the stream, "G-…"

	TimeMicros   int64 // the instant it happened, µs since the Unix epoch
	TimeAssigned bool  // the sender gave no time: TimeMicros is the arrival

	Name      string
	ClientID  string
	UserID    string
	SessionID string

	PageLocation string // the page's full URL
	PageTitle    string
	PageReferrer string

	Params         []Param
	UserProperties []Param
	Items          []Item

	HasValue         bool
	ValueMicros      int64  // event value, millionths of Currency
	Currency         string // ISO 4217
	EngagementMillis int64  // time in focus since the last event, ms

	Language string // BCP 47, first of Accept-Language where not given
	Screen   string // "1920x1080"
	Country  string // ISO 3166-1 alpha-2 from a trusted ingress header

	// Region and City are a trusted ingress's, as Country.
	Region, City string

	// Hints are the visitor's browser's client hints (https://wicg.github.io/ua-client-hints/),
	// a line "name: value" for each, named as the headers are without "sec-ch-ua":
	// "", "mobile", "platform", "platform-version", "full-version-list", "model".
	Hints string
	// Purpose is why a browser made the request ahead of its visitor, by the
	// header Sec-Purpose or an older one: "prefetch", "prefetch;prerender", …
	Purpose string
	// Networks are those that the whole addresses were found in.
	Networks Networks

	UserAgent string // the request's own
	IP        string // the request's own, truncated to /24 or /48
	Visitor   uint64 // keyed daily hash of address and agent, where there is no client id

	// A server that holds the stream's API secret may speak for its visitor:
	// ClaimedUserAgent and ClaimedIP (truncated), ClaimedVisitor. They count
	// when Auth is AuthVerified; with AuthUnknown the ETL checks Credential.
	Auth             Auth
	Credential       string // SHA-256 of the secret, hex, only with AuthUnknown
	ClaimedUserAgent string
	ClaimedIP        string
	ClaimedVisitor   uint64

	Extra string // members of data that Footfall has no field for, as one JSON object
}

// Networks are bits. What a whole address tells is told while it is there.
type Networks uint8

const (
	NetworkDataCentre        Networks = 1 << iota // the request's own address is of a data centre that the operator names
	NetworkInternal                               // it is of a network that the merchant names its own
	NetworkClaimedDataCentre                      // the same of the claimed address
	NetworkClaimedInternal
)

// Auth says what ingest knew of the API secret that came with an event.
type Auth uint8

const (
	AuthNone     Auth = iota // no secret came
	AuthVerified             // it is the stream's
	AuthUnknown              // ingest did not know the stream yet
)

// Param is one custom parameter. Exactly the field that Kind names is set.
type Param struct {
	Key    string
	Kind   ParamKind
	Text   string
	Int    int64
	Double float64
	Bool   bool
}

// ParamKind is the JSON type of a parameter's value.
type ParamKind uint8

const (
	ParamText ParamKind = iota
	ParamInt
	ParamDouble
	ParamBool
)

// Item is one product of an e-commerce event, with GA4's names.
type Item struct {
	ID, Name, Brand, Variant string
	Categories               [5]string
	ListID, ListName, Coupon string
	PriceMicros              int64 // per unit, millionths of the event's currency
	Quantity                 int64 // 1 where absent
	Params                   []Param
}

// Time is the instant that the event happened.
func (e *Event) Time() time.Time { return time.UnixMicro(e.TimeMicros).UTC() }

// Hour is the UTC hour of the event's time, the grain of processed data.
func (e *Event) Hour() Hour { return HourOfMicros(e.TimeMicros) }

// Hour counts whole UTC hours since the Unix epoch.
type Hour int32

// HourOf is the hour that holds t.
func HourOf(t time.Time) Hour { return HourOfMicros(t.UnixMicro()) }

// HourOfMicros is the hour that holds an instant in µs since the Unix epoch.
func HourOfMicros(us int64) Hour {
	const perHour = int64(time.Hour / time.Microsecond)
	h := us / perHour
	if us%perHour < 0 {
		h--
	}
	return Hour(h)
}

// Start is the hour's first instant, in UTC.
func (h Hour) Start() time.Time { return time.Unix(int64(h)*3600, 0).UTC() }

// End is the first instant after the hour.
func (h Hour) End() time.Time { return (h + 1).Start() }

// String is the hour as RFC 3339, for messages and folder names.
func (h Hour) String() string { return h.Start().Format(time.RFC3339) }

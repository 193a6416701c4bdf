package summary

import (
	"cmp"
	"time"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// The rules of sessions and duplicates. Each looks at most Reach from the hour
// of an event, so that an hour can be worked out from its neighbourhood alone
// and the answer is the same whatever range is worked out at once.
const (
	// Inactivity ends a session that the client has not named itself, where the
	// merchant says nothing else: an event that comes this long after the last
	// one begins a new session.
	Inactivity = 30 * time.Minute
	// NamedInactivity is the same for a session id that the client gave.
	NamedInactivity = 24 * time.Hour
	// EngagedAfter makes a session that is longer an engaged one (or the time
	// in focus within it), as two views or a key event do.
	EngagedAfter = 10 * time.Second
	// Reach is how many hours before and after an hour its events depend on:
	// a session is followed, and a duplicate id remembered, this far.
	Reach event.Hour = 24
)

// Settings are the merchant's, as far as they alter numbers. The time zone is
// not among them: it decides what is asked (windows, time dimensions), not
// what an event counts for.
type Settings struct {
	Currency       string // ISO 4217; an event without a currency is in this one
	BotFilter      bool   // leave bots out
	InternalFilter bool   // leave out what the merchant's own people did
	// Inactivity is the merchant's own, well below Reach; 0 is Inactivity.
	Inactivity time.Duration
	KeyEvents  []string // names of events that are key events
	Rates      []Rate   // of other currencies; money without a rate is in no sum
	// ChannelRules stand before the default channel group in the primary one.
	ChannelRules []channel.Rule
}

// silence is what ends a session (0: not named by the client), in ms.
func (s *Settings) silence(session uint64) int64 {
	if session != 0 {
		return NamedInactivity.Milliseconds()
	}
	return cmp.Or(s.Inactivity, Inactivity).Milliseconds()
}

// Drops are the flags of rows that are left out.
func (s *Settings) Drops() (flags uint8) {
	if s.BotFilter {
		flags |= processed.FlagBot
	}
	if s.InternalFilter {
		flags |= processed.FlagInternal
	}
	return flags
}

// Window is a span of time, from its first instant to before its end, in ms
// since the Unix epoch.
type Window struct{ From, To int64 }

// Facts are a merchant's events of a window with all that counting needs to
// know of each. Slices have one element per row of Frame; they are meaningful
// for the rows in Rows and zero for others. Rows of the frame outside the
// window (its Reach) are there for sessions and duplicates only.
type Facts struct {
	Frame    *processed.Frame
	Window   Window
	Settings Settings
	Rows     []uint32 // rows that count: in the window, no duplicate, not filtered out; by time, batch, seq

	Session []SessionRows // of the row's session; nil of lean facts
	// Session facts stand on the row that begins a session, and are zero on
	// all others: a session counts once, where it began.
	Begins        []bool
	EngagedBegin  []bool
	SessionMillis []int64 // from first to last event
	SessionViews  []int32 // nil of lean facts
	NewUser       []bool  // on the first row ever of a user; all false before SetFirstSeen
	NewSession    []bool  // on the rows of sessions before which nothing was seen of their user; likewise
	Purchase      []bool  // a transaction's first row in its stream
	FirstPurchase []bool  // on the first event ever of a user's purchase; nil before SetFirstSeen, and where nobody bought
	KeyEvent      []bool
	Duplicates    int64 // rows in the window dropped because their id was counted before
	Filtered      int64 // rows in the window left out by the merchant's filters of bots and of internal traffic

	duplicateAt, filteredAt []int64 // instants (ms) of the rows that were left out, ascending

	itemAt  []uint32 // by row: its first item, then the first of the next row; nil where there are no items
	classes []class  // what the codes of the name column stand for
	money   currencies
	actors  actors // distinct users of Rows, worked out when first asked for

	packed *Packed // what they are made of: then there is neither the frame nor facts of rows
}

// SessionRows are the rows of a session that say something of all of them,
// side by side: they are written in the order of clients, which is none of the
// frame's, and so touch memory once.
type SessionRows [numSessionRows]uint32

// SessionRow names one of SessionRows.
type SessionRow uint8

// The rows of a session.
const (
	// AttributionRow has the source, medium and campaign: it is the session's
	// first row that names one of them, else its first.
	AttributionRow SessionRow = iota
	LandingRow                // its first row with a page, else its first
	ExitRow                   // its last row with a page, else its first
	StartRow                  // its first row
	numSessionRows
)

// Counter names one number that adds up.
type Counter uint8

// The counters of a record and of each row of its tables.
const (
	Events Counter = iota
	Views
	Sessions
	EngagedSessions
	SessionMillis
	EngagementMillis
	NewUsers
	KeyEvents
	Transactions
	RevenueMicros  // of transactions, in the merchant's currency, before refunds
	ValueMicros    // of all events, in the merchant's currency
	AddToCarts     // events, as the next ones
	Checkouts      // begin_checkout
	ItemViewEvents // view_item
	ItemQuantity   // units bought (in the item table: of that item); so the next ones
	ItemRevenue    // micro-units, before refunds
	ItemViews      // units in view_item
	ItemAddToCarts // units in add_to_cart
	ItemCheckouts  // units in begin_checkout
	TaxMicros      // of transactions
	ShippingMicros // of transactions
	ListViews      // events view_item_list
	ListClicks     // events select_item
	PromotionViews
	PromotionClicks
	ItemListViews // units, as the next ones
	ItemListClicks
	ItemPromotionViews
	ItemPromotionClicks
	ItemDiscount    // micro-units, of transactions
	RefundMicros    // of refunds
	ItemRefund      // micro-units, of items of refunds
	DuplicateOrders // purchases whose transaction was counted before
	AppTransactions // transactions that are no purchase event: of an app's store
	Unconverted     // events whose value is in a currency without a rate and is in no sum
	FirstPurchases  // users whose first purchase ever it is
	NumCounters
)

// Counters are sums.
type Counters [NumCounters]int64

// Money are the counters that are amounts of the merchant's currency.
func Money() []Counter {
	return []Counter{RevenueMicros, ValueMicros, ItemRevenue, TaxMicros, ShippingMicros, ItemDiscount, RefundMicros, ItemRefund}
}

// Add adds o to c.
func (c *Counters) Add(o *Counters) {
	for i := range c {
		c[i] += o[i]
	}
}

// Dimension names what a group is made by. Scope is part of the meaning: a
// session dimension takes its value from one of the session's rows
// (SessionRows).
type Dimension uint8

// The dimensions by which facts can be grouped. DimTime ones come from the
// row's instant on the merchant's clock.
const (
	DimEventName Dimension = iota
	DimStream
	DimHostname
	DimPagePath
	DimPagePathQuery // path with its query string
	DimFullPageURL   // host name, path and query
	DimPageTitle
	DimPageReferrer
	DimScreenName      // page title, else the name of an app's screen
	DimScreenClass     // page title, else the class of an app's screen
	DimPathOrScreen    // path, else the class of an app's screen
	DimPathQueryScreen // path with query, else the class of an app's screen
	DimLandingPage
	DimLandingPageQuery // path with query
	DimExitPage         // path of the session's last page
	DimSessionSource
	DimSessionMedium
	DimSessionCampaign
	DimSessionSourceMedium   // "google / organic"
	DimSessionChannel        // of the default channel group
	DimSessionPrimaryChannel // the merchant's rules first
	DimSessionTerm           // utm_term
	DimSessionContent        // utm_content
	DimSource                // the event's own
	DimMedium
	DimCampaign
	DimSourceMedium
	DimChannel // "" where the event names no source
	DimPrimaryChannel
	DimTerm
	DimContent
	DimCountry // ISO 3166-1 alpha-2
	DimCountryName
	DimContinent // UN M49
	DimContinentName
	DimSubContinent
	DimSubContinentName
	DimRegion
	DimCity
	DimCityID
	DimLanguage
	DimPlatform       // "web" where there is a page on a host
	DimPlatformDevice // "web / mobile"
	DimDeviceCategory
	DimDeviceBrand
	DimDeviceModel
	DimBrowser
	DimBrowserVersion
	DimOS
	DimOSVersion
	DimOSWithVersion // "Windows 11"
	DimScreen
	DimCurrency
	DimTransactionID
	DimOrderCoupon
	DimShippingTier
	DimIsKeyEvent
	DimNewVsReturning
	DimFirstDate   // "20261123": when the user was first seen
	DimFirstSource // of the session in which the user was first seen; so the next ones
	DimFirstMedium
	DimFirstCampaign
	DimFirstTerm
	DimFirstContent
	DimFirstSourceMedium
	DimFirstChannel
	DimFirstPrimaryChannel
	DimItemID // item dimensions group items, not events
	DimItemName
	DimItemBrand
	DimItemVariant
	DimItemCategory
	DimItemCategory2
	DimItemCategory3
	DimItemCategory4
	DimItemCategory5
	DimItemListID
	DimItemListName
	DimItemListPosition
	DimItemAffiliation
	DimItemLocationID
	DimItemPromotionID
	DimItemPromotionName
	DimItemCreativeName
	DimItemCreativeSlot
	DimYear           // "2026"
	DimMonth          // "11"
	DimYearMonth      // "202611"
	DimWeek           // "48": weeks begin on Sunday, the first on 1 January
	DimYearWeek       // "202648"
	DimISOWeek        // "47"
	DimISOYear        // "2026"
	DimISOYearISOWeek // "202647"
	DimDate           // "20261123"
	DimDay            // "23"
	DimDayOfWeek      // "0" is Sunday
	DimDayOfWeekName  // "Monday"
	DimDateHour       // "2026112318"
	DimHour           // "18"
	DimDateHourMinute // "202611231859"
	DimMinute         // "59"
	DimNthYear        // "0000": years begun since the calendar's Since
	DimNthMonth
	DimNthWeek // of weeks that begin on Sunday
	DimNthDay
	DimNthHour
	DimNthMinute
	DimParam // a custom parameter; Key says which
	NumDimensions
)

// Key is one thing to group by: a dimension, and for DimParam the parameter's
// name.
type Key struct {
	Dim   Dimension
	Param string
}

// IsItem reports whether a dimension describes items: a table with one groups
// items and not events.
func (d Dimension) IsItem() bool { return d >= DimItemID && d <= DimItemCreativeSlot }

// OfSession reports whether a dimension takes its value from a row of the session.
func (d Dimension) OfSession() bool { return d >= DimLandingPage && d <= DimSessionContent }

// IsTime reports whether a dimension comes from the instant of the event.
func (d Dimension) IsTime() bool { return d >= DimYear && d <= DimNthMinute }

// Hourly reports whether a time dimension tells the hours of a day apart.
func (d Dimension) Hourly() bool {
	return d.Minutely() || d == DimHour || d == DimDateHour || d == DimNthHour
}

// Minutely reports whether a time dimension tells the minutes of an hour
// apart, which no record does.
func (d Dimension) Minutely() bool {
	return d == DimMinute || d == DimDateHourMinute || d == DimNthMinute
}

// Keys makes keys of dimensions that need no name.
func Keys(dims ...Dimension) []Key {
	keys := make([]Key, len(dims))
	for i, d := range dims {
		keys[i].Dim = d
	}
	return keys
}

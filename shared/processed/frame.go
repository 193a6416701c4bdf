package processed

import (
	"github.com/footfall/footfall/shared/event"
)

// StringColumn names a column of text facts.
type StringColumn uint8

// The text columns. "" is absent everywhere. Source, Medium and Campaign are
// the event's own (from its UTM parameters or an external referrer), empty
// where the event says nothing about where the visitor came from; what a whole
// session is attributed to is worked out when reading.
const (
	ColName StringColumn = iota
	ColStream
	ColHostname
	ColPagePath  // path without query
	ColPageQuery // query without "?", tracking parameters removed
	ColPageTitle
	ColPageReferrer
	ColSource
	ColMedium
	ColCampaign
	ColTerm
	ColContent
	ColCountry
	ColRegion
	ColCity
	ColLanguage
	ColDeviceCategory // desktop, mobile, tablet, smart tv, …
	ColBrowser
	ColBrowserVersion
	ColOS
	ColOSVersion
	ColScreen
	ColCurrency
	ColTransactionID
	ColDeviceBrand // who makes a device that names its model
	ColDeviceModel
	ColCityID // GeoNames id
	NumStringColumns
)

// ItemColumn names a text column of items.
type ItemColumn uint8

// The text columns of items.
const (
	ItemID ItemColumn = iota
	ItemName
	ItemBrand
	ItemVariant
	ItemCategory1
	ItemCategory2
	ItemCategory3
	ItemCategory4
	ItemCategory5
	ItemListID
	ItemListName
	ItemCoupon
	ItemListIndex // place in the list, as digits
	ItemAffiliation
	ItemLocationID
	ItemPromotionID
	ItemPromotionName
	ItemCreativeName
	ItemCreativeSlot
	ItemDiscount // per unit, in units of the row's currency, as a decimal number
	NumItemColumns
)

// Strings is a dictionary-coded text column: row i holds Dict[Code[i]].
// Dict[0] is always "". A column that is absent in every row has nil Code.
type Strings struct {
	Dict []string
	Code []uint32
}

// At is the text of row i.
func (s *Strings) At(i int) string {
	if s.Code == nil {
		return ""
	}
	return s.Dict[s.Code[i]]
}

// Flag bits of a row.
const (
	FlagBot          uint8 = 1 << iota
	FlagTimeAssigned       // the sender gave no time
	FlagHasValue
	FlagSessionGiven // the client named its session
	FlagInternal     // the merchant's own traffic
)

// Frame is rows packed by column; all slices have Len elements, or are nil
// where the column was not asked of Decode. Rows stand in the order in which
// their batches hold them; within a merged frame batches stand in order of id.
type Frame struct {
	Len int

	Batches []event.BatchID // which batches the rows come from
	Batch   []uint32        // index into Batches
	Seq     []uint32        // place in the batch
	EventID []ID            // hash of stream and event id
	Millis  []int64         // the instant it happened, ms since the Unix epoch
	User    []uint64        // hash of user id, else client id, else visitor
	Client  []uint64        // hash of client id, else user id, else visitor: whose session it is
	Session []uint64        // hash of the client's own session id; 0 = none
	Flags   []uint8
	Engaged []int64 // engagement, ms
	Value   []int64 // micro-units of the row's currency

	Text   [NumStringColumns]Strings
	Params map[string]*Strings // custom parameters as text; only keys that occur

	Items ItemFrame
}

// ItemFrame holds the items of a frame's rows.
type ItemFrame struct {
	Len      int
	Row      []uint32 // the frame's row that the item belongs to, ascending
	Price    []int64  // per unit, micro-units of the row's currency
	Quantity []int64
	Text     [NumItemColumns]Strings
}

// ID is a 128-bit hash.
type ID struct{ Hi, Lo uint64 }

// Columns selects what Decode unpacks.
type Columns struct {
	Identity bool   // Batches, Batch, Seq, EventID
	Actors   bool   // Millis, User, Client, Session, Flags, Engaged, Value
	Text     uint64 // bit 1<<c for StringColumn c
	Params   []string
	Items    bool

	AllParams bool // every custom parameter, whatever Params names
}

// AllText selects every text column.
const AllText = uint64(1)<<NumStringColumns - 1

package summary

import "github.com/footfall/footfall/shared/channel"

// TableID names one of the tables that a record holds.
type TableID uint8

// The tables of a record.
const (
	TableEvent    TableID = iota // event name
	TablePage                    // page path
	TableTitle                   // page title
	TableLanding                 // landing page
	TableSource                  // session source, medium, campaign
	TableCountry                 // country
	TableDevice                  // device category
	TableBrowser                 // browser
	TableOS                      // operating system
	TableLanguage                // language
	TableItem                    // item id and name
	NumTables
)

// The bounds of a record's table. What is over them is left out whole and
// answered from processed data: a record never lumps rows together.
const (
	// MaxTableRows is how many rows a table may have.
	MaxTableRows = 2000
	// MaxTableUsers is how many users the rows of a table may hold in sum (a
	// sketch counts as UsersExact+1); beyond it their sets are coarser.
	MaxTableUsers = 1 << 18
	// WideTableUsers is the same of wide records, which are not stored.
	WideTableUsers = 1 << 22
)

// TableKeys are what a table is grouped by.
func (id TableID) Keys() []Key {
	switch id {
	case TableEvent:
		return Keys(DimEventName)
	case TablePage:
		return Keys(DimPagePath)
	case TableTitle:
		return Keys(DimPageTitle)
	case TableLanding:
		return Keys(DimLandingPage)
	case TableSource:
		return Keys(DimSessionSource, DimSessionMedium, DimSessionCampaign)
	case TableCountry:
		return Keys(DimCountry)
	case TableDevice:
		return Keys(DimDeviceCategory)
	case TableBrowser:
		return Keys(DimBrowser)
	case TableOS:
		return Keys(DimOS)
	case TableLanguage:
		return Keys(DimLanguage)
	default:
		return Keys(DimItemID, DimItemName)
	}
}

// TableFor is the table from which a grouping by the keys (none of them a time
// dimension) can be taken, by Project. ok is false where no table has them all.
func TableFor(keys []Key) (id TableID, ok bool) {
	for id = range NumTables {
		if len(keys) > 0 && covers(id.Keys(), keys) {
			return id, true
		}
	}
	return 0, false
}

func covers(have, want []Key) bool {
	for _, k := range want {
		if parts := k.Dim.parts(); parts != nil {
			if !covers(have, Keys(parts...)) {
				return false
			}
			continue
		}
		found := false
		for _, h := range have {
			found = found || h == k
		}
		if !found {
			return false
		}
	}
	return true
}

// RecordKeys are all dimensions that NewRecord groups by; Needs says what
// columns they take.
func RecordKeys() []Key {
	var keys []Key
	for id := range NumTables {
		keys = append(keys, id.Keys()...)
	}
	return keys
}

// Record is what is kept of an hour or a day: its numbers, in all and by the
// values of single dimensions. Records of one merchant's windows that do not
// overlap merge in any order and grouping into the same record.
type Record struct {
	Total      Counters
	Users      Users
	Duplicates int64
	Filtered   int64
	// Hours says which hours of the day have a record with numbers of their
	// own: bit n for the n-th hour of the merchant's day, from 0.
	Hours uint32
	// Tables are by TableID; nil where a table is absent, because it has too
	// many rows. Records written before sets could be coarse have no users in a
	// table where these were too many.
	Tables [NumTables]*Table
}

// NewRecord counts facts, whose users must have been told first (SetFirstSeen).
// hour is the place of the window's hour in the merchant's day.
func NewRecord(f *Facts, hour int) *Record {
	return newRecord(f, hour, MaxTableUsers)
}

// NewWideRecord is NewRecord for who keeps the record in memory and for a while, as
// that of an hour under way: its tables may hold more users. Without them each question
// about a busy merchant's pages would read all documents of the hour.
func NewWideRecord(f *Facts, hour int) *Record {
	return newRecord(f, hour, WideTableUsers)
}

func newRecord(f *Facts, hour, mostUsers int) *Record {
	r := fullRecord(f, hour, false)
	for id := range r.Tables {
		r.Tables[id] = bounded(r.Tables[id], mostUsers)
	}
	return r
}

// fullRecord is a record whose tables have all their rows; remember says whether
// its sketches remember their users.
func fullRecord(f *Facts, hour int, remember bool) *Record {
	o := GroupOptions{Users: true, remember: remember}
	total := Group(f, nil, o)
	r := &Record{Total: total.Counters[0], Users: total.Users[0], Duplicates: f.Duplicates, Filtered: f.Filtered}
	if len(f.Rows) > 0 && hour >= 0 && hour < 32 {
		r.Hours = 1 << hour
	}
	for id := range NumTables {
		r.Tables[id] = Group(f, id.Keys(), o)
	}
	return r
}

// Empty reports whether the record holds nothing.
func (r *Record) Empty() bool {
	return r.Total == Counters{} && r.Users.size() == 0 && r.Duplicates == 0 && r.Filtered == 0
}

// MergeRecords adds records up. It changes none of them.
func MergeRecords(records ...*Record) *Record { return mergeRecords(MaxTableUsers, records) }

// MergeWide is MergeRecords to a wide record (NewWideRecord).
func MergeWide(records ...*Record) *Record { return mergeRecords(WideTableUsers, records) }

func mergeRecords(mostUsers int, records []*Record) *Record {
	out := &Record{}
	users := make([]Users, 0, len(records))
	for _, r := range records {
		out.Total.Add(&r.Total)
		out.Duplicates += r.Duplicates
		out.Filtered += r.Filtered
		out.Hours |= r.Hours
		users = append(users, r.Users)
	}
	out.Users = UnionAll(users)
	tables := make([]*Table, 0, len(records))
	for id := range NumTables {
		tables = tables[:0]
		for _, r := range records {
			if t := r.Tables[id]; t != nil {
				tables = append(tables, t)
			}
		}
		if len(tables) < len(records) {
			continue // absent in one: absent in the sum
		}
		merged := *MergeTables(tables...)
		if merged.Keys == nil {
			merged.Keys, merged.Values, merged.Users = id.Keys(), make([][]string, len(id.Keys())), []Users{}
		}
		for _, t := range tables {
			merged.Grade = max(merged.Grade, t.Grade)
		}
		out.Tables[id] = bounded(&merged, mostUsers)
	}
	return out
}

// Project is the table grouped by some of its keys, or by what follows from
// them, in the order given. The table must cover the keys, as TableFor says.
// keep selects rows; nil keeps all. primary is the merchant's channel group.
func (t *Table) Project(keys []Key, keep func(row int) bool, primary *channel.Group) *Table {
	out := &Table{Keys: keys, Values: make([][]string, len(keys))}
	columns := make([]func(int) string, len(keys))
	for i, k := range keys {
		columns[i] = t.Column(k, primary)
	}
	if t.Users != nil {
		out.Users = []Users{}
	}
	for row := range t.Len() {
		if keep != nil && !keep(row) {
			continue
		}
		for i := range keys {
			out.Values[i] = append(out.Values[i], columns[i](row))
		}
		out.Counters = append(out.Counters, t.Counters[row])
		if t.Users != nil {
			out.Users = append(out.Users, t.Users[row])
		}
	}
	if len(keys) == 0 {
		return out.sum(out.Users != nil)
	}
	out.normalise()
	return out
}

// Column is the value of a key by row, "" where the table does not have it.
// The function may be used by one goroutine at a time.
func (t *Table) Column(k Key, primary *channel.Group) func(row int) string {
	if parts := k.Dim.parts(); parts != nil {
		columns := make([]func(int) string, len(parts))
		for i, part := range parts {
			columns[i] = t.Column(Key{Dim: part}, primary)
		}
		values, join := make([]string, len(parts)), k.Dim.join(primary)
		return func(row int) string {
			for i, column := range columns {
				values[i] = column(row)
			}
			return join(values)
		}
	}
	for i, have := range t.Keys {
		if have == k {
			values := t.Values[i]
			return func(row int) string { return values[row] }
		}
	}
	return func(int) string { return "" }
}

package summary

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/parallel"
	"github.com/footfall/footfall/shared/processed"
)

// ResolveText are the text columns that Resolve reads (bits of
// processed.Columns.Text); Identity and Actors must be decoded, too.
const ResolveText uint64 = 1<<processed.ColName | 1<<processed.ColPagePath | 1<<processed.ColSource |
	1<<processed.ColMedium | 1<<processed.ColCampaign | 1<<processed.ColTransactionID | 1<<processed.ColStream

// LeanText are those that ResolveLean reads.
const LeanText uint64 = 1<<processed.ColName | 1<<processed.ColTransactionID | 1<<processed.ColStream

// class is what an event's name means for counting.
type class uint16

const (
	isView     class = 1 << iota
	isPurchase       // any event of a transaction that brings money
	isAppPurchase
	isRefund
	isItemView
	isAddToCart
	isCheckout
	isListView
	isListClick
	isPromotionView
	isPromotionClick
	isKeyEvent
)

// noHour is before every hour.
const noHour event.Hour = math.MinInt32

// Resolve works out which events of a window count and what for: duplicates,
// filters, sessions, transactions. The frame holds all documents of
// Window.Needs, merged; more does no harm.
//
// What it says of a row is the same whatever window is resolved: it is worked
// out from the rows of the Reach hours before and after the row's hour alone.
// Of these a row is a duplicate where an earlier one (by time, batch, seq) has
// its id. Only the row's own Reach is looked at, so that a copy of an event
// whose original lies beyond it counts as an event there.
func Resolve(f *processed.Frame, w Window, s Settings) *Facts {
	return resolve(f, w, s, make([]SessionRows, f.Len))
}

// ResolveLean is Resolve without Facts.Session and SessionViews: for who asks
// neither for dimensions of sessions (Dimension.OfSession) nor for new users.
func ResolveLean(f *processed.Frame, w Window, s Settings) *Facts {
	return resolve(f, w, s, nil)
}

func resolve(f *processed.Frame, w Window, s Settings, sessions []SessionRows) *Facts {
	n := f.Len
	flags := make([]bool, 6*n)
	out := &Facts{
		Frame: f, Window: w, Settings: s,
		Session: sessions,
		Begins:  flags[:n:n], EngagedBegin: flags[n : 2*n : 2*n], NewUser: flags[2*n : 3*n : 3*n],
		Purchase: flags[3*n : 4*n : 4*n], KeyEvent: flags[4*n : 5*n : 5*n], NewSession: flags[5*n:],
		SessionMillis: make([]int64, n),
		itemAt:        itemStarts(f),
		classes:       classesOf(&f.Text[processed.ColName], s.KeyEvents),
		money:         currenciesOf(f, &s),
	}
	if sessions != nil {
		out.SessionViews = make([]int32, n)
	}
	if n == 0 {
		return out
	}
	r := resolver{Facts: out, f: f, order: canonicalOrder(f), drops: s.Drops()}
	r.duplicates()
	r.count()
	r.sessions()
	r.purchases()
	return out
}

// Duplicates tells of the rows of a frame whether they are duplicates, as Resolve does,
// of those whose Reach it holds; of what lies around, rows suffice that have an id of theirs.
func Duplicates(f *processed.Frame) (is func(row int) bool) {
	r := resolver{Facts: &Facts{}, f: f, order: canonicalOrder(f)}
	r.duplicates()
	return func(row int) bool {
		repeat := r.repeat(uint32(row))
		if repeat == noHour {
			return false
		}
		hour := hourOf(f.Millis[row])
		return hidden(repeat, hour, hour)
	}
}

// Slice are the facts of a part of the window. They share the rows' facts, so
// that SetFirstSeen must come before.
func (f *Facts) Slice(w Window) *Facts {
	s := *f
	s.Window = Window{max(w.From, f.Window.From), min(w.To, f.Window.To)}
	s.actors = actors{}
	from, _ := slices.BinarySearchFunc(f.Rows, s.Window.From, f.rowBefore)
	to, _ := slices.BinarySearchFunc(f.Rows, s.Window.To, f.rowBefore)
	s.Rows = f.Rows[from:max(from, to)]
	s.duplicateAt, s.filteredAt = s.Window.cut(f.duplicateAt), s.Window.cut(f.filteredAt)
	s.Duplicates, s.Filtered = int64(len(s.duplicateAt)), int64(len(s.filteredAt))
	return &s
}

// LeftOut counts the events of a part of the window that do not count: duplicates,
// and what the merchant's filters leave out.
func (f *Facts) LeftOut(w Window) (duplicates, filtered int64) {
	return int64(len(w.cut(f.duplicateAt))), int64(len(w.cut(f.filteredAt)))
}

func (f *Facts) rowBefore(row uint32, ms int64) int { return cmp.Compare(f.Frame.Millis[row], ms) }

// cut is the part of ascending instants that lies in the window.
func (w Window) cut(millis []int64) []int64 {
	from, _ := slices.BinarySearch(millis, w.From)
	to, _ := slices.BinarySearch(millis, w.To)
	return millis[from:max(from, to)]
}

type resolver struct {
	*Facts
	f     *processed.Frame
	order []uint32 // rows of one instant by batch and seq; nil where they stand so
	// repeats holds for a row that repeats an earlier one's id the hour of the
	// latest such; noHour for all others. nil where no id repeats.
	repeats []event.Hour
	// match, where there is one, is asked for the rows of each session; marked
	// says of the rows that begin one whether one of them matched.
	match  func(row uint32) bool
	marked []bool
	drops  uint8 // flags of rows that are left out
}

// row is the i-th row in that order.
func (r *resolver) row(i int) uint32 {
	if r.order == nil {
		return uint32(i)
	}
	return r.order[i]
}

// repeat is the hour of the latest earlier row with the row's id.
func (r *resolver) repeat(row uint32) event.Hour {
	if r.repeats == nil {
		return noHour
	}
	return r.repeats[row]
}

// hidden reports whether a row (of an hour) is a duplicate as seen from hour
// at: whether its original lies within Reach of both.
func hidden(repeat, hour, at event.Hour) bool {
	return repeat != noHour && repeat >= max(hour, at)-Reach
}

func (r *resolver) filtered(row uint32) bool {
	return r.f.Flags[row]&r.drops != 0
}

// class is what the name of a row's event means.
func (f *Facts) class(row uint32) class {
	code := f.Frame.Text[processed.ColName].Code
	if code == nil {
		return 0
	}
	return f.classes[code[row]]
}

// classOf is what the names of events mean that count for more than an event.
var classOf = map[string]class{
	"page_view":                      isView,
	"screen_view":                    isView,
	"purchase":                       isPurchase,
	"ecommerce_purchase":             isPurchase | isAppPurchase,
	"in_app_purchase":                isPurchase | isAppPurchase,
	"app_store_subscription_convert": isPurchase | isAppPurchase,
	"app_store_subscription_renew":   isPurchase | isAppPurchase,
	"refund":                         isRefund,
	"app_store_refund":               isRefund,
	"view_item":                      isItemView,
	"add_to_cart":                    isAddToCart,
	"begin_checkout":                 isCheckout,
	"view_item_list":                 isListView,
	"select_item":                    isListClick,
	"view_promotion":                 isPromotionView,
	"select_promotion":               isPromotionClick,
}

func classesOf(names *processed.Strings, keyEvents []string) []class {
	classes := make([]class, len(names.Dict))
	for i, name := range names.Dict {
		classes[i] = classOf[name]
		if slices.Contains(keyEvents, name) {
			classes[i] |= isKeyEvent
		}
	}
	return classes
}

// canonicalOrder is an order of rows in which those of one instant stand by
// batch and seq; nil where they stand so already, as in merged frames and in
// frames of hours one after the other.
func canonicalOrder(f *processed.Frame) []uint32 {
	rank := batchRanks(f.Batches)
	merged, hourly := true, true
	for i := 1; i < f.Len && (merged || hourly); i++ {
		before, row := rank[f.Batch[i-1]], rank[f.Batch[i]]
		if before < row || before == row && f.Seq[i-1] <= f.Seq[i] {
			if hourly && f.Millis[i] < f.Millis[i-1] {
				hourly = floorDiv(f.Millis[i], hourMillis) == floorDiv(f.Millis[i-1], hourMillis)
			}
			continue
		}
		merged = false
		hourly = hourly && floorDiv(f.Millis[i], hourMillis) > floorDiv(f.Millis[i-1], hourMillis)
	}
	if merged || hourly {
		return nil
	}
	order := make([]uint32, f.Len)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(f.Millis[a], f.Millis[b]),
			cmp.Compare(rank[f.Batch[a]], rank[f.Batch[b]]), cmp.Compare(f.Seq[a], f.Seq[b]))
	})
	return order
}

// batchRanks gives each batch its place in the order of ids.
func batchRanks(batches []event.BatchID) []uint32 {
	order := make([]uint32, len(batches))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(batches[a][:], batches[b][:]) })
	rank := make([]uint32, len(batches))
	for i, b := range order {
		rank[b] = uint32(i)
		if i > 0 && batches[b] == batches[order[i-1]] {
			rank[b] = rank[order[i-1]]
		}
	}
	return rank
}

// tableBits is the size of an open-addressing table for n entries, at most
// half full.
func tableBits(n int) uint { return uint(bits.Len(uint(max(n, 4)))) + 1 }

func mix(x uint64) uint64 { return processed.Mix(x) }

// suspects are the rows whose id may stand in another row, too: those whose
// hash falls on the same bit of a small map as another's. The map fits a cache,
// which a table of all ids does not, and few ids are left after it.
func suspects(ids []processed.ID) []uint32 {
	size := uint(max(6, bits.Len(uint(16*len(ids)))))
	ranges := workers(len(ids))
	cut := func(i int) int { return len(ids) * i / ranges }
	// Each range of rows has a map of its own: what two of them met, was met again.
	met, again := make([][]uint64, ranges), make([][]uint64, ranges)
	parallel.Do(ranges, func(g int) {
		met[g], again[g] = make([]uint64, 1<<(size-6)), make([]uint64, 1<<(size-6))
		met, again := met[g], again[g]
		for _, id := range ids[cut(g):cut(g+1)] {
			h := mix(id.Hi^id.Lo) >> (64 - size)
			bit := uint64(1) << (h & 63)
			if word := &met[h>>6]; *word&bit == 0 {
				*word |= bit
			} else {
				again[h>>6] |= bit
			}
		}
	})
	all := again[0]
	for g := 1; g < ranges; g++ {
		for i, word := range met[g] {
			all[i] |= again[g][i] | met[0][i]&word
			met[0][i] |= word
		}
	}
	if !slices.ContainsFunc(all, func(word uint64) bool { return word != 0 }) {
		return nil
	}
	rows := make([][]uint32, ranges)
	parallel.Do(ranges, func(g int) {
		from := cut(g)
		for i, id := range ids[from:cut(g+1)] {
			h := mix(id.Hi^id.Lo) >> (64 - size)
			if all[h>>6]&(1<<(h&63)) != 0 {
				rows[g] = append(rows[g], uint32(from+i))
			}
		}
	})
	return slices.Concat(rows...)
}

// duplicates finds the rows whose id an earlier row has.
func (r *resolver) duplicates() {
	f := r.f
	rows := suspects(f.EventID)
	if len(rows) == 0 {
		return
	}
	size := tableBits(len(rows))
	// An entry is a row plus one.
	table := make([]uint32, 1<<size)
	mask := uint64(len(table) - 1)
	var twice []uint32
	for _, row := range rows {
		id := f.EventID[row]
		slot := mix(id.Hi^id.Lo) & mask
		for ; table[slot] != 0; slot = (slot + 1) & mask {
			if other := table[slot] - 1; f.EventID[other] == id {
				twice = append(twice, other, row)
				break
			}
		}
		if table[slot] == 0 {
			table[slot] = row + 1
		}
	}
	if len(twice) == 0 {
		return
	}
	// place is a row's place in r.order.
	var place []uint32
	if r.order != nil {
		place = make([]uint32, f.Len)
		for i, row := range r.order {
			place[row] = uint32(i)
		}
	}
	slices.SortFunc(twice, func(a, b uint32) int {
		x, y := f.EventID[a], f.EventID[b]
		if c := cmp.Or(cmp.Compare(x.Hi, y.Hi), cmp.Compare(x.Lo, y.Lo), cmp.Compare(f.Millis[a], f.Millis[b])); c != 0 {
			return c
		}
		if place != nil {
			a, b = place[a], place[b]
		}
		return cmp.Compare(a, b)
	})
	twice = slices.Compact(twice)
	r.repeats = make([]event.Hour, f.Len)
	for i := range r.repeats {
		r.repeats[i] = noHour
	}
	for i := 1; i < len(twice); i++ {
		if before, row := twice[i-1], twice[i]; f.EventID[before] == f.EventID[row] {
			r.repeats[row] = hourOf(f.Millis[before])
		}
	}
}

// count lists the rows of the window that count, in order.
func (r *resolver) count() {
	f, w := r.f, r.Window
	keys := make([]uint64, 0, f.Len)
	wide := w.To-w.From > math.MaxUint32
	for i := range f.Len {
		row := r.row(i)
		ms := f.Millis[row]
		if ms < w.From || ms >= w.To {
			continue
		}
		if repeat := r.repeat(row); repeat != noHour {
			if hour := hourOf(ms); hidden(repeat, hour, hour) {
				r.duplicateAt = append(r.duplicateAt, ms)
				continue
			}
		}
		if r.filtered(row) {
			r.filteredAt = append(r.filteredAt, ms)
			continue
		}
		r.KeyEvent[row] = r.class(row)&isKeyEvent != 0
		if wide {
			keys = append(keys, uint64(row))
		} else {
			keys = append(keys, uint64(ms-w.From)<<32|uint64(row))
		}
	}
	if wide {
		slices.SortStableFunc(keys, func(a, b uint64) int { return cmp.Compare(f.Millis[a], f.Millis[b]) })
	} else {
		sortUpper(keys)
	}
	slices.Sort(r.duplicateAt)
	slices.Sort(r.filteredAt)
	r.Duplicates, r.Filtered = int64(len(r.duplicateAt)), int64(len(r.filteredAt))
	r.Rows = make([]uint32, len(keys))
	for i, k := range keys {
		r.Rows[i] = uint32(k)
	}
}

// sortUpper sorts by the upper 32 bits and keeps the order of equal ones.
func sortUpper(keys []uint64) {
	sorted := true
	var seen uint64
	for i, k := range keys {
		seen |= k >> 32
		if i > 0 && keys[i-1]>>32 > k>>32 {
			sorted = false
		}
	}
	if sorted {
		return
	}
	if len(keys) < 256 {
		slices.SortStableFunc(keys, func(a, b uint64) int { return cmp.Compare(a>>32, b>>32) })
		return
	}
	const width = 11
	from, to := keys, make([]uint64, len(keys))
	swapped := false
	for shift := uint(0); shift < 32 && seen>>shift != 0; shift += width {
		var starts [1 << width]uint32
		for _, k := range from {
			starts[k>>(32+shift)&(1<<width-1)]++
		}
		sum := uint32(0)
		for i, n := range starts {
			starts[i] = sum
			sum += n
		}
		for _, k := range from {
			b := k >> (32 + shift) & (1<<width - 1)
			to[starts[b]] = k
			starts[b]++
		}
		from, to, swapped = to, from, !swapped
	}
	if swapped {
		copy(keys, from)
	}
}

// purchases finds the first row of each transaction in its stream. A
// transaction without an id is one of its own.
func (r *resolver) purchases() {
	f := r.f
	txn := f.Text[processed.ColTransactionID].Code
	counted := false
	for _, row := range r.Rows {
		if r.class(row)&isPurchase != 0 {
			if txn == nil || txn[row] == 0 {
				r.Purchase[row] = true
			} else {
				counted = true
			}
		}
	}
	if !counted {
		return
	}
	var rows []uint32
	for i := range f.Len {
		if row := r.row(i); txn[row] != 0 && r.class(row)&isPurchase != 0 && !r.filtered(row) {
			rows = append(rows, row)
		}
	}
	streams := f.Text[processed.ColStream].Code
	stream := func(row uint32) uint32 {
		if streams == nil {
			return 0
		}
		return streams[row]
	}
	slices.SortStableFunc(rows, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(txn[a], txn[b]), cmp.Compare(stream(a), stream(b)), cmp.Compare(f.Millis[a], f.Millis[b]))
	})
	for i, row := range rows {
		ms := f.Millis[row]
		hour := hourOf(ms)
		if ms < r.Window.From || ms >= r.Window.To || hidden(r.repeat(row), hour, hour) {
			continue
		}
		first := true
		for j := i - 1; first && j >= 0 && txn[rows[j]] == txn[row] && stream(rows[j]) == stream(row); j-- {
			before := hourOf(f.Millis[rows[j]])
			if before < hour-Reach {
				break
			}
			first = hidden(r.repeat(rows[j]), before, hour)
		}
		r.Purchase[row] = first
	}
}

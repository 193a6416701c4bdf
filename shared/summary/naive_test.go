package summary_test

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// The rules once more, written for clarity: each question about a row is
// answered by looking at all rows, with no state in between.

const hourMs = int64(time.Hour / time.Millisecond)

func hourOf(ms int64) int64 {
	return time.UnixMilli(ms).Unix()/3600 - boolInt(time.UnixMilli(ms).Unix()%3600 < 0)
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

type naive struct {
	rows     []processed.Row // by time, batch, seq
	settings summary.Settings
}

func newNaive(rows []processed.Row, s summary.Settings) *naive {
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, func(a, b processed.Row) int {
		return cmp.Or(cmp.Compare(a.Millis, b.Millis), bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Seq, b.Seq))
	})
	return &naive{sorted, s}
}

func (n *naive) filtered(r *processed.Row) bool {
	return n.settings.BotFilter && r.Flags&processed.FlagBot != 0 || n.settings.InternalFilter && r.Flags&processed.FlagInternal != 0
}

// view are the rows within Reach of an hour that are no copies of others that
// lie within Reach of the hour and of themselves; bots are not seen.
func (n *naive) view(hour int64) []int {
	const reach = int64(summary.Reach)
	var out []int
	for i := range n.rows {
		r := &n.rows[i]
		h := hourOf(r.Millis)
		if h < hour-reach || h > hour+reach || n.filtered(r) || n.copyOf(i, max(h, hour)-reach) {
			continue
		}
		out = append(out, i)
	}
	return out
}

// copyOf reports whether an earlier row of an hour not before since has the id.
func (n *naive) copyOf(i int, since int64) bool {
	for j := range i {
		if n.rows[j].EventID == n.rows[i].EventID && hourOf(n.rows[j].Millis) >= since {
			return true
		}
	}
	return false
}

type fact struct {
	counts, begins, engaged, purchase, key bool
	duplicate, filtered                    bool
	length                                 int64
	views                                  int32
	keyed                                  bool            // the session that begins here has a key event
	events                                 map[string]bool // and events of these names
	// indexes into rows
	attribution, landing, exit, start int
}

func (n *naive) fact(i int) fact {
	r := &n.rows[i]
	hour := hourOf(r.Millis)
	if n.copyOf(i, hour-int64(summary.Reach)) {
		return fact{duplicate: true}
	}
	if n.filtered(r) {
		return fact{filtered: true}
	}
	f := fact{counts: true, key: slices.Contains(n.settings.KeyEvents, r.Text[processed.ColName])}
	silence := cmp.Or(n.settings.Inactivity, summary.Inactivity)
	if r.Session != 0 {
		silence = summary.NamedInactivity
	}
	view := n.view(hour)
	var mine []int
	at := -1
	for _, j := range view {
		if n.rows[j].Client == r.Client && n.rows[j].Session == r.Session {
			if j == i {
				at = len(mine)
			}
			mine = append(mine, j)
		}
	}
	first := at
	for first > 0 && n.rows[mine[first]].Millis-n.rows[mine[first-1]].Millis < silence.Milliseconds() {
		first--
	}
	begin := &n.rows[mine[first]]
	session := []int{mine[first]}
	for _, j := range mine[first+1:] {
		before := &n.rows[session[len(session)-1]]
		if n.rows[j].Millis-before.Millis >= silence.Milliseconds() || hourOf(n.rows[j].Millis) > hourOf(begin.Millis)+int64(summary.Reach) {
			break
		}
		session = append(session, j)
	}
	f.attribution, f.landing, f.exit, f.start = session[0], session[0], session[0], session[0]
	for _, j := range session {
		if n.rows[j].Text[processed.ColPagePath] != "" {
			f.exit = j
		}
	}
	for _, j := range slices.Backward(session) {
		t := &n.rows[j].Text
		if t[processed.ColSource]+t[processed.ColMedium]+t[processed.ColCampaign] != "" {
			f.attribution = j
		}
		if t[processed.ColPagePath] != "" {
			f.landing = j
		}
	}
	if first == at {
		f.begins = true
		f.length = n.rows[session[len(session)-1]].Millis - r.Millis
		focus, key := int64(0), false
		for _, j := range session {
			name := n.rows[j].Text[processed.ColName]
			if name == "page_view" || name == "screen_view" {
				f.views++
			}
			focus += n.rows[j].Engaged
			if f.events == nil {
				f.events = map[string]bool{}
			}
			f.events[name] = true
			key = key || slices.Contains(n.settings.KeyEvents, name)
		}
		f.keyed = key
		f.engaged = f.views >= 2 || key || f.length > 10_000 || focus > 10_000
	}
	if slices.Contains(paid, r.Text[processed.ColName]) {
		f.purchase = true
		if txn := r.Text[processed.ColTransactionID]; txn != "" {
			for _, j := range view {
				o := &n.rows[j]
				if j < i && slices.Contains(paid, o.Text[processed.ColName]) && o.Text[processed.ColTransactionID] == txn && o.Text[processed.ColStream] == r.Text[processed.ColStream] && hourOf(o.Millis) >= hour-int64(summary.Reach) {
					f.purchase = false
				}
			}
		}
	}
	return f
}

// events draws events of some days with all that makes trouble: copies, late
// ones, equal instants, gaps around the limits, long chains, bots.
func drawRows(t *rapid.T, most int) []processed.Row {
	n := rapid.IntRange(0, most).Draw(t, "n")
	start := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC).UnixMilli()
	rows := make([]processed.Row, 0, n)
	at := start
	steps := []int64{0, 0, 1, 1000, 60_000, 29 * 60_000, 30*60_000 - 1, 30 * 60_000, 45 * 60_000, hourMs, 6 * hourMs, 20 * hourMs, 24*hourMs - 1, 24 * hourMs, 25 * hourMs}
	for i := range n {
		at += rapid.SampledFrom(steps).Draw(t, "step")
		ms := at
		if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
			ms -= rapid.SampledFrom(steps).Draw(t, "back")
		}
		var r processed.Row
		r.Batch = event.BatchID{byte(rapid.IntRange(1, 4).Draw(t, "batch"))}
		r.Seq = uint32(i)
		r.EventID = processed.ID{Hi: 7, Lo: uint64(i)}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "copy") == 0 {
			r.EventID = rows[rapid.IntRange(0, i-1).Draw(t, "of")].EventID
		}
		r.Millis = ms
		r.Client = uint64(rapid.IntRange(1, 3).Draw(t, "client"))
		r.User = r.Client
		if rapid.Bool().Draw(t, "shared") {
			r.User = 9
		}
		r.Session = uint64(rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "session"))
		if r.Session != 0 {
			r.Flags |= processed.FlagSessionGiven
		}
		if rapid.IntRange(0, 7).Draw(t, "bot") == 0 {
			r.Flags |= processed.FlagBot
		}
		if rapid.IntRange(0, 9).Draw(t, "internal") == 0 {
			r.Flags |= processed.FlagInternal
		}
		r.Text[processed.ColName] = rapid.SampledFrom([]string{"page_view", "page_view", "scroll", "purchase", "purchase", "sign_up", "refund", "in_app_purchase", "view_item", "add_to_cart",
			"begin_checkout", "view_item_list", "select_item", "view_promotion", "select_promotion"}).Draw(t, "name")
		if slices.Contains(paid, r.Text[processed.ColName]) {
			r.Text[processed.ColTransactionID] = rapid.SampledFrom([]string{"", "T1", "T2"}).Draw(t, "txn")
			r.Text[processed.ColStream] = rapid.SampledFrom([]string{"G-1", "G-1", "G-2"}).Draw(t, "stream")
			for _, key := range []string{"tax", "shipping"} {
				if text := rapid.SampledFrom([]string{"", "", "4.99", "1e-05", "free"}).Draw(t, key); text != "" {
					r.Params = append(r.Params, processed.Param{Key: key, Text: text})
				}
			}
		}
		r.Text[processed.ColSource] = rapid.SampledFrom([]string{"", "", "google", "news"}).Draw(t, "source")
		r.Text[processed.ColPagePath] = rapid.SampledFrom([]string{"", "/", "/a", "/b"}).Draw(t, "path")
		r.Text[processed.ColCountry] = rapid.SampledFrom([]string{"", "DE", "FR"}).Draw(t, "country")
		if rapid.Bool().Draw(t, "valued") {
			r.Flags |= processed.FlagHasValue
			r.Value = rapid.Int64Range(-5, 50_000_000).Draw(t, "value")
			r.Text[processed.ColCurrency] = rapid.SampledFrom([]string{"", "EUR", "USD"}).Draw(t, "currency")
		}
		if size := rapid.SampledFrom([]string{"", "", "39", "40.5", "-1e3", "large", "1e13"}).Draw(t, "size"); size != "" {
			r.Params = append(r.Params, processed.Param{Key: "size", Text: size})
		}
		r.Engaged = rapid.SampledFrom([]int64{0, 0, 4000, 10_000, 10_001}).Draw(t, "engaged")
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "items") {
			it := processed.Item{Price: 1_000_000, Quantity: rapid.Int64Range(1, 3).Draw(t, "quantity")}
			it.Text = itemTexts(i)
			it.Text[processed.ItemDiscount] = rapid.SampledFrom([]string{"", "0.5", "10%"}).Draw(t, "discount")
			it.Text[processed.ItemID] = rapid.SampledFrom([]string{"i1", "i2"}).Draw(t, "item")
			it.Text[processed.ItemName] = "name of " + it.Text[processed.ItemID]
			r.Items = append(r.Items, it)
		}
		rows = append(rows, r)
	}
	return rows
}

// frameOf packs rows as documents of an hour and batch each, and merges them.
func frameOf(rows []processed.Row) *processed.Frame {
	type doc struct {
		hour  int64
		batch event.BatchID
	}
	docs := map[doc][]processed.Row{}
	for _, r := range rows {
		d := doc{hourOf(r.Millis), r.Batch}
		docs[d] = append(docs[d], r)
	}
	var keys []doc
	for d := range docs {
		keys = append(keys, d)
	}
	sort.Slice(keys, func(i, j int) bool {
		return cmp.Or(cmp.Compare(keys[i].hour, keys[j].hour), bytes.Compare(keys[i].batch[:], keys[j].batch[:])) < 0
	})
	u := processed.NewUnion(processed.Everything())
	for _, k := range keys {
		var b processed.Builder
		for _, r := range docs[k] {
			b.Add(r)
		}
		u.AddFrame(b.Frame(), nil)
	}
	f, err := u.Frame()
	if err != nil {
		panic(err) // frames that were built are no damaged documents
	}
	return f
}

// newSession reports whether the user of a row was not seen before the row's
// session: copies and bots are not seen.
func (n *naive) newSession(i int, f fact) bool {
	for j := range n.rows {
		if r := &n.rows[j]; r.User == n.rows[i].User && r.Millis < n.rows[f.start].Millis && n.fact(j).counts {
			return false
		}
	}
	return true
}

func rowKey(r *processed.Row) string { return fmt.Sprintf("%x/%d", r.Batch[:4], r.Seq) }

package summary_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

var euros = summary.Settings{Currency: "EUR", BotFilter: true, KeyEvents: []string{"sign_up"}, ChannelRules: []channel.Rule{{Channel: "Newsletters", When: []channel.Condition{{Field: "source", Is: "news"}}}}}

// view is what Resolve says of a row, in comparable form.
type view struct {
	Begins, Engaged, Purchase, Key, New bool
	Length                              int64
	Views                               int32
	Attribution, Landing, Exit, Start   string
}

func viewsOf(f *summary.Facts) map[string]view {
	out := map[string]view{}
	for _, row := range f.Rows {
		r := f.Frame.Row(int(row))
		key := func(row uint32) string {
			r := f.Frame.Row(int(row))
			return rowKey(&r)
		}
		out[rowKey(&r)] = view{f.Begins[row], f.EngagedBegin[row], f.Purchase[row], f.KeyEvent[row], f.NewUser[row],
			f.SessionMillis[row], f.SessionViews[row], key(f.Session[row][summary.AttributionRow]), key(f.Session[row][summary.LandingRow]), key(f.Session[row][summary.ExitRow]), key(f.Session[row][summary.StartRow])}
	}
	return out
}

func drawSettings(t *rapid.T) summary.Settings {
	s := euros
	s.BotFilter = rapid.Bool().Draw(t, "bot filter")
	s.Inactivity = rapid.SampledFrom([]time.Duration{0, 0, 5 * time.Minute, 475 * time.Minute}).Draw(t, "inactivity")
	s.InternalFilter = rapid.Bool().Draw(t, "internal filter")
	return s
}

func spanOf(rows []processed.Row) (from, to event.Hour) {
	if len(rows) == 0 {
		return 0, 1
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range rows {
		lo, hi = min(lo, hourOf(r.Millis)), max(hi, hourOf(r.Millis))
	}
	return event.Hour(lo), event.Hour(hi + 1)
}

func TestResolveKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		settings := drawSettings(t)
		n := newNaive(rows, settings)
		from, to := spanOf(rows)
		facts := summary.Resolve(frameOf(rows), summary.Of(from, to), settings)
		want := map[string]view{}
		var order []string
		duplicates, filtered := int64(0), int64(0)
		for i := range n.rows {
			f := n.fact(i)
			switch {
			case f.duplicate:
				duplicates++
			case f.filtered:
				filtered++
			default:
				order = append(order, rowKey(&n.rows[i]))
				want[rowKey(&n.rows[i])] = view{f.begins, f.engaged, f.purchase, f.key, false, f.length, f.views,
					rowKey(&n.rows[f.attribution]), rowKey(&n.rows[f.landing]), rowKey(&n.rows[f.exit]), rowKey(&n.rows[f.start])}
			}
		}
		if d := cmp.Diff(want, viewsOf(facts)); d != "" {
			t.Fatalf("facts differ (-rules +resolved):\n%s", d)
		}
		var got []string
		for _, row := range facts.Rows {
			r := facts.Frame.Row(int(row))
			got = append(got, rowKey(&r))
		}
		if d := cmp.Diff(order, got); d != "" {
			t.Fatalf("order differs:\n%s", d)
		}
		if facts.Duplicates != duplicates || facts.Filtered != filtered {
			t.Fatalf("duplicates %d, filtered %d; want %d, %d", facts.Duplicates, facts.Filtered, duplicates, filtered)
		}
	})
}

// What is said of a row must not depend on the window that is asked for, nor on
// documents beyond its needs.
func TestResolveIsLocal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 60)
		settings := drawSettings(t)
		from, to := spanOf(rows)
		whole := summary.Resolve(frameOf(rows), summary.Of(from, to), settings)
		cuts := []int64{int64(from) * hourMs, int64(to) * hourMs}
		for range rapid.IntRange(1, 4).Draw(t, "cuts") {
			cuts = append(cuts, rapid.Int64Range(cuts[0], int64(to)*hourMs).Draw(t, "cut"))
		}
		slices.Sort(cuts)
		parts := map[string]view{}
		var duplicates, filtered int64
		for i := 1; i < len(cuts); i++ {
			w := summary.Window{From: cuts[i-1], To: cuts[i]}
			if w.From == w.To {
				continue
			}
			needFrom, needTo := w.Needs()
			var near []processed.Row
			for _, r := range rows {
				if h := event.Hour(hourOf(r.Millis)); h >= needFrom && h < needTo {
					near = append(near, r)
				}
			}
			facts := summary.Resolve(frameOf(near), w, settings)
			for k, v := range viewsOf(facts) {
				if _, twice := parts[k]; twice {
					t.Fatalf("row %s counts in two windows", k)
				}
				parts[k] = v
			}
			duplicates += facts.Duplicates
			filtered += facts.Filtered
			slice := whole.Slice(w)
			if d := cmp.Diff(viewsOf(facts), viewsOf(slice)); d != "" || slice.Duplicates != facts.Duplicates || slice.Filtered != facts.Filtered {
				t.Fatalf("a slice differs from its own resolve:\n%s", d)
			}
		}
		if d := cmp.Diff(viewsOf(whole), parts); d != "" {
			t.Fatalf("parts differ from the whole (-whole +parts):\n%s", d)
		}
		if whole.Duplicates != duplicates || whole.Filtered != filtered {
			t.Fatal("left out rows differ")
		}
	})
}

// An unordered frame counts like a merged one.
func TestResolveTakesAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 30)
		from, to := spanOf(rows)
		var b processed.Builder
		for _, r := range rapid.Permutation(rows).Draw(t, "order") {
			b.Add(r)
		}
		got := summary.Resolve(b.Frame(), summary.Of(from, to), euros)
		want := summary.Resolve(frameOf(rows), summary.Of(from, to), euros)
		if d := cmp.Diff(viewsOf(want), viewsOf(got)); d != "" {
			t.Fatal(d)
		}
	})
}

// hit is an event of a table test: minutes after midnight of a day, and who.
type hit struct {
	at      time.Duration
	name    string
	client  uint64
	session uint64
	engaged int64
}

func framed(hits []hit) *processed.Frame {
	start := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	rows := make([]processed.Row, len(hits))
	for i, h := range hits {
		r := &rows[i]
		r.Batch, r.Seq, r.EventID = event.BatchID{1}, uint32(i), processed.ID{Lo: uint64(i + 1)}
		r.Millis, r.Client, r.User, r.Session, r.Engaged = start.Add(h.at).UnixMilli(), h.client, h.client, h.session, h.engaged
		r.Text[processed.ColName] = h.name
	}
	return frameOf(rows)
}

func TestSessions(t *testing.T) {
	const m, s = time.Minute, time.Second
	pv := "page_view"
	for _, c := range []struct {
		name              string
		hits              []hit
		sessions, engaged int64
		millis            int64
	}{
		{"one view bounces", []hit{{9 * time.Hour, pv, 1, 0, 0}}, 1, 0, 0},
		{"two views engage", []hit{{0, pv, 1, 0, 0}, {3 * s, pv, 1, 0, 0}}, 1, 1, 3000},
		{"two screens engage", []hit{{0, "screen_view", 1, 0, 0}, {3 * s, pv, 1, 0, 0}}, 1, 1, 3000},
		{"ten seconds do not engage", []hit{{0, pv, 1, 0, 0}, {10 * s, "scroll", 1, 0, 0}}, 1, 0, 10_000},
		{"more than ten do", []hit{{0, pv, 1, 0, 0}, {10*s + time.Millisecond, "scroll", 1, 0, 0}}, 1, 1, 10_001},
		{"time in focus engages", []hit{{0, pv, 1, 0, 0}, {5 * s, "user_engagement", 1, 0, 12_000}}, 1, 1, 5000},
		{"a key event engages", []hit{{0, "sign_up", 1, 0, 0}}, 1, 1, 0},
		{"29:59.999 is no silence", []hit{{0, pv, 1, 0, 0}, {30*m - time.Millisecond, "scroll", 1, 0, 0}}, 1, 1, 1_799_999},
		{"30 minutes are", []hit{{0, pv, 1, 0, 0}, {30 * m, "scroll", 1, 0, 0}}, 2, 0, 0},
		{"over the hour's edge", []hit{{59 * m, pv, 1, 0, 0}, {61 * m, pv, 1, 0, 0}}, 1, 1, 120_000},
		{"over midnight", []hit{{24*time.Hour - m, pv, 1, 0, 0}, {24*time.Hour + m, pv, 1, 0, 0}}, 1, 1, 120_000},
		{"each client has its own", []hit{{0, pv, 1, 0, 0}, {m, pv, 2, 0, 0}}, 2, 0, 0},
		{"a named session outlasts a pause", []hit{{0, pv, 1, 5, 0}, {5 * time.Hour, pv, 1, 5, 0}}, 1, 1, 18_000_000},
		{"but not a day", []hit{{0, pv, 1, 5, 0}, {24 * time.Hour, pv, 1, 5, 0}}, 2, 0, 0},
		{"another name is another session", []hit{{0, pv, 1, 5, 0}, {m, pv, 1, 6, 0}}, 2, 0, 0},
		{"the same name of another client, too", []hit{{0, pv, 1, 5, 0}, {m, pv, 2, 5, 0}}, 2, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, _ := summary.Window{From: time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC).UnixMilli()}.UTCHours()
			facts := summary.Resolve(framed(c.hits), summary.Of(from, from+72), euros)
			total := summary.Group(facts, nil, summary.GroupOptions{}).Counters[0]
			got := [3]int64{total[summary.Sessions], total[summary.EngagedSessions], total[summary.SessionMillis]}
			if want := [3]int64{c.sessions, c.engaged, c.millis}; got != want {
				t.Errorf("sessions, engaged, ms: got %v, want %v", got, want)
			}
		})
	}
}

// A chain of events longer than the reach is one session, begun once; what is
// measured of it ends Reach hours on.
func TestSessionOfDays(t *testing.T) {
	var hits []hit
	for i := range 3 * 24 * 3 { // three days, every 20 minutes
		hits = append(hits, hit{at: time.Duration(i) * 20 * time.Minute, name: "page_view", client: 1})
	}
	f := framed(hits)
	from := event.Hour(hourOf(f.Millis[0]))
	facts := summary.Resolve(f, summary.Of(from, from+72), euros)
	total := summary.Group(facts, nil, summary.GroupOptions{}).Counters[0]
	if total[summary.Sessions] != 1 || total[summary.Views] != int64(len(hits)) {
		t.Errorf("got %d sessions of %d views", total[summary.Sessions], total[summary.Views])
	}
	if want := int64(24*60+40) * 60_000; total[summary.SessionMillis] != want {
		t.Errorf("length %d ms, want %d", total[summary.SessionMillis], want)
	}
	last := facts.Rows[len(facts.Rows)-1]
	if got := facts.Session[last][summary.LandingRow]; f.Millis[got] != int64(from+71-24)*hourMs {
		t.Errorf("the last event's session is followed to %d", f.Millis[got])
	}
}

func TestNewUsers(t *testing.T) {
	f := framed([]hit{{time.Minute, "page_view", 1, 0, 0}, {2 * time.Minute, "page_view", 1, 0, 0}, {3 * time.Minute, "page_view", 2, 0, 0}, {4 * time.Minute, "page_view", 3, 0, 0}})
	from := event.Hour(hourOf(f.Millis[0]))
	facts := summary.Resolve(f, summary.Of(from, from+1), euros)
	users, millis := facts.Users()
	if d := cmp.Diff([]uint64{1, 2, 3}, users); d != "" {
		t.Fatal(d)
	}
	if millis[0] != f.Millis[0] || millis[1] != f.Millis[2] {
		t.Error("first instants are wrong")
	}
	facts.SetFirstSeen(users, []int64{math.MaxInt64, millis[1] - 1, millis[2]})
	table := summary.Group(facts, summary.Keys(summary.DimNewVsReturning), summary.GroupOptions{Users: true})
	if d := cmp.Diff([]string{"new", "returning"}, table.Values[0]); d != "" {
		t.Fatal(d)
	}
	if table.Counters[0][summary.NewUsers] != 2 || table.Counters[0][summary.Events] != 3 || table.Users[1].Estimate() != 1 {
		t.Errorf("got %v", table.Counters)
	}
}

func BenchmarkResolve(b *testing.B) {
	f := benchFrame(1_000_000, 60_000)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	perEvent(b, f.Len, func() {
		if facts := summary.Resolve(f, summary.Of(from, from+24), euros); len(facts.Rows) == 0 {
			b.Fatal("nothing counted")
		}
	})
}

func BenchmarkResolveLean(b *testing.B) {
	f := benchFrame(1_000_000, 60_000)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	perEvent(b, f.Len, func() {
		if facts := summary.ResolveLean(f, summary.Of(from, from+24), euros); len(facts.Rows) == 0 {
			b.Fatal("nothing counted")
		}
	})
}

func BenchmarkGroupPageCountry(b *testing.B) {
	f := benchFrame(1_000_000, 60_000)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	facts := summary.Resolve(f, summary.Of(from, from+24), euros)
	perEvent(b, f.Len, func() {
		summary.Group(facts, summary.Keys(summary.DimPagePath, summary.DimCountry), summary.GroupOptions{Users: true})
	})
}

func BenchmarkNewRecord(b *testing.B) {
	f := benchFrame(1_000_000, 60_000)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	facts := summary.Resolve(f, summary.Of(from, from+24), euros)
	perEvent(b, f.Len, func() { summary.NewRecord(facts, 0) })
}

func BenchmarkAffected(b *testing.B) {
	f := benchFrame(1_000_000, 60_000)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	perEvent(b, f.Len, func() { summary.Affected([]event.Hour{from + 20}, f, euros) })
}

// A session is its user's first where nothing of it was seen before the session
// began, whatever window is asked for.
func TestNewSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		settings := drawSettings(t)
		n := newNaive(rows, settings)
		from, to := spanOf(rows)
		whole := summary.Resolve(frameOf(rows), summary.Of(from, to), settings)
		first := map[uint64]int64{}
		users, millis := whole.Users()
		for i, u := range users {
			first[u] = millis[i]
		}
		w := summary.Window{From: int64(from) * hourMs, To: int64(to) * hourMs}
		w.From = rapid.Int64Range(w.From, w.To-1).Draw(t, "from")
		facts := summary.Resolve(frameOf(rows), w, settings)
		users, _ = facts.Users()
		known := make([]int64, len(users))
		for i, u := range users {
			known[i] = first[u]
		}
		facts.SetFirstSeen(users, known)
		// What brought a user first is what brought the session of its first row.
		origins := whole.Origins(first)
		brought := map[uint64]string{}
		for i := range n.rows {
			if f := n.fact(i); f.counts {
				if _, before := brought[n.rows[i].User]; !before {
					brought[n.rows[i].User] = n.rows[f.attribution].Text[processed.ColSource]
				}
			}
		}
		if len(origins) != len(brought) {
			t.Fatalf("%d origins of %d users", len(origins), len(brought))
		}
		facts.SetOrigins(origins)
		column := facts.Column(summary.Key{Dim: summary.DimFirstSource}, nil)
		for place, row := range facts.Rows {
			if got, want := column.Dict[column.Code[place]], brought[facts.Frame.User[row]]; got != want {
				t.Fatalf("user %d was brought by %q, not %q", facts.Frame.User[row], want, got)
			}
		}
		got := map[string]bool{}
		for _, row := range facts.Rows {
			r := facts.Frame.Row(int(row))
			got[rowKey(&r)] = facts.NewSession[row]
		}
		want := map[string]bool{}
		for i := range n.rows {
			if f := n.fact(i); f.counts && n.rows[i].Millis >= w.From {
				want[rowKey(&n.rows[i])] = n.newSession(i, f)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("new sessions differ (-rules +facts):\n%s", d)
		}
	})
}

// A day of a shop as it is closed: an hour has few events, and its record is
// made of small tables.
func BenchmarkHourRecords(b *testing.B) {
	f := benchFrame(2_000, 300)
	from := event.Hour(hourOf(slices.Min(f.Millis)))
	facts := summary.Resolve(f, summary.Of(from, from+24), euros)
	perEvent(b, f.Len, func() {
		for h := range event.Hour(24) {
			summary.NewRecord(facts.Slice(summary.Of(from+h, from+h+1)), int(h))
		}
	})
}

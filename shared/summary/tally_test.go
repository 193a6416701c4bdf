package summary_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// sights is when users were first seen in what is summarised.
type sights map[uint64]int64

func (s sights) of(users []uint64) ([]int64, error) {
	out := make([]int64, len(users))
	for i, u := range users {
		at, known := s[u]
		if !known {
			at = math.MaxInt64
		}
		out[i] = at
	}
	return out, nil
}

// wholeTally counts hours [from, to) of rows at once.
func wholeTally(rows []processed.Row, seen sights, settings summary.Settings, cal *summary.Calendar, w summary.Window) *summary.Tally {
	facts := summary.Resolve(frameOf(rows), w, settings)
	users, millis := facts.Firsts()
	stored, _ := seen.of(users)
	for i := range millis {
		millis[i] = min(millis[i], stored[i])
	}
	facts.SetFirstSeen(users, millis)
	return summary.NewTally([]*summary.Facts{facts}, cal, func(*summary.Facts) []summary.Window { return cal.Hours(w.From, w.To) })
}

// see makes known who was seen in the hours that a tally does not count.
func (s sights) see(rows []processed.Row, settings summary.Settings, cal *summary.Calendar, tally *summary.Tally) {
	if len(rows) == 0 {
		return
	}
	first, end := spanOf(rows)
	all := summary.Of(first, end)
	facts := summary.Resolve(frameOf(rows), all, settings)
	for _, h := range cal.Hours(all.From, all.To) {
		if tally.Record(h.From) == nil {
			users, millis := facts.Slice(h).Firsts()
			for i, u := range users {
				s[u] = min(orElse(s, u), millis[i])
			}
		}
	}
}

// Whatever the order in which rows arrive, what is counted of them bit by bit is
// what is counted of all at once; where a tally says that it cannot, it is begun
// anew. Rows before the first counted hour are there, too.
func TestTallyIsTheWhole(t *testing.T) {
	added, given := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 80)
		if len(rows) == 0 {
			return
		}
		for i := range rows {
			// More clients than the rules need, so that rows have little to do
			// with one another.
			r := &rows[i]
			more := uint64(rapid.IntRange(0, 9).Draw(t, "who")) * 10
			if r.User == r.Client || rapid.Bool().Draw(t, "own") {
				r.User = r.Client + more
			}
			r.Client += more
			if r.Text[processed.ColTransactionID] != "" && rapid.Bool().Draw(t, "another order") {
				r.Text[processed.ColTransactionID] += fmt.Sprint(i)
			}
		}
		settings := drawSettings(t)
		cal, err := summary.NewCalendar(rapid.SampledFrom([]string{"UTC", "Asia/Kolkata"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		first, end := spanOf(rows)
		w := summary.Of(first, end)
		cut := rapid.Int64Range(w.From, w.To-1).Draw(t, "first counted")
		w = summary.Window{From: cal.Hour(cut).From, To: cal.Hour(w.To - 1).To}
		counted := w
		if rapid.Bool().Draw(t, "extend") {
			counted.To = cal.Hour(rapid.Int64Range(w.From, w.To-1).Draw(t, "last counted")).To
		}

		seen := sights{}
		order := rapid.Permutation(rows).Draw(t, "order")
		if rapid.Bool().Draw(t, "in time") {
			order = slices.Clone(rows)
		}
		at := rapid.IntRange(0, len(order)-1).Draw(t, "there before")
		begin := func() *summary.Tally {
			// Who was seen elsewhere is known by then.
			seen.see(order[:at], settings, cal, wholeTally(order[:at], seen, settings, cal, counted))
			return wholeTally(order[:at], seen, settings, cal, counted)
		}
		tally := begin()
		for at < len(order) {
			n := min(len(order)-at, rapid.IntRange(1, 6).Draw(t, "more"))
			around := summary.Around{FirstSeen: seen.of, Whole: func(event.Hour) bool { return true }}
			for u := range uint64(3) {
				if user := order[rapid.IntRange(0, len(order)-1).Draw(t, "seen")].User; rapid.IntRange(0, 5).Draw(t, "lower") == int(u) {
					seen[user] = min(orElse(seen, user), order[at].Millis-rapid.Int64Range(0, 50*hourMs).Draw(t, "before"))
					around.Earlier = true
				}
			}
			come := order[at : at+n]
			at += n
			ok := true
			for _, r := range come {
				h := event.Hour(hourOf(r.Millis))
				if tally.Counts(h) || !ok {
					continue
				}
				if ok, err = tally.Adopt(h, seen.of); err != nil {
					t.Fatal(err)
				}
				if ok && !tally.Counts(h) {
					t.Fatal("expected the hour to be counted now")
				}
			}
			given++
			var adopted []event.Hour
			if ok {
				if adopted, ok, err = tally.Add(frameOf(come), around); err != nil {
					t.Fatal(err)
				}
			}
			if !ok {
				tally = begin()
				continue
			}
			added++
			for _, h := range adopted {
				if !tally.Counts(h) {
					t.Fatalf("hour %d was adopted and is not counted", h)
				}
			}
			all := summary.Of(first, end)
			whole := wholeTally(order[:at], seen, settings, cal, all)
			before, after := summary.Resolve(frameOf(order[:at-n]), all, settings), summary.Resolve(frameOf(order[:at]), all, settings)
			for _, h := range cal.Hours(all.From, all.To) {
				have := tally.Record(h.From)
				if have == nil {
					a, b := summary.NewRecord(before.Slice(h), 0), summary.NewRecord(after.Slice(h), 0)
					if !bytes.Equal(a.Encode(), b.Encode()) {
						t.Fatalf("hour %d is not counted and not the same with %d of %d rows\n%+v\n%+v", h.From/hourMs, at, len(order), a, b)
					}
					continue
				}
				if want := whole.Record(h.From); !bytes.Equal(have.Encode(), want.Encode()) {
					t.Fatalf("hour %d: %d of %d rows\n%+v\n%+v", h.From/hourMs, at, len(order), have, want)
				}
			}
		}
	})
	if t.Logf("%d of %d additions were counted by themselves", added, given); added*10 < given*9 {
		t.Error("expected nearly all additions to be counted by themselves")
	}
}

func orElse(s sights, u uint64) int64 {
	if at, known := s[u]; known {
		return at
	}
	return math.MaxInt64
}

// TestTallyOfManyUsers: an hour whose users are a sketch is counted on, too, when some of
// them turn out to be another's copies, or to have been brought by something else; also
// where they are so many that they are not remembered.
func TestTallyOfManyUsers(t *testing.T) {
	cal, err := summary.NewCalendar("UTC")
	if err != nil {
		t.Fatal(err)
	}
	w := summary.Of(1, 2)
	settings := summary.Settings{}
	for _, users := range []int{summary.UsersExact + 1000, 70_000} {
		rows := make([]processed.Row, users)
		for i := range rows {
			r := &rows[i]
			r.Batch, r.Seq, r.Millis = event.BatchID{1}, uint32(i), hourMs+int64(i)
			r.EventID = processed.ID{Hi: 1, Lo: uint64(i)}
			r.User, r.Client = uint64(1000+i), uint64(1000+i)
			r.Text[processed.ColName], r.Text[processed.ColPagePath], r.Text[processed.ColCountry] = "page_view", "/", "NL"
		}
		tally := wholeTally(rows, sights{}, settings, cal, w)
		if u := tally.Record(w.From).Users; u.Exact() {
			t.Fatal("expected a sketch")
		}
		for step := range 4 {
			var come []processed.Row
			for k := range 50 {
				r := rows[users-1-step*100-k] // an event from another client and a moment earlier
				r.Batch, r.Seq, r.User, r.Client, r.Millis = event.BatchID{2, byte(step)}, uint32(k), uint64(1+k), uint64(1+k), r.Millis-1
				come = append(come, r)
				r = rows[users-51-step*100-k] // one that came late, before the only one so far
				r.Batch, r.Seq, r.Millis = event.BatchID{2, byte(step)}, uint32(50+k), r.Millis-1
				r.EventID.Hi, r.Text[processed.ColSource] = 2, "news"
				come = append(come, r)
			}
			if _, ok, err := tally.Add(frameOf(come), summary.Around{FirstSeen: sights{}.of, Whole: func(event.Hour) bool { return true }}); !ok || err != nil {
				t.Fatalf("of %d users, step %d: expected it to be counted on: %v, %v", users, step, ok, err)
			}
			rows = append(come, rows...)
			want := wholeTally(rows, sights{}, settings, cal, w).Record(w.From)
			if got := tally.Record(w.From); !bytes.Equal(got.Encode(), want.Encode()) {
				t.Fatalf("of %d users, step %d: got\n%+v, expected\n%+v", users, step, got.Total, want.Total)
			}
		}
	}
}

// TestWideRecord: the pages of a busy merchant's hour have more users than a record that
// is stored keeps in fine sets. One that is not, and a day of such, does.
func TestWideRecord(t *testing.T) {
	cal, err := summary.NewCalendar("UTC")
	if err != nil {
		t.Fatal(err)
	}
	const pages, users = 64, summary.UsersExact + 1
	w := summary.Of(1, 2)
	rows := make([]processed.Row, pages*users)
	for i := range rows {
		r := &rows[i]
		user := uint64(1000 + i%users)
		r.Batch, r.Seq, r.Millis, r.User, r.Client, r.EventID = event.BatchID{1}, uint32(i), hourMs+int64(i), user, user, processed.ID{Lo: uint64(i)}
		r.Text[processed.ColName], r.Text[processed.ColPagePath] = "page_view", fmt.Sprint("/", i/users)
	}
	facts := summary.Resolve(frameOf(rows), w, summary.Settings{})
	stored, wide := summary.NewRecord(facts, 1), summary.NewWideRecord(facts, 1)
	tally := wholeTally(rows, sights{}, summary.Settings{}, cal, w).Record(w.From)
	quiet := summary.NewRecord(summary.Resolve(frameOf(rows[:10]), w, summary.Settings{}), 1)
	for _, c := range []struct {
		what   string
		record *summary.Record
		fine   bool
	}{
		{"a stored record", stored, false},
		{"a wide one", wide, true},
		{"a tally's", tally, true},
		{"a sum", summary.MergeRecords(quiet, wide), false},
		{"a wide sum", summary.MergeWide(quiet, tally, wide), true},
		{"a wide sum with a stored record", summary.MergeWide(quiet, stored), false},
	} {
		table := c.record.Tables[summary.TablePage]
		if table == nil || table.Len() != pages || table.Users == nil {
			t.Fatalf("%s: expected %d pages, got %+v", c.what, pages, table)
		}
		for i, u := range table.Users {
			if fine := u.Error() < 0.01; fine != c.fine {
				t.Fatalf("%s: page %d has a standard error of %.4f, expected a fine one: %v", c.what, i, u.Error(), c.fine)
			}
			if n := float64(u.Estimate()); math.Abs(n/users-1) > 4*u.Error() {
				t.Errorf("%s: page %d has %v users, expected about %d", c.what, i, n, users)
			}
		}
	}
}

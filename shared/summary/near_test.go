package summary_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// drawShop draws rows as drawRows does, of more clients and transactions: some have
// nothing to do with others.
func drawShop(t *rapid.T, most int) []processed.Row {
	rows := drawRows(t, most)
	for i := range rows {
		r := &rows[i]
		visitor := rapid.SampledFrom([]uint64{0, 0, 10, 20, 30}).Draw(t, "visitor")
		r.Client += visitor
		r.User += visitor
		if txn := &r.Text[processed.ColTransactionID]; *txn != "" {
			*txn += rapid.SampledFrom([]string{"", "", "a", "b", "c", "d"}).Draw(t, "order")
		}
	}
	return rows
}

// nearOf reads what is near some hours among rows: rounds is how many times it looked
// around.
func nearOf(rows []processed.Row, hours []summary.Window, s summary.Settings) (f *processed.Frame, rounds int) {
	var whole, around []processed.Row
	for _, r := range rows {
		if slices.ContainsFunc(hours, func(w summary.Window) bool { return w.From <= r.Millis && r.Millis < w.To }) {
			whole = append(whole, r)
		} else {
			around = append(around, r)
		}
	}
	near := summary.NewNear(hours, s, frameOf(whole))
	for {
		rounds++
		kept := slices.Clone(whole)
		skipped := map[processed.ID]bool{}
		for _, r := range around {
			txn, sieve := r.Text[processed.ColTransactionID], near.Sieve()
			dropped := s.BotFilter && r.Flags&processed.FlagBot != 0 || s.InternalFilter && r.Flags&processed.FlagInternal != 0
			if sieve.HasID(r.EventID) || !dropped && sieve.HasClient(r.Client) || txn != "" && sieve.HasTransaction(txn) {
				kept = append(kept, r)
			} else {
				skipped[r.EventID] = true
			}
		}
		f = frameOf(kept)
		if !near.Grow(f, func(ids []processed.ID) bool {
			return slices.ContainsFunc(ids, func(id processed.ID) bool { return skipped[id] })
		}) {
			return f, rounds
		}
	}
}

// said is all that facts say, of rows by their names.
func said(f *summary.Facts) []string {
	name := func(row uint32) string {
		r := f.Frame.Row(int(row))
		return rowKey(&r)
	}
	all := []string{fmt.Sprint(f.Duplicates, " duplicates, ", f.Filtered, " filtered")}
	for _, row := range f.Rows {
		text := fmt.Sprint(name(row), f.Begins[row], f.EngagedBegin[row], f.SessionMillis[row], f.Purchase[row], f.KeyEvent[row])
		if f.Session != nil {
			text += fmt.Sprint(f.SessionViews[row])
			for _, of := range f.Session[row] {
				text += " " + name(of)
			}
		}
		all = append(all, text)
	}
	return all
}

// What is near says the same as everything does.
func TestNearSaysTheSame(t *testing.T) {
	rows, kept, again, listed := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		all := drawShop(t, 60)
		if len(all) == 0 {
			return
		}
		settings := drawSettings(t)
		var dirty []event.Hour
		var hours []summary.Window
		h := event.Hour(hourOf(rapid.SampledFrom(all).Draw(t, "one").Millis))
		for range rapid.IntRange(1, 3).Draw(t, "hours") {
			if rapid.IntRange(0, 4).Draw(t, "counted only") > 0 {
				dirty = append(dirty, h)
			}
			hours = append(hours, summary.Of(h, h+1))
			h += event.Hour(rapid.SampledFrom([]int{1, 1, 2, 20, 30, 48}).Draw(t, "later"))
		}
		from, to := summary.Window{From: hours[0].From, To: hours[len(hours)-1].To}.Needs()
		all = slices.DeleteFunc(all, func(r processed.Row) bool { return hourOf(r.Millis) < int64(from) || hourOf(r.Millis) >= int64(to) })
		full := frameOf(all)
		near, rounds := nearOf(all, hours, settings)
		rows, kept = rows+full.Len, kept+near.Len
		if rounds > 1 {
			again++
		}
		affected := summary.Affected(dirty, full, settings)
		if got := summary.Affected(dirty, near, settings); !slices.Equal(got, affected) {
			t.Fatalf("of hours %v are affected: %v, but near are %v", dirty, affected, got)
		}
		listed += len(affected)
		for _, w := range hours {
			for _, resolve := range []func(*processed.Frame, summary.Window, summary.Settings) *summary.Facts{summary.Resolve, summary.ResolveLean} {
				want, got := resolve(full, w, settings), resolve(near, w, settings)
				if !slices.Equal(said(want), said(got)) {
					t.Fatalf("of %v all rows say\n%v\nand near ones\n%v", w, said(want), said(got))
				}
			}
			want, got := summary.Resolve(full, w, settings), summary.Resolve(near, w, settings)
			if !slices.Equal(summary.NewRecord(want, 3).Encode(), summary.NewRecord(got, 3).Encode()) {
				t.Fatalf("other records of %v", w)
			}
		}
	})
	t.Logf("%d of %d rows are near; looked around again in %d cases; %d hours listed", kept, rows, again, listed)
	if kept > rows*9/10 || again == 0 || listed == 0 {
		t.Error("the cases try too little")
	}
}

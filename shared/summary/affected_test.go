package summary_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

// content is what an hour's record would be made of: its rows with the values
// that count, in order.
func content(rows []processed.Row, h event.Hour, s summary.Settings) map[string]string {
	from, to := summary.Of(h, h+1).Needs()
	var near []processed.Row
	for _, r := range rows {
		if at := event.Hour(hourOf(r.Millis)); at >= from && at < to {
			near = append(near, r)
		}
	}
	f := summary.Resolve(frameOf(near), summary.Of(h, h+1), s)
	return map[string]string{"record": string(summary.NewRecord(f, 0).Encode())}
}

// Whatever documents come late: an hour whose numbers they change is dirty or
// in the list.
func TestAffectedMissesNothing(t *testing.T) {
	changed, listed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		var old []processed.Row
		fresh := map[event.Hour]bool{}
		// Documents come whole: a batch's rows of an hour.
		late := event.BatchID{byte(rapid.IntRange(1, 4).Draw(t, "late batch"))}
		lateHour := rapid.Int64Range(0, 3).Draw(t, "late part")
		for _, r := range rows {
			h := hourOf(r.Millis)
			if r.Batch == late && h%4 == lateHour {
				fresh[event.Hour(h)] = true
			} else {
				old = append(old, r)
			}
		}
		dirty := slices.Sorted(maps.Keys(fresh))
		if len(dirty) == 0 {
			return
		}
		from, to := spanOf(rows)
		settings := drawSettings(t)
		got := summary.Affected(dirty, frameOf(rows), settings)
		if !slices.IsSorted(got) {
			t.Fatal("not in order")
		}
		listed += len(got)
		for h := from; h < to; h++ {
			before, after := content(old, h, settings), content(rows, h, settings)
			if maps.Equal(before, after) {
				continue
			}
			changed++
			if !fresh[h] && !slices.Contains(got, h) {
				t.Fatalf("hour %d changes, but only %v are listed beside %v", h, got, dirty)
			}
		}
		for _, h := range got {
			if fresh[h] {
				t.Fatalf("hour %d is listed although dirty", h)
			}
		}
	})
	t.Logf("%d hours changed, %d listed beside the dirty ones", changed, listed)
}

func TestAffectedIsNear(t *testing.T) {
	pv := "page_view"
	const m, h = 60e9, 3600e9
	f := framed([]hit{
		{8 * h, pv, 1, 0, 0},       // an earlier visit of the same client
		{9*h + 50*m, pv, 1, 0, 0},  // the session's beginning
		{10*h + 10*m, pv, 1, 0, 0}, // dirty
		{10*h + 20*m, pv, 2, 0, 0}, // dirty
		{11*h + 15*m, pv, 2, 0, 0}, // 55 minutes later: another session
		{10*h + 59*m, pv, 3, 0, 0}, // dirty
		{11*h + 10*m, pv, 3, 0, 0}, // goes on
		{11*h + 39*m, pv, 3, 0, 0}, // and on
		{12*h + 5*m, pv, 3, 0, 0},  // and on
		{12*h + 45*m, pv, 3, 0, 0}, // not any more
		{13 * h, pv, 4, 0, 0},      // others
		{13*h + 5*m, "scroll", 4, 0, 0},
	})
	day := event.Hour(hourOf(f.Millis[0])) - 8
	got := summary.Affected([]event.Hour{day + 10}, f, euros)
	if want := []event.Hour{day + 9, day + 11, day + 12}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReopened(t *testing.T) {
	const h = hourMs
	got := summary.Reopened([]int64{5 * h, 5 * h, 5 * h, 5 * h}, []int64{9 * h, 5*h + 1, 4 * h, 1<<63 - 1})
	if !slices.Equal(got, []event.Hour{9}) {
		t.Errorf("got %v", got)
	}
}

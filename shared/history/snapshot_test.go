package history_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/summary"
)

// A snapshot holds the hours that records do not, and no others; it is of the
// version that was there before it.
func TestSnapshot(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	cal, err := summary.NewCalendar("Asia/Kolkata") // whose hours begin at half past
	if err != nil {
		t.Fatal(err)
	}
	m := &access.Merchant{ID: merchant, Generation: 1}
	l := history.New(s.Processed, s.Visitors, history.Options{})
	take := func(l *history.Loader) *history.Snapshot {
		t.Helper()
		snapshot, err := l.Snapshot(ctx, m, cal)
		if err != nil {
			t.Fatal(err)
		}
		return snapshot
	}
	if got := take(l); got.Some || !got.Whole || len(got.Hours) > 0 {
		t.Fatalf("expected nothing of a merchant without events, got %+v", got)
	}
	put(t, s, 1, 1000, 10, 7)
	put(t, s, 2, 1200, 10, 8)
	clean(t, s, 1000, 1200)
	closed := take(l)
	if !closed.Some || !closed.Whole || len(closed.Hours) > 0 || closed.First != 1000 || closed.Last != 1200 {
		t.Fatalf("expected nothing but the extent of closed hours, got %+v", closed)
	}
	put(t, s, 3, 1100, 45, 9)
	live := take(l)
	if live.Version == closed.Version {
		t.Fatal("expected another version after a put")
	}
	if len(live.Hours) != 2 || !live.Touches(summary.Of(1100, 1101)) || live.Touches(summary.Of(1101, 1102)) || live.Touches(summary.Of(1000, 1001)) {
		t.Fatalf("expected the two hours of the clock in hour 1100, got %d", len(live.Hours))
	}
	sum := summary.MergeRecords(live.Hours[int64(1100)*hourMs-hourMs/2], live.Hours[int64(1100)*hourMs+hourMs/2])
	if sum.Total[summary.Views] != 45 || sum.Total[summary.Sessions] != 1 || sum.Total[summary.NewUsers] != 1 || sum.Users.Estimate() != 1 {
		t.Fatalf("expected 45 views, a session and a new user, got %v", sum.Total)
	}
	if got := take(l.Within(44)); got.Whole || len(got.Hours) > 0 {
		t.Fatalf("expected that 45 events are too many for 44, got %+v", got)
	}
	put(t, s, 4, 1098, 50, 10)
	clean(t, s, 1098)
	near := history.New(s.Processed, s.Visitors, history.Options{FewAround: -1, MaxRows: 60})
	if got := take(near); got.Rows != 45 || cmp.Diff(got.Hours, live.Hours, cmp.AllowUnexported(summary.Users{})) != "" {
		t.Fatalf("expected what was open before, from 45 events of 95, got %d of %d", len(got.Hours), got.Rows)
	}
	for h := range event.Hour(100) {
		put(t, s, byte(10+h), 2000+h, 1, 7)
	}
	if got := take(l); got.Whole || len(got.Hours) > 0 {
		t.Fatalf("expected that 101 dirty hours are too many, got %+v", got)
	}
}

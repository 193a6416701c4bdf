package summary_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	fn "github.com/footfall/footfall/functions/summary"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// visit is an event of one user, in a batch of its own.
func visit(batch byte, at time.Time) []processed.Row {
	r := processed.Row{Batch: event.BatchID{batch}, EventID: processed.ID{Hi: 1, Lo: uint64(batch)}, Millis: at.UnixMilli(), Client: 7, User: 7}
	r.Text[processed.ColName] = "page_view"
	return []processed.Row{r}
}

// overtaking gives an instance that stands still at a call, until another thing was done, and
// says that the call failed, though it was done, where it is to.
func (b *bench) overtaking(at string, fails bool, do func()) *fn.Service {
	h := &hooked{Processed: b.stores.Processed, at: at, fails: fails, do: do}
	ports := b.ports()
	ports.Processed, ports.Visitors, ports.Summaries = h, hookedVisitors{ports.Visitors, h}, hookedSummaries{ports.Summaries, h}
	return b.service(func(c *fn.Config) { c.Hold = 0 }, ports)
}

// A visitor's event comes a day late, while one instance counts the hour in which he is new so
// far, and another sees him earlier at that moment. Whatever becomes of it, he is new once.
func TestSeenEarlierMeanwhile(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails: ", fails), func(t *testing.T) {
			b := newBench(t, "UTC")
			defer b.close()
			b.put(visit(1, b.now))
			late := visit(2, b.now.Add(-30*time.Hour))
			b.now = b.now.Add(2 * time.Hour)
			stands, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			earlier := b.overtaking("before see", fails, func() { close(stands); <-goOn })
			h := &hooked{at: "after scan", do: func() {
				b.put(late)
				go func() { defer close(done); b.pass(earlier) }()
				<-stands
			}}
			ports := b.ports()
			h.Processed = blind{ports.Processed, hourOf(late[0].Millis)}
			ports.Processed = h
			b.pass(b.service(func(c *fn.Config) { c.Hold = 0 }, ports))
			close(goOn)
			<-done
			b.settle(b.service(nil, b.ports()))
			b.check()
		})
	}
}

// blind hides a dirty hour from an instance, which has listed them before.
type blind struct {
	store.Processed
	hour event.Hour
}

func (p blind) Dirty(ctx context.Context, others bool, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) ([]store.DirtyHour, error) {
	hours, err := p.Processed.Dirty(ctx, others, shard, endBy, after, limit)
	return slices.DeleteFunc(hours, func(h store.DirtyHour) bool { return h.Hour == p.hour }), err
}

// hidden hides one queue's dirty hours from an instance, as if it could not list them.
type hidden struct{ store.Processed }

func (h hidden) Dirty(ctx context.Context, others bool, shard store.Shard, endBy time.Time, after store.DirtyHour, limit int) ([]store.DirtyHour, error) {
	if !others {
		return nil, nil
	}
	return h.Processed.Dirty(ctx, others, shard, endBy, after, limit)
}

// An instance has marked the hour in which a visitor will not be new any more, and another counts
// that hour again and takes the mark off, before the first one has said when he was seen.
func TestReopenedHourIsClosedMeanwhile(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails: ", fails), func(t *testing.T) {
			b := newBench(t, "UTC")
			defer b.close()
			b.put(visit(1, b.now))
			late := visit(2, b.now.Add(-30*time.Hour))
			b.now = b.now.Add(2 * time.Hour)
			b.settle(b.service(nil, b.ports()))
			b.put(late)
			b.pass(b.overtaking("before see", fails, func() {
				ports := b.ports()
				ports.Processed = hidden{ports.Processed}
				b.pass(b.service(func(c *fn.Config) { c.Hold = 0 }, ports))
				for _, h := range b.dirty() {
					if h == hourOf(b.rows[0].Millis) {
						t.Error("expected the hour to be closed again")
					}
				}
			}))
			b.settle(b.service(nil, b.ports()))
			b.check()
		})
	}
}

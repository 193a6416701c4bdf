package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Journal is the suite of store.Journal.
func Journal(t *testing.T, open Opener[store.Journal]) {
	type J = store.Journal
	sub(t, open, "append keeps the payload and the first of two", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		r := row(1, 10, "G-A", 5, 3)
		ok(t, j.Append(ctx, []store.JournalRow{r, r}))
		again := r
		again.Payload = []byte("another")
		again.Counts = []event.StreamHour{{Stream: "G-A", Hour: 5, Events: 99}}
		ok(t, j.Append(ctx, []store.JournalRow{again}))
		p, err := j.Payload(ctx, r.Batch)
		ok(t, err)
		same(t, "payload", p, r.Payload)
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3, Pending: 3})
		_, err = j.Payload(ctx, batchID(2))
		wantKind(t, err, fault.NotFound)
		ok(t, j.Append(ctx, nil))
	})
	sub(t, open, "payload goes once archived and processed", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		for i, order := range [][]store.Stage{
			{store.StageArchived, store.StageProcessed},
			{store.StageProcessed, store.StageArchived},
			{store.StageArchived | store.StageProcessed},
		} {
			r := row(i, i, "G-A", 5, 1)
			ok(t, j.Append(ctx, []store.JournalRow{r}))
			for k, s := range order {
				p, err := j.Payload(ctx, r.Batch)
				ok(t, err)
				same(t, fmt.Sprintf("payload before step %d", k), p, r.Payload)
				ok(t, j.Mark(ctx, s, []store.JournalRow{{Batch: r.Batch}}))
				ok(t, j.Mark(ctx, s, []store.JournalRow{{Batch: r.Batch}}))
			}
			_, err := j.Payload(ctx, r.Batch)
			wantKind(t, err, fault.NotFound)
		}
	})
	sub(t, open, "stages of a batch", func(t *testing.T, j J, reopen func() J) {
		ctx := deadline(t)
		stages := func(want store.Stage) {
			t.Helper()
			got, err := j.Stages(ctx, batchID(1))
			ok(t, err)
			same(t, "stages", got, want)
		}
		stages(0)
		r := row(1, 10, "G-A", 5, 3)
		ok(t, j.Append(ctx, []store.JournalRow{r}))
		stages(0)
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{r}))
		stages(store.StageProcessed)
		ok(t, j.Mark(ctx, store.StagePublished|store.StageArchived, []store.JournalRow{r}))
		stages(store.AllStages)
		ok(t, j.Append(ctx, []store.JournalRow{row(2, 11, "G-A", 5, 3)})) // durable, and with it what came before
		j = mustReopen(t, reopen)
		stages(store.AllStages)
	})
	sub(t, open, "the last time of publication stays", func(t *testing.T, j J, reopen func() J) {
		ctx := deadline(t)
		known, unknown := row(1, 10, "G-A", 5, 3), row(2, 20, "G-A", 5, 3)
		ok(t, j.Append(ctx, []store.JournalRow{known}))
		published := func(want time.Time) {
			t.Helper()
			rows, err := j.Unfinished(ctx, store.StageProcessed, time.Time{}, at(100), 10)
			ok(t, err)
			for _, r := range rows {
				same(t, "publication", r.PublishedAt, want)
			}
		}
		published(time.Time{})
		mark := func(s store.Stage, at time.Time) {
			t.Helper()
			a, b := known, unknown
			a.PublishedAt, b.PublishedAt = at, at
			ok(t, j.Mark(ctx, s, []store.JournalRow{a, b}))
		}
		mark(store.StagePublished, at(30))
		published(at(30))
		mark(store.StagePublished, at(50))
		published(at(50))
		mark(store.StagePublished, at(40))
		mark(store.StagePublished, time.Time{})
		mark(store.StageArchived, at(60))
		published(at(50))
		ok(t, j.Append(ctx, []store.JournalRow{row(3, 200, "G-A", 5, 3)})) // durable, and with it what came before
		j = mustReopen(t, reopen)
		published(at(50))
	})
	sub(t, open, "a mark records an unknown batch", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		r := row(1, 10, "G-A", 5, 3)
		marked := r
		marked.Payload = nil
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{marked, marked}))
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3})
		_, err := j.Payload(ctx, r.Batch)
		wantKind(t, err, fault.NotFound)
		rows, err := j.Unfinished(ctx, store.AllStages, time.Time{}, at(100), 10)
		ok(t, err)
		marked.Stages = store.StageProcessed
		same(t, "unfinished", rows, []store.JournalRow{marked})

		// The append that the mark overtook brings the payload and counts nothing twice.
		ok(t, j.Append(ctx, []store.JournalRow{r}))
		p, err := j.Payload(ctx, r.Batch)
		ok(t, err)
		same(t, "payload", p, r.Payload)
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3})
	})
	sub(t, open, "a mark without counts leaves them to the next", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		r := row(1, 10, "G-A", 5, 3)
		ok(t, j.Mark(ctx, store.StagePublished, []store.JournalRow{{Batch: r.Batch, ReceivedAt: r.ReceivedAt}}))
		wantCounts(t, j, []string{"G-A"}, 0, 10)
		ok(t, j.Append(ctx, []store.JournalRow{r}))
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3, Pending: 3})
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{r}))
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 3})
	})
	sub(t, open, "unfinished rows come oldest first", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		for _, ms := range []int{30, 10, 40, 20} {
			ok(t, j.Append(ctx, []store.JournalRow{row(100-ms, ms, "G-A", 5, 1)}))
		}
		mark := func(s store.Stage, ms int) {
			ok(t, j.Mark(ctx, s, []store.JournalRow{row(100-ms, ms, "G-A", 5, 1)}))
		}
		mark(store.StagePublished, 10)
		mark(store.StageArchived, 20)
		mark(store.AllStages, 30)
		for _, c := range []struct {
			lacks  store.Stage
			before int
			limit  int
			want   []int
		}{
			{store.StagePublished, 100, 10, []int{20, 40}},
			{store.StageArchived, 100, 10, []int{10, 40}},
			{store.StageProcessed, 100, 10, []int{10, 20, 40}},
			{store.AllStages, 100, 10, []int{10, 20, 40}},
			{store.AllStages, 40, 10, []int{10, 20}}, // before is before
			{store.AllStages, 100, 2, []int{10, 20}},
			{store.AllStages, 100, 0, nil},
			{store.AllStages, 0, 10, nil},
		} {
			rows, err := j.Unfinished(ctx, c.lacks, time.Time{}, at(c.before), c.limit)
			ok(t, err)
			var got []int
			for _, r := range rows {
				got = append(got, int(r.ReceivedAt.Sub(noon)/time.Millisecond))
				if r.Payload != nil || r.PartitionKey != "key" || len(r.Counts) != 1 {
					t.Fatalf("row %+v: expected its key and counts, and no payload", r)
				}
			}
			same(t, fmt.Sprintf("arrivals lacking %b before %d, limit %d", c.lacks, c.before, c.limit), got, c.want)
		}
		for from, want := range map[int]int{0: 3, 10: 3, 11: 2, 40: 1, 41: 0} {
			rows, err := j.Unfinished(ctx, store.AllStages, at(from), at(100), 10)
			ok(t, err)
			same(t, fmt.Sprint("rows from ", from), len(rows), want)
		}
	})
	sub(t, open, "watermark", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		wantWatermark := func(ms int) {
			t.Helper()
			w, err := j.Watermark(ctx, at(1000))
			ok(t, err)
			if !w.Equal(at(ms)) {
				t.Fatalf("watermark is %s, expected %s", w, at(ms))
			}
		}
		wantWatermark(1000)
		for _, ms := range []int{50, 20, 70} {
			ok(t, j.Append(ctx, []store.JournalRow{row(ms, ms, "G-A", 5, 1)}))
		}
		wantWatermark(20)
		ok(t, j.Mark(ctx, store.StageArchived|store.StagePublished, []store.JournalRow{row(20, 20, "G-A", 5, 1)}))
		wantWatermark(20)
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{row(20, 20, "G-A", 5, 1)}))
		wantWatermark(50)
		ok(t, j.Append(ctx, []store.JournalRow{row(10, 10, "G-A", 5, 1)})) // late
		wantWatermark(10)
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{row(10, 10, "", 0, 0), row(50, 50, "", 0, 0), row(70, 70, "", 0, 0)}))
		wantWatermark(1000)
		ok(t, j.Mark(ctx, store.StagePublished, []store.JournalRow{row(5, 5, "G-A", 5, 1)})) // unknown
		wantWatermark(5)
	})
	sub(t, open, "counts by stream and hour", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		r := row(1, 1, "", 0, 0)
		r.Counts = nil
		for i, s := range neighbours {
			for _, h := range []event.Hour{-1 << 31, -1, 0, 1, 1<<31 - 2} {
				r.Counts = append(r.Counts, event.StreamHour{Stream: s, Hour: h, Events: int64(i + 1)})
			}
		}
		ok(t, j.Append(ctx, []store.JournalRow{r}))
		wantCounts(t, j, []string{"ab", "a", "ab", "none"}, -1, 1,
			store.LedgerCount{Stream: "a", Hour: -1, Accepted: 1, Pending: 1}, store.LedgerCount{Stream: "a", Hour: 0, Accepted: 1, Pending: 1},
			store.LedgerCount{Stream: "ab", Hour: -1, Accepted: 2, Pending: 2}, store.LedgerCount{Stream: "ab", Hour: 0, Accepted: 2, Pending: 2})
		wantCounts(t, j, []string{"a"}, 1, 1)
		wantCounts(t, j, []string{"a"}, 1, -1)
		wantCounts(t, j, nil, -10, 10)
		all, err := j.Counts(ctx, neighbours, -1<<31, 1<<31-1)
		ok(t, err)
		same(t, "number of counts", len(all), 5*len(neighbours))
	})
	sub(t, open, "sweep", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		for _, ms := range []int{10, 20, 30, 40} {
			ok(t, j.Append(ctx, []store.JournalRow{row(ms, ms, "G-A", 5, 1)}))
			if ms != 20 {
				ok(t, j.Mark(ctx, store.AllStages, []store.JournalRow{row(ms, ms, "G-A", 5, 1)}))
			}
		}
		for _, want := range []int{2, 0} {
			n, err := j.Sweep(ctx, at(40))
			ok(t, err)
			same(t, "rows swept", n, want)
		}
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 4, Pending: 1})
		rows, err := j.Unfinished(ctx, store.AllStages, time.Time{}, at(100), 10)
		ok(t, err)
		same(t, "unfinished rows", len(rows), 1)
		n, err := j.Sweep(ctx, at(41))
		ok(t, err)
		same(t, "rows swept", n, 1)
	})
	sub(t, open, "an ended context writes nothing", func(t *testing.T, j J, _ func() J) {
		ctx := deadline(t)
		r := row(1, 1, "G-A", 5, 1)
		for _, err := range []error{
			j.Append(ended(), []store.JournalRow{r}),
			j.Mark(ended(), store.StageArchived, []store.JournalRow{r}),
			second(j.Sweep(ended(), noon)), second(j.Watermark(ended(), noon)), second(j.Counts(ended(), []string{"a"}, 0, 1)),
			second(j.Unfinished(ended(), store.AllStages, time.Time{}, noon, 1)), second(j.Payload(ended(), r.Batch)),
		} {
			wantKind(t, err, fault.Transient)
		}
		wantCounts(t, j, []string{"G-A"}, 0, 10)
		_, err := j.Payload(ctx, r.Batch)
		wantKind(t, err, fault.NotFound)
	})
	sub(t, open, "survives a crash", func(t *testing.T, j J, reopen func() J) {
		ctx := deadline(t)
		big := row(1, 1, "G-A", 5, 2)
		big.Payload = bytes.Repeat([]byte("payload"), 10_000)
		ok(t, j.Append(ctx, []store.JournalRow{big, row(2, 2, "G-A", 5, 3)}))
		unknown := row(3, 3, "G-A", 5, 4)
		ok(t, j.Mark(ctx, store.StageProcessed, []store.JournalRow{unknown}))
		j = mustReopen(t, reopen)
		p, err := j.Payload(ctx, big.Batch)
		ok(t, err)
		same(t, "payload", p, big.Payload)
		wantCounts(t, j, []string{"G-A"}, 0, 10, store.LedgerCount{Stream: "G-A", Hour: 5, Accepted: 9, Pending: 5})
		w, err := j.Watermark(ctx, noon)
		ok(t, err)
		same(t, "watermark", w.Equal(at(1)), true)
	})
	sub(t, open, "many at once", func(t *testing.T, j J, _ func() J) { journalConcurrent(t, j) })
	t.Run("agrees with a simple model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { journalModel(t, open) })
	})
}

func second[T any](_ T, err error) error { return err }

// row is a batch of n events of one stream's hour; ms is its arrival.
func row(id, ms int, stream string, h event.Hour, n int64) store.JournalRow {
	return store.JournalRow{
		Batch: batchID(id), ReceivedAt: at(ms), PartitionKey: "key",
		Counts:  []event.StreamHour{{Stream: stream, Hour: h, Events: n}},
		Payload: fmt.Appendf(nil, "payload of %d", id),
	}
}

func wantCounts(t TB, j store.Journal, streams []string, from, to event.Hour, want ...store.LedgerCount) {
	t.Helper()
	got, err := j.Counts(deadline(t), streams, from, to)
	ok(t, err)
	same(t, "counts", got, want)
}

// journalConcurrent appends every batch twice from different goroutines while
// others mark, and looks that the watermark never passes a pending batch.
func journalConcurrent(t *testing.T, j store.Journal) {
	const writers, each = 16, 12
	ctx := deadline(t)
	first := row(0, -1000, "G-A", 5, 1)
	ok(t, j.Append(ctx, []store.JournalRow{first}))
	parallel(t, writers, func(w int) error {
		for i := range each {
			id := 1 + w/2*each + i // two writers have the same batches
			r := row(id, id, "G-A", event.Hour(id%3), 1)
			if err := j.Append(ctx, []store.JournalRow{r}); err != nil {
				return err
			}
			if _, err := j.Payload(ctx, r.Batch); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			mark, err := j.Watermark(ctx, at(10_000))
			if err != nil {
				return err
			}
			if !mark.Equal(first.ReceivedAt) {
				return fmt.Errorf("the watermark %s is past the pending batch of %s", mark, first.ReceivedAt)
			}
			if id%2 == 0 {
				if err := j.Mark(ctx, store.AllStages, []store.JournalRow{r}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	ok(t, j.Mark(ctx, store.AllStages, []store.JournalRow{first}))
	w, err := j.Watermark(ctx, at(10_000))
	ok(t, err)
	same(t, "watermark is the first odd batch's arrival", w.Equal(at(1)), true)
	counts, err := j.Counts(ctx, []string{"G-A"}, 0, 10)
	ok(t, err)
	var accepted, pending int64
	for _, c := range counts {
		accepted, pending = accepted+c.Accepted, pending+c.Pending
	}
	same(t, "accepted", accepted, int64(writers/2*each+1))
	same(t, "pending", pending, int64(writers/2*each/2))
}

// journalModel runs random operations on a journal and on a map.
func journalModel(t *rapid.T, open Opener[store.Journal]) {
	j, _ := open(t)
	ctx := deadline(t)
	model := map[event.BatchID]*store.JournalRow{}
	sums := map[store.LedgerCount]int64{} // by stream and hour
	streams := []string{"a", "ab", "b"}
	pick := func() store.JournalRow {
		id := rapid.IntRange(0, 9).Draw(t, "id")
		rng := rand.New(rand.NewPCG(uint64(id), 7)) // a batch is always the same
		r := row(id, rng.IntN(5), streams[rng.IntN(3)], event.Hour(rng.IntN(3)-1), int64(rng.IntN(5)+1))
		if rng.IntN(2) == 0 {
			r.Counts = append(r.Counts, event.StreamHour{Stream: "b", Hour: 7, Events: 2})
		}
		return r
	}
	count := func(r *store.JournalRow) {
		for _, c := range r.Counts {
			sums[store.LedgerCount{Stream: c.Stream, Hour: c.Hour}] += c.Events
		}
	}
	const gone = store.StageArchived | store.StageProcessed
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			r := pick()
			ok(t, j.Append(ctx, []store.JournalRow{r}))
			if m := model[r.Batch]; m == nil {
				model[r.Batch] = &r
				count(&r)
			} else if m.Stages&gone != gone {
				m.Payload = r.Payload
			}
		},
		"mark": func(t *rapid.T) {
			r, s := pick(), store.Stage(rapid.IntRange(1, 7).Draw(t, "stage"))
			ok(t, j.Mark(ctx, s, []store.JournalRow{r}))
			m := model[r.Batch]
			if m == nil {
				m = &r
				m.Payload = nil
				model[r.Batch] = m
				count(m)
			}
			if m.Stages |= s; m.Stages&gone == gone {
				m.Payload = nil
			}
		},
		"": func(t *rapid.T) {
			var unfinished []store.JournalRow
			mark := at(1000)
			pending := map[store.LedgerCount]int64{}
			for _, m := range model {
				if m.Stages&store.StageProcessed == 0 {
					for _, c := range m.Counts {
						pending[store.LedgerCount{Stream: c.Stream, Hour: c.Hour}] += c.Events
					}
					if m.ReceivedAt.Before(mark) {
						mark = m.ReceivedAt
					}
				}
				if m.Stages != store.AllStages {
					r := *m
					r.Payload = nil
					unfinished = append(unfinished, r)
				}
				p, err := j.Payload(ctx, m.Batch)
				if m.Payload == nil {
					wantKind(t, err, fault.NotFound)
				} else {
					ok(t, err)
				}
				same(t, "payload", p, m.Payload)
			}
			slices.SortFunc(unfinished, func(a, b store.JournalRow) int {
				return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), bytes.Compare(a.Batch[:], b.Batch[:]))
			})
			got, err := j.Unfinished(ctx, store.AllStages, time.Time{}, at(1000), 100)
			ok(t, err)
			same(t, "unfinished", got, unfinished)
			w, err := j.Watermark(ctx, at(1000))
			ok(t, err)
			same(t, "watermark", w.UTC(), mark)
			var want []store.LedgerCount
			for c := range maps.Keys(sums) {
				c2 := c
				c2.Accepted, c2.Pending = sums[c], pending[c]
				want = append(want, c2)
			}
			slices.SortFunc(want, func(a, b store.LedgerCount) int {
				return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Hour, b.Hour))
			})
			wantCounts(t, j, streams, -10, 10, want...)
		},
	})
}

package embedded

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// TestYoungNeverErrs compares what young says with what a database would hold,
// for batches that come in any order, come again, fail and are removed.
func TestYoungNeverErrs(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		y := &young{now: map[event.BatchID][]byte{}, limit: 200}
		db := map[event.BatchID][]byte{}
		pick := func() (id event.BatchID) {
			id[0], id[15] = byte(rng.IntN(16)), byte(rng.IntN(16))
			return id
		}
		answered := 0
		for range 2000 {
			r := youngRow{id: pick(), data: []byte{byte(rng.Uint32())}}
			switch rng.IntN(8) {
			case 0: // a write that fails, and may have come through all the same
				y.put([]youngRow{r})
				if rng.IntN(2) == 0 {
					db[r.id] = r.data
				}
				y.doubt([]youngRow{r})
			case 1:
				delete(db, r.id)
				y.doubt([]youngRow{r})
			case 2, 3:
				y.put([]youngRow{r})
				db[r.id] = r.data
			default:
				if data, known := y.find(r.id); known {
					answered++
					if !bytes.Equal(data, db[r.id]) {
						t.Fatalf("seed %d: batch %v: %v, expected %v", seed, r.id, data, db[r.id])
					}
				}
			}
		}
		if answered == 0 {
			t.Errorf("seed %d: expected some answers", seed)
		}
		if len(y.now)+len(y.before) > 2*200/16+1 {
			t.Errorf("seed %d: holds %d and %d rows", seed, len(y.now), len(y.before))
		}
	}
}

// TestYoungAfterOpen finds that a row of an earlier process is there, and that
// it is not once it is swept.
func TestYoungAfterOpen(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	row := store.JournalRow{Batch: event.BatchID{1, 2}, ReceivedAt: time.Unix(1, 0), Stages: store.AllStages}
	for _, want := range []store.Stage{0, store.AllStages, 0} {
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Journal.Stages(ctx, row.Batch); err != nil || got != want {
			t.Fatalf("stages %v, %v, expected %v", got, err, want)
		}
		if want == 0 {
			err = s.Journal.Append(ctx, []store.JournalRow{row})
		} else {
			_, err = s.Journal.Sweep(ctx, time.Unix(2, 0))
			if got, err := s.Journal.Stages(ctx, row.Batch); err != nil || got != 0 {
				t.Fatalf("after the sweep: stages %v, %v", got, err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

package reprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
)

// errDied stands for a kill: what was done is done, and nobody was told.
var errDied = errors.New("killed")

// dying is an archive whose user dies with its n-th Replace, before or after it.
type dying struct {
	store.Archive
	before, after bool
}

func (d *dying) Replace(ctx context.Context, r store.Replacement) (done store.Replaced, err error) {
	if d.before {
		d.before = false
		return done, errDied
	}
	done, err = d.Archive.Replace(ctx, r)
	if err == nil && d.after {
		d.after = false
		return store.Replaced{}, errDied
	}
	return done, err
}

// forgetful loses what is stored of an erasure at the n-th time.
type forgetful struct {
	kept
	in int
}

type kept interface{ store.Erasures }

func (f *forgetful) UpdateErasure(ctx context.Context, e erasure.Erasure) error {
	if f.in--; f.in == 0 {
		return errDied
	}
	return f.kept.UpdateErasure(ctx, e)
}

// A death at any step, and on either side of the switch to an edited file, leaves
// nothing of the person behind: no row, no file that was replaced, no line of the
// proof.
func TestErasureDiesAtEachStep(t *testing.T) {
	const steps = 20
	for n := range steps {
		for _, archive := range []dying{{}, {before: true}, {after: true}} {
			t.Run(fmt.Sprintf("%d %t %t", n, archive.before, archive.after), func(t *testing.T) { dieAndErase(t, n, &archive) })
		}
	}
}

func dieAndErase(t *testing.T, n int, archive *dying) {
	ctx := t.Context()
	nobodyDied := n == 0 && !archive.before && !archive.after
	stores, err := embedded.Open("data", embedded.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)
	must(stores.Registry.CreateMerchant(ctx, access.Merchant{ID: "m", Version: 1, Generation: 1, Settings: access.DefaultSettings(), Streams: []access.Stream{{MeasurementID: "G-A"}}}))
	id, err := event.NewBatchIDAt(now)
	must(err)
	b := &event.Batch{ID: id, ReceivedAt: now}
	for i, who := range []string{"anna", "berta", "anna"} {
		b.Events = append(b.Events, event.Event{ID: fmt.Sprint(i), Stream: "G-A", Name: "page_view", ClientID: who, TimeMicros: now.UnixMicro()})
	}
	container, err := event.EncodeBatch(b)
	must(err)
	block, err := event.BlockOf(container)
	must(err)
	must(stores.Archive.Append(ctx, []store.Block{{Batch: id, ReceivedAt: now, Data: block}}))
	_, err = stores.Archive.Complete(ctx, now, store.ClosePolicy{})
	must(err)
	enricher, err := enrich.New(enrich.Options{})
	must(err)
	put := store.Put{Batch: id}
	for _, d := range enricher.Batch(b, func(string) (enrich.Owner, bool) { return enrich.Owner{Merchant: "m"}, true }).Docs {
		put.Docs = append(put.Docs, store.Doc{Key: store.DocKey{Merchant: "m", Hour: d.Hour, Revision: store.LiveRevision, Batch: id}, Events: d.Events, Data: d.Data})
	}
	must(stores.Processed.Put(ctx, put))

	now = now.Add(time.Minute)
	e := erasure.Erasure{ID: "e", Merchant: "m", Person: erasure.Person{Client: "anna"}, RequestedAt: now, State: erasure.Waiting}
	must(stores.Erasures.CreateErasure(ctx, e))
	archive.Archive = stores.Archive
	s := &Service{Ports: Ports{
		Archive: archive, Journal: stores.Journal, Processed: stores.Processed, Visitors: stores.Visitors, Registry: stores.Registry,
		Revisions: stores.Revisions, Erasures: &forgetful{stores.Erasures, n}, Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
	}, cfg: DefaultConfig()}
	for ticks := 0; e.State != erasure.Done; ticks++ {
		if err := s.erase(ctx); err != nil && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		now = now.Add(30 * time.Hour)
		// Nobody counts in this test: what is to be counted again is done.
		must(stores.Processed.DropQueue(ctx, "m", 1))
		e, err = stores.Erasures.Erasure(ctx, "m", "e")
		must(err)
		if ticks > 50 {
			t.Fatalf("it does not end: %+v", e)
		}
	}

	first, last := e.Proof.Passes[0], e.Proof.Passes[len(e.Proof.Passes)-1]
	if first.Rows != 2 || first.Archived != 2 || !last.Nothing() || len(e.Proof.Files) != 1 || e.Proof.Files[0].Before.Path == "" {
		t.Errorf("the proof: %+v", e.Proof)
	}
	if f := e.Proof.Files; len(f) == 1 && nobodyDied && (f[0].After.Path == "" || f[0].Batches != 1) {
		t.Errorf("nobody died, and the file's proof is %+v", f[0])
	}
	hour := event.HourOf(b.ReceivedAt)
	if removed, left, err := stores.Archive.Sweep(ctx, hour, now.Add(time.Hour)); err != nil || removed != 0 || left != 0 {
		t.Errorf("%d replaced files were left behind, %d are still, %v", removed, left, err)
	}
	files, err := stores.Archive.List(ctx, hour, hour+1)
	must(err)
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	in, err := stores.Archive.Open(ctx, files[0].Path)
	must(err)
	defer in.Close()
	r := event.NewReader(in)
	left, err := r.Next()
	must(err)
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a second batch: %v", err)
	}
	if ev := left.Events; !ev[0].Erased() || ev[1].ClientID != "berta" || !ev[2].Erased() {
		t.Errorf("the archive has %+v", ev)
	}
	rows := 0
	must(stores.Processed.Scan(ctx, "m", store.LiveRevision, 0, 1<<30, func(d store.Doc) error { rows += d.Events; return nil }))
	counts, err := stores.Processed.RejectCounts(ctx, "m", nil, 0, 1<<30)
	must(err)
	if rows != 1 || len(counts) != 1 || counts[0].Reason != enrich.ReasonErased || counts[0].Events != 2 {
		t.Errorf("%d rows, rejects %v", rows, counts)
	}
}

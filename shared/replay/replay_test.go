package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/replay"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/store/embedded"
	"github.com/footfall/footfall/shared/transform"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const rev = store.Revision(2)

// world is an archive with batches of some merchants.
type world struct {
	tb        testing.TB
	stores    *embedded.Stores
	transform *transform.Transform
	rnd       *rand.Rand
	merchants int
	made      int
	sent      []*event.Batch
}

func newWorld(tb testing.TB, merchants int) *world {
	tb.Helper()
	return newWorldIn(tb, merchants, "data", embedded.Options{FS: vfs.NewMem()})
}

func newWorldIn(tb testing.TB, merchants int, dir string, o embedded.Options) *world {
	tb.Helper()
	s, err := embedded.Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	for i := range merchants {
		m := access.Merchant{ID: fmt.Sprint("m", i), Name: "m", Settings: access.DefaultSettings(), Streams: []access.Stream{{MeasurementID: fmt.Sprint("G-", i)}}}
		if err := s.Registry.CreateMerchant(tb.Context(), m); err != nil {
			tb.Fatal(err)
		}
	}
	return &world{tb: tb, stores: s, transform: newTransform(tb, s.Registry), rnd: rand.New(rand.NewPCG(1, 2)), merchants: merchants}
}

func newTransform(tb testing.TB, registry store.Registry) *transform.Transform {
	tb.Helper()
	t, err := transform.New(transform.Config{Refresh: time.Second, Streams: 200_000, Agents: 16_384}, registry, time.Now, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// batch makes a batch of events that arrived at an instant, a few of them late
// or of a stream of nobody.
func (w *world) batch(at time.Time, events int) *event.Batch {
	w.tb.Helper()
	id, err := event.NewBatchIDAt(at)
	if err != nil {
		w.tb.Fatal(err)
	}
	b := &event.Batch{ID: id, ReceivedAt: at, Instance: "i"}
	for range events {
		w.made++
		stream := fmt.Sprint("G-", min(w.rnd.IntN(w.merchants), w.rnd.IntN(w.merchants)))
		when := at.Add(-time.Duration(w.rnd.IntN(30)) * time.Second)
		switch w.rnd.IntN(50) {
		case 0:
			when = when.Add(-time.Duration(w.rnd.IntN(50)) * time.Hour)
		case 1:
			stream = "G-nobody"
		}
		page := w.rnd.IntN(300)
		b.Events = append(b.Events, event.Event{
			ID: fmt.Sprintf("%08x-%08x", w.rnd.Uint32(), w.made), Stream: stream, Name: []string{"page_view", "scroll", "add_to_cart"}[w.rnd.IntN(3)],
			TimeMicros: when.UnixMicro(), ClientID: fmt.Sprintf("%d.%d", w.rnd.IntN(5000), 1763000000), SessionID: fmt.Sprint(w.rnd.IntN(10000)),
			PageLocation: fmt.Sprintf("https://shop.example/products/item-%d?utm_source=news", page), PageTitle: fmt.Sprintf("Product %d - The Shop", page),
			PageReferrer: "https://shop.example/", Language: "de-DE", Screen: "1920x1080", IP: "192.0.2.0", EngagementMillis: int64(w.rnd.IntN(20000)),
			UserAgent: fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 90+w.rnd.IntN(40)),
			Params:    []event.Param{{Key: "engaged", Kind: event.ParamInt, Int: 1}, {Key: "page_type", Text: "product"}},
		})
	}
	w.sent = append(w.sent, b)
	return b
}

// archive writes batches to the archive, in one file for each hour.
func (w *world) archive(batches ...*event.Batch) {
	w.tb.Helper()
	for _, b := range batches {
		container, err := event.EncodeBatch(b)
		if err != nil {
			w.tb.Fatal(err)
		}
		data, err := event.BlockOf(container)
		if err != nil {
			w.tb.Fatal(err)
		}
		if err := w.stores.Archive.Append(w.tb.Context(), []store.Block{{Batch: b.ID, ReceivedAt: b.ReceivedAt, Data: data}}); err != nil {
			w.tb.Fatal(err)
		}
	}
	if _, err := w.stores.Archive.Complete(w.tb.Context(), noon, store.ClosePolicy{}); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) files() (paths []string) {
	w.tb.Helper()
	files, err := w.stores.Archive.List(w.tb.Context(), 0, 1<<30)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return paths
}

// kept is what was written, by key: writing twice is as writing once.
type kept struct {
	mu      sync.Mutex
	docs    map[store.DocKey]store.Doc
	rejects map[string]store.Reject
	most    int // bytes of documents written at once
}

func newKept() *kept {
	return &kept{docs: map[store.DocKey]store.Doc{}, rejects: map[string]store.Reject{}}
}

func (k *kept) PutRevision(_ context.Context, _ store.Revision, docs []store.Doc, rejects []store.Reject) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	bytes := 0
	for _, d := range docs {
		k.docs[d.Key] = d
		bytes += len(d.Data)
	}
	for _, x := range rejects {
		k.rejects[fmt.Sprint(x.Merchant, x.Batch, x.Index)] = x
	}
	k.most = max(k.most, bytes)
	return nil
}

type merchantHour struct {
	merchant string
	hour     event.Hour
}

// rows are all rows by merchant and hour, each batch's once, as readers see them.
func (k *kept) rows(t *testing.T) map[merchantHour]string {
	t.Helper()
	unions := map[merchantHour]*processed.Union{}
	keys := make([]store.DocKey, 0, len(k.docs))
	for key := range k.docs {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b store.DocKey) int { return bytes.Compare(a.Batch[:], b.Batch[:]) })
	for _, key := range keys {
		at := merchantHour{key.Merchant, key.Hour}
		if unions[at] == nil {
			unions[at] = processed.NewUnion(processed.Everything())
		}
		if err := unions[at].Add(k.docs[key].Data, nil); err != nil {
			t.Fatal(err)
		}
	}
	rows := map[merchantHour]string{}
	for at, u := range unions {
		f, err := u.Frame()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for i := range f.Len {
			fmt.Fprintln(&b, f.Row(i))
		}
		rows[at] = b.String()
	}
	return rows
}

// live is what the ETL makes of the batches that have arrived in [from, to).
func (w *world) live(from, to time.Time) *kept {
	w.tb.Helper()
	k := newKept()
	for _, b := range w.sent {
		if at := b.ID.Millis(); at < from.UnixMilli() || at >= to.UnixMilli() {
			continue
		}
		put, err := w.transform.Batch(w.tb.Context(), b)
		if err != nil {
			w.tb.Fatal(err)
		}
		if err := k.PutRevision(w.tb.Context(), 0, put.Docs, put.Rejects); err != nil {
			w.tb.Fatal(err)
		}
	}
	return k
}

func same(t *testing.T, want, got *kept) {
	t.Helper()
	if diff := cmp.Diff(want.rows(t), got.rows(t)); diff != "" {
		t.Errorf("rows (-etl +replay)\n%.3000s", diff)
	}
	if diff := cmp.Diff(want.rejects, got.rejects); diff != "" {
		t.Errorf("rejects (-etl +replay)\n%.3000s", diff)
	}
}

var small = replay.Limits{Workers: 3, ChunkBytes: 40_000, ChunkEvents: 100, DocEvents: 30, PutDocs: 20}

func (w *world) do(target replay.Target, limits replay.Limits, s replay.Shard) replay.Done {
	w.tb.Helper()
	s.Revision = rev
	if s.To == 0 {
		s.To = 1 << 60
	}
	if s.Files == nil {
		s.Files = w.files()
	}
	done, err := replay.New(w.stores.Archive, target, w.transform, limits).Do(w.tb.Context(), s)
	if err != nil {
		w.tb.Fatal(err)
	}
	return done
}

// A replay is the ETL over again, whatever its limits; batches that stand in
// the archive twice or arrived at other times count once or not at all.
func TestReplayIsTheETL(t *testing.T) {
	w := newWorld(t, 7)
	for i := range 60 {
		b := w.batch(noon.Add(time.Duration(i)*4*time.Minute), 1+w.rnd.IntN(40))
		w.archive(b)
		if i%7 == 0 {
			w.archive(b)
		}
	}
	from, to := noon.Add(30*time.Minute), noon.Add(200*time.Minute)
	want := w.live(from, to)
	events := 0
	for _, d := range want.docs {
		events += d.Events
	}
	for _, limits := range []replay.Limits{{}, small, {Workers: 1, DocBytes: 1}, {ChunkBytes: 1, PutBytes: 1}} {
		got := newKept()
		done := w.do(got, limits, replay.Shard{From: from.UnixMilli(), To: to.UnixMilli()})
		same(t, want, got)
		if done.Counts.Events != int64(events) || done.Counts.Rejects != int64(len(want.rejects)) || done.Counts.Documents != int64(len(got.docs)) || len(done.Problems) > 0 {
			t.Errorf("%+v: %+v, want %d events and %d rejects in %d documents", limits, done, events, len(want.rejects), len(got.docs))
		}
		for key := range got.docs {
			if key.Revision != rev || !key.IsMerged() || key.Batch[8] != 0 || key.Batch[9] != 0 || key.Batch[10] != 0 {
				t.Fatalf("document %v", key)
			}
		}
	}
}

// Done twice, by whatever workers, a shard writes the same documents.
func TestShardTwice(t *testing.T) {
	w := newWorld(t, 5)
	for i := range 80 {
		w.archive(w.batch(noon.Add(time.Duration(i)*time.Second), 25))
	}
	once, twice := newKept(), newKept()
	w.do(once, small, replay.Shard{Index: 3})
	more := small
	more.Workers = 1
	for range 2 {
		w.do(twice, more, replay.Shard{Index: 3})
	}
	if diff := cmp.Diff(once.docs, twice.docs); diff != "" {
		t.Errorf("documents differ\n%.2000s", diff)
	}
}

func TestLimitedToMerchants(t *testing.T) {
	w := newWorld(t, 5)
	w.archive(w.batch(noon, 400))
	all, some := newKept(), newKept()
	w.do(all, small, replay.Shard{})
	w.do(some, small, replay.Shard{Covers: func(m string) bool { return m == "m1" || m == "m3" }})
	want := newKept()
	for key, d := range all.docs {
		if key.Merchant == "m1" || key.Merchant == "m3" {
			want.docs[key] = d
		}
	}
	if len(want.docs) == 0 {
		t.Fatal("nothing to compare")
	}
	same(t, want, some)
}

// change replaces the bytes of a file of the archive.
func (w *world) change(dir, path string, f func([]byte) []byte) {
	w.tb.Helper()
	path = filepath.Join(dir, "archive", path)
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(data), 0o600)
	}
	if err != nil {
		w.tb.Fatal(err)
	}
}

// Poisoned files are told with path and place, and all else is counted.
func TestPoisonedFiles(t *testing.T) {
	dir := t.TempDir()
	w := newWorldIn(t, 3, dir, embedded.Options{NoSync: true})
	for h := range 4 {
		w.archive(w.batch(noon.Add(time.Duration(h)*time.Hour), 20), w.batch(noon.Add(time.Duration(h)*time.Hour), 20), w.batch(noon.Add(time.Duration(h)*time.Hour), 20))
	}
	files := w.files()
	header := len(event.ContainerHeader())
	w.change(dir, files[0], func(b []byte) []byte { b[header+100] ^= 0xff; return b })     // within a block
	w.change(dir, files[1], func(b []byte) []byte { return b[:len(b)-40] })                // torn
	w.change(dir, files[2], func(b []byte) []byte { return []byte("not a file of Avro") }) // something else
	got := newKept()
	done := w.do(got, small, replay.Shard{})
	var places []string
	for _, p := range done.Problems {
		places = append(places, p.Path)
		if !strings.Contains(p.Detail, "byte") {
			t.Errorf("no place is told: %+v", p)
		}
	}
	if !slices.Equal(places, files[:3]) {
		t.Errorf("problems %+v, want one for each of %q", done.Problems, files[:3])
	}
	// Two of the first file's batches, two of the second's, none, three.
	w.sent = slices.Concat(w.sent[1:5], w.sent[9:])
	same(t, w.live(noon.Add(-time.Hour), noon.Add(24*time.Hour)), got)
}

// shy is an archive in which files are away, or break off.
type shy struct {
	store.Archive
	gone, broken string
}

func (s *shy) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	if path == s.gone {
		return s.Archive.Open(ctx, path+"x") // NotFound
	}
	f, err := s.Archive.Open(ctx, path)
	if path == s.broken {
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(f, 8000), failing{}), f}, err
	}
	return f, err
}

func (s *shy) List(ctx context.Context, from, to event.Hour) ([]store.ArchiveFile, error) {
	files, err := s.Archive.List(ctx, from, to)
	return slices.DeleteFunc(files, func(f store.ArchiveFile) bool { return f.Path == s.gone }), err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is broken") }

// A file that is not there any more was merged into another of its hour.
func TestFileGone(t *testing.T) {
	w := newWorld(t, 3)
	w.archive(w.batch(noon, 30))
	first := w.files()[0]
	w.archive(w.batch(noon, 30))
	w.archive(w.sent...) // the merged one
	got := newKept()
	done, err := replay.New(&shy{Archive: w.stores.Archive, gone: first}, got, w.transform, small).Do(t.Context(),
		replay.Shard{Revision: rev, To: 1 << 60, Files: []string{first, "2020/01/01/00/none.avro"}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, w.live(noon, noon.Add(time.Hour)), got)
	if len(done.Problems) != 1 || done.Problems[0].Path != "2020/01/01/00/none.avro" {
		t.Errorf("problems %+v", done.Problems)
	}
}

// A read that fails makes the shard fail, until it is done leniently.
func TestFileThatCannotBeRead(t *testing.T) {
	w := newWorld(t, 3)
	for range 20 {
		w.archive(w.batch(noon.Add(-time.Hour), 200))
	}
	w.archive(w.batch(noon, 30))
	source := &shy{Archive: w.stores.Archive, broken: w.files()[0]}
	shard := replay.Shard{Revision: rev, To: 1 << 60, Files: w.files()}
	_, err := replay.New(source, newKept(), w.transform, small).Do(t.Context(), shard)
	var failed *replay.ReadError
	if !errors.As(err, &failed) || failed.Path != source.broken || failed.At == 0 {
		t.Fatalf("got %v", err)
	}
	shard.Lenient = true
	got := newKept()
	done, err := replay.New(source, got, w.transform, small).Do(t.Context(), shard)
	if err != nil || len(done.Problems) != 1 || done.Problems[0].Path != source.broken || done.Counts.Batches < 20 {
		t.Errorf("%+v, %v", done, err)
	}
}

// away is a target that takes nothing.
type away struct{}

func (away) PutRevision(context.Context, store.Revision, []store.Doc, []store.Reject) error {
	return errors.New("the store is away")
}

func TestTargetAway(t *testing.T) {
	w := newWorld(t, 3)
	for range 30 {
		w.archive(w.batch(noon, 50))
	}
	_, err := replay.New(w.stores.Archive, away{}, w.transform, small).Do(t.Context(), replay.Shard{Revision: rev, To: 1 << 60, Files: w.files()})
	if err == nil || !strings.Contains(err.Error(), "revision 2") {
		t.Errorf("got %v", err)
	}
}

// discard takes everything and keeps nothing.
type discard struct{}

func (discard) PutRevision(context.Context, store.Revision, []store.Doc, []store.Reject) error {
	return nil
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReplay reads files of batches of 300 events of an hour; "stored" writes
// what they become to an embedded store in memory, "engine" throws it away.
func BenchmarkReplay(b *testing.B) {
	for _, merchants := range []int{10, 1000, 20_000} {
		b.Run(fmt.Sprint(merchants, "merchants"), func(b *testing.B) {
			const batches, events = 600, 300
			w := newWorld(b, merchants)
			for i := range batches {
				w.batch(noon.Add(time.Duration(i)*time.Second), events)
			}
			w.archive(w.sent...)
			files := w.files()
			for _, target := range []struct {
				name string
				replay.Target
			}{{"engine", discard{}}, {"stored", w.stores.Processed}} {
				b.Run(target.name, func(b *testing.B) {
					done := w.do(target, replay.Limits{}, replay.Shard{Files: files}) // owners and agents are known now
					b.ReportAllocs()
					start := cpu()
					for b.Loop() {
						done = w.do(target, replay.Limits{}, replay.Shard{Files: files})
					}
					n := float64(b.N) * batches * events
					b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
					b.ReportMetric(float64((cpu()-start).Nanoseconds())/n, "cpu-ns/event")
					b.ReportMetric(float64(done.Counts.Events)/float64(done.Counts.Documents), "events/doc")
				})
			}
		})
	}
}

// BenchmarkWorkers shows what more workers in a process bring: as much as it has
// cores for. Instances share nothing but the stores.
func BenchmarkWorkers(b *testing.B) {
	const batches, events = 600, 300
	w := newWorld(b, 1000)
	for i := range batches {
		w.batch(noon.Add(time.Duration(i)*time.Second), events)
	}
	w.archive(w.sent...)
	files := w.files()
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			w.do(discard{}, replay.Limits{Workers: workers}, replay.Shard{Files: files})
			for b.Loop() {
				w.do(discard{}, replay.Limits{Workers: workers}, replay.Shard{Files: files})
			}
			b.ReportMetric(float64(b.N)*batches*events/b.Elapsed().Seconds(), "events/s")
		})
	}
}

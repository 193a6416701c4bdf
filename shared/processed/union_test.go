package processed_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

// TestUnionIsNaive holds for documents of up to four batches in two hours that
// come in any order, several times, alone or within a merged one, as bytes or
// as frames.
func TestUnionIsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var frames []*processed.Frame
		for k := range rapid.IntRange(1, 4).Draw(t, "batches") {
			for hour := range int64(2) {
				if rapid.Bool().Draw(t, "there") {
					rows := genRows(t, event.BatchID{byte(k + 1)}, hour-1)
					for i := range rows {
						rows[i].Seq += 100 * uint32(hour)
					}
					frames = append(frames, build(rows))
				}
			}
		}
		again := rapid.SliceOfN(rapid.IntRange(0, max(0, len(frames)-1)), 0, 2).Draw(t, "again")
		for _, k := range again {
			if len(frames) > 0 {
				frames = append(frames, frames[k])
			}
		}
		if len(frames) > 1 && rapid.Bool().Draw(t, "merged") {
			frames = append(frames, naive(frames[0], frames[1]))
		}
		frames = rapid.Permutation(frames).Draw(t, "order")
		if rapid.Bool().Draw(t, "as they are scanned") {
			slices.SortStableFunc(frames, func(a, b *processed.Frame) int {
				return cmp.Or(cmp.Compare(a.Millis[0]>>40, b.Millis[0]>>40), bytes.Compare(a.Batches[0][:], b.Batches[0][:]))
			})
		}
		want, got := naive(frames...), unionOf(t, frames)
		sameAsNaive(t, got, want)
	})
}

// TestUnionOfNeighbours holds for documents of an hour as merging leaves them: each of
// batches that came one after the other, but for some that stand in another one, or in
// two. Rows come in the order of hour, batch and place in it.
func TestUnionOfNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		documents := rapid.IntRange(1, 5).Draw(t, "documents")
		hours := rapid.Int64Range(1, 2).Draw(t, "hours")
		var frames []*processed.Frame
		for hour := range hours {
			dealt := make([][]*processed.Frame, documents)
			for k := range rapid.IntRange(documents, 40).Draw(t, "batches") {
				rows := genRows(t, event.BatchID{byte(k)}, hour)
				for i := range rows {
					rows[i].Seq += 100 * uint32(hour)
				}
				at := k * documents / 40
				if rapid.IntRange(0, 7).Draw(t, "elsewhere") == 0 {
					at = rapid.IntRange(0, documents-1).Draw(t, "at")
				}
				dealt[at] = append(dealt[at], build(rows))
				if rapid.IntRange(0, 15).Draw(t, "twice") == 0 {
					at = rapid.IntRange(0, documents-1).Draw(t, "at")
					dealt[at] = append(dealt[at], build(rows))
				}
			}
			for _, d := range dealt {
				frames = append(frames, naive(d...))
			}
		}
		if rapid.Bool().Draw(t, "in any order") {
			frames = rapid.Permutation(frames).Draw(t, "order")
		}
		want, got := naive(frames...), unionOf(t, frames)
		sameAsNaive(t, got, want)
	})
}

// naive is what a union of frames is to be: each batch's rows of an hour as they stand in
// the first frame that has some, in the order of hour, batch and place in it.
func naive(frames ...*processed.Frame) *processed.Frame {
	type unit struct {
		batch event.BatchID
		hour  int64
	}
	holder, rows := map[unit]int{}, []processed.Row(nil)
	for k, f := range frames {
		for i := range f.Len {
			r := f.Row(i)
			of := unit{r.Batch, hourOf(r.Millis)}
			if first, held := holder[of]; held && first != k {
				continue
			}
			holder[of] = k
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b processed.Row) int {
		return cmp.Or(cmp.Compare(hourOf(a.Millis), hourOf(b.Millis)), bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Seq, b.Seq))
	})
	return build(rows)
}

// unionOf is the union of documents, as bytes or as frames.
func unionOf(t *rapid.T, frames []*processed.Frame) *processed.Frame {
	u := processed.NewUnion(processed.Everything())
	for _, f := range frames {
		if rapid.Bool().Draw(t, "decoded") {
			u.AddFrame(f, nil)
		} else if err := u.Add(processed.Encode(f), nil); err != nil {
			t.Fatalf("add: %v", err)
		}
	}
	f, err := u.Frame()
	if err != nil {
		t.Fatalf("frame: %v", err)
	}
	return f
}

// sameAsNaive compares rows, in their order, and the very documents that are made of them.
func sameAsNaive(t *rapid.T, got, want *processed.Frame) {
	list := func(f *processed.Frame) []processed.Row {
		rows := make([]processed.Row, f.Len)
		for i := range rows {
			rows[i] = f.Row(i)
		}
		return rows
	}
	if d := diff.Diff(list(want), list(got), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("(-naive +union):\n%s", d)
	}
	if !bytes.Equal(processed.Encode(got), processed.Encode(want)) {
		t.Fatalf("the document of the union differs from that of its rows")
	}
}

func hourOf(ms int64) int64 { return int64(math.Floor(float64(ms) / 3600_000)) }

// TestUnionOfWhatCounts holds for documents of several batches, merged in any
// way, of which some batches count here and others there: it is the union of
// documents that never held what does not count.
func TestUnionOfWhatCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := processed.NewUnion(processed.Everything())
		var want []*processed.Frame
		for range rapid.IntRange(0, 4).Draw(t, "documents") {
			var frames []*processed.Frame
			counting := map[event.BatchID]bool{}
			for _, k := range rapid.SliceOfNDistinct(rapid.ByteRange(1, 4), 0, 3, rapid.ID).Draw(t, "batches") {
				rows := genRows(t, event.BatchID{k}, 0)
				frames = append(frames, build(rows))
				counting[event.BatchID{k}] = rapid.Bool().Draw(t, "counts")
			}
			var keep processed.Keep
			if rapid.Bool().Draw(t, "in part") {
				keep = func(b event.BatchID) bool { return counting[b] }
			}
			for _, f := range frames {
				if keep == nil || f.Len == 0 || keep(f.Batches[0]) {
					want = append(want, f)
				}
			}
			if document := naive(frames...); rapid.Bool().Draw(t, "decoded") {
				u.AddFrame(document, keep)
			} else if err := u.Add(processed.Encode(document), keep); err != nil {
				t.Fatalf("add: %v", err)
			}
		}
		got, err := u.Frame()
		if err != nil {
			t.Fatalf("frame: %v", err)
		}
		if d := diff.Diff(rowsOf(naive(want...)), rowsOf(got), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-naive +union):\n%s", d)
		}
		if !bytes.Equal(processed.Encode(got), processed.Encode(naive(want...))) {
			t.Fatalf("the union's document differs from the merged one")
		}
	})
}

// A union of so many rows that it is read in sections is the same document. Some
// columns are in documents of one section only, some rows do not count.
func TestUnionOfManyRows(t *testing.T) {
	const documents, rows = 24, 3000
	all := sampleRows(rows)
	out := event.BatchID{documents / 3}
	u := processed.NewUnion(processed.Everything())
	var counting []*processed.Frame
	for k := range documents {
		var b processed.Builder
		for i, r := range all {
			r.Batch, r.Seq = event.BatchID{byte(k)}, uint32(i)
			r.Text[processed.ColPageTitle] = fmt.Sprint("Page ", i/40, " of ", k%5)
			if k < documents/2 {
				r.Text[processed.ColCity], r.Params = "Wien", nil
			} else {
				r.Text[processed.ColTerm], r.Items = "shoes", nil
			}
			b.Add(r)
		}
		f := b.Frame()
		if f.Batches[0] != out {
			counting = append(counting, f)
		}
		keep := func(b event.BatchID) bool { return b != out }
		if k%3 == 1 {
			u.AddFrame(f, keep)
		} else if err := u.Add(processed.Encode(f), keep); err != nil {
			t.Fatal(err)
		}
	}
	got, err := u.Frame()
	if err != nil {
		t.Fatal(err)
	}
	want := naive(counting...)
	if got.Len != (documents-1)*rows || !bytes.Equal(processed.Encode(got), processed.Encode(want)) {
		t.Errorf("%d rows, whose document differs from that of %d merged ones", got.Len, want.Len)
	}
}

// rowsOf lists a frame's rows in order of batch and place in it.
func rowsOf(f *processed.Frame) []processed.Row {
	rows := make([]processed.Row, f.Len)
	for i := range rows {
		rows[i] = f.Row(i)
	}
	slices.SortStableFunc(rows, func(a, b processed.Row) int {
		return cmp.Or(bytes.Compare(a.Batch[:], b.Batch[:]), cmp.Compare(a.Seq, b.Seq))
	})
	return rows
}

// TestUnionOfLarge takes the paths of compressed columns, and checks that some
// columns can be asked for.
func TestUnionOfLarge(t *testing.T) {
	columns := processed.Columns{Text: 1<<processed.ColPagePath | 1<<processed.ColBrowser, Params: []string{"plan"}}
	u, all := processed.NewUnion(columns), processed.NewUnion(processed.Everything())
	var frames []*processed.Frame
	columns.Identity, columns.Actors = true, true
	for k, n := range []int{1, 30, 500, 5000} {
		rows := sampleRows(n)
		for i := range rows {
			rows[i].Batch = event.BatchID{byte(k + 1)}
		}
		data := processed.Encode(build(rows))
		f, err := processed.Decode(data, columns)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
		for _, to := range []*processed.Union{u, all} {
			if err := to.Add(data, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := u.Frame()
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Diff(rowsOf(naive(frames...)), rowsOf(got), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("(-naive +union):\n%s", d)
	}
	if got, err = all.Frame(); err != nil || got.Len != 5531 || got.Items.Len == 0 {
		t.Fatalf("got %d rows, %v", got.Len, err)
	}
}

// FuzzUnion checks that a union takes what Decode takes, and the same of it.
func FuzzUnion(f *testing.F) {
	for _, n := range []int{1, 2, 30, 500} {
		f.Add(processed.Encode(build(sampleRows(n))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := processed.Decode(data, processed.Everything())
		u := processed.NewUnion(processed.Everything())
		failed := u.Add(data, nil)
		var got *processed.Frame
		if failed == nil {
			got, failed = u.Frame()
		}
		if (err == nil) != (failed == nil) {
			t.Fatalf("decode says %v, union %v", err, failed)
		}
		if err != nil || want.Len > 1000 {
			return
		}
		if d := diff.Diff(rowsOf(naive(want)), rowsOf(got), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-decode +union):\n%s", d)
		}
	})
}

func BenchmarkUnion(b *testing.B) {
	for _, n := range []int{1, 30, 1000} {
		b.Run(fmt.Sprintf("documents of %d", n), func(b *testing.B) {
			const events = 10_000
			rows := sampleRows(events)
			var docs [][]byte
			for k := 0; k+n <= events; k += n {
				for i := range rows[k : k+n] {
					rows[k+i].Batch = event.BatchID{byte(k >> 16), byte(k >> 8), byte(k)}
				}
				docs = append(docs, processed.Encode(build(rows[k:k+n])))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				u := processed.NewUnion(processed.Everything())
				for _, d := range docs {
					if err := u.Add(d, nil); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := u.Frame(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}

// BenchmarkUnionOfNeighbours reads the merged documents of a busy hour, of batches that
// came one after the other but for a few at their edges.
func BenchmarkUnionOfNeighbours(b *testing.B) {
	const documents, batches, each, strays = 20, 1_000, 10, 20
	rows := sampleRows(documents * batches * each)
	dealt := make([]processed.Builder, documents)
	for k := range documents * batches {
		id := event.BatchID{0, byte(k >> 16), byte(k >> 8), byte(k)}
		at := k / batches
		if place := k % batches; place < strays && at > 0 && k%2 == 0 {
			at-- // it came early, among the last ones of the document before
		}
		for i := range each {
			r := rows[k*each+i]
			r.Batch, r.Seq, r.Millis = id, uint32(i), int64(k)
			dealt[at].Add(r)
		}
	}
	docs := make([][]byte, documents)
	for at := range dealt {
		docs[at] = dealt[at].Encode()
	}
	columns := processed.Columns{Text: 1<<processed.ColName | 1<<processed.ColPagePath | 1<<processed.ColSource | 1<<processed.ColBrowser}
	b.ReportAllocs()
	for b.Loop() {
		u := processed.NewUnion(columns)
		for _, d := range docs {
			if err := u.Add(d, nil); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := u.Frame(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/event")
}

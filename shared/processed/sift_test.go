package processed_test

import (
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
)

const drops = processed.FlagBot

// nobody is an id that no row has.
var nobody = processed.ID{Hi: 0x243f6a8885a308d3, Lo: 0x13198a2e03707344}

// keys are what a sieve is asked for.
type keys struct {
	ids          []processed.ID
	clients      []uint64
	transactions []string
}

func (k *keys) sieve() *processed.Sieve {
	s := processed.NewSieve(1<<12, drops)
	for _, id := range k.ids {
		s.AddID(id)
	}
	for _, c := range k.clients {
		s.AddClient(c)
	}
	for _, id := range k.transactions {
		s.AddTransaction(id)
	}
	return s
}

func (k *keys) passes(r *processed.Row) bool {
	txn := r.Text[processed.ColTransactionID]
	return slices.Contains(k.ids, r.EventID) || slices.Contains(k.clients, r.Client) && r.Flags&drops == 0 ||
		txn != "" && slices.Contains(k.transactions, txn)
}

// checkSift compares what a sift took with all rows of the documents: those that are
// asked for are there, others may be, and which are not there it knows.
func checkSift(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *processed.Sift, all []processed.Row, asked *keys) {
	t.Helper()
	got := rowsOf(s.Frame())
	skipped := map[processed.ID]bool{}
	for _, r := range all {
		skipped[r.EventID] = skipped[r.EventID] || !slices.ContainsFunc(got, func(g processed.Row) bool { return g.Batch == r.Batch && g.Seq == r.Seq })
	}
	for _, r := range all {
		if len(got) > 0 && diff.Equal(got[0], r, cmpopts.EquateEmpty()) {
			got = got[1:]
			if !skipped[r.EventID] && s.Skipped([]processed.ID{r.EventID}) {
				t.Fatalf("row %d has passed and is said to be skipped", r.Seq)
			}
			continue
		}
		if asked.passes(&r) {
			t.Fatalf("missing or out of order: %+v", r)
		}
		if !s.Skipped([]processed.ID{nobody, r.EventID}) {
			t.Fatalf("row %d has not passed and is not said to be skipped", r.Seq)
		}
	}
	if len(got) > 0 {
		t.Fatalf("%d rows that are no others, or changed: %+v", len(got), got[0])
	}
	if s.Skipped([]processed.ID{nobody}) || s.Skipped(nil) {
		t.Fatalf("an id that nobody has is said to be skipped")
	}
}

// A sift takes from documents of several batches, of which some may not count, merged
// in any way and there several times, the rows that are asked for.
func TestSift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var frames []*processed.Frame
		var keep processed.Keep
		out := event.BatchID{byte(rapid.IntRange(1, 8).Draw(t, "does not count"))}
		if rapid.Bool().Draw(t, "in part") {
			keep = func(b event.BatchID) bool { return b != out }
		}
		u := processed.NewUnion(processed.Everything())
		for k := range rapid.IntRange(1, 4).Draw(t, "batches") {
			f := build(genRows(t, event.BatchID{byte(k + 1)}, 0))
			frames = append(frames, f)
			u.AddFrame(f, keep)
		}
		union, err := u.Frame()
		if err != nil {
			t.Fatal(err)
		}
		all := rowsOf(union)
		var asked keys
		for _, r := range all {
			switch rapid.IntRange(0, 8).Draw(t, "asked") {
			case 0:
				asked.ids = append(asked.ids, r.EventID)
			case 1:
				asked.clients = append(asked.clients, r.Client)
			case 2:
				asked.transactions = append(asked.transactions, r.Text[processed.ColTransactionID])
			}
		}
		if len(frames) > 1 && rapid.Bool().Draw(t, "merged") {
			merged := naive(frames[0], frames[1])
			if rapid.Bool().Draw(t, "alone") {
				frames = frames[2:]
			}
			frames = append(frames, merged)
		}
		s := processed.NewSift(processed.Everything(), asked.sieve())
		for _, f := range rapid.Permutation(frames).Draw(t, "order") {
			any, err := s.Add(processed.Encode(f), keep)
			if err != nil {
				t.Fatal(err)
			}
			if want := keep == nil || slices.ContainsFunc(f.Batches, keep); any != want {
				t.Fatalf("there are rows: %v, want %v", any, want)
			}
		}
		checkSift(t, s, all, &asked)
	})
}

// Of large documents columns are compressed, and dictionaries large.
func TestSiftOfLargeDocuments(t *testing.T) {
	for _, n := range []int{1, 2, 30, 500, 5000} {
		for _, flags := range []uint8{0, drops, processed.FlagInternal} {
			rows := sampleRows(n)
			var asked keys
			for i := range rows {
				switch rows[i].Flags |= flags; {
				case i%97 == 1:
					asked.ids = append(asked.ids, rows[i].EventID)
				case i%209 == 2:
					asked.clients = append(asked.clients, rows[i].Client)
				case i%500 == 9:
					asked.transactions = append(asked.transactions, rows[i].Text[processed.ColTransactionID])
				}
			}
			s := processed.NewSift(processed.Everything(), asked.sieve())
			if _, err := s.Add(processed.Encode(build(rows)), nil); err != nil {
				t.Fatal(err)
			}
			if n > 100 && (s.Len() == 0 || s.Len() > n/5) {
				t.Fatalf("%d of %d rows have passed", s.Len(), n)
			}
			checkSift(t, s, rows, &asked)
		}
	}
}

// A sift has the columns that it was asked for and no others.
func TestSiftOfSomeColumns(t *testing.T) {
	rows := sampleRows(300)
	asked := keys{clients: []uint64{rows[40].Client, rows[150].Client}}
	s := processed.NewSift(processed.Columns{Text: 1 << processed.ColPagePath, Params: []string{"plan", "nowhere"}}, asked.sieve())
	if _, err := s.Add(processed.Encode(build(rows)), nil); err != nil {
		t.Fatal(err)
	}
	f := s.Frame()
	if f.Len < 14 || f.Len > 40 || f.Items.Len > 0 || len(f.Params) != 1 || f.Text[processed.ColCountry].Code != nil {
		t.Fatalf("%d rows, items %d, params %v", f.Len, f.Items.Len, f.Params)
	}
	for i := range f.Len {
		from := &rows[f.Seq[i]]
		if f.Text[processed.ColPagePath].At(i) != from.Text[processed.ColPagePath] || f.Params["plan"].At(i) != from.Params[0].Text || f.Millis[i] != from.Millis {
			t.Fatalf("row %d differs", i)
		}
	}
}

// Damage is told or not looked at; what is taken of a sound document is of it.
func FuzzSift(f *testing.F) {
	for _, n := range []int{1, 2, 30, 500} {
		f.Add(processed.Encode(build(sampleRows(n))))
	}
	var asked keys
	for i, r := range sampleRows(500) {
		if i%5 == 0 {
			asked.ids = append(asked.ids, r.EventID)
		}
		if i%31 == 0 {
			asked.clients = append(asked.clients, r.Client)
		}
	}
	asked.transactions = []string{"T-9", "T-29"}
	sieve := asked.sieve()
	f.Fuzz(func(t *testing.T, data []byte) {
		s := processed.NewSift(processed.Everything(), sieve)
		_, err := s.Add(data, nil)
		whole, damage := processed.Decode(data, processed.Everything())
		switch {
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Fatalf("got %v, want an Invalid error", err)
		case err != nil && damage == nil:
			t.Fatalf("sound, but got %v", err)
		case err == nil && damage == nil && whole.Len < 1000:
			u := processed.NewUnion(processed.Everything())
			u.AddFrame(whole, nil)
			union, err := u.Frame()
			if err != nil {
				t.Fatal(err)
			}
			taken := rowsOf(s.Frame())
			for _, r := range rowsOf(union) {
				if len(taken) > 0 && diff.Equal(taken[0], r, cmpopts.EquateEmpty()) {
					taken = taken[1:]
				} else if asked.passes(&r) {
					t.Fatalf("missing: %+v", r)
				}
			}
		}
	})
}

func BenchmarkSift(b *testing.B) {
	const rows, documents = 20_000, 25
	all := sampleRows(rows)
	data := processed.Encode(build(all))
	for _, part := range []int{0, 100, 10} {
		name := map[int]string{0: "none passes", 100: "one client in 100", 10: "one in 10"}[part]
		b.Run(name, func(b *testing.B) {
			sieve := processed.NewSieve(rows, drops)
			for i, r := range all {
				if part > 0 && i/7%part == 0 {
					sieve.AddClient(r.Client)
				}
			}
			b.ReportAllocs()
			for range b.N {
				s := processed.NewSift(processed.Everything(), sieve)
				for range documents {
					if _, err := s.Add(data, nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(documents*rows), "ns/row")
		})
	}
}

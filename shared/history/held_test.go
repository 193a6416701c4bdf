package history

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// heldDocs are the documents of an hour: the batches that stand in each.
type heldDocs map[event.BatchID][]byte

const heldHour = event.Hour(1000)

func rowsOf(batch byte) int { return 1 + int(batch)%3 }

func (d heldDocs) ids() []event.BatchID {
	return slices.SortedFunc(maps.Keys(d), func(a, b event.BatchID) int { return slices.Compare(a[:], b[:]) })
}

func (d heldDocs) batches() []byte {
	all := slices.Concat(slices.Collect(maps.Values(d))...)
	slices.Sort(all)
	return slices.Compact(all)
}

func heldFrame(batches []byte) *processed.Frame {
	var b processed.Builder
	for _, batch := range batches {
		for seq := range rowsOf(batch) {
			b.Add(processed.Row{
				Batch: event.BatchID{batch}, Seq: uint32(seq), Millis: int64(heldHour)*3600_000 + int64(seq),
				EventID: processed.ID{Hi: uint64(batch), Lo: uint64(seq)},
			})
		}
	}
	return b.Frame()
}

// merge puts documents into one, and leaves them where they are.
func (d heldDocs) merge(place uint64, ids []event.BatchID) {
	var keys []store.DocKey
	part := heldDocs{}
	for _, id := range ids {
		keys = append(keys, store.DocKey{Batch: id})
		part[id] = d[id]
	}
	d[store.MergedInto(place, keys)] = part.batches()
}

// look looks at all documents as a store lists them.
func (d heldDocs) look(t *rapid.T, h *holdings) (fresh *processed.Frame, ok bool) {
	l := h.look(summary.Needs(summary.RecordKeys()), nil)
	for _, id := range d.ids() {
		f := heldFrame(d[id])
		doc := store.Doc{Key: store.DocKey{Merchant: "m", Hour: heldHour, Revision: store.LiveRevision, Batch: id}, Events: f.Len, Data: processed.Encode(f)}
		if l.wants(doc.Key, doc.Events) {
			if err := l.at(doc, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !l.allThere() {
		return nil, false
	}
	fresh, err := l.union.Frame()
	if err != nil {
		t.Fatal(err)
	}
	return fresh, true
}

// Whatever becomes of documents, a look finds what is new, each batch once, and where
// something that is held stands in none of them any more it says so. Of batches that
// come and are merged nothing else is ever said.
func TestLookFindsWhatIsNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs, h, held := heldDocs{}, newHoldings(), []byte(nil)
		plain := rapid.Bool().Draw(t, "plain")
		batch, place := byte(0), uint64(0)
		var leaving []event.BatchID // that were merged, and are still met by one look
		some := func(what string) []event.BatchID {
			n := rapid.IntRange(2, len(docs)).Draw(t, what)
			return rapid.Permutation(docs.ids()).Draw(t, what)[:n]
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			for _, id := range leaving {
				delete(docs, id)
			}
			leaving = nil
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				what := rapid.IntRange(0, 9).Draw(t, "what")
				if place++; len(docs) < 2 || plain && what > 6 {
					what = 0
				}
				switch {
				case what < 4:
					batch++
					docs[event.BatchID{batch}] = []byte{batch}
				case what < 7:
					ids := some("merged")
					docs.merge(place, ids)
					for _, id := range ids {
						delete(docs, id)
					}
				case what == 7: // two merge at once
					one, two := some("one"), some("two")
					docs.merge(place, one)
					docs.merge(place, two)
					for _, id := range append(one, two...) {
						delete(docs, id)
					}
				case what == 8: // a batch is written once more
					if again := byte(rapid.IntRange(1, int(batch)).Draw(t, "again")); slices.Contains(docs.batches(), again) {
						docs[event.BatchID{again}] = []byte{again}
					}
				case rapid.Bool().Draw(t, "lost"):
					delete(docs, docs.ids()[0])
				case leaving == nil:
					leaving = some("leaving")
					docs.merge(place, leaving)
				}
			}
			there := docs.batches()
			lost := slices.ContainsFunc(held, func(b byte) bool { return !slices.Contains(there, b) })
			fresh, ok := docs.look(t, &h)
			switch {
			case ok && lost:
				t.Fatalf("batches %v were held, and of %v it was said that all are there", held, there)
			case !ok && plain:
				t.Fatalf("batches %v were held and are among %v, and it was not seen", held, there)
			case !ok:
				h, fresh = newHoldings(), heldFrame(there)
			default:
				want := heldFrame(slices.DeleteFunc(slices.Clone(there), func(b byte) bool { return slices.Contains(held, b) }))
				if fresh.Len != want.Len || !slices.Equal(fresh.EventID, want.EventID) {
					t.Fatalf("of %v, %v held, got %v, expected %v", there, held, fresh.EventID, want.EventID)
				}
			}
			h.add(fresh)
			held = there
		}
	})
}

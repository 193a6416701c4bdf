package event

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestJoinedPartsAreTheWhole: a batch that was packed in parts is to the byte the
// batch that was packed at once.
func TestJoinedPartsAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, err := NewBatchIDAt(time.UnixMicro(1_700_000_000_000_000))
		if err != nil {
			t.Fatal(err)
		}
		received := time.UnixMicro(1_700_000_000_000_001)
		var whole, gathered, part Packer
		var parts [][]byte
		for range rapid.IntRange(1, 5).Draw(t, "parts") {
			part.Reset()
			for range rapid.IntRange(0, 4).Draw(t, "events") {
				e := anyEvent(t)
				raw := AppendEvent(nil, &e)
				if !whole.Add(raw) || !part.Add(raw) {
					t.Fatal("expected room for some events")
				}
			}
			for range rapid.IntRange(0, 2).Draw(t, "refused") {
				r := Refused{Stream: "G-A", ID: rapid.String().Draw(t, "id"), Reason: "invalid"}
				whole.AddRefused(&r)
				part.AddRefused(&r)
			}
			parts = append(parts, part.Part(id, received, "here"))
			if !gathered.AddAll(&part) {
				t.Fatal("expected room for another part")
			}
		}
		want, err := whole.SealOne(id, received, "here")
		if err != nil {
			t.Fatal(err)
		}
		joined, err := JoinParts(parts)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := gathered.SealOne(id, received, "here")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(joined, want) || !bytes.Equal(sealed, want) {
			t.Fatalf("whole: %x\njoined: %x\ngathered: %x", want, joined, sealed)
		}
	})
}

func TestPartsOfOthersAreNotJoined(t *testing.T) {
	var p Packer
	p.Add(AppendEvent(nil, &Event{ID: "a", Stream: "G-A"}))
	a, b := p.Part(BatchID{1}, time.Time{}, "here"), p.Part(BatchID{2}, time.Time{}, "here")
	if _, err := JoinParts([][]byte{a, b}); err == nil {
		t.Error("expected an error for parts of two batches")
	}
	if _, err := JoinParts([][]byte{a[:len(a)-1]}); err == nil {
		t.Error("expected an error for a part that is cut short")
	}
}

// TestAddAllTakesAllOrNothing of the events.
func TestAddAllTakesAllOrNothing(t *testing.T) {
	var p, q Packer
	for range MaxBatchEvents - 1 {
		p.Add([]byte{1})
	}
	q.Add([]byte{2})
	q.Add([]byte{3})
	if p.AddAll(&q) || p.Events() != MaxBatchEvents-1 || p.Bytes() != MaxBatchEvents-1 {
		t.Errorf("%d events of %d bytes after what does not fit", p.Events(), p.Bytes())
	}
}

package event

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readAll decodes what can be read of a file, batch by batch.
func readAll(t testing.TB, file []byte) (batches []*Batch, damaged []*DamageError) {
	t.Helper()
	var decode Decoder
	end := int64(0)
	blocks := NewBlocks(bytes.NewReader([]byte("another file")))
	_, _, _ = blocks.Next()
	for blocks.Reset(bytes.NewReader(file)); ; {
		block, at, err := blocks.Next()
		var damage *DamageError
		switch {
		case errors.Is(err, io.EOF):
			return batches, damaged
		case errors.As(err, &damage):
			if damage.At < end || damage.At+damage.Bytes > int64(len(file)) {
				t.Fatalf("%v, behind byte %d of %d", damage, end, len(file))
			}
			end = damage.At + damage.Bytes
			damaged = append(damaged, damage)
			continue
		case err != nil:
			t.Fatal(err)
		}
		if at < end {
			t.Fatalf("a block at byte %d, after byte %d", at, end)
		}
		end = at + int64(len(block))
		if b, err := decode.Batch(block); err != nil {
			damaged = append(damaged, &DamageError{At: at, Bytes: int64(len(block)), Err: err})
		} else {
			batches = append(batches, b)
		}
	}
}

func TestBlocksAndDecoder(t *testing.T) {
	file, ends, _ := archiveFile(t, 3)
	batches, damaged := readAll(t, file)
	if len(batches) != 3 || len(damaged) != 0 {
		t.Fatalf("%d batches, %v", len(batches), damaged)
	}
	for i, b := range batches {
		want := sampleBatch()
		want.ID[0] = byte(i)
		if diff := cmp.Diff(want, b); diff != "" {
			t.Error(diff)
		}
	}
	for _, cut := range append(append([]int{len(ContainerHeader())}, ends[:2]...), everyFew(file)...) {
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		clean := cut == len(ContainerHeader()) || whole > 0 && ends[whole-1] == cut
		batches, damaged := readAll(t, file[:cut])
		if len(batches) != whole || (len(damaged) == 0) != clean {
			t.Fatalf("cut at %d: %d batches, want %d; %v", cut, len(batches), whole, damaged)
		}
	}
}

// everyFew are some bytes of a file.
func everyFew(file []byte) (at []int) {
	for i := 0; i < len(file); i += 11 {
		at = append(at, i)
	}
	return at
}

// One block is broken anywhere: the others are read, and the damage is told.
func TestBlocksGoOnBehindDamage(t *testing.T) {
	file, ends, ids := archiveFile(t, 3)
	for _, at := range append(everyFew(file), len(ContainerHeader())-1, ends[0]-1, ends[0], ends[2]-1) {
		broken := bytes.Clone(file)
		broken[at] ^= 0x55
		batches, damaged := readAll(t, broken)
		lost := -1
		for i, from := range []int{len(ContainerHeader()), ends[0], ends[1]} {
			if at >= from && at < ends[i] {
				lost = i
			}
		}
		for i, id := range ids {
			found := false
			for _, b := range batches {
				found = found || b.ID == id
			}
			if !found && i != lost {
				t.Fatalf("byte %d changed: batch %d is lost, %v", at, i, damaged)
			}
			if !found && len(damaged) == 0 {
				t.Fatalf("byte %d changed: batch %d is lost, and nothing is told", at, i)
			}
		}
	}
}

func TestDecoderIsReused(t *testing.T) {
	var decode Decoder
	for round := range 3 {
		var kept []*Batch
		for i := range 40 {
			b := shopBatch(10 + 37*i%300)
			b.ID[15] = byte(i)
			container, err := EncodeBatch(b)
			if err != nil {
				t.Fatal(err)
			}
			block, err := BlockOf(container)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode.Batch(block)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, got)
		}
		for i, got := range kept {
			want := shopBatch(10 + 37*i%300)
			want.ID[15] = byte(i)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d, batch %d\n%s", round, i, diff)
			}
		}
		decode.Reset()
	}
}

func FuzzBlocks(f *testing.F) {
	file, ends, _ := archiveFile(f, 3)
	f.Add(file)
	f.Add(file[:ends[1]-5])
	f.Add(file[3:])
	f.Fuzz(func(t *testing.T, data []byte) { readAll(t, data) })
}

func BenchmarkDecoder(b *testing.B) {
	container, err := EncodeBatch(shopBatch(300))
	if err != nil {
		b.Fatal(err)
	}
	block, err := BlockOf(container)
	if err != nil {
		b.Fatal(err)
	}
	var decode Decoder
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%100 == 0 {
			decode.Reset()
		}
		if _, err := decode.Batch(block); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/300, "ns/event")
}

package event

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzDecodeBatch(f *testing.F) {
	container, err := EncodeBatch(sampleBatch())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(container)
	_, raw, err := openBlock(container[len(ContainerHeader()):])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := DecodeBatch(data); err == nil {
			again, err := EncodeBatch(b)
			if err != nil {
				t.Skip("decoded, but over the limits of one batch")
			}
			if _, err := DecodeBatch(again); err != nil {
				t.Fatalf("encoded again it does not decode: %v", err)
			}
		}
		// The same bytes as a block's content: the checksum of a container
		// would keep the fuzzer from ever getting there.
		b, err := decodeRaw(bytes.Clone(data))
		if err != nil {
			return
		}
		again, err := EncodeBatch(b)
		if err != nil {
			t.Skip("decoded, but over the limits of one batch")
		}
		c, err := DecodeBatch(again)
		if err != nil {
			t.Fatalf("encoded again it does not decode: %v", err)
		}
		if len(c.Events) != len(b.Events) || !cmp.Equal(b.ID, c.ID) {
			t.Fatal("encoded again it is another batch")
		}
	})
}

func FuzzScanBlocks(f *testing.F) {
	file, _, _ := archiveFile(f, 2)
	f.Add(file)
	f.Add(file[:len(file)-5])
	f.Add(ContainerHeader())
	f.Fuzz(func(t *testing.T, data []byte) {
		end, ids, _ := ScanBlocks(bytes.NewReader(data))
		if end < 0 || end > int64(len(data)) || (end == 0 && len(ids) > 0) {
			t.Fatalf("end %d of %d bytes, %d ids", end, len(data), len(ids))
		}
		if end == 0 {
			return
		}
		again, same, err := ScanBlocks(bytes.NewReader(data[:end]))
		if err != nil || again != end || len(same) != len(ids) {
			t.Fatalf("the valid part is not valid: %d, %d ids, %v", again, len(same), err)
		}
	})
}

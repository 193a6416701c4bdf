package embedded

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// sumsMerger adds up sums: an operand is a list of signed varints, added
// number by number, so that a writer adds to a sum without reading it. It
// belongs to the tables tableSums and tableRejectSum; nothing else merges.
// The name is stored in the database: another meaning needs another name.
var sumsMerger = &pebble.Merger{
	Name: "footfall.sums.v1",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := &sums{}
		if err := m.add(value); err != nil {
			return nil, fmt.Errorf("cannot merge key %x: %w", key, err)
		}
		return m, nil
	},
}

// sums holds at most two numbers: accepted and pending.
type sums struct {
	v [2]int64
	n int
}

func (s *sums) add(operand []byte) error {
	for i := 0; len(operand) > 0; i++ {
		v, n := binary.Varint(operand)
		if n <= 0 || i == len(s.v) {
			return errKey
		}
		operand = operand[n:]
		s.v[i] += v
		s.n = max(s.n, i+1)
	}
	return nil
}

func (s *sums) MergeNewer(value []byte) error { return s.add(value) }
func (s *sums) MergeOlder(value []byte) error { return s.add(value) }

func (s *sums) Finish(bool) ([]byte, io.Closer, error) {
	return appendSums(nil, s.v[:s.n]...), nil, nil
}

func appendSums(b []byte, v ...int64) []byte {
	for _, x := range v {
		b = binary.AppendVarint(b, x)
	}
	return b
}

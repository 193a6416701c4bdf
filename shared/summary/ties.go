package summary

import (
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/processed"
)

// Ties are what makes rows near to others (rowIndex), as hashes, to find those of
// which a tally does not hold all rows.
type Ties struct {
	f               *processed.Frame
	settings        Settings
	orders, streams []uint64 // by code
}

// TiesText are the text columns that TiesOf reads; Identity and Actors besides.
const TiesText uint64 = 1<<processed.ColTransactionID | 1<<processed.ColStream

// TiesOf are those of a frame's rows.
func TiesOf(f *processed.Frame, s Settings) *Ties {
	t := &Ties{f: f, settings: s}
	if f.Text[processed.ColTransactionID].Code != nil {
		t.orders, t.streams = hashesOf(&f.Text[processed.ColTransactionID]), hashesOf(&f.Text[processed.ColStream])
	}
	return t
}

func hashesOf(s *processed.Strings) []uint64 {
	all := make([]uint64, max(1, len(s.Dict)))
	for code := 1; code < len(all); code++ {
		all[code] = xxh3.HashString(s.Dict[code])
	}
	return all
}

// Each of them has a number of its own, so that one's hash is not another's.
const (
	tieID uint64 = iota + 1
	tieSession
	tieOrder
)

// Of calls fn with each tie of a row to those before an instant (ms). A session that the
// client has not named ties none that are further back than its silence.
func (t *Ties) Of(row uint32, before int64, fn func(tie uint64)) {
	f := t.f
	fn(t.ID(row))
	if f.Flags[row]&t.settings.Drops() == 0 && (f.Session[row] != 0 || f.Millis[row]-before < t.settings.silence(0)) {
		fn(tie(tieSession, f.Client[row], f.Session[row]))
	}
	if t.orders == nil {
		return
	}
	if code := f.Text[processed.ColTransactionID].Code[row]; code != 0 {
		stream := uint32(0)
		if s := f.Text[processed.ColStream].Code; s != nil {
			stream = s[row]
		}
		fn(tie(tieOrder, t.orders[code], t.streams[stream]))
	}
}

// ID is the tie of all copies of an event.
func (t *Ties) ID(row uint32) uint64 {
	id := t.f.EventID[row]
	return tie(tieID, id.Hi, id.Lo)
}

func tie(kind, a, b uint64) uint64 { return max(1, mix(mix(mix(a)+kind)^bits.RotateLeft64(b, 32))) }

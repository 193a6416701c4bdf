package processed

import (
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/event"
)

// Row is one event as a plain struct: for building frames, and for code that
// prefers clarity to speed. Fields mean what Frame's columns of that name do.
type Row struct {
	Batch   event.BatchID
	Seq     uint32
	EventID ID
	Millis  int64
	User    uint64
	Client  uint64
	Session uint64
	Flags   uint8
	Engaged int64
	Value   int64
	Text    [NumStringColumns]string
	Params  []Param // an empty Text is absent; of two with one key the first counts
	Items   []Item
}

// UserProperty stands before the key of a user property among a row's
// parameters.
const UserProperty = "user:"

// Param is one custom parameter as text.
type Param struct{ Key, Text string }

// Item is one item of a row.
type Item struct {
	Price    int64 // per unit, micro-units of the row's currency
	Quantity int64
	Text     [NumItemColumns]string
}

// Row is row i as a struct, with parameters in order of key. Columns that were
// not decoded are zero. It is slow: counting reads the columns.
func (f *Frame) Row(i int) Row {
	var r Row
	if f.Batch != nil {
		r.Batch = f.Batches[f.Batch[i]]
	}
	r.Seq = at(f.Seq, i)
	r.EventID = at(f.EventID, i)
	r.Millis = at(f.Millis, i)
	r.User = at(f.User, i)
	r.Client = at(f.Client, i)
	r.Session = at(f.Session, i)
	r.Flags = at(f.Flags, i)
	r.Engaged = at(f.Engaged, i)
	r.Value = at(f.Value, i)
	for c := range f.Text {
		r.Text[c] = f.Text[c].At(i)
	}
	for key, column := range f.Params {
		if text := column.At(i); text != "" {
			r.Params = append(r.Params, Param{key, text})
		}
	}
	slices.SortFunc(r.Params, func(a, b Param) int { return strings.Compare(a.Key, b.Key) })
	first, _ := slices.BinarySearch(f.Items.Row, uint32(i))
	for k := first; k < f.Items.Len && f.Items.Row[k] == uint32(i); k++ {
		item := Item{Price: at(f.Items.Price, k), Quantity: at(f.Items.Quantity, k)}
		for c := range f.Items.Text {
			item.Text[c] = f.Items.Text[c].At(k)
		}
		r.Items = append(r.Items, item)
	}
	return r
}

// at is v[i], or zero where the column is not there.
func at[T any](v []T, i int) T {
	if v == nil {
		var zero T
		return zero
	}
	return v[i]
}

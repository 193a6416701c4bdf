package embedded

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/store"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem())
	key := store.SummaryKey{Merchant: "m", Generation: 1, Grain: store.GrainHour, Start: 3600}
	if err := s.Summaries.Put(t.Context(), []store.SummaryEntry{{Key: key, Data: []byte("record")}}); err != nil {
		t.Fatal(err)
	}
	sizes, err := s.Sizes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		want := TableSize{Table: size.Table, Name: size.Name, Disk: size.Disk}
		if size.Table == tableSummary {
			want.Keys, want.Values = 1, 6
		}
		if size != want {
			t.Errorf("%+v, want %+v", size, want)
		}
	}
}

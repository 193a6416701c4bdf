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
		if size.Table == string(tableSummary) {
			want.Keys, want.Values = 1, 6
		}
		if size != want {
			t.Errorf("%+v, want %+v", size, want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem())
	for i := range 1000 {
		key := store.SummaryKey{Merchant: "m", Generation: 1, Grain: store.GrainHour, Start: int64(i) * 3600}
		record := make([]byte, 100)
		for j := range record {
			record[j] = byte(i * (j + 7) >> 3)
		}
		if err := s.Summaries.Put(t.Context(), []store.SummaryEntry{{Key: key, Data: record}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.engine.db.Flush(); err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]int64{}
	for _, table := range u.Tables {
		of[table.Name] = table.Disk
	}
	const block = 16 << 10
	if len(of) != len(tableNames)+1 || of["summaries"] < 90_000 || of["documents"] > 2*block {
		t.Errorf("tables: %v", of)
	}
	if u.Files < of["summaries"]+u.Log || u.Log == 0 || u.Memory == 0 {
		t.Errorf("%+v", u)
	}
}

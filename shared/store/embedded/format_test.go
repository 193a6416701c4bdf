package embedded

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// TestFormat holds the bytes that shared/docs/formats/embedded.md shows: what
// an older program wrote must stay readable, so a change here needs a new
// formatVersion.
func TestFormat(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem())
	ctx := t.Context()
	id := event.BatchID{0x01, 0x93, 15: 0x2a}
	r := store.JournalRow{
		Batch: id, ReceivedAt: time.UnixMicro(1_000_000), PartitionKey: "k", Payload: []byte("avro"),
		Counts: []event.StreamHour{{Stream: "G-A", Hour: -1, Events: 3}},
	}
	if err := s.Journal.Append(ctx, []store.JournalRow{r}); err != nil {
		t.Fatal(err)
	}
	part := r
	part.Batch[15], part.Payload = 0x2b, []byte("part")
	part.Counts = []event.StreamHour{{Stream: "G-B", Hour: 0, Events: 1}}
	if err := s.Journal.Gather(ctx, part); err != nil {
		t.Fatal(err)
	}
	err := s.Processed.Put(ctx, store.Put{
		Batch:   id,
		Docs:    []store.Doc{{Key: store.DocKey{Merchant: "m1", Hour: 1, Revision: 1, Batch: id}, Events: 2, Data: []byte{0xdd}}},
		Rejects: []store.Reject{{Merchant: "m1", Stream: "G-A", Batch: id, Index: 7, EventID: "e", Hour: 1, ReceivedAt: time.UnixMicro(1), Reason: "invalid", Field: "name", Detail: "a name", Data: []byte{0xdd}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Processed.Mark(ctx, []store.Mark{{Merchant: "m1", Queue: 3, Hour: 1, Batch: id}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Visitors.See(ctx, "m1", 1, []uint64{5}, []int64{-1}, nil); err != nil {
		t.Fatal(err)
	}
	err = s.Summaries.Put(ctx, []store.SummaryEntry{{Key: store.SummaryKey{Merchant: "m1", Generation: 1, Grain: store.GrainDay, Start: 86400}, Data: []byte{0xdd}}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := s.engine.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for ok := it.First(); ok; ok = it.Next() {
		got = append(got, fmt.Sprintf("%c %x = %x", it.Key()[0], it.Key()[1:], it.Value()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"! 66 = 04",
		"R 026d31000000018000000100696e76616c6964 = 02",
		"a 03472d417fffffff = 0606",
		"a 03472d4280000000 = 0202",
		"d 026d3100000001800000010193000000000000000000000000002a = 02dd",
		"h 00f4ed026d310000000080000001 = ",
		"h 01f4ed026d310000000380000001 = ",
		"i 0180000000000f42400193000000000000000000000000002a = ",
		"i 0180000000000f42400193000000000000000000000000002b = ",
		"i 0280000000000f42400193000000000000000000000000002a = ",
		"i 0280000000000f42400193000000000000000000000000002b = ",
		"i 0480000000000f42400193000000000000000000000000002a = ",
		"i 0480000000000f42400193000000000000000000000000002b = ",
		"j 0193000000000000000000000000002a = 000480897a016b0103472d410106",
		"j 0193000000000000000000000000002b = 000080897a016b0103472d4200020001",
		"m 026d3100000000800000010193000000000000000000000000002a = ",
		"m 026d3100000003800000010193000000000000000000000000002a = ",
		"p 0193000000000000000000000000002a = 6176726f",
		"p 0193000000000000000000000000002b00000001 = 70617274",
		"r 026d3100000001800000010193000000000000000000000000002a00000007 = 0007696e76616c696403472d41016502046e616d650661206e616d6501dd",
		"s 026d3100000001648000000000015180 = dd",
		"v 026d31000000010000000000000005 = 7fffffffffffffff",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stored bytes have changed (- expected, + found):\n%s", diff)
	}
	page, err := os.ReadFile("../../docs/formats/embedded.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range want {
		if !strings.Contains(string(page), strings.TrimRight(line, " ")+"\n") {
			t.Errorf("shared/docs/formats/embedded.md does not show %q", line)
		}
	}
}

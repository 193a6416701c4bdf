package mongo

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// dump is every document of some collections, as MongoDB writes JSON, fields in
// the order of their names. What is random or depends on the time is left out.
func dump(t *testing.T, s *Stores) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{batchesName, payloadsName, countsName, documentsName, marksName, versionsName, visitorsName} {
		cursor, err := s.db.Collection(name).Find(context.Background(), bson.D{})
		must(t, each(context.Background(), cursor, err, func(d *bson.D) error {
			if _, made := (*d)[0].Value.(bson.ObjectID); made {
				*d = (*d)[1:]
			}
			// A server may keep the fields of an upsert in an order of its own.
			slices.SortFunc(*d, func(a, b bson.E) int { return cmp.Compare(a.Key, b.Key) })
			text, err := bson.MarshalExtJSON(*d, false, false)
			fmt.Fprintf(&b, "%s %s\n", name, text)
			return err
		}))
	}
	text := regexp.MustCompile(`"(at|v)":(\d{15,}|-?\d{12,}|\{[^}]*\})`).ReplaceAllString(b.String(), `"$1":…`)
	return regexp.MustCompile(`("fold":|"folds":\[)\{"\$binary":\{"base64":"[^"]*"`).ReplaceAllString(text, `$1{"$$binary":{"base64":"…"`)
}

// The page of the format shows what is really written.
func TestFormat(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/mongodb.md")
	must(t, err)
	s := mustPrepare(t, testConfig(server(t)))
	ctx := context.Background()
	batch := event.BatchID{0: 1, 1: 0x93, 15: 0x2a}
	row := store.JournalRow{
		Batch: batch, ReceivedAt: time.Unix(1, 0), PartitionKey: "k", Payload: []byte("avro"),
		Counts: []event.StreamHour{{Stream: "G-A", Hour: -1, Events: 3}},
	}
	must(t, s.Journal.Append(ctx, []store.JournalRow{row}))
	must(t, s.Processed.Put(ctx, store.Put{Batch: batch, Docs: []store.Doc{{
		Key: store.DocKey{Merchant: "m1", Hour: 1, Revision: store.LiveRevision, Batch: batch}, Events: 2, Data: []byte{0xdd},
	}}}))
	must(t, s.Processed.Mark(ctx, []store.Mark{{Merchant: "m1", Queue: 3, Hour: 1, Batch: batch}}))
	_, err = s.Visitors.See(ctx, "m1", 1, []uint64{5}, []int64{-1}, nil)
	must(t, err)
	before := dump(t, s)
	must(t, s.Journal.Mark(ctx, store.StageProcessed, []store.JournalRow{row}))
	must(t, s.journal.foldProcessed(ctx, 0))
	for _, line := range strings.Split(before+dump(t, s), "\n") {
		if !strings.Contains(string(page), line) {
			t.Errorf("the page lacks:\n%s", line)
		}
	}
}

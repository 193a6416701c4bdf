package summary

import (
	"testing"

	"github.com/footfall/footfall/shared/store"
)

// A merged document is bounded by its bytes as well: few large events must not
// make one that a store refuses, tick after tick.
func TestMergingStopsBeforeADocumentIsTooLarge(t *testing.T) {
	const each = mergeBytes / 4
	docs := make([]listed, 6)
	for i := range docs {
		docs[i] = listed{key: store.DocKey{Merchant: "m", Batch: [16]byte{15: byte(i + 1)}}, events: 10, bytes: each}
	}
	chosen, _ := choose(docs, 1000)
	if len(chosen) != 4 {
		t.Errorf("%d documents of a quarter of the limit are merged, expected 4", len(chosen))
	}
	docs[0].bytes = mergeBytes + 1
	chosen, _ = choose(docs[:3], 1000)
	if len(chosen) != 2 || chosen[0] != docs[1].key {
		t.Errorf("chosen are %v, expected the two beside the one that is too large by itself", chosen)
	}
}

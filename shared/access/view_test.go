package access

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Spans say of every instant what Owner says.
func TestSpansAreWhatOwnerSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var layers Layers
		for range rapid.IntRange(0, 4).Draw(t, "layers") {
			layers = append(layers, Layer{
				Revision: Revision(rapid.IntRange(2, 4).Draw(t, "revision")),
				From:     int64(rapid.IntRange(-1, 9).Draw(t, "from")), To: int64(rapid.IntRange(-1, 12).Draw(t, "to")),
			})
		}
		for rev := LiveRevision; rev <= 4; rev++ {
			spans := layers.Spans(rev)
			for i, s := range spans {
				if s.From >= s.To || i > 0 && spans[i-1].To >= s.From {
					t.Fatalf("spans %v of revision %d", spans, rev)
				}
			}
			for _, ms := range []int64{math.MinInt64, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, math.MaxInt64 - 1} {
				in := false
				for _, s := range spans {
					in = in || ms >= s.From && ms < s.To
				}
				if in != (layers.Owner(ms) == rev) {
					t.Fatalf("layers %+v: spans of revision %d are %v, and %d has the batches of %d", layers, rev, spans, layers.Owner(ms), ms)
				}
			}
		}
	})
}

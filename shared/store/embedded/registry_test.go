package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
)

// In a folder that version 2 wrote a change is the id of a merchant.
func TestRegistryOfVersion2(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, vfs.NewMem())
	var want []access.Merchant
	for i := range 3 {
		m := access.Merchant{ID: fmt.Sprint("m", i), Name: "Shop", Version: 1, Streams: []access.Stream{{MeasurementID: fmt.Sprint("G-", i)}}}
		doc, err := json.Marshal(m)
		err = errors.Join(err,
			s.engine.db.Set(nameKey(tableMerchant, m.ID), append(appendUint64(nil, uint64(i+1)), doc...), pebble.Sync),
			s.engine.db.Set(changeKey(uint64(i+1)), []byte(m.ID), pebble.Sync),
			s.engine.db.Set(nameKey(tableStream, m.Streams[0].MeasurementID), []byte(m.ID), pebble.Sync))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, m)
	}
	check := func() {
		t.Helper()
		got, _, err := s.Registry.Changes(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for i := range want {
			m, err := s.Registry.MerchantByStream(t.Context(), want[i].Streams[0].MeasurementID)
			if diff := cmp.Diff(want[i], m); err != nil || diff != "" {
				t.Error(err, diff)
			}
		}
	}
	check()
	want[0].Name = "New"
	if err := s.Registry.UpdateMerchant(t.Context(), want[0]); err != nil {
		t.Fatal(err)
	}
	want[0].Version++
	want = append(want[1:], want[0])
	check()
}

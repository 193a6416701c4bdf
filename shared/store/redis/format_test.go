package redis

import (
	"testing"
	"time"

	"github.com/footfall/footfall/shared/store"
)

// The example of shared/docs/formats/redis.md, and ids that would break a hash
// tag.
func TestKeysAreAsTheirPageSays(t *testing.T) {
	c := &client{prefix: "ff:"}
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).Unix()
	b, place := placeOf(store.SummaryKey{Merchant: "mq3vd5k7x2a", Generation: 1, Grain: store.GrainHour, Start: at})
	if key := c.summaryKey(b.merchant, b.suffix()); key != "ff:s{mq3vd5k7x2a}1.h205" || place != "420" {
		t.Errorf("key %s, field %s", key, place)
	}
	for id, want := range map[string]string{"": "ff:i{%}", "a}b": "ff:i{a%7Db}", "%": "ff:i{%25}", "a\x00": "ff:i{a%00}"} {
		if key := c.indexKey(id); key != want {
			t.Errorf("index of %q is %s, expected %s", id, key, want)
		}
	}
}

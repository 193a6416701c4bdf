package loadtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"
)

var mixStart = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func mixStreams(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("G-%010d", i)
	}
	return ids
}

// The same options make the same requests, and the truth is what a count of
// them gives.
func TestMix(t *testing.T) {
	type sent struct {
		ID     string    `json:"id"`
		Stream string    `json:"measurementid"`
		Time   time.Time `json:"time"`
		Data   any       `json:"data"`
	}
	streams := mixStreams(100)
	make := func() (bodies [][]byte, valid int, truth *Truths) {
		truth = NewTruths()
		m := NewMix(DefaultMix(7, streams), truth)
		for i := range 2000 {
			r := m.Request(nil, mixStart.Add(time.Duration(i)*10*time.Millisecond), 10)
			bodies, valid = append(bodies, r.Body), valid+r.Valid
		}
		return bodies, valid, truth
	}
	bodies, valid, truth := make()
	again, _, _ := make()
	seen := map[string]bool{}
	var total, found Counts
	var refused, foundRefused uint32
	gaps, late := 0, 0
	for i, body := range bodies {
		if !bytes.Equal(body, again[i]) {
			t.Fatal("the same seed makes other requests")
		}
		var events []sent
		if err := json.Unmarshal(body, &events); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			data, _ := e.Data.(map[string]any)
			if data["name"] == nil || data["value"] == "much" || fmt.Sprint(data["session_id"]) == "[1]" {
				foundRefused++
				continue
			}
			found.Accepted++
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			found.Counted++
			if e.Time.Before(mixStart) {
				late++
			}
			if data["name"] == "purchase" {
				found.Purchases++
				found.RevenueMicros += int64(data["value"].(float64)*1e6 + 0.5)
			}
			if ref := data["page"].(map[string]any)["referrer"]; ref == "https://shop.example/" {
				gaps++
			}
		}
	}
	for _, site := range truth.sites() {
		for _, c := range site.hours {
			total.add(&c)
		}
		refused += uint32(site.refused)
	}
	if int64(valid) != truth.Accepted() || uint32(valid) != found.Accepted {
		t.Errorf("%d valid, %d in the truth, %d found", valid, truth.Accepted(), found.Accepted)
	}
	found.Bots, found.Events, found.Views, found.Sessions = total.Bots, total.Events, total.Views, total.Sessions
	if found != total || foundRefused != refused || total.Bots == 0 || total.Sessions == 0 || total.Events+total.Bots != total.Counted {
		t.Errorf("found %+v and %d refused, truth %+v and %d", found, foundRefused, total, refused)
	}
	share := func(what string, n, of uint32, least, most float64) {
		t.Helper()
		if x := float64(n) / float64(of); x < least || x > most {
			t.Errorf("share of %s is %.4f, want %.4f to %.4f", what, x, least, most)
		}
	}
	share("duplicates", total.Accepted-total.Counted, total.Accepted, 0.025, 0.035)
	share("malformed", refused, refused+total.Accepted, 0.007, 0.013)
	share("late", uint32(late), total.Counted, 0.005, 0.05)
	share("later events of visits", uint32(gaps), total.Counted, 0.1, 0.9)
}

// The bytes that a merchant's hour costs the truth.
func TestTruthsBytes(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	truth := NewTruths()
	for i := range uint32(n) {
		truth.add(keyOf(i, mixStart.UnixMicro()), Counts{Accepted: 1})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if truth.MerchantHours() != n {
		t.Fatal(truth.MerchantHours())
	}
	if bytes := (after.HeapAlloc - before.HeapAlloc) / n; bytes > 128 {
		t.Errorf("%d bytes", bytes)
	} else {
		t.Logf("%d bytes", bytes)
	}
}

func BenchmarkMix(b *testing.B) {
	m := NewMix(DefaultMix(7, mixStreams(100_000)), NewTruths())
	body := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for i := range b.N {
		body = m.Request(body[:0], mixStart.Add(time.Duration(i)*86*time.Microsecond), 1).Body
	}
}

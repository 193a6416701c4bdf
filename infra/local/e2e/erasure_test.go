package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/shared/erasure"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/revision"
)

// anna is the client to be erased. She is the user u1 half of the time, who is
// seen with other clients, too.
const anna = "client-anna-4711"

// annas makes the history of a shop, and that of one that never saw anna, by
// the same events.
func annas(h *history, shop, without loadtest.Merchant, n int) (bodies [][]byte, hers int) {
	var with, others []string
	for i := range n {
		e := h.event(0)
		her := i%9 == 0
		switch {
		case her && i%2 == 0:
			e = client(e, anna, "u1")
		case her:
			e = client(e, anna, "")
		case i%31 == 1:
			e = client(e, fmt.Sprint("c", i%5), "u1")
		}
		with = append(with, e)
		if her {
			hers++
		} else {
			others = append(others, strings.ReplaceAll(e, shop.Streams[0].MeasurementID, without.Streams[0].MeasurementID))
		}
	}
	for _, list := range [][]string{with, others} {
		for len(list) > 0 {
			k := min(50, len(list))
			bodies = append(bodies, []byte("["+strings.Join(list[:k], ",")+"]"))
			list = list[k:]
		}
	}
	return bodies, hers
}

// client is an event with another client and user.
func client(e, client, user string) string {
	var all map[string]any
	if err := json.Unmarshal([]byte(e), &all); err != nil {
		panic(err)
	}
	data := all["data"].(map[string]any)
	data["client_id"] = client
	if user != "" {
		data["user_id"] = user
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A person is erased from everything: afterwards reports of all revisions are
// those of a shop that never saw her, to the byte, new users included; the ledger
// adds up; the archive has nothing of her, and computing history anew brings
// nothing back. The process is killed again and again meanwhile.
func TestErasure(t *testing.T) {
	environ := append([]string{"FOOTFALL_REPROCESS_ERASE_KEEP=1s", "FOOTFALL_REPROCESS_ERASE_SETTLE=3s"}, quick...)
	dir := t.TempDir()
	p := start(t, dir, environ...)
	shops := fourMerchants(t, p)[:2]
	h := newHistory(append(shops, shops...))
	bodies, hers := annas(h, shops[0], shops[1], 3000)
	postAll(t, p, bodies)
	settled(t, p)

	// What the ETL rejects has her event in it, and what the door refuses.
	disable := func(disabled bool) {
		if err := p.Disable(t.Context(), shops[0], disabled); err != nil {
			t.Fatal(err)
		}
		// The ETL would know of it in a moment; one that begins knows it at once.
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		p = start(t, dir, environ...)
	}
	disable(true)
	if err := p.PublishBatchOf(t.Context(), "batches", shops[0], day, "lost", anna, 3); err != nil {
		t.Fatal(err)
	}
	hers += 3
	settled(t, p)
	disable(false)
	bad := fmt.Sprintf(`{"specversion":"1.0","type":"footfall.event.v1","source":"/shop","id":"bad","measurementid":%q,"data":{"name":"purchase","client_id":%q,"value":"much"}}`, shops[0].Streams[0].MeasurementID, anna)
	if err := p.Do(t.Context(), http.MethodPost, "/events", "", "application/cloudevents+json", []byte(bad), http.StatusUnprocessableEntity, nil); err != nil {
		t.Fatal(err)
	}

	// A revision beside the first one, and both have her.
	j := postJob(t, p, sinceAnHour(""))
	awaitState(t, p, j.Revision, revision.Compared)
	changeJob(t, p, j.Revision, "publish", "", http.StatusOK)
	awaitRevision(t, p, shops[0], j.Revision)
	settled(t, p)
	want := allMonths(t, p, shops[1:], "")
	if got := allMonths(t, p, shops[:1], ""); got["0 "+monthQuestions[0]] == want["0 "+monthQuestions[0]] {
		t.Fatal("she makes no difference")
	}

	var e erasure.Erasure
	path := "/v1/merchants/" + shops[0].MerchantID + "/erasures"
	body := fmt.Appendf(nil, `{"client_id":%q,"reason":"she asked for it","by":"operator"}`, anna)
	if err := p.Do(t.Context(), http.MethodPost, path, shops[0].ReportToken, "application/json", body, http.StatusForbidden, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), http.MethodPost, path, p.AdminToken, "application/json", body, http.StatusAccepted, &e); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for kills := 0; e.State != erasure.Done; {
		if err := p.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kills < 4 {
			kills++
			<-time.After(time.Duration(kills*h.rng.IntN(40)) * time.Millisecond) // somewhere within what the tick does
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			p = start(t, dir, environ...)
		}
		if err := p.Do(t.Context(), http.MethodGet, path+"/"+e.ID, p.AdminToken, "", nil, http.StatusOK, &e); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 90*time.Second {
			t.Fatalf("the erasure does not end: %+v", e)
		}
	}
	settled(t, p)
	if len(e.Problems) > 0 || e.Proof.Passes[len(e.Proof.Passes)-1].Nothing() == false || len(e.Proof.Files) == 0 {
		t.Errorf("the proof: %+v, problems %v", e.Proof, e.Problems)
	}
	if her := (&erasure.Person{Client: anna}); !her.Is(e.Subject) {
		t.Errorf("the proof does not name her to who knows her: %q", e.Subject)
	}
	numbers := func(all map[string]string) map[string]string {
		delete(all, "0 ledger")
		for q, text := range all {
			all[q] = strings.ReplaceAll(text, shops[1].MerchantID, shops[0].MerchantID)
		}
		return all
	}
	sameAnswers(t, "she was erased", numbers(want), numbers(allMonths(t, p, shops[:1], "")))
	sameAnswers(t, "she was erased, as it was", numbers(allMonths(t, p, shops[1:], "&revision=1")), numbers(allMonths(t, p, shops[:1], "&revision=1")))

	var ledger struct {
		Totals struct {
			Accepted int64
			Rejected map[string]int64
		}
		AddsUp bool `json:"adds_up"`
	}
	span := fmt.Sprintf("/%s?from=%s&to=%s", shops[0].MerchantID, monthBegin.AddDate(0, 0, -1).Format(time.RFC3339), time.Now().Add(2*time.Hour).UTC().Truncate(time.Hour).Format(time.RFC3339))
	if err := p.Do(t.Context(), http.MethodGet, "/v1/ledger"+span, p.AdminToken, "", nil, http.StatusOK, &ledger); err != nil {
		t.Fatal(err)
	}
	if !ledger.AddsUp || ledger.Totals.Rejected["erased"] != int64(hers) || ledger.Totals.Accepted != 3003 {
		t.Errorf("the ledger of 3003 events, %d of them hers, is %+v", hers, ledger)
	}
	var rejected json.RawMessage
	if err := p.Do(t.Context(), http.MethodGet, "/v1/rejected"+span+"&limit=1000", p.AdminToken, "", nil, http.StatusOK, &rejected); err != nil || strings.Contains(string(rejected), anna) {
		t.Errorf("%v: rejects name her: %s", err, rejected)
	}

	// Computed anew from the archive it is the same.
	j = postJob(t, p, sinceAnHour(""))
	s := awaitState(t, p, j.Revision, revision.Compared)
	if text := comparison(t, p, j.Revision); s.ProblemCount > 0 || !strings.Contains(text, "Nothing changes") {
		t.Errorf("a reprocess after the erasure, %+v: %s", s, text)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := searchArchive(t, dir); n != hers {
		t.Errorf("the archive has %d erased events, want %d", n, hers)
	}
}

// searchArchive reads all files that are there, replaced ones too: none may
// mention her. It counts erased events.
func searchArchive(t *testing.T, dir string) (erased int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "archive"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".avro") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for r := event.NewReader(f); ; {
			b, err := r.NextBlock()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if b.Mentions(anna) {
				t.Errorf("%s mentions her", path)
			}
			batch, err := b.Decode()
			if err != nil {
				return err
			}
			for i := range batch.Events {
				if batch.Events[i].Erased() {
					erased++
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return erased
}

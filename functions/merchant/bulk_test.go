package merchant

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// statuses are those of the results, and the fields that were refused.
func statuses(got map[string]any) (out []string) {
	for _, r := range got["results"].([]any) {
		r := r.(map[string]any)
		text := r["status"].(string)
		if p, ok := r["error"].(map[string]any); ok {
			text += fmt.Sprint(" ", p["field"])
		}
		out = append(out, text)
	}
	return out
}

func TestCreateMany(t *testing.T) {
	s := newServer(t)
	single := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"First"}`, "Idempotency-Key", "shop-1")
	body := `{"merchants":[
		{"idempotency_key":"shop-1","name":"Other name"},
		{"idempotency_key":"shop-2","name":"Second","time_zone":"Europe/Berlin","streams":[{"name":"web"},{"name":"app"}]},
		{"idempotency_key":"shop-3","name":"Third","currency":"crowns"},
		{"name":"Fourth"}, {"idempotency_key":7,"name":"Fifth"}, {"idempotency_key":"shop-6","name":"Sixth","colour":"red"}, 7,
		{"idempotency_key":"shop-2","name":"Twice"},
		{"idempotency_key":"shop-9","name":"Ninth"}]}`
	got := s.must(200, "operator", "POST", "/v1/merchants:batchCreate", body)
	want := []string{
		"existing", "created", "refused merchants[2].currency", "refused merchants[3].idempotency_key", "refused merchants[4].idempotency_key",
		"refused merchants[5].colour", "refused merchants[6]", "existing", "created",
	}
	if said := statuses(got); !slices.Equal(said, want) || got["created"] != 2.0 || got["existing"] != 2.0 || got["refused"] != 5.0 {
		t.Fatalf("%v %v %v\n%q", got["created"], got["existing"], got["refused"], said)
	}
	result := func(i int) map[string]any {
		return got["results"].([]any)[i].(map[string]any)["merchant"].(map[string]any)
	}
	if m := result(0); m["merchant_id"] != single["merchant_id"] || m["name"] != "First" || m["report_token"] != nil {
		t.Errorf("existing: %v", m)
	}
	if m := result(7); m["merchant_id"] != result(1)["merchant_id"] || m["report_token"] != nil {
		t.Errorf("twice in one request: %v", m)
	}
	made := result(1)
	kept := s.store.kept(t, made["merchant_id"].(string))
	if len(kept.Streams) != 2 || kept.Settings.TimeZone != "Europe/Berlin" || !kept.HasReportToken(made["report_token"].(string)) ||
		!kept.Streams[1].HasSecret(made["streams"].([]any)[1].(map[string]any)["api_secret"].(string)) {
		t.Errorf("kept %+v", kept)
	}
	again := s.must(200, "operator", "POST", "/v1/merchants:batchCreate", body)
	if again["created"] != 0.0 || again["existing"] != 4.0 {
		t.Errorf("again: %q", statuses(again))
	}
	if text, _ := json.Marshal(again); strings.Contains(string(text), "ffs_") || strings.Contains(string(text), "ffr_") {
		t.Errorf("a secret is shown again: %s", text)
	}

	s.must(403, made["report_token"].(string), "POST", "/v1/merchants:batchCreate", body)
	s.must(413, "operator", "POST", "/v1/merchants:batchCreate", strings.Repeat(" ", maxCreationsBody+1))
	many := `{"merchants":[` + strings.Repeat(`{},`, 1000) + `{}]}`
	for _, body := range []string{``, `{"merchants":[]}`, `{"merchants":7}`, `{"shops":[]}`, many} {
		if code, got, _ := s.call("operator", "POST", "/v1/merchants:batchCreate", body); code != 400 {
			t.Errorf("%.30s: %d %v", body, code, got)
		}
	}
}

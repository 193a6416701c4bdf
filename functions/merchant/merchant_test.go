package merchant

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/view"
)

type server struct {
	t     *testing.T
	store *stores
	h     http.Handler
}

func newServer(t *testing.T) *server {
	t.Helper()
	m := newStores(t)
	s := New(m, m, m.revisions, m.erasures, access.NewAuthorizer("operator", m), func() time.Time { return time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC) })
	mux := http.NewServeMux()
	if err := function.Mount(mux, function.EventOptions{}, s.Function()); err != nil {
		t.Fatal(err)
	}
	return &server{t, m, mux}
}

// call makes a request and decodes its answer into one map.
func (s *server) call(token, method, path, body string, header ...string) (int, map[string]any, http.Header) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	got := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w.Code, got, w.Header()
}

func (s *server) must(want int, token, method, path, body string, header ...string) map[string]any {
	s.t.Helper()
	code, got, _ := s.call(token, method, path, body, header...)
	if code != want {
		s.t.Fatalf("%s %s: %d, want %d: %v", method, path, code, want, got)
	}
	return got
}

func first(v any) map[string]any { return v.([]any)[0].(map[string]any) }

func TestCreateAndRead(t *testing.T) {
	s := newServer(t)
	code, m, h := s.call("operator", "POST", "/v1/merchants", `{"name":"Shop","time_zone":"Europe/Berlin","currency":"EUR","key_events":["sign_up","purchase"]}`)
	if code != 201 || m["bot_filter"] != true || m["time_zone"] != "Europe/Berlin" || h.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", code, m)
	}
	id, token := m["merchant_id"].(string), m["report_token"].(string)
	stream := first(m["streams"])
	if h.Get("Location") != "/v1/merchants/"+id || !strings.HasPrefix(stream["measurement_id"].(string), "G-") {
		t.Errorf("%v %v", h, stream)
	}
	kept := s.store.kept(t, id)
	if !kept.Streams[0].HasSecret(stream["api_secret"].(string)) || !kept.HasReportToken(token) {
		t.Fatalf("kept %+v", kept)
	}
	for _, who := range []string{"operator", token} {
		got := s.must(200, who, "GET", "/v1/merchants/"+id, "")
		text, _ := json.Marshal(got)
		if strings.Contains(string(text), "ffs_") || strings.Contains(string(text), "ffr_") || strings.Contains(string(text), string(kept.ReportTokens[0])) {
			t.Errorf("a secret or whole hash is shown again: %s", text)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t)
	m := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`)
	other := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Other"}`)
	path, token := "/v1/merchants/"+m["merchant_id"].(string), m["report_token"].(string)
	tests := []struct {
		token, method, path, body string
		status                    int
		field                     string
	}{
		{"", "POST", "/v1/merchants", `{"name":"x"}`, 401, "Authorization"},
		{"wrong", "POST", "/v1/merchants", `{"name":"x"}`, 401, "Authorization"},
		{token, "POST", "/v1/merchants", `{"name":"x"}`, 403, ""},
		{token, "GET", "/v1/merchants", "", 403, ""},
		{token, "PATCH", path, `{}`, 403, ""},
		{token, "POST", path + "/report-tokens", ``, 403, ""},
		{token, "GET", "/v1/merchants/" + other["merchant_id"].(string), "", 403, ""},
		{token, "GET", "/v1/merchants/mnone", "", 403, ""},
		{"operator", "GET", "/v1/merchants/mnone", "", 404, ""},
		{"operator", "PATCH", "/v1/merchants/mnone", `{"name":"x"}`, 404, ""},
		{"operator", "POST", "/v1/merchants", ``, 400, "name"},
		{"operator", "POST", "/v1/merchants", `{"name":""}`, 400, "name"},
		{"operator", "POST", "/v1/merchants", `{"name":7}`, 400, "name"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","timezone":"UTC"}`, 400, "timezone"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","time_zone":"Mars"}`, 400, "time_zone"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","currency":"EURO"}`, 400, "currency"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","bot_filter":"yes"}`, 400, "bot_filter"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","key_events":"purchase"}`, 400, "key_events"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","channel_rules":[{"channel":"A","if":[]}]}`, 400, "channel_rules"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","currency_rates":{"EUR":1.1}}`, 400, "currency_rates"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","currency_rates":[{"currency":"EUR","rate":1.1},{"currency":"GBP","rate":"a lot"}]}`, 400, "currency_rates[1].rate"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","currency_rates":[{"currency":"EUR"}]}`, 400, "currency_rates[0].rate"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","currency_rates":[{"currency":"EUR","rate":1.1,"from":"yesterday"}]}`, 400, "currency_rates[0].from"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","channel_rules":[{"channel":"A","when":[{"field":"source","regexp":"("}]}]}`, 400, "channel_rules[0].when[0].regexp"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","session_timeout_minutes":0}`, 400, "session_timeout_minutes"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","session_timeout_minutes":476}`, 400, "session_timeout_minutes"},
		{"operator", "PATCH", path, `{"session_timeout_minutes":7.5}`, 400, "session_timeout_minutes"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","streams":[]}`, 400, "streams"},
		{"operator", "POST", "/v1/merchants", `{"name":"x","streams":[{"name":"\n"}]}`, 400, "streams[0].name"},
		{"operator", "POST", "/v1/merchants", `{"name":"x"} {}`, 400, "body"},
		{"operator", "POST", "/v1/merchants", `[`, 400, "body"},
		{"operator", "POST", "/v1/merchants", `{"name":"` + strings.Repeat("x", 70<<10) + `"}`, 413, ""},
		{"operator", "PATCH", path, `{"streams":[]}`, 400, "streams"},
		{"operator", "PATCH", path, `{"currency":"??"}`, 400, "currency"},
		{"operator", "GET", "/v1/merchants?limit=0", "", 400, "limit"},
		{"operator", "POST", path + "/streams/G-NONE/secrets", ``, 404, ""},
		{"operator", "DELETE", path + "/report-tokens/abc", ``, 400, "id"},
		{"operator", "DELETE", path + "/report-tokens/0123456789", ``, 404, ""},
	}
	for _, tt := range tests {
		code, got, _ := s.call(tt.token, tt.method, tt.path, tt.body)
		field, _ := got["field"].(string)
		if code != tt.status || field != tt.field {
			t.Errorf("%s %s %.60s: %d at %q, want %d at %q: %v", tt.method, tt.path, tt.body, code, field, tt.status, tt.field, got)
		}
	}
}

func TestCreationTwiceUnderOneKey(t *testing.T) {
	s := newServer(t)
	m := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`, "Idempotency-Key", "order-7")
	code, got, h := s.call("operator", "POST", "/v1/merchants", `{"name":"Shop"}`, "Idempotency-Key", "order-7")
	if code != 409 || !strings.Contains(got["message"].(string), m["merchant_id"].(string)) || h.Get("Location") != "/v1/merchants/"+m["merchant_id"].(string) {
		t.Errorf("%d %v %v", code, got, h)
	}
	if all := s.must(200, "operator", "GET", "/v1/merchants", "")["merchants"].([]any); len(all) != 1 {
		t.Errorf("%d merchants", len(all))
	}
	s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`, "Idempotency-Key", "order-8")
}

func TestPatchCountsAnewWhereNumbersChange(t *testing.T) {
	s := newServer(t)
	id := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop","currency":"EUR"}`)["merchant_id"].(string)
	path := "/v1/merchants/" + id
	s.store.hold(t, id, 100, 103, 120)

	s.must(200, "operator", "PATCH", path, `{"name":"Shop 2","keep_ip":true}`)
	if kept := s.store.kept(t, id); len(kept.Views) != 0 || kept.Generation != 1 {
		t.Errorf("a name counts nothing anew: %+v", kept)
	}
	got := s.must(200, "operator", "PATCH", path, `{"time_zone":"Asia/Tokyo"}`)
	if got["time_zone"] != "Asia/Tokyo" || got["currency"] != "EUR" || got["name"] != "Shop 2" || got["keep_ip"] != true {
		t.Errorf("a merge keeps what it does not name: %v", got)
	}
	anew := got["counting_anew"].(map[string]any)
	if shown := anew["settings_shown"].(map[string]any); shown["time_zone"] != "UTC" || shown["currency"] != "EUR" || anew["since"] != "2026-11-23T18:00:00Z" {
		t.Errorf("what is shown meanwhile: %v", anew)
	}
	kept := s.store.kept(t, id)
	if v := kept.View(revision.Book{}); v.Generation != 1 || len(kept.Views) != 2 || kept.Views[1].State != access.ViewNew {
		t.Fatalf("views %+v", kept.Views)
	}
	if marks := s.store.marks(t, id, 2); !slices.Equal(marks, []store.Mark{view.Trigger(id, 2)}) {
		t.Errorf("nothing leads to the new view: %v", marks)
	}
	// Another change while this one is under way takes its place; back to what
	// is shown there is nothing to be counted.
	got = s.must(200, "operator", "PATCH", path, `{"time_zone":"Asia/Seoul"}`)
	kept = s.store.kept(t, id)
	if got["counting_anew"] == nil || len(kept.Views) != 3 || kept.Views[1].State != access.ViewGone || kept.Views[2].State != access.ViewNew || kept.Generation != 3 {
		t.Fatalf("views %+v", kept.Views)
	}
	got = s.must(200, "operator", "PATCH", path, `{"time_zone":"UTC"}`)
	kept = s.store.kept(t, id)
	if got["counting_anew"] != nil || len(kept.Views) != 3 || kept.Views[2].State != access.ViewGone || kept.Generation != 3 {
		t.Fatalf("%v, views %+v", got, kept.Views)
	}
	// Where nothing leads to a view it is not made known.
	s.store.away = errors.New("store away")
	if code, _, _ := s.call("operator", "PATCH", path, `{"bot_filter":false}`); code != 503 {
		t.Errorf("without marks: %d, want 503", code)
	}
	if kept := s.store.kept(t, id); kept.Generation != 3 || !kept.Settings.BotFilter {
		t.Errorf("%+v", kept)
	}
	s.store.away = nil
	s.must(200, "operator", "PATCH", path, `{"bot_filter":false}`)
	if kept := s.store.kept(t, id); kept.Generation != 4 {
		t.Errorf("generation %d", kept.Generation)
	}
	if got := s.must(200, "operator", "PATCH", path, `{"bot_filter":null}`); got["bot_filter"] != true {
		t.Errorf("null is the default: %v", got)
	}
}

// Nobody waits for the new numbers of nothing.
func TestPatchIsShownAtOnceWhereNothingIsCounted(t *testing.T) {
	s := newServer(t)
	id := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`)["merchant_id"].(string)
	for _, zone := range []string{"Asia/Tokyo", "Asia/Seoul"} {
		if got := s.must(200, "operator", "PATCH", "/v1/merchants/"+id, `{"time_zone":"`+zone+`"}`); got["counting_anew"] != nil {
			t.Errorf("%v", got)
		}
		if kept := s.store.kept(t, id); kept.View(revision.Book{}).Settings.TimeZone != zone {
			t.Errorf("views %+v", kept.Views)
		}
	}
}

func TestChangesAtTheSameTime(t *testing.T) {
	s := newServer(t)
	_, m, h := s.call("operator", "POST", "/v1/merchants", `{"name":"Shop"}`)
	path := "/v1/merchants/" + m["merchant_id"].(string)
	s.store.race = func(x *access.Merchant) { x.Settings.Currency = "JPY" }
	if got := s.must(200, "operator", "PATCH", path, `{"name":"Mine"}`); got["currency"] != "JPY" || got["name"] != "Mine" || got["version"] != 3.0 {
		t.Errorf("both changes stand: %v", got)
	}
	if code, got, _ := s.call("operator", "PATCH", path, `{"name":"Old"}`, "If-Match", h.Get("ETag")); code != 409 || !strings.Contains(got["message"].(string), `"3"`) {
		t.Errorf("an old version: %d %v", code, got)
	}
	s.must(200, "operator", "PATCH", path, `{"name":"New"}`, "If-Match", `"3"`)
}

func TestStreamsSecretsTokens(t *testing.T) {
	s := newServer(t)
	m := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop","streams":[{"name":"web"},{"name":"app"}]}`)
	id := m["merchant_id"].(string)
	path := "/v1/merchants/" + id
	if n := len(m["streams"].([]any)); n != 2 {
		t.Fatalf("%d streams", n)
	}
	added := s.must(201, "operator", "POST", path+"/streams", `{"name":"server"}`)
	stream := path + "/streams/" + added["measurement_id"].(string)
	second := s.must(201, "operator", "POST", stream+"/secrets", "")
	has := func(secret any) bool {
		kept := s.store.kept(t, id)
		return kept.Stream(added["measurement_id"].(string)).HasSecret(secret.(string))
	}
	if !has(added["api_secret"]) || !has(second["api_secret"]) {
		t.Error("both secrets hold")
	}
	s.must(204, "operator", "DELETE", stream+"/secrets/"+added["api_secrets"].([]any)[0].(string), "")
	if has(added["api_secret"]) || !has(second["api_secret"]) {
		t.Error("exactly the removed secret is gone")
	}
	s.must(204, "operator", "DELETE", stream+"/secrets/"+string(access.HashOf(second["api_secret"].(string))), "")
	if got := s.must(200, "operator", "PATCH", stream, `{"disabled":true}`); got["disabled"] != true || got["name"] != "server" {
		t.Errorf("%v", got)
	}
	token := s.must(201, "operator", "POST", path+"/report-tokens", "")
	s.must(200, token["report_token"].(string), "GET", path, "")
	s.must(204, "operator", "DELETE", path+"/report-tokens/"+token["id"].(string), "")
	s.must(401, token["report_token"].(string), "GET", path, "")
	for range access.MaxTokens - 1 {
		s.must(201, "operator", "POST", path+"/report-tokens", "")
	}
	s.must(409, "operator", "POST", path+"/report-tokens", "")
}

func TestListPages(t *testing.T) {
	s := newServer(t)
	for range 5 {
		s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`)
	}
	seen, cursor := 0, ""
	for pages := 0; pages < 5; pages++ {
		page := s.must(200, "operator", "GET", "/v1/merchants?limit=2&cursor="+cursor, "")
		seen += len(page["merchants"].([]any))
		if page["next"] == nil {
			break
		}
		cursor = page["next"].(string)
	}
	if seen != 5 {
		t.Errorf("saw %d merchants of 5", seen)
	}
}

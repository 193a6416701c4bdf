package merchant

import (
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/erasure"
)

func TestErasures(t *testing.T) {
	s := newServer(t)
	m := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Shop"}`)
	other := s.must(201, "operator", "POST", "/v1/merchants", `{"name":"Other"}`)
	path := "/v1/merchants/" + m["merchant_id"].(string) + "/erasures"
	for body, field := range map[string]string{
		`{"reason":"asked for"}`:                                       "client_id",
		`{"client_id":"c","user_id":"u","reason":"asked for"}`:         "user_id",
		`{"user_id":"u"}`:                                              "reason",
		`{"user_id":"u","reason":"asked for","thorough":true}`:         "thorough",
		`{"user_id":7,"reason":"asked for"}`:                           "body",
		`{"user_id":"` + strings.Repeat("x", 2000) + `","reason":"r"}`: "user_id",
	} {
		if _, got, _ := s.call("operator", "POST", path, body); got["field"] != field {
			t.Errorf("%.60s: %v, want field %s", body, got, field)
		}
	}
	body := `{"user_id":"anna@example.com","reason":"she asked for it","by":"operator"}`
	s.must(401, "", "POST", path, body)
	s.must(403, m["report_token"].(string), "POST", path, body)
	s.must(404, "operator", "POST", "/v1/merchants/nobody/erasures", body)

	code, got, header := s.call("operator", "POST", path, body)
	if code != 202 || got["state"] != "waiting" || !strings.HasPrefix(header.Get("Location"), path+"/e") {
		t.Fatalf("%d %v %v", code, got, header)
	}
	her := &erasure.Person{User: "anna@example.com"}
	if subject := got["subject"].(string); !her.Is(subject) || (&erasure.Person{Client: "anna@example.com"}).Is(subject) {
		t.Errorf("the subject %q is not hers alone", subject)
	}
	if again := s.must(200, "operator", "GET", header.Get("Location"), ""); again["id"] != got["id"] {
		t.Errorf("%v", again)
	}
	second := s.must(202, "operator", "POST", path, `{"client_id":"c","reason":"r"}`)
	// The clock stands still, so that chance orders the two.
	first, last := min(got["id"].(string), second["id"].(string)), max(got["id"].(string), second["id"].(string))
	for cursor, want := range map[string]string{"": first, first: last} {
		page := s.must(200, "operator", "GET", path+"?limit=1&cursor="+cursor, "")
		if list := page["erasures"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != want || page["next"] != want {
			t.Errorf("the page after %q: %v", cursor, page)
		}
	}
	if page := s.must(200, "operator", "GET", path+"?cursor="+last, ""); len(page["erasures"].([]any)) != 0 || page["next"] != nil {
		t.Errorf("the page after the last: %v", page)
	}
	s.must(404, "operator", "GET", "/v1/merchants/"+other["merchant_id"].(string)+"/erasures/"+got["id"].(string), "")
}

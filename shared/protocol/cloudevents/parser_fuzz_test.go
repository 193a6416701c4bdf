package cloudevents

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/event"
)

func FuzzParse(f *testing.F) {
	f.Add("application/cloudevents+json", "", structuredDoc(purchase))
	f.Add("application/cloudevents-batch+json", "", "["+structuredDoc(purchase)+",{},7]")
	f.Add("text/plain", "", structuredDoc(`{"name":"a","x":"\u0000\ud800 1.2.3.4 ::1"}`))
	f.Add("application/json", "e%2", purchase)
	f.Fuzz(func(t *testing.T, contentType, id, body string) {
		h := header("Content-Type", contentType)
		if id != "" {
			h = http.Header{"Content-Type": {contentType}, "Ce-Id": {id}, "Ce-Specversion": {"1.0"}, "Ce-Source": {"/"},
				"Ce-Type": {event.TypeEvent}, "Ce-Measurementid": {"G-1"}}
		}
		var p Parser
		r, err := p.Parse(h, []byte(body), arrival)
		if err != nil {
			return
		}
		if len(r.Events) != len(r.Claims) || len(r.Events) != len(r.Index) || len(r.Events)+len(r.Refused) != r.Total {
			t.Fatalf("%d events, %d claims, %d places, %d refused of %d", len(r.Events), len(r.Claims), len(r.Index), len(r.Refused), r.Total)
		}
		for i := range r.Events {
			e := &r.Events[i]
			if e.Extra != "" && !json.Valid([]byte(e.Extra)) {
				t.Fatalf("extra is no JSON: %q", e.Extra)
			}
			encoded := event.EncodeEvent(e)
			got, err := event.DecodeEvent(encoded)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(*e, got); d != "" {
				t.Fatal(d)
			}
			for _, s := range []string{e.ID, e.Name, e.PageTitle, e.Extra, e.ClientID, e.Source} {
				if !utf8.ValidString(s) {
					t.Fatalf("%q is not UTF-8", s)
				}
			}
		}
		for _, refused := range r.Refused {
			if refused.Field == "" || refused.Detail == "" || len(refused.Data) > MaxRefused {
				t.Fatalf("refused %+v", refused)
			}
		}
	})
}

package cloudevents

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestClientHints(t *testing.T) {
	for hints, want := range map[string]string{
		`{"sec-ch-ua": "\"A\";v=\"1\"", "Sec-CH-UA-Mobile": "?1", "sec-ch-ua-model": "\"Pixel 8\"", "sec-ch-ua-arch": "\"arm\"", "sec-ch-ua-platform": null}`: ": \"A\";v=\"1\"\nmobile: ?1\nmodel: \"Pixel 8\"",
		`{"sec-ch-ua-platform-version": "\"15\n\"", "sec-ch-ua-full-version-list": ""}`:                                                                       "platform-version: \"15\"",
		`{}`:                     "",
		`"sec-ch-ua"`:            "fault data.client_hints",
		`{"user-agent": "x"}`:    `fault data.client_hints.user-agent`,
		`{"sec-ch-ua-model": 7}`: `fault data.client_hints.sec-ch-ua-model`,
	} {
		var p Parser
		body := `{"specversion":"1.0","type":"footfall.event.v1","source":"/t","id":"1","measurementid":"G-1","data":{"name":"page_view","title":"x","client_hints":` + hints + `}}`
		h := http.Header{"Content-Type": {"application/cloudevents+json"}}
		r, err := p.Parse(h, []byte(body), time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(r.Events) == 1 {
			got = r.Events[0].Hints
		} else {
			got = fmt.Sprint("fault ", r.Refused[0].Field)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", hints, got, want)
		}
	}
}

package delivery

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

func deadLetter(st *stage) {
	long := strings.Repeat("x", 1500) + strings.Repeat("y", 1500)
	st.answers(func(a *arrival) answer {
		switch {
		case strings.HasSuffix(a.id(), ".long"):
			return answer{status: 422, header: map[string]string{"Kne-Reason": "no such stream", "X-Other": "x", "Content-Type": "text/plain"}, body: long}
		case strings.HasSuffix(a.id(), ".short"):
			return answer{status: 500, body: "\x00out of order"}
		}
		return answer{status: 422}
	})
	e := st.event("linear-2", "long", "partitionkey", "m1", "measurementid", "G-1")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	if err := e.SetData("application/octet-stream", []byte{0, 1, 0xff}); err != nil {
		st.t.Fatal(err)
	}
	st.send(e, st.event("linear-2", "short"), st.event("linear-2", "bare"))

	dest := st.sys.sub.url + "/linear-2"
	l := st.letter("long")
	wantAttributes(st.t, "long", l.attributes, map[string]string{
		"knativeerrordest": dest, "knativeerrorcode": "422", "knativeerrordata": base64.StdEncoding.EncodeToString([]byte(long[:1024])),
		"reason": "no such stream",
		// and the event as it was
		"specversion": "1.0", "id": e.ID(), "type": "footfall.delivery.linear-2", "source": "/footfall/delivery", "time": "2026-01-02T03:04:05Z",
		"partitionkey": "m1", "measurementid": "G-1", "content-type": "application/octet-stream",
	}, "x-other", "other")
	if l.key != "m1" || string(l.value) != "\x00\x01\xff" {
		st.t.Errorf("long: key %q, value %q", l.key, l.value)
	}
	if !slices.Contains(l.headers, "ce_knativeerrorcode") || !slices.Contains(l.headers, "content-type") {
		st.t.Errorf("not binary mode: headers %v", l.headers)
	}
	a := st.arrivals("/linear-2", "long")[0]
	wantAttributes(st.t, "long", l.attributes, map[string]string{
		"knativekafkapartition": a.attributes()["knativekafkapartition"], "knativekafkaoffset": a.attributes()["knativekafkaoffset"],
	})
	wantAttributes(st.t, "short", st.letter("short").attributes, map[string]string{
		"knativeerrorcode": "500", "knativeerrordata": base64.StdEncoding.EncodeToString([]byte("\x00out of order")),
	})
	wantAttributes(st.t, "bare", st.letter("bare").attributes, map[string]string{"knativeerrordest": dest, "knativeerrorcode": "422"}, "knativeerrordata", "reason")
	st.settled("linear-2")
	for _, short := range []string{"long", "short", "bare"} {
		if n := len(st.sys.letters.of(st.id(short))); n != 1 {
			st.t.Errorf("%s has %d dead letters", short, n)
		}
	}
}

func deadLetterByURL(st *stage) {
	st.answers(func(a *arrival) answer {
		switch {
		case a.path != "/letters":
			return answer{status: 422, body: "no"}
		case a.try < 3:
			return answer{status: 503}
		}
		return answer{status: 202}
	})
	st.send(st.event("letter-by-url", "a"))
	got := st.awaitArrivals("/letters", "a", 3)
	st.settled("letter-by-url")
	if n := len(st.arrivals("/letters", "a")); n != 3 {
		st.t.Errorf("%d attempts at the dead letter, want 3", n)
	}
	for n := 1; n <= 2; n++ {
		if gap, law := got[n].at.Sub(got[n-1].at), 100*time.Millisecond*time.Duration(n); gap < law {
			st.t.Errorf("retry %d came after %v, want at least %v", n, gap, law)
		}
	}
	wantAttributes(st.t, "dead letter", got[2].attributes(), map[string]string{
		"knativeerrorcode": "422", "knativeerrordest": st.sys.sub.url + "/letter-by-url", "knativeerrordata": base64.StdEncoding.EncodeToString([]byte("no")),
	})
}

// failedDeadLetter has the sink refuse, be unavailable, and answer with a
// text: each time the event is lost.
func failedDeadLetter(st *stage) {
	attempts := map[string]int{"refused": 1, "unavailable": 3, "text": 1}
	st.answers(func(a *arrival) answer {
		switch {
		case strings.HasSuffix(a.id(), ".next"):
			return answer{status: 204}
		case a.path != "/letters":
			return answer{status: 422}
		case strings.HasSuffix(a.id(), ".refused"):
			return answer{status: 400}
		case strings.HasSuffix(a.id(), ".unavailable"):
			return answer{status: 503}
		}
		return answer{status: 200, body: "ok"}
	})
	for short := range attempts {
		st.send(st.event("letter-by-url", short, "partitionkey", "one"))
	}
	st.send(st.event("letter-by-url", "next", "partitionkey", "one"))
	st.awaitArrivals("/letter-by-url", "next", 1)
	st.settled("letter-by-url")
	for short, want := range attempts {
		if n := len(st.arrivals("/letters", short)); n != want {
			st.t.Errorf("%s: %d attempts at the dead letter, want %d", short, n, want)
		}
		if n := len(st.arrivals("/letter-by-url", short)); n != 1 {
			st.t.Errorf("%s: %d deliveries, want 1", short, n)
		}
	}
}

func noDeadLetter(st *stage) {
	st.answers(func(a *arrival) answer {
		if strings.HasSuffix(a.id(), ".lost") {
			return answer{status: 503}
		}
		return answer{status: 204}
	})
	st.send(st.event("no-letter", "lost", "partitionkey", "one"), st.event("no-letter", "next", "partitionkey", "one"))
	st.awaitArrivals("/no-letter", "next", 1)
	st.settled("no-letter")
	if n := len(st.arrivals("/no-letter", "lost")); n != 2 {
		st.t.Errorf("%d attempts, want 2", n)
	}
	st.noLetter("lost", "next")
}

func foreignBody(st *stage) {
	bodies := map[string]answer{
		"text":      {status: 200, header: map[string]string{"Content-Type": "text/plain"}, body: "ok"},
		"json":      {status: 202, header: map[string]string{"Content-Type": "application/json"}, body: `{"accepted":1}`},
		"malformed": {status: 200, header: map[string]string{"Ce-Specversion": "1.0", "Content-Type": "text/plain"}, body: "no id, type and source"},
		"batch":     {status: 200, header: map[string]string{"Content-Type": "application/cloudevents-batch+json"}, body: "[]"},
	}
	empty := answer{status: 200, header: map[string]string{"Content-Type": "application/json"}}
	short := func(a *arrival) string { return strings.TrimPrefix(a.id(), st.name+".") }
	st.answers(func(a *arrival) answer {
		if ans, ok := bodies[short(a)]; ok {
			return ans
		}
		return empty
	})
	for name := range bodies {
		st.send(st.event("linear-2", name))
	}
	st.send(st.event("linear-2", "empty"))
	for name := range bodies {
		wantAttributes(st.t, name, st.letter(name).attributes, map[string]string{"knativeerrordest": st.sys.sub.url + "/linear-2"}, "knativeerrorcode", "knativeerrordata")
		if n := len(st.arrivals("/linear-2", name)); n != 1 {
			st.t.Errorf("%s: %d attempts, want 1", name, n)
		}
	}
	st.awaitArrivals("/linear-2", "empty", 1)
	st.settled("linear-2")
	st.noLetter("empty")
}

func reply(st *stage) {
	st.answers(func(a *arrival) answer {
		switch {
		case a.path != "/reply":
			return answer{status: 204}
		case strings.HasSuffix(a.id(), ".binary"):
			return answer{status: 200, body: "re", header: map[string]string{
				"Ce-Specversion": "1.0", "Ce-Id": a.id() + "-re", "Ce-Type": "footfall.delivery.replied", "Ce-Source": "/subscriber",
				"Ce-Partitionkey": "k", "Content-Type": "text/plain",
			}}
		}
		return answer{status: 202, header: map[string]string{"Content-Type": "application/cloudevents+json"},
			body: `{"specversion":"1.0","id":"` + a.id() + `-re","type":"footfall.delivery.replied","source":"/subscriber","data":{"a":1}}`}
	})
	st.send(st.event("reply", "binary"), st.event("reply", "structured"))
	got := st.awaitArrivals("/replied", "binary-re", 1)[0]
	wantAttributes(st.t, "the answer", got.attributes(), map[string]string{"source": "/subscriber", "partitionkey": "k", "content-type": "text/plain"})
	if string(got.body) != "re" {
		st.t.Errorf("body %q", got.body)
	}
	got = st.awaitArrivals("/replied", "structured-re", 1)[0]
	if text := strings.ReplaceAll(string(got.body), " ", ""); text != `{"a":1}` {
		st.t.Errorf("body %q", text)
	}
	st.settled("reply")
	st.settled("replied")
	if n := len(st.all()); n != 4 {
		st.t.Errorf("%v were delivered, want two events and two answers", st.seen())
	}
	st.noLetter("binary", "structured")
}

package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// The statuses, and whether a retry follows.
var retried = map[int]bool{404: true, 408: true, 409: true, 429: true, 500: true, 501: true, 502: true, 503: true, 504: true, 507: true, 599: true}

func statuses(st *stage) {
	// Each event says in an extension what it wants to be answered.
	st.answers(func(a *arrival) answer {
		code, err := strconv.Atoi(a.header.Get("Ce-Answer"))
		if err != nil {
			return answer{status: 400}
		}
		if a.path != "/linear-2" {
			return answer{status: 204}
		}
		if code == 303 { // which Knative's follows with a GET, see eventing/README.md
			return answer{status: code}
		}
		return answer{status: code, header: map[string]string{"Location": st.sys.sub.url + "/elsewhere"}}
	})
	good := []int{200, 201, 202, 203, 204, 206, 207, 299}
	final := []int{300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 405, 406, 410, 412, 413, 415, 418, 422, 423, 425, 426, 428, 431, 451, 499}
	var events []cloudevents.Event
	bad := append([]int(nil), final...)
	for code := range retried {
		bad = append(bad, code)
	}
	for _, code := range append(append([]int(nil), good...), bad...) {
		events = append(events, st.event("linear-2", strconv.Itoa(code), "answer", strconv.Itoa(code)))
	}
	st.send(events...)
	for _, code := range bad {
		short := strconv.Itoa(code)
		wantAttributes(st.t, "dead letter of "+short, st.letter(short).attributes, map[string]string{"knativeerrorcode": short, "knativeerrordest": st.sys.sub.url + "/linear-2"})
		want := 1
		if retried[code] {
			want = 3
		}
		if n := len(st.arrivals("/linear-2", short)); n != want {
			st.t.Errorf("%d: %d attempts, want %d", code, n, want)
		}
		if n := len(st.arrivals("/elsewhere", short)); n != 0 {
			st.t.Errorf("%d: the redirect was followed", code)
		}
	}
	st.settled("linear-2")
	for _, code := range good {
		short := strconv.Itoa(code)
		st.noLetter(short)
		if n := len(st.arrivals("/linear-2", short)); n != 1 {
			st.t.Errorf("%d: %d attempts, want 1", code, n)
		}
	}
}

func exponential(st *stage) {
	pauses(st, "exponential", func(n int) time.Duration { return 100 * time.Millisecond << n })
}

func linear(st *stage) {
	pauses(st, "linear", func(n int) time.Duration { return 100 * time.Millisecond * time.Duration(n) })
}

// pauses measures the time between the arrivals at the subscriber. None may be
// shorter than the law says; a machine under load may make any longer, but
// hardly the same one of five events. With a second on top, the fourth pause of
// either law does not fit the other.
func pauses(st *stage, trigger string, law func(n int) time.Duration) {
	const retries = 4
	st.answers(status(503))
	shorts := []string{"a", "b", "c", "d", "e"}
	for _, short := range shorts {
		st.send(st.event(trigger, short))
	}
	shortest := make([]time.Duration, retries+1)
	for _, short := range shorts {
		st.letter(short) // so all is over
		got := st.arrivals("/"+trigger, short)
		if len(got) != 1+retries {
			st.t.Fatalf("%s: %d attempts, want %d", short, len(got), 1+retries)
		}
		for n := 1; n <= retries; n++ {
			gap := got[n].at.Sub(got[n-1].at)
			if gap < law(n) {
				st.t.Errorf("%s: retry %d came after %v, want at least %v", short, n, gap, law(n))
			}
			if shortest[n] == 0 || gap < shortest[n] {
				shortest[n] = gap
			}
		}
	}
	for n := 1; n <= retries; n++ {
		if most := law(n) + time.Second; shortest[n] > most {
			st.t.Errorf("retry %d came after %v at best, want at most %v", n, shortest[n], most)
		}
	}
	st.t.Logf("pauses at best: %v", shortest[1:])
}

func once(st *stage) {
	st.answers(status(503))
	st.send(st.event("once", "a"))
	wantAttributes(st.t, "dead letter", st.letter("a").attributes, map[string]string{"knativeerrorcode": "503"})
	if n := len(st.arrivals("/once", "a")); n != 1 {
		st.t.Errorf("%d attempts, want 1", n)
	}
}

func recovers(st *stage) {
	st.answers(func(a *arrival) answer {
		switch a.try {
		case 1:
			return answer{status: 503, header: map[string]string{"Retry-After": "3600"}, body: "busy"}
		case 2:
			return answer{status: 429, header: map[string]string{"Retry-After": "3600"}}
		}
		return answer{status: 204}
	})
	e := st.event("plain", "a", "partitionkey", "k")
	if err := e.SetData("text/plain", []byte("hello")); err != nil {
		st.t.Fatal(err)
	}
	st.send(e)
	const path = "/plain?from=trigger"
	st.awaitArrivals(path, "a", 3)
	st.settled("plain")
	got := st.arrivals(path, "a")
	if len(got) != 3 {
		st.t.Errorf("%d attempts, want 3", len(got))
	}
	for i, a := range got {
		if string(a.body) != "hello" || fmt.Sprint(a.attributes()) != fmt.Sprint(got[0].attributes()) {
			st.t.Errorf("attempt %d brought %v %q", i+1, a.attributes(), a.body)
		}
	}
	st.noLetter("a")
}

// The Trigger slow has a timeout of 1 s and one retry after 0.1 s.
func timeout(st *stage) {
	st.answers(func(a *arrival) answer {
		if a.try == 1 || strings.HasSuffix(a.id(), ".never") {
			<-a.gone // not before the sender has given up
		}
		return answer{status: 202}
	})
	begin := time.Now()
	st.send(st.event("slow", "once"), st.event("slow", "never"))
	got := st.awaitArrivals("/slow", "once", 2)
	// The clock of an attempt starts before the attempt arrives, so from begin.
	if passed := got[1].at.Sub(begin); passed < 1100*time.Millisecond {
		st.t.Errorf("the second attempt came %v after the event was sent, want at least 1.1 s", passed)
	}
	letter := st.letter("never")
	wantAttributes(st.t, "dead letter", letter.attributes, map[string]string{"knativeerrordest": st.sys.sub.url + "/slow"}, "knativeerrorcode", "knativeerrordata")
	if n := len(st.arrivals("/slow", "never")); n != 2 {
		st.t.Errorf("%d attempts, want 2", n)
	}
	st.settled("slow")
	st.noLetter("once")
}

func brokenConnection(st *stage) {
	st.answers(func(a *arrival) answer {
		return answer{hangUp: a.try == 1 || strings.HasSuffix(a.id(), ".always"), status: 202}
	})
	st.send(st.event("linear-2", "once"), st.event("linear-2", "always"))
	st.awaitArrivals("/linear-2", "once", 2)
	wantAttributes(st.t, "dead letter", st.letter("always").attributes, map[string]string{"knativeerrordest": st.sys.sub.url + "/linear-2"}, "knativeerrorcode", "knativeerrordata")
	if n := len(st.arrivals("/linear-2", "always")); n != 3 {
		st.t.Errorf("%d attempts, want 3", n)
	}
	st.settled("linear-2")
	st.noLetter("once")
}

package revision

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestValidate(t *testing.T) {
	valid := func() Request { return Request{From: noon.Add(-time.Hour), Reason: "bots"} }
	for _, c := range []struct {
		name   string
		change func(*Request)
		field  string // at fault; "" none
	}{
		{"least", func(*Request) {}, ""},
		{"no from", func(r *Request) { r.From = time.Time{} }, "from"},
		{"before the epoch", func(r *Request) { r.From = time.Unix(-1, 0) }, "from"},
		{"the epoch", func(r *Request) { r.From = time.Unix(0, 0) }, ""},
		{"from now", func(r *Request) { r.From = noon }, "from"},
		{"from in the future", func(r *Request) { r.From = noon.Add(time.Hour) }, "from"},
		{"to before from", func(r *Request) { r.To = noon.Add(-2 * time.Hour) }, "to"},
		{"to at from", func(r *Request) { r.To = r.From }, "to"},
		{"to within from's second", func(r *Request) { r.To = r.From.Add(999 * time.Millisecond) }, "to"},
		{"to in the future", func(r *Request) { r.To = noon.Add(time.Hour) }, ""},
		{"lateness", func(r *Request) { r.To, r.Lateness = noon, "48h" }, ""},
		{"no lateness", func(r *Request) { r.Lateness = "0" }, ""},
		{"lateness without to", func(r *Request) { r.Lateness = "1s" }, "lateness"},
		{"lateness of days", func(r *Request) { r.To, r.Lateness = noon, "2d" }, "lateness"},
		{"lateness below zero", func(r *Request) { r.To, r.Lateness = noon, "-1h" }, "lateness"},
		{"longest lateness", func(r *Request) { r.To, r.Lateness = noon, "9600h" }, ""},
		{"too long a lateness", func(r *Request) { r.To, r.Lateness = noon, "9601h" }, "lateness"},
		{"merchants", func(r *Request) { r.Merchants = []string{"m2", "m1", "m2"} }, ""},
		{"a merchant without a name", func(r *Request) { r.Merchants = []string{"m", ""} }, "merchants"},
		{"too many merchants", func(r *Request) { r.Merchants = make([]string, maxMerchants+1) }, "merchants"},
		{"no reason", func(r *Request) { r.Reason = " \n" }, "reason"},
		{"long reason", func(r *Request) { r.Reason = strings.Repeat("ä", maxReason) }, ""},
		{"too long a reason", func(r *Request) { r.Reason = strings.Repeat("ä", maxReason+1) }, "reason"},
		{"publish", func(r *Request) { r.Mode, r.Bounds = ModePublish, Bounds{Events: 0.01, Merchants: 3} }, ""},
		{"another mode", func(r *Request) { r.Mode = "Publish" }, "mode"},
		{"bounds below zero", func(r *Request) { r.Bounds.Events = -0.1 }, "bounds.events"},
		{"bounds that are no number", func(r *Request) { r.Bounds.Events = math.NaN() }, "bounds.events"},
		{"bounds without an end", func(r *Request) { r.Bounds.Events = math.Inf(1) }, "bounds.events"},
		{"merchants below zero", func(r *Request) { r.Bounds.Merchants = -1 }, "bounds.merchants"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := valid()
			c.change(&r)
			err := r.Validate(noon)
			if c.field == "" {
				if err != nil {
					t.Fatalf("unexpected error: %v", err)
				}
				return
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != c.field {
				t.Fatalf("error is %v, expected an invalid field %q", err, c.field)
			}
		})
	}
}

func TestValidateSets(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	r := Request{From: noon.Add(-time.Hour + 5*time.Millisecond).In(berlin), To: noon.Add(time.Millisecond), Reason: " bots ", Merchants: []string{"b", "a", "b"}}
	if err := r.Validate(noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want := Request{From: noon.Add(-time.Hour), To: noon, Reason: "bots", Merchants: []string{"a", "b"}, Mode: ModeCompare}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("request (- expected, + found):\n%s", diff)
	}
}

func TestOverlaps(t *testing.T) {
	of := func(merchants ...string) *Job { return &Job{Request: Request{Merchants: merchants}} }
	for _, c := range []struct {
		a, b *Job
		want bool
	}{
		{of(), of(), true}, {of(), of("a"), true}, {of("a"), of("a"), true}, {of("a", "c"), of("b", "c"), true},
		{of("a"), of("b"), false}, {of("a", "c"), of("b", "d"), false},
	} {
		if c.a.Overlaps(c.b) != c.want || c.b.Overlaps(c.a) != c.want {
			t.Errorf("%v and %v: expected %t", c.a.Merchants, c.b.Merchants, c.want)
		}
	}
	if j := of("a", "c"); !j.Covers("c") || j.Covers("b") || !of().Covers("b") {
		t.Error("a job does not cover its merchants only")
	}
}

func TestOpen(t *testing.T) {
	for _, s := range []State{Planned, Replaying, Building, Comparing, Compared, Published, RolledBack, Discarded, Failed, Refused} {
		if want := s != Published && s != Discarded && s != Refused; s.Open() != want {
			t.Errorf("%s: expected open %t", s, want)
		}
	}
}

func TestBook(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	all := Publications{
		{Revision: 2, Flips: []Flip{{At: at(10), On: true}, {At: at(20)}, {At: at(30), On: true}}},
		{Revision: 4, Flips: []Flip{{At: at(20), On: true}}},
	}
	for _, c := range []struct {
		second    int
		two, four bool
	}{{0, false, false}, {9, false, false}, {10, true, false}, {19, true, false}, {20, false, true}, {30, true, true}} {
		b := all.At(at(c.second))
		if b.Published(2) != c.two || b.Published(4) != c.four || b.Published(3) || !b.Published(access.LiveRevision) {
			t.Errorf("second %d: published are 2: %t, 3: %t, 4: %t, live: %t", c.second, b.Published(2), b.Published(3), b.Published(4), b.Published(access.LiveRevision))
		}
		if none := (Publications{}).At(at(c.second)); none.Published(2) || !none.Published(access.LiveRevision) {
			t.Error("without publications, live is published and nothing else")
		}
	}
	if !(Book{}).Published(access.LiveRevision) {
		t.Error("live is published in the zero book, too")
	}
}

func TestLayer(t *testing.T) {
	j := Job{Revision: 3, Request: Request{From: noon}, Cut: noon.Add(time.Second)}
	want := access.Layer{Revision: 3, From: noon.UnixMilli(), To: noon.UnixMilli() + 1000}
	if got := j.Layer(); got != want {
		t.Errorf("layer is %+v, expected %+v", got, want)
	}
}

// A job is kept as JSON: what it says must come back.
func TestJSON(t *testing.T) {
	j := Job{
		Revision: 3, Version: 4, Request: Request{From: noon, To: noon.Add(time.Hour), Lateness: "1h", Merchants: []string{"a"}, Reason: "r", Mode: ModePublish, Bounds: Bounds{Events: 0.5}, By: "o"},
		RequestID: "w", CreatedAt: noon, State: Published, Since: noon, Cut: noon,
		Phases:   []Phase{{Name: Replaying, Shards: 2, Begun: noon, Ended: noon, Planned: true}},
		Problems: []Problem{{Shard: "s", Path: "p", Detail: "d"}}, ProblemCount: 2,
		Flips: []Flip{{At: noon, On: true, By: "o", Reason: "r"}}, Swept: noon,
	}
	doc, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var got Job
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, got); diff != "" {
		t.Errorf("job (- expected, + found):\n%s", diff)
	}
}

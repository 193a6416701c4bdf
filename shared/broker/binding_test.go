package broker_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/fault"
)

func sample() cloudevents.Event {
	e := cloudevents.New()
	e.SetID("0190163d")
	e.SetType("footfall.batch.accepted.v1")
	e.SetSource("/ingest/a?b=c")
	e.SetSubject("G-1")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("", 3600)))
	e.SetDataSchema("https://example.org/batch")
	e.SetExtension("partitionkey", "m1")
	e.SetExtension("attempt", 3)
	if err := e.SetData("application/vnd.apache.avro+batch", []byte{0, 1, 2, 0xff}); err != nil {
		panic(err)
	}
	return e
}

func sorted(m broker.Message) []string {
	var s []string
	for _, h := range m.Headers {
		s = append(s, h.Key+": "+string(h.Value))
	}
	slices.Sort(s)
	return s
}

func TestEncodeGolden(t *testing.T) {
	e := sample()
	m, err := broker.Encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ce_attempt: 3", "ce_dataschema: https://example.org/batch", "ce_id: 0190163d", "ce_partitionkey: m1", "ce_source: /ingest/a?b=c",
		"ce_specversion: 1.0", "ce_subject: G-1", "ce_time: 2026-01-02T02:04:05.6Z", "ce_type: footfall.batch.accepted.v1",
		"content-type: application/vnd.apache.avro+batch",
	}
	if d := cmp.Diff(want, sorted(m)); d != "" {
		t.Error(d)
	}
	if string(m.Key) != "m1" || !bytes.Equal(m.Value, []byte{0, 1, 2, 0xff}) {
		t.Errorf("key %q, value %q", m.Key, m.Value)
	}
}

func TestEncodeLeavesOutWhatIsAbsent(t *testing.T) {
	e := cloudevents.New()
	e.SetID("1")
	e.SetType("t")
	e.SetSource("s")
	m, err := broker.Encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ce_id: 1", "ce_source: s", "ce_specversion: 1.0", "ce_type: t"}, sorted(m)); d != "" {
		t.Error(d)
	}
	if m.Key != nil || m.Value != nil {
		t.Errorf("key %q, value %q", m.Key, m.Value)
	}
}

func TestVersion03BecomesVersion1(t *testing.T) {
	e := cloudevents.New("0.3")
	e.SetID("1")
	e.SetType("t")
	e.SetSource("s")
	m, err := broker.Encode(&e)
	if err != nil || !slices.Contains(sorted(m), "ce_specversion: 1.0") {
		t.Errorf("%v, %v", sorted(m), err)
	}
}

func TestEncodeRefusesWhatIsNoEvent(t *testing.T) {
	for field, spoil := range map[string]func(*cloudevents.EventContextV1){
		"id":     func(c *cloudevents.EventContextV1) { c.ID = "" },
		"type":   func(c *cloudevents.EventContextV1) { c.Type = "" },
		"source": func(c *cloudevents.EventContextV1) { c.Source.Path, c.Source.RawQuery = "", "" },
		"Bad":    func(c *cloudevents.EventContextV1) { c.Extensions["Bad"] = "x" },
		"odd":    func(c *cloudevents.EventContextV1) { c.Extensions["odd"] = struct{}{} },
	} {
		e := sample()
		spoil(e.Context.(*cloudevents.EventContextV1))
		if _, err := broker.Encode(&e); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := broker.Encode(&cloudevents.Event{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("empty: %v", err)
	}
}

func TestDecodeRefusals(t *testing.T) {
	good := map[string]string{"ce_specversion": "1.0", "ce_id": "1", "ce_type": "t", "ce_source": "s"}
	for name, c := range map[string]struct {
		change map[string]string
		value  string
		want   fault.Kind
		field  string
	}{
		"no version":      {map[string]string{"ce_specversion": ""}, "", fault.Invalid, "ce_specversion"},
		"unknown version": {map[string]string{"ce_specversion": "2.0"}, "", fault.Invalid, "ce_specversion"},
		"no id":           {map[string]string{"ce_id": ""}, "", fault.Invalid, "ce_id"},
		"no type":         {map[string]string{"ce_type": ""}, "", fault.Invalid, "ce_type"},
		"no source":       {map[string]string{"ce_source": ""}, "", fault.Invalid, "source"},
		"empty source":    {map[string]string{"ce_source": "#"}, "", fault.Invalid, "source"},
		"bad source":      {map[string]string{"ce_source": "%zz"}, "", fault.Invalid, "source"},
		"bad time":        {map[string]string{"ce_time": "yesterday"}, "", fault.Invalid, "time"},
		"bad schema":      {map[string]string{"ce_dataschema": "%zz"}, "", fault.Invalid, "dataschema"},
		"bad name":        {map[string]string{"ce_Bad-Name": "x"}, "", fault.Invalid, "Bad-Name"},
		"empty name":      {map[string]string{"ce_": "x"}, "", fault.Invalid, ""},
		"source no URI":   {map[string]string{"ce_source": "a b"}, "", fault.Invalid, "source"},
		"schema no URI":   {map[string]string{"ce_dataschema": "<a>"}, "", fault.Invalid, "dataschema"},
		"content type":    {map[string]string{"ce_datacontenttype": "x"}, "", fault.Invalid, "datacontenttype"},
		"batch":           {map[string]string{"content-type": "application/cloudevents-batch+json"}, "[]", fault.Unsupported, "content-type"},
		"broken JSON":     {map[string]string{"content-type": "application/cloudevents+json"}, "{", fault.Invalid, "structured"},
		"structured, no id": {map[string]string{"content-type": "application/cloudevents+json"},
			`{"specversion":"1.0","type":"t","source":"s"}`, fault.Invalid, "id"},
		"structured, source no URI": {map[string]string{"content-type": "application/cloudevents+json"},
			`{"specversion":"1.0","id":"1","type":"t","source":"a b"}`, fault.Invalid, "source"},
		"structured, data twice": {map[string]string{"content-type": "application/cloudevents+json"},
			`{"specversion":"1.0","id":"1","type":"t","source":"s","data":1,"data_base64":"AAH/"}`, fault.Invalid, "data_base64"},
		"structured, a fraction": {map[string]string{"content-type": "application/cloudevents+json"},
			`{"specversion":"1.0","id":"1","type":"t","source":"s","share":1.5}`, fault.Invalid, "share"},
	} {
		headers := map[string]string{}
		for k, v := range good {
			headers[k] = v
		}
		for k, v := range c.change {
			headers[k] = v
		}
		m := broker.Message{Value: []byte(c.value)}
		for k, v := range headers {
			m.Headers = append(m.Headers, broker.Header{Key: k, Value: []byte(v)})
		}
		if _, err := broker.Decode(&m); !fault.Is(err, c.want) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStructured(t *testing.T) {
	m := broker.Message{
		Headers: []broker.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=utf-8")}},
		Value:   []byte(`{"specversion":"1.0","id":"1","type":"t","source":"s","tick":"summary","datacontenttype":"application/json","data":{"a":1}}`),
	}
	e, err := broker.Decode(&m)
	if err != nil || e.ID() != "1" || e.Extensions()["tick"] != "summary" || string(e.Data()) != `{"a":1}` {
		t.Errorf("%v, %v", e, err)
	}
	m.Value = []byte(`{"specversion":"1.0","id":"1","type":"t","source":"s","data_base64":"AAH/"}`)
	if e, err = broker.Decode(&m); err != nil || !bytes.Equal(e.Data(), []byte{0, 1, 0xff}) || e.DataContentType() != "" {
		t.Errorf("%v, %v", e, err)
	}
	// Data of which nothing is said is JSON.
	m.Value = []byte(`{"specversion":"1.0","id":"1","type":"t","source":"s","count":-5,"data":"text"}`)
	if e, err = broker.Decode(&m); err != nil || string(e.Data()) != `"text"` || e.DataContentType() != "application/json" {
		t.Errorf("%v, %v", e, err)
	}
	// And where there is none, nothing is.
	m.Value = []byte(`{"specversion":"1.0","id":"1","type":"t","source":"s"}`)
	if e, err = broker.Decode(&m); err != nil || e.DataContentType() != "" {
		t.Errorf("%v, %v", e, err)
	}
}

func drawEvent(t *rapid.T) cloudevents.Event {
	text := rapid.StringMatching(`[ -~ä-ü]{1,20}`)
	e := cloudevents.New()
	e.SetID(text.Draw(t, "id"))
	e.SetType(text.Draw(t, "type"))
	e.SetSource(rapid.StringMatching(`[a-z/:.?=&-]{0,9}[a-z]`).Filter(func(s string) bool { return !strings.HasPrefix(s, ":") }).Draw(t, "source"))
	if e.Source() == "" { // such as "//": url.Parse made nothing of it
		e.SetSource("s")
	}
	if rapid.Bool().Draw(t, "has subject") {
		e.SetSubject(text.Draw(t, "subject"))
	}
	if rapid.Bool().Draw(t, "has time") {
		e.SetTime(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC())
	}
	for range rapid.IntRange(0, 4).Draw(t, "extensions") {
		e.SetExtension(rapid.StringMatching(`x[a-z0-9]{1,12}`).Draw(t, "name"), text.Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "has key") {
		e.SetExtension("partitionkey", text.Draw(t, "key"))
	}
	if rapid.Bool().Draw(t, "has data") {
		e.DataEncoded = rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "data")
		e.SetDataContentType("application/octet-stream")
	}
	return e
}

// An event that went through a topic is the same event.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		m, err := broker.Encode(&e)
		if err != nil {
			t.Skip(err) // a source that is no URI
		}
		got, err := broker.Decode(&m)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != e.String() || !bytes.Equal(got.Data(), e.Data()) {
			t.Fatalf("got %v, want %v", got, e)
		}
		again, err := broker.Encode(&got)
		if err != nil || !slices.Equal(sorted(again), sorted(m)) || m.Size() != again.Size() {
			t.Fatalf("again %v, %v; want %v", sorted(again), err, sorted(m))
		}
	})
}

// Over HTTP, the Go SDK reads what we write, and we read what it writes.
func TestHTTPAgreesWithTheSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		h := http.Header{}
		if err := broker.WriteHTTP(h, &e); err != nil {
			t.Skip(err)
		}
		if !broker.IsHTTPEvent(h) {
			t.Fatal("not known as an event")
		}
		theirs, err := binding.ToEvent(t.Context(), cehttp.NewMessage(h, body(e.Data())))
		if err != nil || theirs.String() != e.String() {
			t.Fatalf("the SDK reads %v, %v; want %v", theirs, err, e)
		}
		req, err := http.NewRequest("POST", "http://h/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := cehttp.WriteRequest(t.Context(), binding.ToMessage(&e), req); err != nil {
			t.Fatal(err)
		}
		ours, err := broker.ReadHTTP(req.Header, e.Data())
		if err != nil || ours.String() != e.String() {
			t.Fatalf("we read %v, %v; want %v", ours, err, e)
		}
	})
}

func TestHTTPEscapesControlBytes(t *testing.T) {
	e := sample()
	e.SetSubject("a\r\nEvil: 1\x00")
	h := http.Header{}
	if err := broker.WriteHTTP(h, &e); err != nil {
		t.Fatal(err)
	}
	if got := h.Get("Ce-Subject"); got != "a%0D%0AEvil: 1%00" {
		t.Errorf("%q", got)
	}
}

func FuzzDecode(f *testing.F) {
	e := sample()
	m, err := broker.Encode(&e)
	if err != nil {
		f.Fatal(err)
	}
	var flat bytes.Buffer
	for _, h := range m.Headers {
		flat.WriteString(h.Key + "=" + string(h.Value) + "\n")
	}
	f.Add(flat.String(), m.Value)
	f.Add("content-type=application/cloudevents+json\n", []byte(`{"specversion":"1.0","id":"1","type":"t","source":"s","data":{"a":1}}`))
	f.Add("content-type=application/cloudevents+json\n", []byte(`{"specversion":"0.3","id":"1","type":"t","source":"s","datacontentencoding":"base64","data":"AAE="}`))
	f.Add("ce_specversion=1.0\nce_id=1\nce_type=t\nce_source=%\nce_time=2026\n", []byte(nil))
	f.Add("ce_specversion=1.0\nce_id=1\nce_type=t\nce_source=#\n", []byte(nil))
	f.Fuzz(func(t *testing.T, headers string, value []byte) {
		m := broker.Message{Value: value}
		for line := range strings.Lines(headers) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			m.Headers = append(m.Headers, broker.Header{Key: k, Value: []byte(v)})
		}
		e, err := broker.Decode(&m)
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Unsupported) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := broker.Encode(&e)
		if err != nil {
			t.Fatalf("decoded what cannot be encoded: %v (%v)", err, e)
		}
		e2, err := broker.Decode(&again)
		if err != nil || e2.ID() != e.ID() || e2.Type() != e.Type() || !bytes.Equal(e2.Data(), e.Data()) {
			t.Fatalf("%v became %v, %v", e, e2, err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := sample()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.Encode(&e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	e := sample()
	m, err := broker.Encode(&e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.Decode(&m); err != nil {
			b.Fatal(err)
		}
	}
}

func body(data []byte) *nopCloser { return &nopCloser{bytes.NewReader(data)} }

type nopCloser struct{ *bytes.Reader }

func (*nopCloser) Close() error { return nil }

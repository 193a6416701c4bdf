package delivery

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// headersOf is a binary-mode request's headers for an event.
func headersOf(id string, change ...string) http.Header {
	h := http.Header{}
	all := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Type": "footfall.delivery.plain", "Ce-Source": "/footfall/delivery",
		"Content-Type": "text/plain",
	}
	for i := 0; i+1 < len(change); i += 2 {
		all[change[i]] = change[i+1]
	}
	for k, v := range all {
		if v != "" {
			h.Set(k, v)
		}
	}
	return h
}

func ingressAnswers(st *stage) {
	st.answers(status(204))
	structured := func(id string) []byte {
		return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"type":"footfall.delivery.plain","source":"/footfall/delivery","data":{"a":1}}`, id)
	}
	json := http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}
	unknown := st.sys.url[:strings.LastIndexByte(st.sys.url, '/')] + "/no-such-broker"
	for _, c := range []struct {
		name, method, url string
		header            http.Header
		body              []byte
		want              int
	}{
		{name: "binary", header: headersOf(st.id("binary")), body: []byte("hello"), want: 202},
		{name: "structured", header: json, body: structured(st.id("structured")), want: 202},
		{name: "no event", header: http.Header{"Content-Type": {"application/json"}}, body: []byte("{}"), want: 400},
		{name: "nothing at all", header: http.Header{}, want: 400},
		{name: "without id", header: headersOf(st.id("x"), "Ce-Id", ""), want: 400},
		{name: "without type", header: headersOf(st.id("x"), "Ce-Type", ""), want: 400},
		{name: "without source", header: headersOf(st.id("x"), "Ce-Source", ""), want: 400},
		{name: "with a source that is no URI", header: headersOf(st.id("x"), "Ce-Source", "a b"), want: 400},
		{name: "of an unknown version", header: headersOf(st.id("x"), "Ce-Specversion", "7.0"), want: 400},
		{name: "structured with data twice", header: json, want: 400,
			body: bytes.Replace(structured(st.id("x")), []byte(`"data":`), []byte(`"data_base64":"AAH/","data":`), 1)},
		{name: "broken structured", header: json, body: []byte(`{"specversion":"1.0"`), want: 400},
		{name: "a batch", header: http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, body: append(append([]byte("["), structured(st.id("x"))...), ']'), want: 400},
		{name: "unknown broker", url: unknown, header: headersOf(st.id("x")), want: 404},
		{name: "GET", method: http.MethodGet, header: headersOf(st.id("x")), want: 405},
		{name: "PUT", method: http.MethodPut, header: headersOf(st.id("x")), want: 405},
		{name: "DELETE", method: http.MethodDelete, header: headersOf(st.id("x")), want: 405},
	} {
		if c.method == "" {
			c.method = http.MethodPost
		}
		if c.url == "" {
			c.url = st.sys.url
		}
		code, text := st.post(c.method, c.url, c.header, c.body)
		if code != c.want || code == 202 && len(text) > 0 {
			st.t.Errorf("%s: %d %q, want %d", c.name, code, text, c.want)
		}
	}
	const path = "/plain?from=trigger"
	binary := st.awaitArrivals(path, "binary", 1)[0]
	if string(binary.body) != "hello" {
		st.t.Errorf("binary: body %q", binary.body)
	}
	// From structured to binary mode, in which the content type must be said.
	fromJSON := st.awaitArrivals(path, "structured", 1)[0]
	wantAttributes(st.t, "structured", fromJSON.attributes(), map[string]string{"type": "footfall.delivery.plain", "content-type": "application/json"})
	if got := strings.ReplaceAll(string(fromJSON.body), " ", ""); got != `{"a":1}` {
		st.t.Errorf("structured: body %q", got)
	}
	if n := len(st.arrivals(path, "x")); n > 0 {
		st.t.Errorf("%d refused events were delivered", n)
	}
}

// What Knative's producer takes by its settings: max.request.size 1 MiB, the
// record's own bytes included.
func oversize(st *stage) {
	st.answers(status(204))
	whole := bytes.Repeat([]byte("0123456789abcdef"), 700<<10/16)
	fits := st.event("plain", "fits")
	if err := fits.SetData("application/octet-stream", whole); err != nil {
		st.t.Fatal(err)
	}
	st.send(fits)
	for name, size := range map[string]int{"just over": 1<<20 + 1, "far over": 3 << 20} {
		if code, text := st.post(http.MethodPost, st.sys.url, headersOf(st.id("over")), make([]byte, size)); code != 503 {
			st.t.Errorf("%s: %d %q, want 503", name, code, text)
		}
	}
	got := st.awaitArrivals("/plain?from=trigger", "fits", 1)[0]
	if !bytes.Equal(got.body, whole) {
		st.t.Errorf("%d bytes arrived of %d, or others", len(got.body), len(whole))
	}
	st.settled("plain")
	if n := len(st.arrivals("/plain?from=trigger", "over")); n > 0 {
		st.t.Error("an oversize event was delivered")
	}
	st.noLetter("fits", "over")
}

func request(st *stage) {
	st.answers(status(202))
	full := st.event("plain", "full", "partitionkey", "m1", "measurementid", "G-1")
	full.SetSubject("shop/ä b")
	full.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC))
	full.SetDataSchema("https://schema.example/a")
	if err := full.SetData("application/octet-stream", []byte{0, 1, 0xff, '\n'}); err != nil {
		st.t.Fatal(err)
	}
	bare := st.event("plain", "bare")
	st.send(full, bare)

	const path = "/plain?from=trigger"
	got := st.awaitArrivals(path, "full", 1)[0]
	attributes := got.attributes()
	wantAttributes(st.t, "full", attributes, map[string]string{
		"specversion": "1.0", "id": full.ID(), "type": "footfall.delivery.plain", "source": "/footfall/delivery",
		"dataschema":   "https://schema.example/a",
		"partitionkey": "m1", "measurementid": "G-1", "content-type": "application/octet-stream",
	})
	if at, err := time.Parse(time.RFC3339Nano, attributes["time"]); err != nil || !at.Equal(full.Time()) {
		st.t.Errorf("time %q", attributes["time"])
	}
	// A character that is no ASCII may come as it is or percent-encoded.
	if s := attributes["subject"]; s != "shop/ä b" && s != "shop/%C3%A4%20b" && s != "shop/%C3%A4 b" {
		st.t.Errorf("subject %q (%s)", s, hex.EncodeToString([]byte(s)))
	}
	if got.header.Get("Prefer") != "reply" || got.header.Get("Kn-Namespace") != "footfall-delivery" {
		st.t.Errorf("Prefer %q, Kn-Namespace %q", got.header.Get("Prefer"), got.header.Get("Kn-Namespace"))
	}
	if !bytes.Equal(got.body, full.Data()) {
		st.t.Errorf("body %q", got.body)
	}
	partition, offset := got.place()
	end, ok := st.ends()[int(partition)]
	if !ok || offset >= end {
		st.t.Errorf("partition %q, offset %q", attributes["knativekafkapartition"], attributes["knativekafkaoffset"])
	}

	got = st.awaitArrivals(path, "bare", 1)[0]
	wantAttributes(st.t, "bare", got.attributes(), map[string]string{"id": bare.ID()}, "subject", "time", "dataschema", "partitionkey")
	if len(got.body) > 0 {
		st.t.Errorf("body %q of an event without data", got.body)
	}
}

// record in binary mode, as any producer may write it into the topic.
func record(st *stage, short, value string, change ...string) kafkago.Message {
	headers := map[string]string{
		"ce_specversion": "1.0", "ce_id": st.id(short), "ce_type": "footfall.delivery.plain", "ce_source": "/kafka-go", "content-type": "text/plain",
	}
	for i := 0; i+1 < len(change); i += 2 {
		headers[change[i]] = change[i+1]
	}
	m := kafkago.Message{Key: []byte("one"), Value: []byte(value)}
	for k, v := range headers {
		if v != "" {
			m.Headers = append(m.Headers, kafkago.Header{Key: k, Value: []byte(v)})
		}
	}
	return m
}

// produce writes records with kafka-go itself, and nothing of ours.
func produce(st *stage, messages ...kafkago.Message) {
	st.t.Helper()
	transport := &kafkago.Transport{}
	w := &kafkago.Writer{
		Addr: kafkago.TCP(st.sys.brokers...), Topic: st.sys.topic(), Balancer: kafkago.Murmur2Balancer{},
		RequiredAcks: kafkago.RequireAll, BatchTimeout: time.Millisecond, Transport: transport,
	}
	err := w.WriteMessages(st.t.Context(), messages...)
	_ = w.Close()
	transport.CloseIdleConnections()
	if err != nil {
		st.t.Fatal(err)
	}
}

func foreignRecords(st *stage) {
	st.answers(status(204))
	structured := kafkago.Message{
		Key:     []byte("one"),
		Headers: []kafkago.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		Value: fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"type":"footfall.delivery.plain","source":"/kafka-go","datacontenttype":"text/plain","data":"hello"}`,
			st.id("structured")),
	}
	empty := record(st, "empty", "", "content-type", "")
	empty.Value = nil
	produce(st, record(st, "binary", "hello", "ce_measurementid", "G-1", "ce_time", "2026-01-02T03:04:05.6Z"), structured, empty)

	const path = "/plain?from=trigger"
	wantAttributes(st.t, "binary", st.awaitArrivals(path, "binary", 1)[0].attributes(), map[string]string{
		"type": "footfall.delivery.plain", "source": "/kafka-go", "measurementid": "G-1", "time": "2026-01-02T03:04:05.6Z", "content-type": "text/plain",
	})
	for _, short := range []string{"binary", "structured"} {
		if got := string(st.awaitArrivals(path, short, 1)[0].body); got != "hello" {
			st.t.Errorf("%s: body %q", short, got)
		}
	}
	if got := st.awaitArrivals(path, "empty", 1)[0]; len(got.body) > 0 {
		st.t.Errorf("empty: body %q", got.body)
	}
}

func invalidRecords(st *stage) {
	st.answers(status(204))
	produce(st,
		kafkago.Message{Key: []byte("one"), Value: []byte("no event")},
		kafkago.Message{Key: []byte("one")},
		record(st, "without-type", "x", "ce_type", ""),
		record(st, "of-an-unknown-version", "x", "ce_specversion", "7.0"),
		record(st, "source-no-uri", "x", "ce_source", "a b"),
		record(st, "time-no-time", "x", "ce_time", "yesterday"),
		record(st, "name-no-name", "x", "ce_a_b", "x"),
		kafkago.Message{Key: []byte("one"), Value: []byte("{"), Headers: []kafkago.Header{{Key: "content-type", Value: []byte("application/cloudevents+json")}}},
		record(st, "next", "x"),
	)
	st.awaitArrivals("/plain?from=trigger", "next", 1)
	st.settled("plain")
	if n := len(st.all()); n != 1 {
		st.t.Errorf("%v was delivered, want one event", st.seen())
	}
	st.noLetter("without-type", "of-an-unknown-version", "source-no-uri", "time-no-time", "name-no-name", "next")
}

// The events of the scenario about filters, and by hand which Trigger takes
// which of them.
func filters(st *stage) {
	st.answers(status(204))
	for short, attributes := range map[string]map[string]string{
		"a": {"subject": "shop/1/paid", "color": "red", "count": "11"},
		"b": {"subject": "cart/2", "color": "red"},
		"c": {"subject": "shop/3/open", "color": "blue", "count": "9"},
		"d": {"subject": "cart/4/paid", "color": "blue", "count": "100"},
		"e": {"subject": "shop/5/paid"},
		"f": {"count": "many"},
	} {
		e := st.event("filter", short)
		e.SetSubject(attributes["subject"])
		delete(attributes, "subject")
		for k, v := range attributes {
			e.SetExtension(k, v)
		}
		st.send(e)
	}
	want := map[string]string{
		"filter-attributes": "ab",
		"filter-exact":      "ab",
		"filter-prefix":     "ace",
		"filter-suffix":     "ade",
		"filter-all":        "ae",
		"filter-any":        "abd",
		"filter-not":        "cdef",
		"filter-cesql":      "a",
		"filter-cesql-cast": "ad",
	}
	for trigger := range want {
		st.settled(trigger)
	}
	got := make(map[string]map[string]bool)
	for _, a := range st.all() {
		trigger := strings.TrimPrefix(a.path, "/")
		if got[trigger] == nil {
			got[trigger] = make(map[string]bool)
		}
		got[trigger][strings.TrimPrefix(a.id(), st.name+".")] = true
	}
	for trigger, ids := range want {
		list := ""
		for _, short := range []string{"a", "b", "c", "d", "e", "f"} {
			if got[trigger][short] {
				list += short
			}
		}
		if list != ids {
			st.t.Errorf("%s took %q, want %q", trigger, list, ids)
		}
		delete(got, trigger)
	}
	if len(got) > 0 {
		st.t.Errorf("others took events: %v", maps.Collect(maps.All(got)))
	}
}

package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/function"
)

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// sdkEvent is an event as a user of the official SDK makes it.
func sdkEvent(t testing.TB, id string) ce.Event {
	e := ce.NewEvent()
	e.SetID(id)
	e.SetType(event.TypeEvent)
	e.SetSource("https://shop.example")
	e.SetExtension("measurementid", "G-SDK")
	e.SetTime(arrival)
	if err := e.SetData(ce.ApplicationJSON, map[string]any{"name": "page_view", "client_id": "c1", "page": map[string]any{"location": "https://shop.example/"}}); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOfficialSDKInAllModes(t *testing.T) {
	w := newWorld(t, nil)
	client, err := ce.NewClientHTTP(ce.WithTarget(w.server.URL + "/events"))
	if err != nil {
		t.Fatal(err)
	}
	for id, ctx := range map[string]context.Context{
		"binary":     binding.WithForceBinary(t.Context()),
		"structured": binding.WithForceStructured(t.Context()),
	} {
		if result := client.Send(ctx, sdkEvent(t, id)); !ce.IsACK(result) {
			t.Errorf("%s: %v", id, result)
		}
	}
	req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), w.server.URL+"/events", []ce.Event{sdkEvent(t, "batch 1"), sdkEvent(t, "batch 2")})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Errorf("batch: %s", res.Status)
	}
	got := map[string]bool{}
	for _, b := range w.published(t, 3) {
		for _, e := range b.Events {
			got[e.ID] = true
			if e.Stream != "G-SDK" || e.ClientID != "c1" || !e.Time().Equal(arrival) || e.PageLocation != "https://shop.example/" || e.IP != "127.0.0.0" || !strings.HasPrefix(e.UserAgent, "Go-http-client") {
				t.Errorf("took %+v", e)
			}
		}
		// The Broker's word was enough for the answer; the journal follows.
		var payload []byte
		for deadline := time.Now().Add(5 * time.Second); len(payload) == 0 && time.Now().Before(deadline); runtime.Gosched() {
			payload, err = w.journal.Payload(t.Context(), b.ID)
		}
		if err != nil || len(payload) == 0 {
			t.Errorf("the journal has no payload of %s: %v", b.ID, err)
		}
	}
	for _, id := range []string{"binary", "structured", "batch 1", "batch 2"} {
		if !got[id] {
			t.Errorf("event %q did not arrive", id)
		}
	}
	if result := client.Send(t.Context(), func() ce.Event { e := sdkEvent(t, "x"); e.SetType("other"); return e }()); ce.IsACK(result) {
		t.Error("an event of another type was acknowledged")
	}
}

func TestReceipts(t *testing.T) {
	w := newWorld(t, nil)
	w.merchant(t, "G-KNOWN", "s3cret", nil)
	w.merchant(t, "G-OFF", "s3cret", func(m *access.Merchant) { m.Streams[0].Disabled = true })
	ids := regexp.MustCompile(`"[0-9a-f]{32}"`)
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		receipt    string
	}{
		{"good", "[" + doc("1", "G-A", "") + "]", nil, 202, `{"batch_ids":["B"],"accepted":1,"rejected":[]}`},
		{"empty", "[]", nil, 202, `{"batch_ids":[],"accepted":0,"rejected":[]}`},
		{"mixed", "[" + doc("1", "G-A", "") + "," + doc(`2\"<`, "G-A", `"value":"x"`) + "," + doc("3", "G-A", "") + "]", nil, 202,
			`{"batch_ids":["B"],"accepted":2,"rejected":[{"index":1,"id":"2\"\u003c","field":"data.value","reason":"invalid","expected":"a number of at most 9 trillion"}]}`},
		{"all bad", "[" + doc("1", "UA-1", "") + "]", nil, 422,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":0,"id":"1","field":"measurementid","reason":"invalid","expected":"a stream's measurement id, such as G-XXXXXXXXXX"}]}`},
		{"wrong secret", "[" + doc("1", "G-KNOWN", "") + "]", []string{"Authorization", "Bearer wrong"}, 401,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":0,"id":"1","field":"authorization","reason":"unauthenticated","expected":"Bearer and an API secret of the stream"}]}`},
		{"disabled", "[" + doc("1", "G-OFF", "") + "]", nil, 422,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":0,"id":"1","field":"measurementid","reason":"forbidden","expected":"a stream that is not disabled"}]}`},
		{"no JSON", "[", nil, 400,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":-1,"id":"","field":"body","reason":"invalid","expected":"a JSON document"}]}`},
		{"media type", "<a/>", []string{"Content-Type", "text/xml"}, 415,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":-1,"id":"","field":"content-type","reason":"unsupported","expected":"application/cloudevents+json, application/cloudevents-batch+json, or application/json with ce- headers"}]}`},
		{"encoding", "x", []string{"Content-Encoding", "br"}, 415,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":-1,"id":"","field":"content-encoding","reason":"unsupported","expected":"gzip, zstd or none"}]}`},
		{"too large", strings.Repeat(" ", 4<<20+1), nil, 413,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":-1,"id":"","field":"body","reason":"too_large","expected":"at most 4194304 bytes"}]}`},
		{"too many", "[" + strings.Repeat("0,", 1000) + "0]", nil, 413,
			`{"batch_ids":[],"accepted":0,"rejected":[{"index":-1,"id":"","field":"body","reason":"too_large","expected":"at most 1000 events"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := w.post(t, c.body, c.header...)
			body = strings.TrimSuffix(ids.ReplaceAllString(body, `"B"`), "\n")
			want := strings.ReplaceAll(c.receipt, `\u003c`, "\\u003c")
			if status != c.status || body != want {
				t.Errorf("answered %d %s\nexpected %d %s", status, body, c.status, want)
			}
			if header.Get("Access-Control-Allow-Origin") != "*" || header.Get("Content-Type") != "application/json" {
				t.Errorf("header %v", header)
			}
		})
	}
}

func TestMethodsAndCORS(t *testing.T) {
	w := newWorld(t, nil)
	status, h, _ := w.do(t, http.MethodOptions, nil, "Origin", "https://shop.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,ce-id")
	if status != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" ||
		h.Get("Access-Control-Allow-Headers") != "authorization,content-type,ce-id" || h.Get("Access-Control-Max-Age") == "" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", status, h)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		status, h, body := w.do(t, method, nil)
		if status != 405 || h.Get("Allow") != "POST, OPTIONS" || !strings.Contains(body, `"field":"method"`) {
			t.Errorf("%s: %d %v %s", method, status, h, body)
		}
	}
}

func TestBeacon(t *testing.T) {
	w := newWorld(t, nil)
	status, _, body := w.post(t, doc("1", "G-A", ""), "Content-Type", "text/plain;charset=UTF-8", "Origin", "https://shop.example")
	if status != 202 || !strings.Contains(body, `"accepted":1`) {
		t.Fatalf("%d %s", status, body)
	}
}

func gzipped(t testing.TB, r io.Reader) *bytes.Buffer {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if _, err := io.Copy(z, r); err != nil {
		t.Fatal(err)
	}
	_ = z.Close()
	return &b
}

// endless is so many spaces.
func endless(n int64) io.Reader {
	return io.LimitReader(readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = ' '
		}
		return len(p), nil
	}), n)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestCompressedBodies(t *testing.T) {
	w := newWorld(t, nil)
	body := "[" + doc("1", "G-A", `"params":{"x":"`+strings.Repeat("abc", 300)+`"}`) + strings.Repeat(" ", 100_000) + "]"
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer // a frame that does not say how long it is
	sz, _ := zstd.NewWriter(&stream)
	_, _ = io.Copy(sz, struct{ io.Reader }{strings.NewReader(body)})
	_ = sz.Close()
	for _, c := range []struct {
		name, encoding string
		body           io.Reader
		status         int
	}{
		{"gzip", "gzip", gzipped(t, strings.NewReader(body)), 202},
		{"zstd", "zstd", bytes.NewReader(z.EncodeAll([]byte(body), nil)), 202},
		{"zstd stream", "zstd", &stream, 202},
		{"identity", "identity", strings.NewReader(body), 202},
		{"chunked", "", struct{ io.Reader }{strings.NewReader(body)}, 202},
		{"no gzip", "gzip", strings.NewReader(body), 400},
		{"no zstd", "zstd", strings.NewReader(body), 400},
		{"torn gzip", "gzip", bytes.NewReader(gzipped(t, strings.NewReader(body)).Bytes()[:200]), 400},
		{"empty gzip", "gzip", strings.NewReader(""), 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.encoding != "" {
				header = append(header, "Content-Encoding", c.encoding)
			}
			status, _, text := w.do(t, http.MethodPost, c.body, header...)
			if status != c.status || !strings.Contains(text, `"accepted":`) {
				t.Errorf("answered %d %s, expected %d", status, text, c.status)
			}
		})
	}
	if held, requests := w.gate.bytes.Load(), w.gate.requests.Load(); held != 0 || requests != 0 {
		t.Errorf("%d bytes and %d requests are still held", held, requests)
	}
}

func TestBombs(t *testing.T) {
	w := newWorld(t, nil)
	z, err := zstd.NewWriter(nil, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	giant, err := io.ReadAll(endless(64 << 20))
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	sz, _ := zstd.NewWriter(&stream)
	_, _ = io.Copy(sz, endless(64<<20))
	_ = sz.Close()
	nested := gzipped(t, io.MultiReader(strings.NewReader("["), endless(64<<20)))
	for _, c := range []struct {
		name, encoding string
		body           io.Reader
	}{
		{"gzip", "gzip", nested},
		{"zstd", "zstd", bytes.NewReader(z.EncodeAll(giant, nil))},
		{"zstd stream", "zstd", &stream},
		{"zstd frames", "zstd", bytes.NewReader(bytes.Repeat(z.EncodeAll(giant[:1<<20], nil), 60))},
		{"wire", "gzip", struct{ io.Reader }{io.MultiReader(bytes.NewReader(gzipped(t, strings.NewReader("[]")).Bytes()), endless(3<<20))}},
		{"plain chunks", "identity", struct{ io.Reader }{endless(64 << 20)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, body := w.do(t, http.MethodPost, c.body, "Content-Encoding", c.encoding)
			if status != 413 && (c.name != "wire" || status != 400) {
				t.Errorf("answered %d %s", status, body)
			}
		})
	}
	if held := w.gate.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestSecretsAndClaims(t *testing.T) {
	claims := `"user_agent":"Visitor/1","ip":"203.0.113.77"`
	for _, c := range []struct {
		name, stream, auth string
		keepIP             bool
		want               event.Event
	}{
		{"no secret", "G-KNOWN", "", false, event.Event{}},
		{"the stream's", "G-KNOWN", "Bearer s3cret", false, event.Event{Auth: event.AuthVerified, ClaimedUserAgent: "Visitor/1", ClaimedIP: "203.0.113.0"}},
		{"another of the stream's", "G-KNOWN", "bearer other", false, event.Event{Auth: event.AuthVerified, ClaimedUserAgent: "Visitor/1", ClaimedIP: "203.0.113.0"}},
		{"unknown stream", "G-NEW", "Bearer s3cret", false, event.Event{Auth: event.AuthUnknown, Credential: sha256Hex("s3cret"), ClaimedUserAgent: "Visitor/1", ClaimedIP: "203.0.113.0"}},
		{"unknown stream, no secret", "G-NEW", "", false, event.Event{}},
		{"whole address asked for", "G-KNOWN", "Bearer s3cret", true, event.Event{Auth: event.AuthVerified, ClaimedUserAgent: "Visitor/1", ClaimedIP: "203.0.113.77"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.merchant(t, "G-KNOWN", "s3cret", func(m *access.Merchant) { m.Settings.KeepIP = c.keepIP })
			var header []string
			if c.auth != "" {
				header = []string{"Authorization", c.auth}
			}
			if status, _, body := w.post(t, "["+doc("1", c.stream, claims)+"]", header...); status != 202 {
				t.Fatalf("%d %s", status, body)
			}
			e := w.only(t)
			if e.Auth != c.want.Auth || e.Credential != c.want.Credential || e.ClaimedUserAgent != c.want.ClaimedUserAgent || e.ClaimedIP != c.want.ClaimedIP {
				t.Errorf("took %+v", e)
			}
			if e.Visitor == 0 || (e.ClaimedVisitor != 0) != (c.auth != "") || e.ClaimedVisitor == e.Visitor {
				t.Errorf("visitor %d, claimed %d", e.Visitor, e.ClaimedVisitor)
			}
			wantIP := "127.0.0.0"
			if c.keepIP {
				wantIP = "127.0.0.1"
			}
			if e.IP != wantIP {
				t.Errorf("address %q, expected %q", e.IP, wantIP)
			}
		})
	}
}

func TestWrongSecretCostsNoNeighbour(t *testing.T) {
	w := newWorld(t, nil)
	w.merchant(t, "G-KNOWN", "s3cret", nil)
	status, _, body := w.post(t, "["+doc("1", "G-KNOWN", "")+","+doc("2", "G-NEW", "")+"]", "Authorization", "Bearer wrong")
	if status != 202 || !strings.Contains(body, `"accepted":1`) || !strings.Contains(body, `"index":0,"id":"1","field":"authorization"`) {
		t.Fatalf("%d %s", status, body)
	}
}

func TestVisitorHash(t *testing.T) {
	v, err := newVisitors()
	if err != nil {
		t.Fatal(err)
	}
	a, b := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	v.use([]byte("secret"))
	one := v.hash(20000, a, "x")
	if one != v.hash(20000, a, "x") || one == v.hash(20001, a, "x") || one == v.hash(20000, b, "x") || one == v.hash(20000, a, "y") {
		t.Fatal("a visitor is not one visitor, one address and one day")
	}
	w, err := newVisitors()
	if err != nil {
		t.Fatal(err)
	}
	if w.hash(20000, a, "x") == one {
		t.Fatal("the hash does not depend on the secret")
	}
	w.use([]byte("secret"))
	if w.hash(20000, a, "x") != one {
		t.Fatal("two instances disagree")
	}
	for day := range int64(1000) {
		v.hash(day, a, "x")
	}
	if len(v.salts) > maxSalts {
		t.Fatalf("%d salts are remembered", len(v.salts))
	}
	if dayOf(-1) != -1 || dayOf(0) != 0 || dayOf(microsPerDay) != 1 {
		t.Fatal("dayOf is wrong")
	}
}

func TestForwardedAddress(t *testing.T) {
	cfg := Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}, CountryHeader: "Cf-Ipcountry"}
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
		country   string
	}{
		{"203.0.113.9:1", []string{"198.51.100.1"}, "203.0.113.9", ""}, // not our proxy: its word does not count
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1", "DE"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1, 10.9.9.9"}, "198.51.100.1", "DE"},
		{"10.0.0.1:1", []string{"6.6.6.6", "198.51.100.1:4711"}, "198.51.100.1", "DE"},
		{"10.0.0.1:1", []string{"unknown"}, "10.0.0.1", "DE"},
		{"10.0.0.1:1", nil, "10.0.0.1", "DE"},
		{"[::ffff:10.0.0.1]:1", []string{"2001:db8:1:2::3"}, "2001:db8:1:2::3", "DE"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded, "Cf-Ipcountry": {"DE"}}}
		if s := cfg.senderOf(r); s.addr.String() != c.want || s.country != c.country {
			t.Errorf("%s %q: %s %q, expected %s %q", c.remote, c.forwarded, s.addr, s.country, c.want, c.country)
		}
	}
	if s := cfg.senderOf(&http.Request{RemoteAddr: "@", Header: http.Header{"Accept-Language": {"de-DE,de;q=0.9"}, "User-Agent": {strings.Repeat("ä", 2000)}}}); s.addr.IsValid() || s.language != "de-DE" || len(s.agent) > 1024 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedEventsAreKept(t *testing.T) {
	w := newWorld(t, nil)
	if status, _, _ := w.post(t, "["+doc("bad", "G-A", `"value":"x","ip":"203.0.113.77"`)+"]"); status != 422 {
		t.Fatal(status)
	}
	if status, _, _ := w.post(t, "["+doc("good", "G-A", "")+"]"); status != 202 {
		t.Fatal(status)
	}
	if err := w.Close(t.Context()); err != nil { // it may have gone with a later flush
		t.Fatal(err)
	}
	var kept []event.Refused
	for _, b := range w.topic.batches(t) {
		kept = append(kept, b.Refused...)
	}
	if len(kept) != 1 || kept[0].ID != "bad" || kept[0].Field != "data.value" || !bytes.Contains(kept[0].Data, []byte(`"ip":"203.0.113.0"`)) {
		t.Fatalf("kept %+v", kept)
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	var cfg Config
	err := function.Load([]string{"FOOTFALL_TRUSTED_PROXIES=10.0.0.0/8,fd00::/8", "FOOTFALL_COUNTRY_HEADER=cf-ipcountry"}, nil, &cfg)
	if err != nil || len(cfg.TrustedProxies) != 2 || cfg.CountryHeader != "Cf-Ipcountry" {
		t.Fatalf("%+v, %v", cfg, err)
	}
	err = function.Load([]string{"FOOTFALL_INGEST_MAX_LANES=0", "FOOTFALL_INGEST_FLUSH_AGE=2m", "FOOTFALL_COUNTRY_HEADER=x", "FOOTFALL_INGEST_MAX_REQUESTS=-1", "FOOTFALL_INGEST_MAX_BUFFER_BYTES=1"}, nil, &Config{})
	for _, name := range []string{"MAX_LANES", "FLUSH_AGE", "COUNTRY_HEADER", "MAX_REQUESTS", "MAX_BUFFER_BYTES"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
}

func TestStreamsSnapshot(t *testing.T) {
	s := NewStreams(0)
	var many []access.Merchant
	for i := range 100 {
		many = append(many, access.Merchant{Streams: []access.Stream{{MeasurementID: fmt.Sprintf("G-%d", i), APISecrets: []access.Hash{secretHash("a"), secretHash("b")}}}})
	}
	s.Apply(many)
	s.Apply([]access.Merchant{{Streams: []access.Stream{{MeasurementID: "G-7", APISecrets: []access.Hash{secretHash("c")}}}}})
	digestOf := func(secret string) (d digest) {
		sum := sha256.Sum256([]byte(secret))
		return digest(sum[:16])
	}
	st, ok := s.find(s.hash("G-7"))
	if s.Len() != 100 || !ok || st.matches(digestOf("a")) || !st.matches(digestOf("c")) {
		t.Fatal("a changed stream keeps its old secrets")
	}
	if st, ok := s.find(s.hash("G-8")); !ok || !st.matches(digestOf("a")) || !st.matches(digestOf("b")) || st.matches(digestOf("c")) {
		t.Fatal("another stream has changed")
	}
	if (&stream{}).matches(digest{}) {
		t.Fatal("a stream without secrets was matched")
	}
}

// What a browser's headers say is kept as it comes; what would break its line is not.
func TestSenderHintsAndPlace(t *testing.T) {
	cfg := Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, RegionHeader: "X-Region", CityHeader: "X-City"}
	h := http.Header{}
	for name, value := range map[string]string{
		"Sec-CH-UA": `"Chromium";v="142"`, "Sec-CH-UA-Platform": "\"Win\ndows\"", "Sec-CH-UA-Arch": `"x86"`, "Sec-CH-UA-Model": "",
		"Purpose": "prefetch", "X-Region": " New%20York ", "X-City": "?",
	} {
		h.Set(name, value)
	}
	s := cfg.senderOf(&http.Request{RemoteAddr: "10.0.0.1:1", Header: h})
	if want := ": \"Chromium\";v=\"142\"\nplatform: \"Windows\""; s.hints != want || s.purpose != "prefetch" || s.region != "New York" || s.city != "" {
		t.Errorf("%+v, expected the hints %q", s, want)
	}
	h.Set("Sec-Purpose", "prefetch;prerender")
	if s := cfg.senderOf(&http.Request{RemoteAddr: "192.0.2.1:1", Header: h}); s.purpose != "prefetch;prerender" || s.region != "" {
		t.Errorf("%+v", s)
	}
	if s := cfg.senderOf(&http.Request{RemoteAddr: "192.0.2.1:1", Header: http.Header{}}); s.hints != "" || s.purpose != "" {
		t.Errorf("%+v", s)
	}
}

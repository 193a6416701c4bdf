package cloudevents

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

var arrival = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	return h
}

const purchase = `{"name":"purchase","client_id":"555.12","user_id":"u1","session_id":1763999000,
 "page":{"location":"https://shop.example/thanks","title":"Danke sch\u00f6n","referrer":"https://shop.example/cart"},
 "params":{"transaction_id":"T-1","value":19.99,"currency":"eur","engagement_time_msec":"1200.6","method":"card","n":-7,"ratio":0.25,"gift":true,"none":null},
 "items":[{"item_id":"sku-1","item_name":"Tee","item_category":"Clothes","item_category2":"Tees","price":9.995,"quantity":2,"size":"M"}],
 "user_properties":{"tier":"gold","age":{"value":7}},
 "user_agent":"curl/8","ip":"203.0.113.77","language":"de-DE","screen":"1920x1080","plan":{"a":[1,"x 203.0.113.77 y"]}}`

func purchaseEvent() event.Event {
	return event.Event{
		ID: "e-1", Source: "https://shop.example", Stream: "G-TEST1", TimeMicros: arrival.Add(-time.Minute).UnixMicro(),
		Name: "purchase", ClientID: "555.12", UserID: "u1", SessionID: "1763999000",
		PageLocation: "https://shop.example/thanks", PageTitle: "Danke schön", PageReferrer: "https://shop.example/cart",
		Params: []event.Param{{Key: "transaction_id", Text: "T-1"}, {Key: "method", Text: "card"}, {Key: "n", Kind: event.ParamInt, Int: -7},
			{Key: "ratio", Kind: event.ParamDouble, Double: 0.25}, {Key: "gift", Kind: event.ParamBool, Bool: true}},
		UserProperties: []event.Param{{Key: "tier", Text: "gold"}, {Key: "age", Kind: event.ParamInt, Int: 7}},
		Items: []event.Item{{ID: "sku-1", Name: "Tee", Categories: [5]string{"Clothes", "Tees"}, PriceMicros: 9_995_000, Quantity: 2,
			Params: []event.Param{{Key: "size", Text: "M"}}}},
		HasValue: true, ValueMicros: 19_990_000, Currency: "EUR", EngagementMillis: 1201,
		Language: "de-DE", Screen: "1920x1080", ClaimedUserAgent: "curl/8", ClaimedIP: "203.0.113.0",
		Extra: `{"plan":{"a":[1,"x 203.0.113.0 y"]}}`,
	}
}

func structuredDoc(data string) string {
	return `{"specversion":"1.0","id":"e-1","source":"https://shop.example","type":"footfall.event.v1","measurementid":"G-TEST1","time":"2026-11-23T17:59:00Z","data":` + data + `}`
}

func TestThreeModes(t *testing.T) {
	ceHeaders := header("Content-Type", "application/json", "Ce-Specversion", "1.0", "Ce-Id", "e-1", "Ce-Source", "https://shop.example",
		"Ce-Type", "footfall.event.v1", "Ce-Measurementid", "G-TEST1", "Ce-Time", "2026-11-23T17:59:00Z")
	encoded := strings.Replace(structuredDoc(`""`), `"data":""`, `"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(purchase))+`"`, 1)
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		mode   Mode
		n      int
	}{
		{"binary", ceHeaders, purchase, Binary, 1},
		{"structured", header("Content-Type", "application/cloudevents+json; charset=UTF-8"), structuredDoc(purchase), Structured, 1},
		{"base64", header("Content-Type", "application/cloudevents+json"), encoded, Structured, 1},
		{"batch", header("Content-Type", "application/cloudevents-batch+json"), "[" + structuredDoc(purchase) + "," + structuredDoc(purchase) + "]", Batch, 2},
		{"empty batch", header("Content-Type", "application/cloudevents-batch+json"), "[]", Batch, 0},
		{"beacon", header("Content-Type", "text/plain;charset=UTF-8"), " " + structuredDoc(purchase), Structured, 1},
		{"beacon batch", header("Content-Type", "text/plain"), "\n[" + structuredDoc(purchase) + "]", Batch, 1},
		{"beacon without a type", header(), "[" + structuredDoc(purchase) + "]", Batch, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			for range 2 { // the second time over memory of the first
				r, err := p.Parse(c.header, []byte(c.body), arrival)
				if err != nil {
					t.Fatal(err)
				}
				if r.Mode != c.mode || len(r.Events) != c.n || len(r.Refused) != 0 || r.Total != c.n {
					t.Fatalf("mode %d, %d events, refused %+v", r.Mode, len(r.Events), r.Refused)
				}
				for i := range r.Events {
					if d := cmp.Diff(purchaseEvent(), r.Events[i]); d != "" {
						t.Fatalf("event %d (-want +got):\n%s", i, d)
					}
					if r.Claims[i] != netip.MustParseAddr("203.0.113.77") {
						t.Fatalf("claimed address %v", r.Claims[i])
					}
				}
			}
		})
	}
}

func TestRequestFaults(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("{},", MaxEvents+1), ",")
	for _, c := range []struct {
		name, contentType, body string
		kind                    fault.Kind
	}{
		{"other media", "text/xml", "<a/>", fault.Unsupported},
		{"form", "application/x-www-form-urlencoded", "a=b", fault.Unsupported},
		{"nothing", "", "", fault.Unsupported},
		{"plain text", "text/plain", "hello", fault.Invalid},
		{"no JSON", "application/cloudevents+json", `{"id":`, fault.Invalid},
		{"batch of no array", "application/cloudevents-batch+json", `{}`, fault.Invalid},
		{"too many events", "application/cloudevents-batch+json", "[" + many + "]", fault.TooLarge},
		{"too many values", "application/cloudevents+json", "[" + strings.Repeat("0,", MaxValues) + "0]", fault.TooLarge},
		{"nested without end", "application/cloudevents+json", strings.Repeat("[", 100_000), fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			_, err := p.Parse(header("Content-Type", c.contentType), []byte(c.body), arrival)
			if !fault.Is(err, c.kind) {
				t.Fatalf("expected %v, found %v", c.kind, err)
			}
		})
	}
}

func TestOneBadEventIsRefusedAlone(t *testing.T) {
	good := structuredDoc(`{"name":"page_view"}`)
	withData := func(data string) string { return structuredDoc(data) }
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	text := func(n int) string { return strings.Repeat("x", n) }
	params := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"p%d":1,`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for _, c := range []struct{ name, doc, field string }{
		{"no object", `7`, "event"},
		{"specversion", replace(`"1.0"`, `"0.3"`), "specversion"},
		{"no id", replace(`"e-1"`, `""`), "id"},
		{"id of a number", replace(`"e-1"`, `5`), "id"},
		{"long id", replace(`e-1`, text(257)), "id"},
		{"no source", replace(`"source"`, `"sauce"`), "source"},
		{"type", replace("footfall.event.v1", "other"), "type"},
		{"stream", replace("G-TEST1", "UA-1"), "measurementid"},
		{"no stream", replace("measurementid", "mid"), "measurementid"},
		{"time", replace("2026-11-23T17:59:00Z", "yesterday"), "time"},
		{"old", replace("2026-11-23", "1999-12-31"), "time"},
		{"early", replace("2026-11-23T17", "2026-11-24T19"), "time"},
		{"no data", strings.Replace(good, `,"data":{"name":"page_view"}`, "", 1), "data"},
		{"data of a text", withData(`"x"`), "data"},
		{"bad base64", strings.Replace(good, `"data":{"name":"page_view"}`, `"data_base64":"%%"`, 1), "data_base64"},
		{"data type", replace(`"data":`, `"datacontenttype":"text/xml","data":`), "datacontenttype"},
		{"no name", withData(`{}`), "data.name"},
		{"name of a number", withData(`{"name":7}`), "data.name"},
		{"name with space", withData(`{"name":"a b"}`), "data.name"},
		{"name with digit first", withData(`{"name":"1a"}`), "data.name"},
		{"long name", withData(`{"name":"` + text(41) + `"}`), "data.name"},
		{"location", withData(`{"name":"a","page":{"location":"/cart"}}`), "data.page.location"},
		{"long location", withData(`{"name":"a","page":{"location":"https://` + text(4096) + `"}}`), "data.page.location"},
		{"page", withData(`{"name":"a","page":"x"}`), "data.page"},
		{"params", withData(`{"name":"a","params":[]}`), "data.params"},
		{"too many params", withData(`{"name":"a","params":{` + params(101) + `}}`), "data.params"},
		{"nested param", withData(`{"name":"a","params":{"x":{}}}`), "data.params.x"},
		{"odd key", withData(`{"name":"a","params":{"x y":[]}}`), `data.params["x y"]`},
		{"long key", withData(`{"name":"a","params":{"` + text(41) + `":1}}`), "data.params." + text(40)},
		{"long text", withData(`{"name":"a","params":{"x":"` + text(1025) + `"}}`), "data.params.x"},
		{"not a number", withData(`{"name":"a","params":{"x":nan}}`), "data.params.x"},
		{"infinite", withData(`{"name":"a","params":{"x":1e999}}`), "data.params.x"},
		{"value", withData(`{"name":"a","value":"much"}`), "data.value"},
		{"huge value", withData(`{"name":"a","value":1e15}`), "data.value"},
		{"value in params", withData(`{"name":"a","params":{"value":true}}`), "data.params.value"},
		{"currency", withData(`{"name":"a","currency":"EURO"}`), "data.currency"},
		{"engagement", withData(`{"name":"a","engagement_ms":-1}`), "data.engagement_ms"},
		{"items", withData(`{"name":"a","items":{}}`), "data.items"},
		{"item", withData(`{"name":"a","items":[{},7]}`), "data.items[1]"},
		{"price", withData(`{"name":"a","items":[{"price":"x"}]}`), "data.items[0].price"},
		{"quantity", withData(`{"name":"a","items":[{},{"quantity":1.5}]}`), "data.items[1].quantity"},
		{"price of many", withData(`{"name":"a","items":[{"price":-9e12,"quantity":1000000000}]}`), "data.items[0].price"},
		{"item param", withData(`{"name":"a","items":[{"size":[]}]}`), "data.items[0].size"},
		{"ip", withData(`{"name":"a","ip":"nowhere"}`), "data.ip"},
		{"unknown number", withData(`{"name":"a","x":{"y":-inf}}`), "data.x"},
		{"deep", withData(`{"name":"a","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), "data.x"},
		{"much unknown", withData(`{"name":"a","x":"` + text(17<<10) + `"}`), "data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			r, err := p.Parse(header("Content-Type", "application/cloudevents-batch+json"), []byte("["+good+","+c.doc+","+good+"]"), arrival)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Events) != 2 || len(r.Refused) != 1 || r.Index[0] != 0 || r.Index[1] != 2 || r.Total != 3 {
				t.Fatalf("%d events at %v, refused %+v", len(r.Events), r.Index, r.Refused)
			}
			f := r.Refused[0]
			if f.Index != 1 || f.Field != c.field || f.Detail == "" || f.Reason != "invalid" || len(f.Data) > MaxRefused {
				t.Fatalf("refused %+v, expected field %q", f, c.field)
			}
		})
	}
}

func TestNoAddressStays(t *testing.T) {
	data := `{"name":"a","ip":"2001:db8:aa:bb::1234","params":{"ip_override":"198.51.100.23","x":NUMBER},"seen_from":["198.51.100.23:443","[2001:db8:aa:bb::1234]:80"," ::ffff:198.51.100.23."],"v":"Chrome/120.0.0.0"}`
	var p Parser
	r, err := p.Parse(header("Content-Type", "text/plain"), []byte("["+structuredDoc(strings.Replace(data, "NUMBER", "1", 1))+","+structuredDoc(strings.Replace(data, "NUMBER", "[]", 1))+"]"), arrival)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Events) != 1 || len(r.Refused) != 1 {
		t.Fatalf("%d events, refused %+v", len(r.Events), r.Refused)
	}
	stored := string(event.EncodeEvent(&r.Events[0])) + string(r.Refused[0].Data)
	for _, secret := range []string{"100.23", "bb::1234", "1234"} {
		if strings.Contains(stored, secret) {
			t.Errorf("%q of an address became durable: %q", secret, stored)
		}
	}
	for _, kept := range []string{"2001:db8:aa::", "198.51.100.0:443", "120.0.0.0"} {
		if !strings.Contains(stored, kept) {
			t.Errorf("%q is gone: %q", kept, stored)
		}
	}
}

func TestInvalidUTF8CostsNoNeighbour(t *testing.T) {
	body := "[" + structuredDoc(`{"name":"a","params":{"x":"`+"\xff\xfe"+`"}}`) + "," + structuredDoc(`{"name":"b"}`) + "]"
	var p Parser
	r, err := p.Parse(header("Content-Type", "application/cloudevents-batch+json"), []byte(body), arrival)
	if err != nil || len(r.Events) != 2 || r.Events[0].Params[0].Text != "\uFFFD" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestNoTimeMeansArrival(t *testing.T) {
	var p Parser
	r, err := p.Parse(header("Content-Type", "text/plain"), []byte(strings.Replace(structuredDoc(`{"name":"a"}`), `"time":"2026-11-23T17:59:00Z",`, "", 1)), arrival)
	if err != nil || len(r.Events) != 1 || !r.Events[0].TimeAssigned || !r.Events[0].Time().Equal(arrival) {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestBinaryHeadersArePercentDecoded(t *testing.T) {
	var p Parser
	r, err := p.Parse(header("Content-Type", "application/json", "Ce-Specversion", "1.0", "Ce-Id", "Euro%20%E2%82%AC", "Ce-Source", "/s",
		"Ce-Type", "footfall.event.v1", "Ce-Measurementid", "G-1"), []byte(`{"name":"a"}`), arrival)
	if err != nil || len(r.Events) != 1 || r.Events[0].ID != "Euro €" {
		t.Fatalf("%+v, %v", r, err)
	}
}

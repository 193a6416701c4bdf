package enrich_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
)

const chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func hash(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

func owner(stream string) (enrich.Owner, bool) {
	o, ok := map[string]enrich.Owner{
		"G-1":   {Merchant: "m1", Secrets: []string{hash("old"), hash("new")}},
		"G-1B":  {Merchant: "m1"},
		"G-2":   {Merchant: "m2"},
		"G-OFF": {Merchant: "m2", Disabled: true},
	}[stream]
	return o, ok
}

func enricher(tb testing.TB) *enrich.Enricher {
	tb.Helper()
	e, err := enrich.New(enrich.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func view(stream string, at time.Time) event.Event {
	return event.Event{
		ID: fmt.Sprint(stream, at.UnixMicro()), Stream: stream, Name: "page_view", TimeMicros: at.UnixMicro(), ClientID: "c1",
		PageLocation: "https://shop.example.com/", UserAgent: chrome,
	}
}

func rows(t *testing.T, d enrich.Doc) []processed.Row {
	t.Helper()
	f, err := processed.Decode(d.Data, processed.Everything())
	if err != nil {
		t.Fatal(err)
	}
	if f.Len != d.Events {
		t.Fatalf("a document of %d rows says %d", f.Len, d.Events)
	}
	list := make([]processed.Row, f.Len)
	for i := range list {
		list[i] = f.Row(i)
	}
	return list
}

func TestBatchGroups(t *testing.T) {
	b := &event.Batch{
		ID: event.BatchID{1}, ReceivedAt: noon.Add(90 * time.Minute),
		Events: []event.Event{
			view("G-2", noon), view("G-1", noon.Add(time.Hour)), view("G-1", noon), view("G-404", noon),
			view("G-1B", noon), view("G-OFF", noon), view("G-2", noon.Add(-time.Microsecond)),
		},
		Refused: []event.Refused{
			{Stream: "G-2", ID: "r1", Field: "data.name", Reason: "invalid", Detail: "a name", Data: []byte(`{}`)},
			{Stream: "G-404", Reason: "invalid"}, {Reason: "invalid"},
		},
	}
	r := enricher(t).Batch(b, owner)
	type doc struct {
		Merchant string
		Hour     event.Hour
		Seqs     []uint32
	}
	var docs []doc
	for _, d := range r.Docs {
		x := doc{Merchant: d.Merchant, Hour: d.Hour}
		for _, row := range rows(t, d) {
			x.Seqs = append(x.Seqs, row.Seq)
			if row.Batch != b.ID || row.EventID != processed.HashID(b.Events[row.Seq].Stream, b.Events[row.Seq].ID) {
				t.Errorf("row %+v is not event %d of the batch", row, row.Seq)
			}
		}
		docs = append(docs, x)
	}
	hour := event.HourOf(noon)
	if diff := cmp.Diff([]doc{
		{"m1", hour, []uint32{2, 4}}, {"m1", hour + 1, []uint32{1}}, {"m2", hour - 1, []uint32{6}}, {"m2", hour, []uint32{0}},
	}, docs); diff != "" {
		t.Errorf("documents (-want +got)\n%s", diff)
	}
	want := []enrich.Reject{
		{Stream: "G-404", Index: 3, Hour: hour, Reason: "unknown_stream", Field: "measurementid"},
		{Merchant: "m2", Stream: "G-OFF", Index: 5, Hour: hour, Reason: "disabled_stream", Field: "measurementid"},
		{Merchant: "m2", Stream: "G-2", Index: 7, EventID: "r1", Hour: hour + 1, Refused: true, Reason: "invalid", Field: "data.name", Detail: "a name", Data: []byte(`{}`)},
		{Stream: "G-404", Index: 8, Hour: hour + 1, Refused: true, Reason: "invalid"},
		{Index: 9, Hour: hour + 1, Refused: true, Reason: "invalid"},
	}
	for i := range want {
		want[i].Batch, want[i].ReceivedAt = b.ID, b.ReceivedAt
	}
	for i := range 2 {
		ev, err := event.DecodeEvent(r.Rejects[i].Data)
		if err != nil || ev.ID != r.Rejects[i].EventID || ev.ID != b.Events[r.Rejects[i].Index].ID {
			t.Errorf("reject %d does not hold its event: %v", i, err)
		}
		r.Rejects[i].Data, r.Rejects[i].EventID, r.Rejects[i].Detail = nil, "", ""
	}
	if diff := cmp.Diff(want, r.Rejects); diff != "" {
		t.Errorf("rejects (-want +got)\n%s", diff)
	}
}

func TestFacts(t *testing.T) {
	ev := view("G-1", noon.Add(1500*time.Microsecond))
	ev.Name, ev.UserID, ev.SessionID = "purchase", "u1", "s1"
	ev.PageLocation = "https://Shop.example.com/cart?step=2&utm_source=news&utm_medium=email&utm_campaign=spring"
	ev.PageTitle, ev.PageReferrer, ev.Language, ev.Screen, ev.Country = "Cart", "https://t.co/", "de-DE", "1920x1080", "de"
	ev.HasValue, ev.ValueMicros, ev.Currency, ev.EngagementMillis = true, 59_900_000, "EUR", 1200
	ev.Params = []event.Param{
		{Key: "transaction_id", Kind: event.ParamInt, Int: 17}, {Key: "coupon", Text: "X"}, {Key: "tax", Kind: event.ParamDouble, Double: 1.5},
		{Key: "gift", Kind: event.ParamBool, Bool: true},
	}
	ev.UserProperties = []event.Param{{Key: "plan", Text: "pro"}}
	ev.Items = []event.Item{{ID: "sku", Name: "Shoe", Categories: [5]string{"a", "b"}, PriceMicros: 59_900_000, Quantity: 1}}
	r := enricher(t).Batch(&event.Batch{ID: event.BatchID{7}, Events: []event.Event{ev}}, owner)
	item := processed.Item{Price: 59_900_000, Quantity: 1}
	item.Text[processed.ItemID], item.Text[processed.ItemName] = "sku", "Shoe"
	item.Text[processed.ItemCategory1], item.Text[processed.ItemCategory2] = "a", "b"
	want := processed.Row{
		Batch: event.BatchID{7}, EventID: processed.HashID("G-1", ev.ID), Millis: noon.UnixMilli() + 1,
		User: processed.HashActor(processed.ActorUser, "u1"), Client: processed.HashActor(processed.ActorClient, "c1"),
		Session: processed.HashActor(processed.ActorSession, "s1"), Flags: processed.FlagHasValue | processed.FlagSessionGiven,
		Engaged: 1200, Value: 59_900_000,
		Text: [processed.NumStringColumns]string{
			processed.ColName: "purchase", processed.ColStream: "G-1", processed.ColHostname: "shop.example.com", processed.ColPagePath: "/cart",
			processed.ColPageQuery: "step=2", processed.ColPageTitle: "Cart", processed.ColPageReferrer: "https://t.co/", processed.ColSource: "news",
			processed.ColMedium: "email", processed.ColCampaign: "spring", processed.ColCountry: "DE", processed.ColLanguage: "de-DE",
			processed.ColDeviceCategory: "desktop", processed.ColBrowser: "Chrome", processed.ColBrowserVersion: "142.0.0.0", processed.ColOS: "Windows",
			processed.ColOSVersion: "10", processed.ColScreen: "1920x1080", processed.ColCurrency: "EUR", processed.ColTransactionID: "17",
		},
		Params: []processed.Param{{Key: "coupon", Text: "X"}, {Key: "gift", Text: "true"}, {Key: "tax", Text: "1.5"}, {Key: "user:plan", Text: "pro"}},
		Items:  []processed.Item{item},
	}
	if diff := cmp.Diff(want, rows(t, r.Docs[0])[0], cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What an event says of all its items stands with those that say nothing else,
// and a promotion without items is one.
func TestItems(t *testing.T) {
	text := func(key, value string) event.Param { return event.Param{Key: key, Text: value} }
	ev := view("G-1", noon)
	ev.Name = "view_item_list"
	ev.Params = []event.Param{text("item_list_id", "l1"), text("item_list_name", "Related"), text("creative_slot", "top"), text("coupon", "ORDER"), text("discount", "9")}
	ev.Items = []event.Item{
		{ID: "a", Quantity: 1, Params: []event.Param{{Key: "index", Kind: event.ParamInt, Int: 2}, {Key: "discount", Kind: event.ParamDouble, Double: 4.99}}},
		{ID: "b", ListID: "l2", Quantity: 3, Params: []event.Param{text("creative_slot", "left"), text("affiliation", "Partner"), text("location_id", "ChIJ"), text("color", "red")}},
	}
	banner, plain := view("G-1", noon), view("G-1", noon)
	banner.Name, banner.Params = "select_promotion", []event.Param{text("promotion_id", "p1"), text("promotion_name", "Spring"), text("creative_name", "hero")}
	plain.Name, plain.Params = "view_promotion", []event.Param{text("coupon", "X")}
	want := [][]map[processed.ItemColumn]string{
		{
			{processed.ItemID: "a", processed.ItemListID: "l1", processed.ItemListName: "Related", processed.ItemListIndex: "2", processed.ItemCreativeSlot: "top", processed.ItemDiscount: "4.99"},
			{processed.ItemID: "b", processed.ItemListID: "l2", processed.ItemListName: "Related", processed.ItemCreativeSlot: "left", processed.ItemAffiliation: "Partner", processed.ItemLocationID: "ChIJ"},
		},
		{{processed.ItemPromotionID: "p1", processed.ItemPromotionName: "Spring", processed.ItemCreativeName: "hero"}},
		nil,
	}
	r := enricher(t).Batch(&event.Batch{ID: event.BatchID{7}, Events: []event.Event{ev, banner, plain}}, owner)
	for i, row := range rows(t, r.Docs[0]) {
		if len(row.Items) != len(want[i]) {
			t.Fatalf("event %d: %d items, expected %d", i, len(row.Items), len(want[i]))
		}
		for k, item := range row.Items {
			var texts [processed.NumItemColumns]string
			for c, v := range want[i][k] {
				texts[c] = v
			}
			if diff := cmp.Diff(texts, item.Text); diff != "" {
				t.Errorf("event %d, item %d (-want +got)\n%s", i, k, diff)
			}
		}
	}
}

// TestWhoSpeaks: what a server claims of its visitor counts with the stream's
// secret only.
func TestWhoSpeaks(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*event.Event)
		browser string
		bot     bool
		visitor uint64
	}{
		"no secret":          {func(e *event.Event) {}, "Chrome", false, 1},
		"verified":           {func(e *event.Event) { e.Auth = event.AuthVerified }, "Firefox", false, 2},
		"old secret matches": {func(e *event.Event) { e.Auth, e.Credential = event.AuthUnknown, hash("old") }, "Firefox", false, 2},
		"wrong secret":       {func(e *event.Event) { e.Auth, e.Credential = event.AuthUnknown, hash("bad") }, "Chrome", false, 1},
		"empty credential":   {func(e *event.Event) { e.Auth = event.AuthUnknown }, "Chrome", false, 1},
		"a library without secret": {func(e *event.Event) {
			e.UserAgent = "python-requests/2.31"
		}, "", false, 1},
		"a crawler that runs the page": {func(e *event.Event) {
			e.UserAgent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
		}, "Googlebot", true, 1},
		"a server that claims nothing": {func(e *event.Event) {
			e.Auth, e.UserAgent, e.ClaimedUserAgent, e.ClaimedVisitor = event.AuthVerified, "python-requests/2.31", "", 0
		}, "", false, 1},
		"a server that claims a bot": {func(e *event.Event) {
			e.Auth, e.ClaimedUserAgent = event.AuthVerified, "-"
		}, "", true, 2},
		"no agent": {func(e *event.Event) { e.UserAgent = "" }, "", false, 1},
	} {
		ev := view("G-1", noon)
		ev.ClientID, ev.Visitor = "", 1
		ev.ClaimedUserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
		ev.ClaimedVisitor = 2
		c.change(&ev)
		row := rows(t, enricher(t).Batch(&event.Batch{Events: []event.Event{ev}}, owner).Docs[0])[0]
		if got := row.Text[processed.ColBrowser]; got != c.browser {
			t.Errorf("%s: browser %q, want %q", name, got, c.browser)
		}
		if got := row.Flags&processed.FlagBot != 0; got != c.bot {
			t.Errorf("%s: bot %v, want %v", name, got, c.bot)
		}
		want := processed.HashActor(processed.ActorVisitor, string([]byte{byte(c.visitor), 0, 0, 0, 0, 0, 0, 0}))
		if row.User != want || row.Client != want {
			t.Errorf("%s: not visitor %d", name, c.visitor)
		}
	}
}

// TestBotsAndInternal: what a request says of itself and of its whole address
// counts where it is the visitor's.
func TestBotsAndInternal(t *testing.T) {
	server := func(e *event.Event) {
		e.Auth, e.ClaimedUserAgent, e.ClaimedIP = event.AuthVerified, chrome, "192.0.2.0"
	}
	for name, c := range map[string]struct {
		change        func(*event.Event)
		bot, internal bool
	}{
		"a visitor":        {func(*event.Event) {}, false, false},
		"prefetch":         {func(e *event.Event) { e.Purpose = "prefetch" }, true, false},
		"prerender":        {func(e *event.Event) { e.Purpose = "prefetch;prerender" }, true, false},
		"an older preview": {func(e *event.Event) { e.Purpose = "Preview" }, true, false},
		"another purpose":  {func(e *event.Event) { e.Purpose = "navigate" }, false, false},
		"a data centre":    {func(e *event.Event) { e.Networks = event.NetworkDataCentre }, true, false},
		"a headless browser": {func(e *event.Event) {
			e.UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36"
		}, true, false},
		"headless by hints":  {func(e *event.Event) { e.Hints = `: "HeadlessChrome";v="142"` }, true, false},
		"an SDK in a centre": {func(e *event.Event) { e.UserAgent, e.Networks = "shop-sdk/1", event.NetworkDataCentre }, false, false},
		"a server in a centre, of its visitor": {func(e *event.Event) {
			server(e)
			e.Networks, e.Purpose = event.NetworkDataCentre|event.NetworkInternal, "prefetch"
		}, false, false},
		"a server, of a visitor in a centre": {func(e *event.Event) { server(e); e.Networks = event.NetworkClaimedDataCentre }, true, false},
		"a server, of a colleague":           {func(e *event.Event) { server(e); e.Networks = event.NetworkClaimedInternal }, false, true},
		"the claim of nobody":                {func(e *event.Event) { e.Networks = event.NetworkClaimedDataCentre | event.NetworkClaimedInternal }, false, false},
		"the merchant's network":             {func(e *event.Event) { e.Networks = event.NetworkInternal }, false, true},
		"the tag says so":                    {func(e *event.Event) { e.Params = []event.Param{{Key: "traffic_type", Text: "internal"}} }, false, true},
		"the tag says other":                 {func(e *event.Event) { e.Params = []event.Param{{Key: "traffic_type", Text: "partner"}} }, false, false},
	} {
		ev := view("G-1", noon)
		c.change(&ev)
		row := rows(t, enricher(t).Batch(&event.Batch{Events: []event.Event{ev}}, owner).Docs[0])[0]
		if bot, internal := row.Flags&processed.FlagBot != 0, row.Flags&processed.FlagInternal != 0; bot != c.bot || internal != c.internal {
			t.Errorf("%s: bot %t, internal %t; want %t, %t", name, bot, internal, c.bot, c.internal)
		}
	}
}

// TestDeterministic: a cold enricher and one that has seen other things give
// the same bytes, alone and at the same time.
func TestDeterministic(t *testing.T) {
	b := sampleBatch(500)
	e := enricher(t)
	first := e.Batch(b, owner)
	e.Batch(sampleBatch(77), owner)
	results := make(chan enrich.Result)
	for range 4 {
		go func() { results <- e.Batch(b, owner) }()
	}
	others := []enrich.Result{enricher(t).Batch(b, owner)}
	for range 4 {
		others = append(others, <-results)
	}
	for _, other := range others {
		if len(other.Docs) != len(first.Docs) || len(other.Rejects) != len(first.Rejects) {
			t.Fatalf("%d documents, %d rejects, want %d, %d", len(other.Docs), len(other.Rejects), len(first.Docs), len(first.Rejects))
		}
		for i := range first.Docs {
			if !bytes.Equal(other.Docs[i].Data, first.Docs[i].Data) {
				t.Fatalf("document %d has other bytes", i)
			}
		}
		if diff := cmp.Diff(first.Rejects, other.Rejects); diff != "" {
			t.Fatal(diff)
		}
	}
}

// sampleBatch is n events of two merchants' shops.
func sampleBatch(n int) *event.Batch {
	b := &event.Batch{ID: event.BatchID{9, byte(n)}, ReceivedAt: noon}
	agents := []string{
		chrome, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
	}
	for i := range n {
		ev := view([]string{"G-1", "G-2", "G-404"}[i%20/9], noon.Add(time.Duration(i)*time.Second))
		ev.ID = fmt.Sprint("e", i)
		ev.ClientID = fmt.Sprint("c", i/7)
		ev.UserAgent = agents[i/7%3]
		ev.PageLocation = fmt.Sprintf("https://shop.example.com/p/%d?color=red", i*i%97)
		ev.PageTitle = fmt.Sprint("Product ", i*i%97)
		ev.Language, ev.Screen, ev.Country = "de-DE", "1920x1080", "DE"
		if i%7 == 0 {
			ev.PageReferrer = "https://www.google.com/"
		}
		ev.Params = []event.Param{{Key: "variant", Text: "a"}, {Key: "depth", Kind: event.ParamInt, Int: int64(i % 4)}}
		b.Events = append(b.Events, ev)
	}
	return b
}

func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			batch, e := sampleBatch(n), enricher(b)
			b.ReportAllocs()
			for b.Loop() {
				e.Batch(batch, owner)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		enricher(b)
	}
}

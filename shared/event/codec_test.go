package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sampleBatch is a batch that uses every member; always the same.
func sampleBatch() *Batch {
	id, _ := ParseBatchID("0193588f2c007c3e8a51d0f3b6c49e17")
	return &Batch{
		ID:         id,
		ReceivedAt: time.UnixMicro(1764000000123456).UTC(),
		Instance:   "ingest-0",
		Events: []Event{
			{
				ID: "8f14e45f-ceea-467f-a9d2-1c1a4b6a5d11", Source: "https://shop.example/", Stream: "G-TESTSTREAM",
				TimeMicros: 1764000000000001, Name: "purchase", ClientID: "555.1234", UserID: "u-1", SessionID: "1763999000",
				PageLocation: "https://shop.example/thanks?a=ä", PageTitle: "Danke", PageReferrer: "https://shop.example/cart",
				Params: []Param{
					{Key: "transaction_id", Text: "T-1"}, {Key: "n", Kind: ParamInt, Int: -7},
					{Key: "ratio", Kind: ParamDouble, Double: 0.25}, {Key: "gift", Kind: ParamBool, Bool: true},
				},
				UserProperties: []Param{{Key: "tier", Text: "gold"}},
				Items: []Item{{ID: "sku-1", Name: "Tee", Brand: "B", Variant: "red", Categories: [5]string{"Clothes", "Tees"},
					ListID: "l", ListName: "List", Coupon: "C", PriceMicros: 9_990_000, Quantity: 2, Params: []Param{{Key: "size", Text: "M"}}}},
				HasValue: true, ValueMicros: 19_980_000, Currency: "EUR", EngagementMillis: 1200,
				Language: "de-DE", Screen: "1920x1080", Country: "DE", UserAgent: "Mozilla/5.0", IP: "203.0.113.0",
				Auth: AuthUnknown, Credential: strings.Repeat("ab", 32), ClaimedUserAgent: "curl/8", ClaimedIP: "198.51.100.0",
				ClaimedVisitor: 1 << 63, Extra: `{"plan":"x"}`,
			},
			{ID: "2", Source: "/s", Stream: "G-OTHER", TimeMicros: -1, TimeAssigned: true, Name: "page_view", Visitor: 0xfedcba9876543210},
		},
		Refused: []Refused{{Stream: "G-TESTSTREAM", ID: "3", Field: "data.name", Reason: "invalid", Detail: "a name", Data: []byte(`{"name":1}`)}},
	}
}

// fullBatch has what ingest adds, too: fields that came after version 1.
func fullBatch() *Batch {
	b := sampleBatch()
	for i := range b.Events {
		e := &b.Events[i]
		e.Region, e.City, e.Purpose, e.Networks = "Berlin", "Mitte", "prefetch;prerender", NetworkInternal|NetworkClaimedDataCentre
		e.Hints = "platform: \"Windows\"\nplatform-version: \"15.0.0\""
	}
	b.Events = append(b.Events, Event{ID: "3", City: "Köln"})
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	want := fullBatch()
	container, err := EncodeBatch(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(container)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("decoded batch differs (-want +got):\n%s", d)
	}
	for i := range want.Events {
		e, err := DecodeEvent(EncodeEvent(&want.Events[i]))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Events[i], e); d != "" {
			t.Fatalf("decoded event differs (-want +got):\n%s", d)
		}
	}
}

func anyEvent(t *rapid.T) Event {
	text := rapid.StringN(0, 40, 200)
	param := rapid.Custom(func(t *rapid.T) Param {
		p := Param{Key: text.Draw(t, "key"), Kind: ParamKind(rapid.IntRange(0, 3).Draw(t, "kind"))}
		switch p.Kind {
		case ParamText:
			p.Text = text.Draw(t, "text")
		case ParamInt:
			p.Int = rapid.Int64().Draw(t, "int")
		case ParamDouble:
			p.Double = rapid.Float64().Draw(t, "double")
		case ParamBool:
			p.Bool = rapid.Bool().Draw(t, "bool")
		}
		return p
	})
	params := func(name string) []Param {
		if p := rapid.SliceOfN(param, 0, 80).Draw(t, name); len(p) > 0 {
			return p
		}
		return nil
	}
	e := Event{
		ID: text.Draw(t, "id"), Stream: text.Draw(t, "stream"), TimeMicros: rapid.Int64().Draw(t, "time"),
		Name: text.Draw(t, "name"), Params: params("params"), UserProperties: params("props"),
		Visitor: rapid.Uint64().Draw(t, "visitor"), Extra: text.Draw(t, "extra"),
		Hints: text.Draw(t, "hints"), Purpose: text.Draw(t, "purpose"), City: text.Draw(t, "city"), Networks: Networks(rapid.Uint8().Draw(t, "networks")),
	}
	if n := len(e.Params); n > 0 && ReservedKey(e.Params[n-1].Key) {
		e.Params[n-1].Key = "k" // no sender's
	}
	for range rapid.IntRange(0, 3).Draw(t, "items") {
		e.Items = append(e.Items, Item{Name: text.Draw(t, "item"), PriceMicros: rapid.Int64().Draw(t, "price"),
			Categories: [5]string{4: text.Draw(t, "category")}, Params: params("item params")})
	}
	return e
}

func TestAnyBatchRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &Batch{ReceivedAt: time.UnixMicro(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "at")).UTC(), Instance: "i"}
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			want.Events = append(want.Events, anyEvent(t))
		}
		container, err := EncodeBatch(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBatch(container)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("decoded batch differs (-want +got):\n%s", d)
		}
	})
}

// TestGolden pins the stored format: what was archived must stay readable, and
// the header must stay the same bytes.
func TestGolden(t *testing.T) {
	const file = "testdata/batch-v1.avro"
	if os.Getenv("FOOTFALL_UPDATE_GOLDEN") != "" {
		container, err := EncodeBatch(sampleBatch())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, container, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	container, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(container)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleBatch(), got); d != "" {
		t.Fatalf("golden batch differs (-want +got):\n%s", d)
	}
	sum := sha256.Sum256(ContainerHeader())
	const want = "f25683d1dcef606aeb6dfd5df8b106f7abf4bcc39f3b87e3e79e6090674779c7"
	if h := hex.EncodeToString(sum[:]); h != want {
		t.Errorf("the container header changed: its SHA-256 is %s, was %s", h, want)
	}
}

func TestPackerSplitsWhatDoesNotCompress(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 40_000)
	var p Packer
	want := 0
	for ; ; want++ {
		for i := range noise {
			noise[i] = byte(' ' + rnd.IntN(90))
		}
		if !p.Add(EncodeEvent(&Event{ID: fmt.Sprint(want), Extra: string(noise)})) {
			break
		}
	}
	p.AddRefused(&Refused{ID: "r"})
	sealed, err := p.Seal(NewBatchID, time.UnixMicro(5), "i")
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) < 2 {
		t.Fatalf("sealed %d events into %d batches, expected several", want, len(sealed))
	}
	next, refused := 0, 0
	seen := map[BatchID]bool{}
	for _, s := range sealed {
		if len(s.Container) > MaxBatchBytes {
			t.Errorf("a container has %d bytes, expected at most %d", len(s.Container), MaxBatchBytes)
		}
		b, err := DecodeBatch(s.Container)
		if err != nil {
			t.Fatal(err)
		}
		if b.ID != s.ID || seen[b.ID] || s.First != next || s.Events != len(b.Events) {
			t.Fatalf("sealed %+v holds batch %s with %d events", s.First, b.ID, len(b.Events))
		}
		seen[b.ID] = true
		refused += len(b.Refused)
		for i := range b.Events {
			if b.Events[i].ID != fmt.Sprint(next) {
				t.Fatalf("event %d is %q", next, b.Events[i].ID)
			}
			next++
		}
	}
	if next != want || refused != 1 {
		t.Fatalf("sealed %d events and %d refused, expected %d and 1", next, refused, want)
	}
}

func TestPackerLimits(t *testing.T) {
	var p Packer
	encoded := EncodeEvent(&Event{ID: "x"})
	for range MaxBatchEvents {
		if !p.Add(encoded) {
			t.Fatal("refused an event below the limit")
		}
	}
	if p.Add(encoded) {
		t.Fatal("took an event over the limit")
	}
	p.Reset()
	if p.Events() != 0 || p.Bytes() != 0 {
		t.Fatal("Reset left something")
	}
	ends := []int{len(encoded) + 7, 2*len(encoded) + 7}
	if !p.AddRun(append(append([]byte{}, encoded...), encoded...), ends, 7) || !p.Add(encoded) {
		t.Fatal("refused a run")
	}
	sealed, err := p.Seal(NewBatchID, time.Now(), "i")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := DecodeBatch(sealed[0].Container); err != nil || len(b.Events) != 3 || b.Events[2].ID != "x" {
		t.Fatalf("decoded %v, %v", b, err)
	}
}

func TestDecodeRefusesBombs(t *testing.T) {
	raw := make([]byte, MaxBatchRaw*4)
	bomb := appendContainer(nil, compressor().EncodeAll(raw, nil))
	if _, err := DecodeBatch(bomb); err == nil {
		t.Fatal("a block over the limit was decoded")
	}
	// A count that promises more than there is must not be believed.
	head := append(make([]byte, 16), 0, 0)
	for _, count := range []int64{1 << 40, -1 << 63, MaxBatchEvents + 1} {
		lie := appendLong(bytes.Clone(head), count)
		lie = append(lie, make([]byte, 200_000)...)
		if _, err := DecodeBatch(appendContainer(nil, compressor().EncodeAll(lie, nil))); err == nil {
			t.Fatalf("a count of %d was believed", count)
		}
	}
}

// archiveFile makes a file of n batches and says where each block ends.
func archiveFile(t testing.TB, n int) (file []byte, ends []int, ids []BatchID) {
	file = bytes.Clone(ContainerHeader())
	for i := range n {
		b := sampleBatch()
		b.ID[0] = byte(i)
		container, err := EncodeBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		block, err := BlockOf(container)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, block...)
		ends, ids = append(ends, len(file)), append(ids, b.ID)
	}
	return file, ends, ids
}

func TestReaderReadsArchiveFile(t *testing.T) {
	file, _, ids := archiveFile(t, 5)
	r := NewReader(bytes.NewReader(file))
	for i := range ids {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if b.ID != ids[i] {
			t.Fatalf("batch %d is %s, expected %s", i, b.ID, ids[i])
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("expected io.EOF, found %v", err)
	}
	r = NewReader(bytes.NewReader(file[:len(file)-1]))
	for range 4 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a torn block was read: %v", err)
	}
}

func TestReaderReadsBlocks(t *testing.T) {
	file, ends, ids := archiveFile(t, 5)
	r := NewReader(bytes.NewReader(file))
	from := len(ContainerHeader())
	for i, id := range ids {
		b, err := r.NextBlock()
		if err != nil {
			t.Fatal(err)
		}
		if b.Batch != id || !bytes.Equal(b.Data, file[from:ends[i]]) {
			t.Fatalf("block %d is one of batch %s with %d bytes, expected %s with %d", i, b.Batch, len(b.Data), id, ends[i]-from)
		}
		if batch, err := b.Decode(); err != nil || batch.ID != id || !b.Mentions(batch.Instance) || b.Mentions("nowhere in it") {
			t.Fatalf("block %d holds %+v: %v", i, batch, err)
		}
		from = ends[i]
	}
	if _, err := r.NextBlock(); !errors.Is(err, io.EOF) {
		t.Fatalf("expected io.EOF, found %v", err)
	}
	r = NewReader(bytes.NewReader(file[:len(file)-1]))
	for range 4 {
		if _, err := r.NextBlock(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // it does not go on behind it
		if _, err := r.NextBlock(); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("a torn block was read: %v", err)
		}
	}
}

func TestScanBlocksAtEveryCut(t *testing.T) {
	file, ends, ids := archiveFile(t, 3)
	for cut := 0; cut <= len(file); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, 100)} { // a hole is read as zeros
			end, got, err := ScanBlocks(bytes.NewReader(append(bytes.Clone(file[:cut]), tail...)))
			if cut < len(ContainerHeader()) {
				if end != 0 || len(got) != 0 || (err != nil && tail == nil) {
					t.Fatalf("cut %d: end %d, %d ids, %v", cut, end, len(got), err)
				}
				continue
			}
			whole := 0
			for whole < len(ends) && ends[whole] <= cut {
				whole++
			}
			want := int64(len(ContainerHeader()))
			if whole > 0 {
				want = int64(ends[whole-1])
			}
			if err != nil || end != want || !cmp.Equal(got, ids[:whole], cmp.Transformer("s", BatchID.String)) && whole > 0 {
				t.Fatalf("cut %d: end %d (expected %d), %d ids, %v", cut, end, want, len(got), err)
			}
		}
	}
}

func TestScanBlocksReportsCorruptMiddle(t *testing.T) {
	file, ends, _ := archiveFile(t, 3)
	for at := ends[0]; at < ends[1]; at++ {
		broken := bytes.Clone(file)
		broken[at] ^= 0x55
		end, got, err := ScanBlocks(bytes.NewReader(broken))
		if err == nil && end == int64(len(file)) {
			// A few bits of a zstd frame mean nothing: then all must be there.
			r := NewReader(bytes.NewReader(broken))
			for i := range ends {
				want := sampleBatch()
				want.ID[0] = byte(i)
				if b, err := r.Next(); err != nil || !cmp.Equal(b, want) {
					t.Fatalf("byte %d changed, and nothing noticed: %v", at, err)
				}
			}
			continue
		}
		if err == nil || end != int64(ends[0]) || len(got) != 1 {
			t.Fatalf("byte %d changed: end %d, %d ids, error %v", at, end, len(got), err)
		}
	}
}

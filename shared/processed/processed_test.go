package processed_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
)

// sameRows compares frames by what their rows say.
func sameRows(t interface {
	Helper()
	Fatalf(string, ...any)
}, got *processed.Frame, want []processed.Row) {
	t.Helper()
	if got.Len != len(want) {
		t.Fatalf("%d rows, want %d", got.Len, len(want))
	}
	for i := range want {
		if diff := cmp.Diff(want[i], got.Row(i), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("row %d (-want +got):\n%s", i, diff)
		}
	}
}

func build(rows []processed.Row) *processed.Frame {
	var b processed.Builder
	for _, r := range rows {
		b.Add(r)
	}
	return b.Frame()
}

var texts = rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"a", "b", "/shop", "google"}), rapid.String())

var numbers = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 100), rapid.Int64())

func genRow(t *rapid.T, batch event.BatchID, seq uint32, hour int64) processed.Row {
	r := processed.Row{
		Batch: batch, Seq: seq,
		EventID: processed.ID{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")},
		Millis:  hour*3600_000 + rapid.Int64Range(0, 3600_000-1).Draw(t, "millis"),
		User:    rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()).Draw(t, "user"),
		Session: rapid.Uint64Range(0, 2).Draw(t, "session"),
		Flags:   rapid.Uint8Range(0, 15).Draw(t, "flags"),
		Engaged: numbers.Draw(t, "engaged"),
		Value:   numbers.Draw(t, "value"),
	}
	r.Client = r.User
	if rapid.Bool().Draw(t, "other client") {
		r.Client = rapid.Uint64().Draw(t, "client")
	}
	for range rapid.IntRange(0, 6).Draw(t, "texts") {
		r.Text[rapid.IntRange(0, len(r.Text)-1).Draw(t, "column")] = texts.Draw(t, "text")
	}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "plan", "size", "x"}), 0, 3, rapid.ID).Draw(t, "keys") {
		if text := texts.Draw(t, "param"); text != "" {
			r.Params = append(r.Params, processed.Param{Key: key, Text: text})
		}
	}
	slices.SortFunc(r.Params, func(a, b processed.Param) int { return strings.Compare(a.Key, b.Key) })
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "items") {
		it := processed.Item{Price: numbers.Draw(t, "price"), Quantity: numbers.Draw(t, "quantity")}
		it.Text[rapid.IntRange(0, len(it.Text)-1).Draw(t, "item column")] = texts.Draw(t, "item text")
		r.Items = append(r.Items, it)
	}
	return r
}

func genRows(t *rapid.T, batch event.BatchID, hour int64) []processed.Row {
	var rows []processed.Row
	seq := uint32(0)
	for range rapid.IntRange(1, 12).Draw(t, "rows") {
		rows = append(rows, genRow(t, batch, seq, hour))
		seq += rapid.Uint32Range(1, 3).Draw(t, "gap")
	}
	return rows
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []processed.Row
		for k := range rapid.IntRange(0, 3).Draw(t, "batches") {
			rows = append(rows, genRows(t, event.BatchID{byte(k + 1)}, 5)...)
		}
		f := build(rows)
		sameRows(t, f, rows)
		data := processed.Encode(f)
		got, err := processed.Decode(data, processed.Everything())
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		sameRows(t, got, rows)
		if again := processed.Encode(got); !bytes.Equal(again, data) {
			t.Fatalf("encoding what was decoded gives other bytes")
		}
	})
}

// TestLarge takes the paths of compressed columns and large dictionaries.
func TestLarge(t *testing.T) {
	for _, n := range []int{1, 2, 30, 500, 5000} {
		rows := sampleRows(n)
		data := processed.Encode(build(rows))
		got, err := processed.Decode(data, processed.Everything())
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		sameRows(t, got, rows)
		for cut := 0; cut < len(data); cut += max(1, len(data)/100) {
			if _, err := processed.Decode(data[:cut], processed.Everything()); !fault.Is(err, fault.Invalid) {
				t.Fatalf("%d rows cut at %d of %d: got %v, want an Invalid error", n, cut, len(data), err)
			}
		}
	}
}

// TestSelection asks for single columns and checks that exactly these come.
func TestSelection(t *testing.T) {
	rows := sampleRows(300)
	data := processed.Encode(build(rows))
	for c := range processed.NumStringColumns {
		f, err := processed.Decode(data, processed.Columns{Text: 1 << c})
		if err != nil {
			t.Fatal(err)
		}
		if f.Millis != nil || f.EventID != nil || f.Items.Len != 0 || f.Params != nil {
			t.Fatalf("column %d: other columns came with it", c)
		}
		for i := range rows {
			want := processed.Row{}
			want.Text[c] = rows[i].Text[c]
			if diff := cmp.Diff(want, f.Row(i)); diff != "" {
				t.Fatalf("column %d row %d: %s", c, i, diff)
			}
		}
	}
	f, err := processed.Decode(data, processed.Columns{Params: []string{"plan", "nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Params) != 1 || f.Params["plan"].At(3) != rows[3].Params[0].Text {
		t.Fatalf("params: got %v", f.Params)
	}
}

func TestUnionLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Documents of up to four batches in two hours; the same document may
		// be there several times, alone or within a merged one.
		var docs [][]processed.Row
		var want []processed.Row
		for k := range rapid.IntRange(1, 4).Draw(t, "batches") {
			batch := event.BatchID{byte(k + 1)}
			both := genRows(t, batch, 7)
			var hours [2][]processed.Row
			for _, r := range both {
				h := rapid.IntRange(0, 1).Draw(t, "hour")
				r.Millis += int64(h) * 3600_000
				hours[h] = append(hours[h], r)
				want = append(want, r)
			}
			for _, rows := range hours {
				if len(rows) > 0 {
					docs = append(docs, rows)
				}
			}
		}
		frames := make([]*processed.Frame, len(docs))
		for i := range docs {
			frames[i] = build(docs[i])
		}
		slices.SortStableFunc(want, func(a, b processed.Row) int { return int(hourOf(a.Millis) - hourOf(b.Millis)) })
		all := unionOf(t, frames)
		sameRows(t, all, want)

		perm := rapid.Permutation(slices.Concat(frames, frames)).Draw(t, "order")
		cut := rapid.IntRange(0, len(perm)).Draw(t, "cut")
		nested := unionOf(t, []*processed.Frame{unionOf(t, perm[:cut]), unionOf(t, perm[cut:]), {}})
		if diff := cmp.Diff(all, nested, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("uniting in another order and grouping differs (-at once +nested):\n%s", diff)
		}
		if !bytes.Equal(processed.Encode(all), processed.Encode(nested)) {
			t.Fatalf("equal frames encode to different bytes")
		}
	})
}

func TestHashes(t *testing.T) {
	if processed.HashID("G-1", "23") == processed.HashID("G-12", "3") {
		t.Error("stream and id run into one another")
	}
	// Stored for ever: a change of these makes every event a new one.
	if got := fmt.Sprintf("%x %x", processed.HashID("G-1", "x"), processed.HashActor(processed.ActorClient, "x")); got != "{ce4af8ebca5a4e49 973f59a2ff71e40} 27a1dde47c685fba" {
		t.Errorf("the hashes have changed: %s", got)
	}
	if processed.HashActor(processed.ActorUser, "x") == processed.HashActor(processed.ActorClient, "x") {
		t.Error("a user and a client of one name are the same actor")
	}
	if processed.HashActor(processed.ActorUser, "") == 0 {
		t.Error("an actor is 0")
	}
	long := strings.Repeat("x", 1000)
	if processed.HashID(long, "a") == processed.HashID(long, "b") {
		t.Error("long ids are cut")
	}
}

// TestBuilderAgain encodes twice with one builder, which keeps its memory.
func TestBuilderAgain(t *testing.T) {
	var b processed.Builder
	for _, n := range []int{50, 3, 1, 0, 20} {
		rows := sampleRows(n)
		for i := range rows {
			b.Append(&rows[i])
		}
		if got, want := b.Encode(), processed.Encode(build(rows)); !bytes.Equal(got, want) {
			t.Errorf("%d rows: a used builder encodes %d bytes, a new one %d", n, len(got), len(want))
		}
	}
}

func TestSmallDocuments(t *testing.T) {
	rows := sampleRows(5)
	for i := range rows {
		if size := len(processed.Encode(build(rows[i : i+1]))); size > 300 {
			t.Errorf("a document of one row takes %d bytes", size)
		}
	}
}

// sampleRows are events as a web shop sends them.
func sampleRows(n int) []processed.Row {
	batch := event.BatchID{1, 0x9a, 0xfe}
	rows := make([]processed.Row, n)
	for i := range rows {
		visitor := uint64(i/7+1) * 0x9e3779b97f4a7c15
		r := &rows[i]
		*r = processed.Row{
			Batch: batch, Seq: uint32(i), EventID: processed.HashID("G-0A1B2C3D4E", fmt.Sprint("e", i)),
			Millis: 1_795_456_800_000 + int64(i)*700, User: visitor, Client: visitor, Session: uint64(i/7+1) * 0xc2b2ae3d27d4eb4f,
			Engaged: int64(i%5) * 1000,
		}
		r.Text = [processed.NumStringColumns]string{
			processed.ColName: "page_view", processed.ColStream: "G-0A1B2C3D4E", processed.ColHostname: "shop.example.com",
			processed.ColPagePath: fmt.Sprintf("/products/shoes/%d", i*i%997), processed.ColPageTitle: fmt.Sprintf("Shoe %d", i*i%997),
			processed.ColPageReferrer: "https://www.google.com/", processed.ColSource: "google", processed.ColMedium: "organic",
			processed.ColCountry: []string{"DE", "FR", "US"}[i%3], processed.ColLanguage: "de-de",
			processed.ColDeviceCategory: "desktop", processed.ColBrowser: "Chrome", processed.ColBrowserVersion: "142.0",
			processed.ColOS: "Windows", processed.ColOSVersion: "10", processed.ColScreen: "1920x1080",
		}
		r.Params = []processed.Param{{Key: "plan", Text: []string{"basic", "pro"}[i%2]}}
		if i%10 == 9 {
			r.Text[processed.ColName], r.Text[processed.ColCurrency] = "purchase", "EUR"
			r.Text[processed.ColTransactionID] = fmt.Sprint("T-", i)
			r.Value, r.Flags = 59_900_000, processed.FlagHasValue
			item := processed.Item{Price: 59_900_000, Quantity: 1}
			item.Text[processed.ItemID], item.Text[processed.ItemName] = fmt.Sprint("sku", i%50), "Shoe"
			r.Items = []processed.Item{item}
		}
	}
	return rows
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 3, 40} {
		f.Add(processed.Encode(build(sampleRows(n))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := processed.Decode(data, processed.Everything())
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, want an Invalid error", err)
			}
			return
		}
		for i := range min(frame.Len, 100) {
			frame.Row(i)
		}
		again, err := processed.Decode(processed.Encode(frame), processed.Everything())
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded and decoded again: %v", err)
		}
		for i := range min(frame.Len, 100) {
			if diff := cmp.Diff(frame.Row(i), again.Row(i)); diff != "" {
				t.Fatalf("row %d: %s", i, diff)
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) { perEvent(b, func(rows []processed.Row) { build(rows) }) }

// BenchmarkBuildEncode is the ETL's way: one builder, from rows to bytes.
func BenchmarkBuildEncode(b *testing.B) {
	var builder processed.Builder
	perEvent(b, func(rows []processed.Row) {
		for i := range rows {
			builder.Append(&rows[i])
		}
		builder.Encode()
	})
}
func BenchmarkEncode(b *testing.B) { perFrame(b, func(f *processed.Frame) { processed.Encode(f) }) }

func BenchmarkDecode(b *testing.B) {
	for name, columns := range map[string]processed.Columns{
		"all": processed.Everything(), "actors": {Actors: true}, "one": {Text: 1 << processed.ColCountry},
	} {
		b.Run(name, func(b *testing.B) {
			for _, n := range []int{1, 300, 20000} {
				b.Run(fmt.Sprint(n), func(b *testing.B) {
					data := processed.Encode(build(sampleRows(n)))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := processed.Decode(data, columns); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
					b.ReportMetric(float64(len(data))/float64(n), "B/event")
				})
			}
		})
	}
}

// BenchmarkUnionOfFrames unites what is decoded already.
func BenchmarkUnionOfFrames(b *testing.B) {
	for _, each := range []int{1, 100, 5000} {
		b.Run(fmt.Sprint(each), func(b *testing.B) {
			var frames []*processed.Frame
			rows := sampleRows(10000)
			for k := range len(rows) / each {
				part := rows[each*k : each*k+each]
				for i := range part {
					part[i].Batch = event.BatchID{byte(k >> 8), byte(k)}
				}
				frames = append(frames, build(part))
			}
			b.ReportAllocs()
			for b.Loop() {
				u := processed.NewUnion(processed.Everything())
				for _, f := range frames {
					u.AddFrame(f, nil)
				}
				if _, err := u.Frame(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/event")
		})
	}
}

func perEvent(b *testing.B, run func([]processed.Row)) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := sampleRows(n)
			b.ReportAllocs()
			for b.Loop() {
				run(rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

func perFrame(b *testing.B, run func(*processed.Frame)) {
	for _, n := range []int{1, 300, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := build(sampleRows(n))
			b.ReportAllocs()
			for b.Loop() {
				run(f)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

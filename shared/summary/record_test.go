package summary_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

func TestUsersAreExactWhileFew(t *testing.T) {
	var u summary.Users
	for i := range summary.UsersExact {
		u = u.Union(summary.UsersOf(uint64(i), uint64(i/2)))
	}
	if !u.Exact() || u.Estimate() != summary.UsersExact {
		t.Fatalf("got %d, exact %t", u.Estimate(), u.Exact())
	}
	u = u.Union(summary.UsersOf(1 << 40))
	if u.Exact() {
		t.Fatal("one more is still exact")
	}
}

// drawUsers draws sets from a few sizes around the bound and far from it.
func drawUsers(t *rapid.T, name string) summary.Users {
	n := rapid.SampledFrom([]int{0, 1, 3, 100, summary.UsersExact - 1, summary.UsersExact + 1, 9000}).Draw(t, name)
	from := rapid.Uint64Range(0, 6000).Draw(t, name+" from")
	users := make([]uint64, n)
	for i := range users {
		users[i] = from + uint64(i)
	}
	return summary.UsersOf(users...)
}

func bytesOf(u summary.Users) []byte { return (&summary.Record{Users: u}).Encode() }

func TestUsersUnionLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawUsers(t, "a"), drawUsers(t, "b"), drawUsers(t, "c")
		same := func(law string, x, y summary.Users) {
			if !bytes.Equal(bytesOf(x), bytesOf(y)) {
				t.Fatalf("union is not %s", law)
			}
		}
		same("commutative", a.Union(b), b.Union(a))
		same("associative", a.Union(b).Union(c), a.Union(b.Union(c)))
		same("idempotent", a.Union(a), a)
		same("that of all", summary.UnionAll([]summary.Users{a, b, c}), c.Union(b).Union(a))
	})
}

func recordOf(f *summary.Facts, hour int) *summary.Record {
	users, millis := f.Firsts()
	f.SetFirstSeen(users, millis)
	return summary.NewRecord(f, hour)
}

// Records of parts add up to the record of the whole, in any order and
// grouping, to the byte; and so do they after they were stored.
func TestRecordsMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		from, to := spanOf(rows)
		f := summary.Resolve(frameOf(rows), summary.Of(from, to), euros)
		whole := recordOf(f, 3)
		var parts []*summary.Record
		at := f.Window.From
		for at < f.Window.To {
			next := min(f.Window.To, at+rapid.Int64Range(1, 40*hourMs).Draw(t, "part"))
			parts = append(parts, summary.NewRecord(f.Slice(summary.Window{From: at, To: next}), 3))
			at = next
		}
		want := whole.Encode()
		if got := summary.MergeRecords(parts...).Encode(); !bytes.Equal(got, want) {
			t.Fatalf("parts: %x\nwhole: %x", got, want)
		}
		for len(parts) > 1 {
			// Any of them, of times that lie side by side or not.
			parts = rapid.Permutation(parts).Draw(t, "order")
			n := rapid.IntRange(2, min(4, len(parts))).Draw(t, "at once")
			stored, err := summary.DecodeRecord(summary.MergeRecords(parts[:n]...).Encode(), summary.WantAll())
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts[n:], stored)
		}
		if got := parts[0].Encode(); !bytes.Equal(got, want) {
			t.Fatalf("in groups: %x\nwhole:    %x", got, want)
		}
	})
}

// Tables over their bounds are absent whichever way they came about.
func TestTableBounds(t *testing.T) {
	const rows = 3000
	record := func(from, to int) *summary.Record {
		var b processed.Builder
		for i := from; i < to; i++ {
			var r processed.Row
			r.Seq, r.EventID.Lo, r.Client, r.User = uint32(i), uint64(i), 1, uint64(i)
			r.Text[processed.ColName], r.Text[processed.ColPagePath] = "page_view", fmt.Sprintf("/%d", i)
			r.Text[processed.ColCountry] = "DE"
			b.Append(&r)
		}
		return recordOf(summary.Resolve(b.Frame(), summary.Of(0, 1), euros), 0)
	}
	a, b, c := record(0, 1500), record(1000, 1800), record(1800, rows)
	if a.Tables[summary.TablePage] == nil || b.Tables[summary.TablePage] == nil {
		t.Fatal("small tables are absent")
	}
	left := summary.MergeRecords(summary.MergeRecords(a, b), c)
	right := summary.MergeRecords(a, summary.MergeRecords(c, b))
	if left.Tables[summary.TablePage] != nil || left.Tables[summary.TableCountry] == nil {
		t.Error("the wrong tables are absent")
	}
	if !bytes.Equal(left.Encode(), right.Encode()) {
		t.Error("what is absent depends on the order")
	}
}

// usersTable is a record whose table has rows with these sets.
func usersTable(sets map[string]summary.Users) *summary.Record {
	t := summary.EmptyTable(summary.TablePage.Keys(), true, nil)
	r := &summary.Record{}
	for _, page := range slices.Sorted(maps.Keys(sets)) {
		t.Values[0] = append(t.Values[0], page)
		t.Counters, t.Users = append(t.Counters, summary.Counters{}), append(t.Users, sets[page])
		r.Users = r.Users.Union(sets[page])
	}
	r.Tables[summary.TablePage] = t
	return r
}

// TestTableUsersBound: the more users a table holds, the coarser are the sets of its rows,
// whichever way they came about, and whether or not they were stored in between. The
// more each row has, the more of them are sketches; no user is left out.
func TestTableUsersBound(t *testing.T) {
	for _, c := range []struct {
		name              string
		rows, users, step int
		worst             float64 // relative error of a row that is allowed: four times the standard one; 0 for exact
	}{
		{"few", 60, 4000, 1, 0},
		{"sketches of long rows", 80, 4000, 1, 4 * 1.04 / 64},
		{"sketches of all", 1500, 300, 7, 4 * 1.04 / 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			const parts = 6
			rng := rand.New(rand.NewPCG(uint64(c.rows), uint64(c.users)))
			var records []*summary.Record
			for part := range parts {
				sets := map[string]summary.Users{}
				for row := range c.rows {
					if row%parts == part { // not all pages in each
						continue
					}
					var users []uint64
					for k := part; k < c.users; k += parts {
						users = append(users, uint64(row*c.step+k))
					}
					for range rng.IntN(20) {
						users = append(users, uint64(row*c.step+rng.IntN(c.users)))
					}
					sets[fmt.Sprintf("/%04d", row)] = summary.UsersOf(users...)
				}
				records = append(records, usersTable(sets))
			}
			for row := range c.rows { // the ones left out above
				part := row % parts
				var users []uint64
				for k := part; k < c.users; k += parts {
					users = append(users, uint64(row*c.step+k))
				}
				records = append(records, usersTable(map[string]summary.Users{fmt.Sprintf("/%04d", row): summary.UsersOf(users...)}))
			}
			all := summary.MergeRecords(records...)
			want := all.Encode()
			for len(records) > 1 {
				rng.Shuffle(len(records), func(i, k int) { records[i], records[k] = records[k], records[i] })
				n := min(len(records), 2+rng.IntN(c.rows/2))
				stored, err := summary.DecodeRecord(summary.MergeRecords(records[:n]...).Encode(), summary.WantAll())
				if err != nil {
					t.Fatal(err)
				}
				records = append(records[n:], stored)
			}
			if got := records[0].Encode(); !bytes.Equal(got, want) {
				t.Error("what is kept depends on the order")
			}
			table := records[0].Tables[summary.TablePage]
			if table == nil || table.Len() != c.rows || table.Users == nil {
				t.Fatalf("expected %d rows with users, got %+v", c.rows, table)
			}
			for row, u := range table.Users {
				off := math.Abs(float64(u.Estimate())/float64(c.users) - 1)
				if off > c.worst || u.Exact() != (c.worst == 0) || 4*u.Error() > c.worst {
					t.Fatalf("row %d: %d of %d users with a standard error of %.4f, expected errors up to %.4f", row, u.Estimate(), c.users, u.Error(), c.worst)
				}
			}
		})
	}
}

func TestRecordRoundTrip(t *testing.T) {
	f := benchFrame(60_000, 9_000)
	from := event.Hour(hourOf(f.Millis[0]))
	r := recordOf(summary.Resolve(f, summary.Of(from, from+24), euros), 23)
	data := r.Encode()
	got, err := summary.DecodeRecord(data, summary.WantAll())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Encode(), data) {
		t.Error("decoded record encodes otherwise")
	}
	if r.Users.Exact() {
		t.Fatal("too few users for a sketch")
	}
	totals, err := summary.DecodeRecord(data, summary.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if totals.Total != r.Total || totals.Hours != 1<<23 {
		t.Error("totals differ")
	}
	one, err := summary.DecodeRecord(data, summary.Want{Tables: 1 << summary.TableCountry})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Tables[summary.TableCountry].Counters, one.Tables[summary.TableCountry].Counters); d != "" || one.Tables[summary.TablePage] != nil {
		t.Error(d)
	}
	t.Logf("60,000 events, %d users: %d bytes", r.Users.Estimate(), len(data))
}

// tenEvents is an hour of a small shop: two visitors.
func tenEvents() *summary.Record {
	start := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC).UnixMilli()
	var b processed.Builder
	for i, e := range []struct {
		client      uint64
		name, path  string
		source, med string
	}{
		{1, "page_view", "/", "google", "organic"}, {1, "scroll", "/", "", ""}, {1, "page_view", "/shoes", "", ""},
		{1, "user_engagement", "/shoes", "", ""}, {1, "page_view", "/shoes/red", "", ""}, {1, "add_to_cart", "/shoes/red", "", ""},
		{2, "page_view", "/", "", ""}, {2, "scroll", "/", "", ""}, {2, "page_view", "/about", "", ""}, {2, "user_engagement", "/about", "", ""},
	} {
		var r processed.Row
		r.Seq, r.EventID.Lo = uint32(i), uint64(i)
		r.Client = e.client * 0x9e3779b97f4a7c15
		r.User, r.Millis = r.Client, start+int64(i)*61_000
		if e.name == "user_engagement" {
			r.Engaged = 15_300
		}
		t := &r.Text
		t[processed.ColName], t[processed.ColPagePath], t[processed.ColSource], t[processed.ColMedium] = e.name, e.path, e.source, e.med
		t[processed.ColPageTitle] = map[string]string{"/": "The Shoe Shop", "/shoes": "Shoes – The Shoe Shop", "/shoes/red": "Red shoes – The Shoe Shop", "/about": "About us – The Shoe Shop"}[e.path]
		t[processed.ColCountry], t[processed.ColLanguage] = "DE", "de-DE"
		t[processed.ColBrowser], t[processed.ColOS], t[processed.ColDeviceCategory] = "Chrome", "Windows", "desktop"
		if e.client == 2 {
			t[processed.ColCountry], t[processed.ColBrowser], t[processed.ColOS], t[processed.ColDeviceCategory] = "AT", "Safari", "iOS", "mobile"
		}
		b.Add(r)
	}
	h := event.Hour(hourOf(start))
	return recordOf(summary.Resolve(b.Frame(), summary.Of(h, h+1), euros), 9)
}

func TestSmallRecordsAreSmall(t *testing.T) {
	data := tenEvents().Encode()
	t.Logf("ten events: %d bytes: %x", len(data), data)
	// The add_to_cart is two numbers, of events and of items, in five rows.
	if len(data) > 264 {
		t.Errorf("ten events take %d bytes", len(data))
	}
	if n := len((&summary.Record{}).Encode()); n > 32 {
		t.Errorf("nothing takes %d bytes", n)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	data := tenEvents().Encode()
	for i := range data {
		if _, err := summary.DecodeRecord(data[:i], summary.WantAll()); err == nil || !fault.Is(err, fault.Invalid) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := summary.DecodeRecord(append(slices.Clone(data), 0), summary.WantAll()); err == nil {
		t.Error("a byte too many is taken")
	}
	data[0] += 2 // the next one is of coarse sets
	if _, err := summary.DecodeRecord(data, summary.Want{}); err == nil {
		t.Error("another version is taken")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(tenEvents().Encode())
	f.Add((&summary.Record{}).Encode())
	f.Add((&summary.Record{Users: summary.UsersOf(1, 2, 3)}).Encode())
	many := make([]uint64, 6000)
	for i := range many {
		many[i] = uint64(i)
	}
	f.Add((&summary.Record{Users: summary.UsersOf(many...)}).Encode())
	sets := map[string]summary.Users{}
	for i := range 2 * summary.MaxTableUsers / summary.UsersExact {
		sets[fmt.Sprint("/", i)] = summary.UsersOf(many...)
	}
	f.Add(summary.MergeRecords(usersTable(sets)).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := summary.DecodeRecord(data, summary.WantAll())
		if err != nil {
			return
		}
		again, err := summary.DecodeRecord(r.Encode(), summary.WantAll())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if !bytes.Equal(again.Encode(), r.Encode()) {
			t.Fatal("written twice, it differs")
		}
		summary.MergeRecords(r, again)
	})
}

func BenchmarkDecodeTotals(b *testing.B) {
	f := benchFrame(20_000, 9_000)
	from := event.Hour(hourOf(f.Millis[0]))
	data := recordOf(summary.Resolve(f, summary.Of(from, from+24), euros), 23).Encode()
	for _, want := range []summary.Want{{}, {Users: true}, summary.WantAll()} {
		b.Run(fmt.Sprintf("users=%t,tables=%x", want.Users, want.Tables), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := summary.DecodeRecord(data, want); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeSmall(b *testing.B) {
	r := tenEvents()
	b.ReportAllocs()
	for range b.N {
		r.Encode()
	}
}

// oneView is the example of the format's page.
func oneView() *summary.Record {
	var b processed.Builder
	var r processed.Row
	r.Batch, r.EventID.Lo, r.Client, r.User, r.Millis = event.BatchID{1}, 1, 7, 7, 1000
	r.Text[processed.ColName], r.Text[processed.ColPagePath], r.Text[processed.ColCountry] = "page_view", "/shoes", "DE"
	b.Add(r)
	return recordOf(summary.Resolve(b.Frame(), summary.Of(0, 1), euros), 9)
}

// A change of these bytes is a new version of the format.
func TestGoldenRecord(t *testing.T) {
	const want = "0300800400004702020202022ef646605c25ff0fff0f020c2f73686f657304444500010100014000010000014000010000000001410001000001000001000001000000"
	if got := fmt.Sprintf("%x", oneView().Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

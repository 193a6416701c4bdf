package summary_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/footfall/footfall/shared/channel"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/summary"
)

func calendar(t interface{ Fatal(...any) }, zone string) *summary.Calendar {
	c, err := summary.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ms(t testing.TB, s string) int64 {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func TestDays(t *testing.T) {
	for _, c := range []struct {
		zone, at, from, to string
		hours              int
		first, last        string // dateHour of the first and last hour
	}{
		{"UTC", "2026-03-10T12:00:00Z", "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z", 24, "2026031000", "2026031023"},
		{"Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23, "2026032900", "2026032923"},
		{"Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25, "2026102500", "2026102523"},
		{"Asia/Kolkata", "2026-03-10T12:00:00Z", "2026-03-09T18:30:00Z", "2026-03-10T18:30:00Z", 24, "2026031000", "2026031023"},
		{"Asia/Kathmandu", "2026-03-10T12:00:00Z", "2026-03-09T18:15:00Z", "2026-03-10T18:15:00Z", 24, "2026031000", "2026031023"},
		// Half an hour of summer time.
		{"Australia/Lord_Howe", "2026-04-05T02:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z", 25, "2026040500", "2026040523"},
		{"Australia/Lord_Howe", "2026-10-04T02:00:00Z", "2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z", 24, "2026100400", "2026100423"},
		// The clock was put back at 00:01: the date stays where it was.
		{"America/St_Johns", "2010-11-07T12:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z", 26, "2010110700", "2010110723"},
		// Midnight does not exist.
		{"America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z", 23, "2026090601", "2026090623"},
		// 2011-12-30 does not exist.
		{"Pacific/Apia", "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", 24, "2011123100", "2011123123"},
	} {
		t.Run(c.zone+" "+c.at, func(t *testing.T) {
			cal := calendar(t, c.zone)
			day := cal.Day(ms(t, c.at))
			if want := (summary.Window{From: ms(t, c.from), To: ms(t, c.to)}); day != want {
				t.Fatalf("day from %s to %s", time.UnixMilli(day.From).UTC(), time.UnixMilli(day.To).UTC())
			}
			hours := cal.Hours(day.From, day.To)
			if len(hours) != c.hours {
				t.Errorf("%d hours, want %d", len(hours), c.hours)
			}
			first := cal.TimeValue(summary.DimDateHour, hours[0].From)
			last := cal.TimeValue(summary.DimDateHour, hours[len(hours)-1].From)
			if first != c.first || last != c.last {
				t.Errorf("from %s to %s", first, last)
			}
		})
	}
}

// Hours and days follow one another without gap or overlap, each hour lies in
// one day, and dates never go back; wherever the clock does nothing odd, labels
// are those of package time.
func TestCalendarCutsTime(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
		"America/St_Johns", "Pacific/Apia", "America/Santiago", "Asia/Gaza", "Africa/Casablanca", "Asia/Beirut", "Pacific/Chatham", "America/Havana"}
	rapid.Check(t, func(t *rapid.T) {
		cal := calendar(t, rapid.SampledFrom(zones).Draw(t, "zone"))
		from := time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 25*366*24*60).Draw(t, "minute")) * time.Minute).UnixMilli()
		days := cal.Days(from, from+40*24*hourMs)
		if days[0].From > from || days[0].To <= from {
			t.Fatal("the first day does not hold the start")
		}
		for i, d := range days {
			if i > 0 && (d.From != days[i-1].To || cal.CivilDay(d.From) <= cal.CivilDay(days[i-1].From)) {
				t.Fatalf("day %v does not follow %v", d, days[i-1])
			}
			at := d.From
			for _, h := range cal.Hours(d.From, d.To) {
				if h.From != at || h.To <= h.From || h.To-h.From > hourMs {
					t.Fatalf("hour %v does not follow %d", h, at)
				}
				if cal.Hour(h.From) != h || cal.Hour(h.To-1) != h || cal.Day(h.From) != d || cal.Day(h.To-1) != d {
					t.Fatalf("hour %v is not its own", h)
				}
				local := time.UnixMilli(h.From).In(cal.Location())
				if got := cal.TimeValue(summary.DimHour, h.From); got != local.Format("15") {
					t.Fatalf("hour %s of %s", got, local)
				}
				if got, want := cal.TimeValue(summary.DimDate, h.From), local.Format("20060102"); got < want {
					t.Fatalf("date %s of %s", got, local)
				}
				at = h.To
			}
			if at != d.To {
				t.Fatalf("the hours of day %v end at %d", d, at)
			}
			date := time.Unix(cal.CivilDay(d.From)*86400, 0).UTC()
			if start := cal.DateStart(date.Date()); start != d.From {
				t.Fatalf("date %s starts at %d, its day at %d", date, start, d.From)
			}
		}
	})
}

func TestTimeValues(t *testing.T) {
	cal := calendar(t, "Europe/Berlin")
	at := ms(t, "2026-12-31T23:30:00Z") // 00:30 on Friday, January 1st 2027
	for d, want := range map[summary.Dimension]string{
		summary.DimYear: "2027", summary.DimMonth: "01", summary.DimYearMonth: "202701", summary.DimISOWeek: "53",
		summary.DimISOYear: "2026", summary.DimISOYearISOWeek: "202653", summary.DimWeek: "01", summary.DimYearWeek: "202701",
		summary.DimDate: "20270101", summary.DimDay: "01", summary.DimDateHour: "2027010100", summary.DimHour: "00",
		summary.DimDayOfWeek: "5", summary.DimDayOfWeekName: "Friday",
	} {
		if got := cal.TimeValue(d, at); got != want {
			t.Errorf("dimension %d: got %q, want %q", d, got, want)
		}
	}
	for _, zone := range []string{"", "Local", "Mars/Olympus"} {
		if _, err := summary.NewCalendar(zone); !fault.Is(err, fault.Invalid) {
			t.Errorf("zone %q: %v", zone, err)
		}
	}
}

// primaryChannel is an event's own by the rules of euros.
func primaryChannel(text *[processed.NumStringColumns]string) string {
	source, medium, campaign := text[processed.ColSource], text[processed.ColMedium], text[processed.ColCampaign]
	switch {
	case source+medium+campaign == "":
		return ""
	case source == "news":
		return "Newsletters"
	default:
		return channel.Default(source, medium, campaign)
	}
}

// Grouping agrees with adding up row by row.
func TestGroupAgreesWithRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		settings := rapid.SampledFrom([]summary.Settings{euros, rated}).Draw(t, "settings")
		n := newNaive(rows, settings)
		from, to := spanOf(rows)
		facts := summary.Resolve(frameOf(rows), summary.Of(from, to), settings)
		cal := calendar(t, "Asia/Kolkata")
		keys := summary.Keys(summary.DimCountry, summary.DimDate, summary.DimSessionSourceMedium, summary.DimLandingPage,
			summary.DimSessionChannel, summary.DimPrimaryChannel)
		keep := make([]bool, len(facts.Rows))
		kept := map[string]bool{}
		for i, row := range facts.Rows {
			keep[i] = rapid.IntRange(0, 3).Draw(t, "keep") > 0
			r := facts.Frame.Row(int(row))
			kept[rowKey(&r)] = keep[i]
		}
		table := summary.Group(facts, keys, summary.GroupOptions{Keep: keep, Users: true, Calendar: cal})

		type group struct {
			c     summary.Counters
			users map[uint64]bool
		}
		want := map[string]*group{}
		items := map[string]*summary.Counters{}
		for i := range n.rows {
			r, f := &n.rows[i], n.fact(i)
			if !f.counts || !kept[rowKey(r)] {
				continue
			}
			a := &n.rows[f.attribution].Text
			key := fmt.Sprint([]string{r.Text[processed.ColCountry], time.UnixMilli(r.Millis).In(cal.Location()).Format("20060102"),
				a[processed.ColSource] + " / " + a[processed.ColMedium], n.rows[f.landing].Text[processed.ColPagePath],
				channel.Default(a[processed.ColSource], a[processed.ColMedium], a[processed.ColCampaign]), primaryChannel(&r.Text)})
			g := want[key]
			if g == nil {
				g = &group{users: map[uint64]bool{}}
				want[key] = g
			}
			g.users[r.User] = true
			n.count(&g.c, r, f, items)
		}
		if table.Len() != len(want) {
			t.Fatalf("%d groups, want %d", table.Len(), len(want))
		}
		for i := range table.Len() {
			g := want[fmt.Sprint(table.Row(i))]
			if g == nil || g.c != table.Counters[i] || int64(len(g.users)) != table.Users[i].Estimate() {
				t.Fatalf("group %q: got %v, want %v", table.Row(i), table.Counters[i], g)
			}
		}
		byItem := summary.Group(facts, summary.Keys(summary.DimItemID), summary.GroupOptions{Keep: keep})
		if byItem.Len() != len(items) {
			t.Fatalf("%d items, want %d", byItem.Len(), len(items))
		}
		for i := range byItem.Len() {
			if c := items[byItem.Values[0][i]]; *c != byItem.Counters[i] {
				t.Fatalf("item %q: got %v, want %v", byItem.Values[0][i], byItem.Counters[i], *c)
			}
		}
	})
}

// What no record holds agrees with adding up row by row, in groups of events
// and in groups of items.
func TestMeasuresAgreeWithRows(t *testing.T) {
	measures := []summary.Measure{
		{Kind: summary.EventUsers, Name: "scroll"}, {Kind: summary.KeyEventUsers}, {Kind: summary.Purchasers}, {Kind: summary.ReturningUsers},
		{Kind: summary.EventsNamed, Name: "sign_up"}, {Kind: summary.EventSessions, Name: "scroll"}, {Kind: summary.KeySessions},
		{Kind: summary.ParamSum, Name: "size"}, {Kind: summary.ParamCount, Name: "size"},
	}
	micros := map[string]int64{"39": 39_000_000, "40.5": 40_500_000, "-1e3": -1_000_000_000}
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		n := newNaive(rows, euros)
		from, to := spanOf(rows)
		facts := summary.Resolve(frameOf(rows), summary.Of(from, to), euros)
		users, millis := facts.Firsts()
		facts.SetFirstSeen(users, millis)
		byItem := rapid.Bool().Draw(t, "by item")
		keys := summary.Keys(summary.DimCountry)
		if byItem {
			keys = summary.Keys(summary.DimItemID)
		}
		type group struct {
			sums  [9]int64
			users [9]map[uint64]bool
		}
		want := map[string]*group{}
		for i := range n.rows {
			r, f := &n.rows[i], n.fact(i)
			if !f.counts {
				continue
			}
			name, size := r.Text[processed.ColName], ""
			for _, p := range r.Params {
				if p.Key == "size" {
					size = p.Text
				}
			}
			_, number := micros[size]
			values := [9]int64{
				boolInt(name == "scroll"), boolInt(f.key), boolInt(f.purchase), boolInt(!n.newSession(i, f)),
				boolInt(name == "sign_up"), boolInt(f.events["scroll"]), boolInt(f.keyed), micros[size], boolInt(number),
			}
			groups := map[string]bool{r.Text[processed.ColCountry]: true}
			if byItem {
				clear(groups)
				for _, it := range r.Items {
					groups[it.Text[processed.ItemID]] = true
				}
			}
			for key := range groups {
				g := want[key]
				if g == nil {
					g = &group{}
					want[key] = g
				}
				for k, v := range values {
					g.sums[k] += v
					if g.users[k] == nil {
						g.users[k] = map[uint64]bool{}
					}
					if v != 0 {
						g.users[k][r.User] = true
					}
				}
			}
		}
		table := summary.Group(facts, keys, summary.GroupOptions{ItemEvents: byItem, Measures: measures})
		if table.Len() != len(want) {
			t.Fatalf("%d groups, want %d", table.Len(), len(want))
		}
		for i := range table.Len() {
			g := want[table.Values[0][i]]
			for k, m := range measures {
				e, value := table.Extra[k], g.sums[k]
				got := int64(0)
				if m.Users() {
					got, value = e.Users[i].Estimate(), int64(len(g.users[k]))
				} else {
					got = e.Sums[i]
				}
				if got != value {
					t.Fatalf("group %q: measure %+v is %d, want %d", table.Values[0][i], m, got, value)
				}
			}
		}
		// Parts add up.
		cut := rapid.Int64Range(int64(from)*hourMs, int64(to)*hourMs).Draw(t, "cut")
		o := summary.GroupOptions{ItemEvents: byItem, Measures: measures}
		parts := summary.MergeTables(summary.Group(facts.Slice(summary.Window{From: facts.Window.From, To: cut}), keys, o),
			summary.EmptyTable(keys, false, measures),
			summary.Group(facts.Slice(summary.Window{From: cut, To: facts.Window.To}), keys, o))
		for i := range table.Len() {
			for k, m := range measures {
				if !m.Users() && parts.Extra[k].Sums[i] != table.Extra[k].Sums[i] || m.Users() && parts.Extra[k].Users[i].Estimate() != table.Extra[k].Users[i].Estimate() {
					t.Fatalf("group %q: measure %+v of parts differs", table.Values[0][i], m)
				}
			}
		}
	})
}

// Every time dimension against the standard library's clock, and the nth…
// ones against counting the calendar's spans.
func TestTimeDimensions(t *testing.T) {
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"}).Draw(t, "zone")
		cal := calendar(t, zone)
		since := cal.Day(start + rapid.Int64Range(0, 4*366*24*hourMs).Draw(t, "since")).From
		ms := since + rapid.Int64Range(0, 400*24*hourMs).Draw(t, "at")
		cal = cal.Since(since)
		at, from := time.UnixMilli(ms).In(cal.Location()), time.UnixMilli(since).In(cal.Location())
		date := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
		isoYear, isoWeek := at.ISOWeek()
		week := 1
		for d := time.Date(at.Year(), 1, 2, 0, 0, 0, 0, time.UTC); !d.After(date); d = d.AddDate(0, 0, 1) {
			if d.Weekday() == time.Sunday {
				week++
			}
		}
		days := len(cal.Days(since, ms+1)) - 1
		weeks := 0
		for d := 1; d <= days; d++ {
			if from.AddDate(0, 0, d).Weekday() == time.Sunday {
				weeks++
			}
		}
		for d, want := range map[summary.Dimension]string{
			summary.DimYear: at.Format("2006"), summary.DimMonth: at.Format("01"), summary.DimYearMonth: at.Format("200601"),
			summary.DimWeek: fmt.Sprintf("%02d", week), summary.DimYearWeek: fmt.Sprintf("%s%02d", at.Format("2006"), week),
			summary.DimISOWeek: fmt.Sprintf("%02d", isoWeek), summary.DimISOYear: fmt.Sprint(isoYear),
			summary.DimISOYearISOWeek: fmt.Sprintf("%d%02d", isoYear, isoWeek),
			summary.DimDate:           at.Format("20060102"), summary.DimDay: at.Format("02"),
			summary.DimDayOfWeek: fmt.Sprint(int(at.Weekday())), summary.DimDayOfWeekName: at.Format("Monday"),
			summary.DimDateHour: at.Format("2006010215"), summary.DimHour: at.Format("15"),
			summary.DimDateHourMinute: at.Format("200601021504"), summary.DimMinute: at.Format("04"),
			summary.DimNthYear:   fmt.Sprintf("%04d", at.Year()-from.Year()),
			summary.DimNthMonth:  fmt.Sprintf("%04d", 12*(at.Year()-from.Year())+int(at.Month()-from.Month())),
			summary.DimNthWeek:   fmt.Sprintf("%04d", weeks),
			summary.DimNthDay:    fmt.Sprintf("%04d", days),
			summary.DimNthHour:   fmt.Sprintf("%04d", len(cal.Hours(since, ms+1))-1),
			summary.DimNthMinute: fmt.Sprintf("%04d", (ms-since)/60_000),
		} {
			if got := cal.TimeValue(d, ms); got != want {
				t.Fatalf("dimension %d at %v since %v: got %q, want %q", d, at, from, got, want)
			}
		}
	})
}

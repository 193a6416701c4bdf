package laws

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/footfall/footfall/shared/catalog"
)

var seed = flag.Uint64("seed", 1, "of the random events and questions")

// TestEveryNameHasADefinition: what the catalog offers is worked out here, too,
// and what is worked out here is offered.
func TestEveryNameHasADefinition(t *testing.T) {
	names := catalog.New()
	for _, d := range names.Dimensions() {
		if _, ok := dimensions[d.Name]; !ok {
			t.Errorf("the dimension %s: no definition in dimensions_test.go", d.Name)
		}
	}
	for _, m := range names.Metrics() {
		if _, ok := metrics[m.Name]; !ok {
			t.Errorf("the metric %s: no definition in metrics_test.go", m.Name)
		}
	}
	for _, name := range given(dimensions) {
		if _, err := names.Dimension("name", name); err != nil {
			t.Errorf("%s is defined here, and the catalog does not offer it: %v", name, err)
		}
	}
	for _, name := range given(metrics) {
		if _, err := names.Metric("name", name); err != nil {
			t.Errorf("%s is defined here, and the catalog does not offer it: %v", name, err)
		}
	}
}

// worlds are shops whose clocks do what clocks do.
var worlds = []struct {
	zone  string
	first string // day
	days  int
}{
	{"Asia/Kolkata", "2026-03-06", 5},        // :30
	{"America/New_York", "2026-03-06", 5},    // 8 March has 23 hours
	{"Asia/Kathmandu", "2025-12-29", 6},      // :45, and the year's end in week 1
	{"Europe/Berlin", "2026-10-23", 5},       // 25 October has 25 hours
	{"Australia/Lord_Howe", "2026-04-03", 5}, // 5 April has 24 hours and a half
	{"Pacific/Chatham", "2026-09-25", 5},     // :45, 27 September has 23 hours
	{"America/St_Johns", "2026-10-30", 5},    // :30, 1 November has 25 hours
	{"UTC", "2026-12-29", 6},                 // the year's end in week 53
}

// TestQuestions asks two thousand random questions of eight shops: while all
// hours are open, when all are closed, when late events have opened some
// again, when these are closed, too, and once more after the shop has changed
// its settings. Each answer is the one that is worked out here.
func TestQuestions(t *testing.T) {
	questions := 2000
	if testing.Short() {
		questions = 200
	}
	for i, w := range worlds {
		t.Run(w.zone, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(*seed, uint64(i)))
			zone, err := time.LoadLocation(w.zone)
			if err != nil {
				t.Fatal(err)
			}
			first, err := time.ParseInLocation(time.DateOnly, w.first, zone)
			if err != nil {
				t.Fatal(err)
			}
			s := settings{Zone: w.zone, Currency: one(r, "EUR", "EUR", "USD"), BotFilter: r.IntN(4) > 0, KeyEvents: one(r, []string{"sign_up"}, []string{"purchase", "generate_lead"}, []string{"scroll", "sign_up"}), ChannelRules: one(r, ownRules...)}
			s.CurrencyRates = rates(r, s.Currency, first, w.days)
			now := first.AddDate(0, 0, w.days+1).Add(time.Duration(r.IntN(86400)) * time.Second)
			p := &play{T: t, Rand: r, settings: s, system: newSystem(t, r.Uint64(), s, now)}
			p.first = first.AddDate(0, 0, -1).Format(time.DateOnly)
			g := &generator{Rand: r, streams: p.streams, zone: zone, from: first, days: w.days, until: now.Add(-time.Second), taken: map[string]map[int64]bool{}}
			all := g.traffic(450)
			all = append(all, g.again(all, 40)...)
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			// A few come late, and a few of them are about the days before.
			late := all[len(all)*9/10:]
			all = all[:len(all)*9/10]

			p.send(all)
			p.counted()
			p.prepare(first, w.days, questions/len(worlds))
			p.check("open")
			p.setClock(now.Add(2 * time.Hour)) // the last events' hour ends
			p.closed()
			p.check("closed")
			p.send(late)
			p.counted()
			p.check("half closed")
			p.closed()
			p.check("closed again")
			p.settings.Currency, p.settings.ChannelRules = one(r, "EUR", "USD", "JPY"), one(r, ownRules...)
			p.settings.CurrencyRates = rates(r, p.settings.Currency, first, w.days)
			p.settings.Zone, p.settings.BotFilter, p.settings.KeyEvents = one(r, worlds...).zone, !p.settings.BotFilter, []string{"page_view"}
			p.change(p.settings)
			p.check("with other settings")
		})
	}
}

// rates are what a merchant may say of other currencies than its own.
func rates(r *rand.Rand, own string, first time.Time, days int) []currencyRate {
	list := []currencyRate{}
	for _, c := range []string{"EUR", "USD", "JPY"} {
		for range r.IntN(3) {
			from := ""
			if r.IntN(3) > 0 {
				from = first.AddDate(0, 0, r.IntN(days)).Format(time.DateOnly)
			}
			taken := slices.ContainsFunc(list, func(o currencyRate) bool { return o.Currency == c && o.From == from })
			if c != own && !taken {
				list = append(list, currencyRate{c, json.Number(one(r, "0.9137", "1.05", "0.0061375", "163.123456789012", "0.5")), from})
			}
		}
	}
	return list
}

// play is one shop's test.
type play struct {
	*testing.T
	*rand.Rand
	*system
	settings settings
	arrived  []received
	asked    []query
	pivoted  []pivotQuery
}

// send sends events in requests of random sizes.
func (p *play) send(events []cloudEvent) { p.sendAtMost(events, 60) }

func (p *play) sendAtMost(events []cloudEvent, most int) {
	p.Helper()
	for len(events) > 0 {
		n := min(len(events), 1+p.IntN(most))
		part := map[string][]cloudEvent{}
		for _, e := range events[:n] {
			part[e.Stream] = append(part[e.Stream], e)
		}
		for _, stream := range p.streams {
			if len(part[stream]) > 0 {
				p.arrived = append(p.arrived, p.system.send(part[stream])...)
			}
		}
		events = events[n:]
	}
}

// prepare thinks out questions.
func (p *play) prepare(first time.Time, days, questions int) {
	p.Helper()
	a := &asker{Rand: p.Rand, t: p.T, n: newNaive(p, p.settings, p.now(), p.arrived), first: first, days: days}
	a.dimensions, a.metrics = given(dimensions), given(metrics)
	for range questions {
		p.asked = append(p.asked, a.n.payable(p, a.query()))
	}
	for range questions / 4 {
		if q, ok := a.pivots(a.query()); ok {
			p.pivoted = append(p.pivoted, q)
		}
	}
}

// check asks all questions.
func (p *play) check(state string) {
	p.Helper()
	n := newNaive(p, p.settings, p.now(), p.arrived)
	p.checkPivots(n, state)
	for _, q := range p.asked {
		q = n.payable(p, q)
		if cmp.Equal(n.answer(p, q), p.ask(q)) {
			continue
		}
		// What is asked for beside the fault only hides it.
		for smallest := false; !smallest; {
			smallest = true
			for _, s := range smaller(q) {
				if !cmp.Equal(n.answer(p, s), p.ask(s)) {
					q, smallest = s, false
					break
				}
			}
		}
		p.Fatalf("-seed %d, %s: the answer to\n%s\ndiffers (-worked out here +answered):\n%s\nHits:\n%s", *seed, state, pretty(q),
			cmp.Diff(n.answer(p, q), p.ask(q)), strings.Join(n.story(p, q), "\n"))
	}
}

// story lists the hits that a question is about, for a person to think about.
func (n *naive) story(t testing.TB, q query) []string {
	var out []string
	ranges := q.DateRanges
	q.MetricFilter, q.KeepEmptyRows = nil, true
	for i, r := range ranges {
		for _, row := range n.rows(t, q, i, n.day(t, r.Start), n.day(t, r.End)) {
			for _, h := range row.hits() {
				if len(out) < 12 {
					out = append(out, fmt.Sprintf("%v %s %s begins=%t engaged=%t new=%t bought=%t %s", row.dims, h.local.Format("2006-01-02T15:04:05.000Z07:00"), h.user, h.begins, h.engaged, h.newUser, h.purchase, h.raw))
				}
			}
		}
	}
	return out
}

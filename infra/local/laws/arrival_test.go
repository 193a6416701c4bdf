package laws

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// arrival is a way in which the same events reach Footfall.
type arrival struct {
	name   string
	parts  int  // after each part all hours are closed: what comes later is late
	most   int  // events of a request
	mixed  bool // in any order
	copies int  // percent that come once more, in another request
}

var arrivals = []arrival{
	{name: "as they happened", parts: 1, most: 200},
	{name: "mixed up, one by one and in small requests", parts: 1, most: 4, mixed: true},
	{name: "twice, the second half late", parts: 2, most: 60, copies: 100},
	{name: "mixed up, late and later, some twice", parts: 5, most: 25, mixed: true, copies: 30},
}

// TestArrivalChangesNothing: the same events in another order, in other
// requests, some twice and some after their hours were closed, have the same
// reports to the byte. Only events of one person at the same millisecond are
// told apart by which came first, and there are none here: the generator keeps
// them apart.
func TestArrivalChangesNothing(t *testing.T) {
	shops, questions := len(worlds), 100
	if testing.Short() {
		shops, questions = 2, 40
	}
	for i, w := range worlds[:shops] {
		t.Run(w.zone, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(w.zone)
			if err != nil {
				t.Fatal(err)
			}
			first, err := time.ParseInLocation(time.DateOnly, w.first, zone)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(*seed, 1000+uint64(i)))
			s := settings{Zone: w.zone, Currency: "EUR", BotFilter: r.IntN(4) > 0, KeyEvents: []string{"sign_up"}, ChannelRules: one(r, ownRules...), CurrencyRates: rates(r, "EUR", first, w.days)}
			now := first.AddDate(0, 0, w.days+1).Add(time.Duration(r.IntN(86400)) * time.Second)
			var asked []query
			var want [][]byte
			var events []cloudEvent
			for _, way := range arrivals {
				p := &play{T: t, Rand: r, settings: s, system: newSystem(t, r.Uint64(), s, now)}
				p.first = first.AddDate(0, 0, -1).Format(time.DateOnly)
				if events == nil {
					g := &generator{Rand: r, streams: []string{"stream-0", "stream-1", "stream-2"}, zone: zone, from: first, days: w.days, until: now.Add(-time.Second), taken: map[string]map[int64]bool{}}
					events = g.traffic(300)
					events = append(events, g.again(events, 20)...)
					slices.SortStableFunc(events, func(a, b cloudEvent) int { return strings.Compare(a.Time, b.Time) })
				}
				p.arrive(events, way, now)
				if asked == nil {
					p.prepare(first, w.days, questions)
					asked = slices.DeleteFunc(p.asked, asksForAStream)
					for _, q := range asked {
						want = append(want, p.body(q))
					}
					continue
				}
				for k, q := range asked {
					if got := p.body(q); !bytes.Equal(got, want[k]) {
						t.Fatalf("-seed %d: events that came %s have another answer to\n%s\n%s: %s\n%s: %s", *seed, way.name, pretty(q), arrivals[0].name, want[k], way.name, got)
					}
				}
			}
		})
	}
}

// asksForAStream: each system has streams of its own names.
func asksForAStream(q query) bool { return strings.Contains(pretty(q), "streamId") }

// arrive sends the events, whose streams are named by their places, in a way.
func (p *play) arrive(events []cloudEvent, way arrival, now time.Time) {
	p.Helper()
	mine := make([]cloudEvent, 0, 2*len(events))
	for _, e := range events {
		e.Stream = p.streams[e.Stream[len(e.Stream)-1]-'0']
		mine = append(mine, e)
	}
	if way.mixed {
		p.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
	}
	for part := range way.parts {
		some := slices.Clone(mine[len(mine)*part/way.parts : len(mine)*(part+1)/way.parts])
		for _, e := range mine[:len(mine)*(part+1)/way.parts] {
			if p.IntN(100*way.parts) < way.copies {
				some = append(some, e)
			}
		}
		p.sendAtMost(some, way.most)
		p.setClock(now.Add(time.Duration(part+1) * time.Hour))
		p.counted()
		if part < way.parts-1 || p.IntN(2) == 0 {
			p.closed()
		}
	}
	p.setClock(now.Add(12 * time.Hour)) // of which questions know
}

// body is the whole answer to a question.
func (p *play) body(q query) []byte {
	p.Helper()
	body, err := p.call("POST", "/v1beta/properties/"+p.merchantID+":runReport", p.token, q, http.StatusOK)
	if err != nil {
		p.Fatalf("%s: %v", pretty(q), err)
	}
	return body
}

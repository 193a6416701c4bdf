package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/attributes"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"knative.dev/pkg/logging"

	"github.com/footfall/footfall/eventing/filter"
)

// corpus draws filters and events from few words, so that many meet.
type corpus struct{ *rand.Rand }

var (
	names = []string{
		"type", "source", "subject", "id", "time", "specversion", "dataschema", "datacontenttype", "schemaurl", "datamediatype", "datacontentencoding",
		"tick", "region", "size", "flag", "blank", "raw", "when", "absent",
	}
	words = []string{
		"footfall.batch.accepted.v1", "footfall.", "footfall.summary.shard.v1", ".v1", "dev.knative.sources.ping", "/shop", "/shop/1", "shop", "1.0", "7", "12", "1", "true", "false",
		"summary", "sum", "ary", "eu-north", "eu", "north", "application/json", "json", "2026-11-23T10:00:00Z", "2026", "Z", "https://example.com/schema", "base64", "AQI=", "0001-01-01T00:00:00Z",
	}
)

func (c corpus) pick(list []string) string { return list[c.IntN(len(list))] }

// likely are words that an event's attribute may well have, or begin or end with.
var likely = map[string][]string{
	"type":            {"footfall.batch.accepted.v1", "footfall.summary.shard.v1", "dev.knative.sources.ping", "footfall.", ".v1"},
	"source":          {"/shop/1", "/shop", "/"},
	"id":              {"7", "12", "a-b"},
	"specversion":     {"1.0", "1", "0"},
	"time":            {"2026", "Z", "2026-11-23T10:00:00Z"},
	"dataschema":      {"https://example.com/schema", "https", "schema"},
	"datacontenttype": {"application/json", "text/plain", "json"},
	"tick":            {"summary", "archive", "ary"},
	"region":          {"eu-north", "eu", "us", "north"},
	"size":            {"0", "6", "12", "1"},
	"flag":            {"true", "false", "e"},
}

// word draws a value for an attribute, often one that it may have.
func (c corpus) word(name string) string {
	if list := likely[name]; len(list) > 0 && c.IntN(4) > 0 {
		return c.pick(list)
	}
	return c.pick(words)
}

func (c corpus) pairs() map[string]string {
	m := make(map[string]string)
	for range 1 + c.IntN(2) {
		name := c.pick(names[:len(names)-c.IntN(len(names))])
		m[name] = c.word(name)
	}
	return m
}

func (c corpus) event() cloudevents.Event {
	e := cloudevents.New()
	e.SetID(c.pick([]string{"7", "12", "a-b"}))
	e.SetType(c.pick([]string{"footfall.batch.accepted.v1", "footfall.summary.shard.v1", "dev.knative.sources.ping"}))
	e.SetSource(c.pick([]string{"/shop/1", "/shop", "https://example.com/schema"}))
	maybe := func(set func()) {
		if c.IntN(2) == 0 {
			set()
		}
	}
	maybe(func() { e.SetSubject(c.pick(words)) })
	maybe(func() { e.SetTime(time.Date(2026, 11, 23, 10, 0, c.IntN(2), c.IntN(2)*5e8, time.UTC)) })
	maybe(func() { e.SetDataSchema("https://example.com/schema") })
	maybe(func() {
		e.SetDataContentType(c.pick([]string{"application/json", "application/json; charset=utf-8", "text/plain"}))
	})
	maybe(func() { e.SetExtension("tick", c.pick([]string{"summary", "archive", "journal", "12", "true"})) })
	maybe(func() { e.SetExtension("region", c.pick([]string{"eu-north", "eu", "us"})) })
	maybe(func() { e.SetExtension("size", int32(c.IntN(3)*6)) })
	maybe(func() { e.SetExtension("flag", c.IntN(2) == 0) })
	maybe(func() { e.SetExtension("blank", "") })
	maybe(func() { e.SetExtension("raw", []byte{1, 2}) })
	maybe(func() { e.SetExtension("when", time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)) })
	return e
}

// cesql draws an expression whose result is a boolean; evaluating it may fail.
func (c corpus) cesql(depth int) string {
	if depth > 0 && c.IntN(2) == 0 {
		left, right := c.cesql(depth-1), c.cesql(depth-1)
		return c.pick([]string{
			"(" + left + ") AND (" + right + ")", "(" + left + ") OR (" + right + ")", "(" + left + ") XOR (" + right + ")", "NOT (" + left + ")",
		})
	}
	name := c.pick(names)
	word, other := c.word(name), c.word(name)
	return c.pick([]string{
		"EXISTS " + name,
		fmt.Sprintf("%s = '%s'", name, word),
		fmt.Sprintf("%s != '%s'", name, word),
		fmt.Sprintf("%s LIKE '%s%%'", name, word),
		fmt.Sprintf("%s NOT LIKE '%%%s'", name, word),
		fmt.Sprintf("%s IN ('%s', '%s')", name, word, other),
		fmt.Sprintf("%s NOT IN ('%s')", name, word),
		fmt.Sprintf("INT(%s) >= %d", name, c.IntN(13)),
		fmt.Sprintf("LENGTH(%s) > %d", name, c.IntN(30)),
		fmt.Sprintf("UPPER(%s) = UPPER('%s')", name, word),
		fmt.Sprintf("SUBSTRING(%s, %d) = '%s'", name, c.IntN(6), word),
		fmt.Sprintf("%s / %d = 2", name, c.IntN(3)),
		fmt.Sprintf("IS_INT(%s)", name),
		"TRUE", "FALSE",
	})
}

// filter draws one element, for Knative and for us.
func (c corpus) filter(depth int) (eventingv1.SubscriptionsAPIFilter, filter.Expr) {
	kinds := 7
	if depth == 0 {
		kinds = 4
	}
	switch c.IntN(kinds) {
	case 0:
		m := c.pairs()
		return eventingv1.SubscriptionsAPIFilter{Exact: m}, filter.Expr{Exact: m}
	case 1:
		m := c.pairs()
		return eventingv1.SubscriptionsAPIFilter{Prefix: m}, filter.Expr{Prefix: m}
	case 2:
		m := c.pairs()
		return eventingv1.SubscriptionsAPIFilter{Suffix: m}, filter.Expr{Suffix: m}
	case 3:
		s := c.cesql(2)
		return eventingv1.SubscriptionsAPIFilter{CESQL: s}, filter.Expr{CESQL: s}
	case 4:
		theirs, ours := c.filter(depth - 1)
		return eventingv1.SubscriptionsAPIFilter{Not: &theirs}, filter.Expr{Not: &ours}
	case 5:
		theirs, ours := c.filters(depth - 1)
		return eventingv1.SubscriptionsAPIFilter{All: theirs}, filter.Expr{All: ours}
	default:
		theirs, ours := c.filters(depth - 1)
		return eventingv1.SubscriptionsAPIFilter{Any: theirs}, filter.Expr{Any: ours}
	}
}

func (c corpus) filters(depth int) (theirs []eventingv1.SubscriptionsAPIFilter, ours []filter.Expr) {
	for range 1 + c.IntN(3) {
		t, o := c.filter(depth)
		theirs, ours = append(theirs, t), append(ours, o)
	}
	return theirs, ours
}

func (c corpus) events(n int) []cloudevents.Event {
	list := make([]cloudevents.Event, n)
	for i := range list {
		list[i] = c.event()
	}
	return list
}

func silent() context.Context {
	return logging.WithLogger(context.Background(), zap.NewNop().Sugar())
}

// tally counts how often the two agreed, and on what.
type tally struct{ pass, fail int }

func (n *tally) check(t *testing.T, what any, e cloudevents.Event, theirs eventfilter.FilterResult, ours bool) {
	t.Helper()
	if (theirs != eventfilter.FailFilter) != ours {
		t.Errorf("filter %+v on\n%s: Knative says %s, we say %v", what, e, theirs, ours)
	}
	if ours {
		n.pass++
	} else {
		n.fail++
	}
}

func (n *tally) enough(t *testing.T, least int) {
	t.Helper()
	t.Logf("%d let through, %d held back, by both", n.pass, n.fail)
	if n.pass < least || n.fail < least {
		t.Errorf("the corpus does not test both outcomes: %+v", n)
	}
}

func TestDialectsAgree(t *testing.T) {
	c, ctx := corpus{rand.New(rand.NewPCG(20261123, 3))}, silent()
	events := c.events(200)
	var n tally
	for range 4000 {
		theirs, ours := c.filters(3)
		m, err := filter.Compile(ours)
		if err != nil {
			t.Fatalf("%+v: %v", ours, err)
		}
		// No Cleanup: it races with the filter's own reordering and may close a
		// channel twice. What it leaves behind ends with the test.
		knative := subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), theirs)
		for range 10 {
			e := events[c.IntN(len(events))]
			n.check(t, ours, e, knative.Filter(ctx, e), m.Match(&e))
		}
	}
	n.enough(t, 4000)
}

func TestCESQLAgrees(t *testing.T) {
	c, ctx := corpus{rand.New(rand.NewPCG(20261123, 4))}, silent()
	events := c.events(200)
	var n tally
	for range 3000 {
		text := c.cesql(3)
		m, err := filter.Compile([]filter.Expr{{CESQL: text}})
		knative, theirErr := subscriptionsapi.NewCESQLFilter(text)
		if err != nil || theirErr != nil {
			t.Fatalf("%s: %v, %v", text, err, theirErr)
		}
		for range 5 {
			e := events[c.IntN(len(events))]
			n.check(t, text, e, knative.Filter(ctx, e), m.Match(&e))
		}
	}
	n.enough(t, 1500)
}

func TestAttributesAgree(t *testing.T) {
	c, ctx := corpus{rand.New(rand.NewPCG(20261123, 5))}, silent()
	events := c.events(200)
	var n tally
	for range 4000 {
		attrs := c.pairs()
		if c.IntN(3) == 0 {
			attrs[c.pick(names)] = "" // any value
		}
		m, err := filter.Attributes(attrs)
		if err != nil {
			t.Fatal(err)
		}
		knative := attributes.NewAttributesFilter(attrs)
		for range 10 {
			e := events[c.IntN(len(events))]
			n.check(t, attrs, e, knative.Filter(ctx, e), m.Match(&e))
		}
	}
	n.enough(t, 400)
}

// The Go filter panics on a result that is no boolean; the Kafka Broker's
// casts it, and so does ours. This test tells us when that changes.
func TestKnativesGoFilterNeedsABoolean(t *testing.T) {
	knative, err := subscriptionsapi.NewCESQLFilter("type")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Knative's filter takes a string as its result now: compare what it makes of it with ours")
		}
	}()
	e := cloudevents.New()
	e.SetType("x")
	knative.Filter(silent(), e)
}

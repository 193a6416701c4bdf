package filter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"

	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/fault"
)

func order() cloudevents.Event {
	e := cloudevents.New()
	e.SetID("7")
	e.SetType("shop.order.v1")
	e.SetSource("/shop/1")
	e.SetTime(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	e.SetExtension("region", "eu-north")
	e.SetExtension("size", 12)
	e.SetExtension("blank", "")
	return e
}

func TestAttributes(t *testing.T) {
	e := order()
	for name, c := range map[string]struct {
		attrs map[string]string
		want  bool
	}{
		"none":                      {nil, true},
		"equal":                     {map[string]string{"type": "shop.order.v1", "region": "eu-north"}, true},
		"one differs":               {map[string]string{"type": "shop.order.v1", "region": "eu"}, false},
		"absent":                    {map[string]string{"tick": "summary"}, false},
		"any value":                 {map[string]string{"region": ""}, true},
		"any value of an absent":    {map[string]string{"tick": ""}, false},
		"any value of an empty":     {map[string]string{"blank": ""}, false},
		"any value, subject absent": {map[string]string{"subject": ""}, false},
		"a number is no string":     {map[string]string{"size": "12"}, false},
		"any value of a number":     {map[string]string{"size": ""}, true},
	} {
		m, err := filter.Attributes(c.attrs)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Match(&e); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDialects(t *testing.T) {
	exact := func(name, value string) filter.Expr { return filter.Expr{Exact: map[string]string{name: value}} }
	yes, no := exact("type", "shop.order.v1"), exact("type", "other")
	e := order()
	for name, c := range map[string]struct {
		exprs []filter.Expr
		want  bool
	}{
		"none":                   {nil, true},
		"all elements must pass": {[]filter.Expr{yes, no}, false},
		"exact":                  {[]filter.Expr{yes}, true},
		"exact of a number":      {[]filter.Expr{exact("size", "12")}, true},
		"exact, absent":          {[]filter.Expr{exact("tick", "x")}, false},
		"prefix":                 {[]filter.Expr{{Prefix: map[string]string{"type": "shop.", "source": "/shop"}}}, true},
		"prefix, one differs":    {[]filter.Expr{{Prefix: map[string]string{"type": "shop.", "source": "/x"}}}, false},
		"suffix":                 {[]filter.Expr{{Suffix: map[string]string{"region": "north"}}}, true},
		"suffix, absent subject": {[]filter.Expr{{Suffix: map[string]string{"subject": "x"}}}, false},
		"all":                    {[]filter.Expr{{All: []filter.Expr{yes, yes}}}, true},
		"all with a no":          {[]filter.Expr{{All: []filter.Expr{yes, no}}}, false},
		"any":                    {[]filter.Expr{{Any: []filter.Expr{no, yes}}}, true},
		"any of noes":            {[]filter.Expr{{Any: []filter.Expr{no, no}}}, false},
		"not":                    {[]filter.Expr{{Not: &no}}, true},
		"not of a yes":           {[]filter.Expr{{Not: &yes}}, false},
		"cesql":                  {[]filter.Expr{{CESQL: "EXISTS region AND region LIKE 'eu%' AND size > 10"}}, true},
		"cesql that is false":    {[]filter.Expr{{CESQL: "size > 12"}}, false},
		"cesql that fails":       {[]filter.Expr{{CESQL: "tick = 'x'"}}, false},
		"not of a failure":       {[]filter.Expr{{CESQL: "NOT (tick = 'x')"}}, false},
		"cesql without boolean":  {[]filter.Expr{{CESQL: "type"}}, false},
		"cesql cast to boolean":  {[]filter.Expr{{CESQL: "size"}}, true},
		"cesql divides by zero":  {[]filter.Expr{{CESQL: "size / 0 = 1"}}, false},
		"time":                   {[]filter.Expr{exact("time", "2026-11-23T10:00:00Z")}, true},
		"specversion":            {[]filter.Expr{exact("specversion", "1.0")}, true},
	} {
		m, err := filter.Compile(c.exprs)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := m.Match(&e); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The largest expression that is let through must not take the process down.
func TestDeepCESQL(t *testing.T) {
	half := filter.MaxCESQL/2 - 2
	for text, fits := range map[string]bool{
		strings.Repeat("(", filter.MaxCESQL):                               false,
		strings.Repeat("(", half) + "TRUE" + strings.Repeat(")", half):     true,
		strings.Repeat("NOT ", filter.MaxCESQL/4-1) + "TRUE":               true,
		strings.Repeat(" ", filter.MaxCESQL+1):                             false,
		"TRUE" + strings.Repeat(" AND TRUE", (filter.MaxCESQL-4)/9):        true,
		"1" + strings.Repeat(" + 1", (filter.MaxCESQL-5)/4) + " > 1":       true,
		"type IN (" + strings.Repeat("'a',", (filter.MaxCESQL-13)/4) + "'": false,
	} {
		m, err := filter.Compile([]filter.Expr{{CESQL: text}})
		if (err == nil) != fits {
			t.Errorf("%.20s...: error %v", text, err)
		}
		if err == nil {
			e := order()
			m.Match(&e)
		}
	}
}

func TestCompileNamesEveryFault(t *testing.T) {
	deep := filter.Expr{CESQL: "TRUE"}
	for range filter.MaxDepth {
		inner := deep
		deep = filter.Expr{Not: &inner}
	}
	for want, exprs := range map[string][]filter.Expr{
		"[0]: expected exactly one of":                        {{}},
		"[1]: expected exactly one of":                        {{CESQL: "TRUE"}, {CESQL: "TRUE", Exact: map[string]string{"a": "b"}}},
		"[0].any[1].cesql: expected an expression":            {{Any: []filter.Expr{{CESQL: "TRUE"}, {CESQL: "("}}}},
		"[0].exact.Type: expected an attribute name":          {{Exact: map[string]string{"Type": "x"}}},
		"[0].suffix.type: expected a value that is not":       {{Suffix: map[string]string{"type": ""}}},
		fmt.Sprintf("expected at most %d", filter.MaxDepth):   {deep},
		"[0].not: expected exactly one of":                    {{Not: &filter.Expr{}}},
		"[0].all[0].prefix.a-b: expected an attribute name":   {{All: []filter.Expr{{Prefix: map[string]string{"a-b": "x"}}}}},
		"[1].prefix.type: expected a value that is not empty": {{}, {Prefix: map[string]string{"type": ""}}},
	} {
		_, err := filter.Compile(exprs)
		if err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("error %v misses %s", err, want)
		}
	}
	if _, err := filter.Attributes(map[string]string{"1a": "x"}); err == nil {
		t.Error("attribute 1a accepted")
	}
}

// anExpr draws a valid filter element.
func anExpr(t *rapid.T, depth int) filter.Expr {
	name := rapid.SampledFrom([]string{"type", "source", "subject", "region", "size", "blank", "tick"})
	pairs := rapid.MapOfN(name, rapid.SampledFrom([]string{"s", "shop", "shop.order.v1", "/shop/1", "eu-north", "12", "1", "v1"}), 1, 2)
	kinds := 7
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(1, kinds).Draw(t, "dialect") {
	case 1:
		return filter.Expr{Exact: pairs.Draw(t, "exact")}
	case 2:
		return filter.Expr{Prefix: pairs.Draw(t, "prefix")}
	case 3:
		return filter.Expr{Suffix: pairs.Draw(t, "suffix")}
	case 4:
		return filter.Expr{CESQL: "EXISTS " + name.Draw(t, "exists")}
	case 5:
		x := anExpr(t, depth-1)
		return filter.Expr{Not: &x}
	case 6:
		return filter.Expr{All: someExprs(t, depth-1)}
	default:
		return filter.Expr{Any: someExprs(t, depth-1)}
	}
}

func someExprs(t *rapid.T, depth int) []filter.Expr {
	list := make([]filter.Expr, rapid.IntRange(1, 3).Draw(t, "n"))
	for i := range list {
		list[i] = anExpr(t, depth)
	}
	return list
}

// De Morgan's law ties all, any and not together.
func TestAllAnyAndNotAgree(t *testing.T) {
	e := order()
	rapid.Check(t, func(t *rapid.T) {
		list := someExprs(t, 2)
		var none []filter.Expr
		for i := range list {
			none = append(none, filter.Expr{Not: &list[i]})
		}
		match := func(x ...filter.Expr) bool {
			m, err := filter.Compile(x)
			if err != nil {
				t.Fatal(err)
			}
			return m.Match(&e)
		}
		all := match(filter.Expr{All: list})
		if all != match(list...) || all == match(filter.Expr{Any: none}) {
			t.Fatalf("all = %v: it disagrees with the list or with any of the opposites: %+v", all, list)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e := order()
	attributes, err := filter.Attributes(map[string]string{"type": "shop.order.v1", "region": "eu-north"})
	if err != nil {
		b.Fatal(err)
	}
	dialects, err := filter.Compile([]filter.Expr{
		{Prefix: map[string]string{"type": "shop."}},
		{Not: &filter.Expr{Exact: map[string]string{"region": "us"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	sql, err := filter.Compile([]filter.Expr{{CESQL: "EXISTS region AND region LIKE 'eu%'"}})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		m    filter.Matcher
	}{{"attributes", attributes}, {"dialects", dialects}, {"cesql", sql}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.m.Match(&e) {
					b.Fatal("no match")
				}
			}
		})
	}
}

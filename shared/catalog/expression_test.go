package catalog

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/fault"
)

func TestExpressions(t *testing.T) {
	c := New()
	find := func(name string) (*Metric, error) { return c.Metric("expression", name) }
	values := map[string]Value{"eventCount": {N: 12, D: 1}, "sessions": {N: 5, D: 1}, "newUsers": {N: 0, D: 1}, "purchaseRevenue": {N: 59_970_000, D: 1_000_000}}
	for text, want := range map[string]string{
		"eventCount": "12", "eventCount/sessions": "2.4", "eventCount / (sessions - 1)": "3", "eventCount-sessions-1": "6", "2*eventCount/4": "6",
		"eventCount+sessions*2": "22", "(eventCount+sessions)*2": "34", "eventCount/newUsers": "0", "purchaseRevenue*100": "5997", "1.5*sessions": "7.5", "eventCount/eventCount": "1",
		"1e300*1e300*sessions": "0", "1e300*1e300*sessions-1e300*1e300*sessions": "0", "0/0*sessions": "0",
	} {
		e, err := ParseExpression("expression", text, find)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var parts []Value
		for _, m := range e.Parts {
			parts = append(parts, values[m.Name])
		}
		if got := e.Of(parts).String(); got != want {
			t.Errorf("%s: expected %s, got %s", text, want, got)
		}
	}
	for text, want := range map[string]string{
		"": "name of a metric, a number or a parenthesis at position 1", "eventCount sessions": "operator, one of + - * /, at position 12",
		"eventCount+": "position 12", "(eventCount": "closing parenthesis at position 12", "1/2": "at least one metric", "eventCuont": "such as eventCount",
		"1..2*sessions": "a number at position 1", "advertiserAdCost/sessions": "Google Ads", strings.Repeat("(", 30) + "sessions": "at most 20 levels", strings.Repeat("sessions+", 100): "at most 500 bytes",
	} {
		if _, err := ParseExpression("expression", text, find); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: expected %q, got %v", text, want, err)
		}
	}
}

func FuzzParseExpression(f *testing.F) {
	for _, s := range []string{"eventCount/sessions", "(1+sessions)*2.5", "((((", "a.b:c_d", "1e308*1e308*sessions"} {
		f.Add(s)
	}
	c := New()
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseExpression("x", text, func(name string) (*Metric, error) { return c.Metric("x", name) })
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%q: expected a fault of the input, got %v", text, err)
			}
			return
		}
		parts := make([]Value, len(e.Parts))
		for i := range parts {
			parts[i] = Value{N: int64(i) * 1e15, D: 3}
		}
		if v := e.Of(parts); !json.Valid([]byte(v.String())) {
			t.Fatalf("%q: expected a number, got %s", text, v)
		}
	})
}

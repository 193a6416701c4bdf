package laws

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

// What a question makes up of a dimension stands among the definitions, too,
// under a name that says how: made_lower_NAME, made_upper_NAME, and
// made_join_NAME_NAME; of metrics made_share_NAME_NAME and made_more_NAME_NAME.
const made = "made_"

// madeDelimiter stands between what is joined.
const madeDelimiter = " & "

var _ = makeUp()

// makeUp adds the definitions before any test reads them.
func makeUp() bool {
	names := sorted(dimensions)
	for _, a := range names {
		d := dimensions[a]
		if !makeable(a) {
			continue
		}
		dimensions[made+"lower_"+a] = dimension{time: d.time, item: d.item, of: func(h *hit, g *goods, start time.Time) string { return strings.ToLower(d.text(h, g, start)) }}
		dimensions[made+"upper_"+a] = dimension{time: d.time, item: d.item, of: func(h *hit, g *goods, start time.Time) string { return strings.ToUpper(d.text(h, g, start)) }}
		for _, b := range names {
			e := dimensions[b]
			if makeable(b) {
				dimensions[made+"join_"+a+"_"+b] = dimension{time: d.time && e.time, item: d.item || e.item, of: func(h *hit, g *goods, start time.Time) string {
					return d.text(h, g, start) + madeDelimiter + e.text(h, g, start)
				}}
			}
		}
	}
	for _, a := range countable {
		for _, b := range countable {
			metrics[made+"share_"+a+"_"+b] = func(g *group) *big.Rat { return over(metrics[a](g), metrics[b](g)) }
			metrics[made+"more_"+a+"_"+b] = func(g *group) *big.Rat {
				return new(big.Rat).Sub(new(big.Rat).Mul(metrics[a](g), big.NewRat(2, 1)), metrics[b](g))
			}
		}
	}
	return true
}

// countable are metrics that are whole numbers, of which expressions are exact.
var countable = []string{"eventCount", "sessions", "activeUsers", "screenPageViews", "newUsers", "engagedSessions", "keyEvents", "transactions"}

// makeable leaves out what rows of nothing step by, what only a merchant's rules
// tell, and names that say which parameter they are.
func makeable(name string) bool {
	return !strings.HasSuffix(strings.ToLower(name), "minute") && dimensions[name].channel == nil && !strings.ContainsAny(name, ":_")
}

// text is what a dimension shows that follows from the hit alone.
func (d *dimension) text(h *hit, g *goods, start time.Time) string {
	return cmp.Or(d.of(h, g, start), d.fill, "(not set)")
}

// given are the names that are not made up.
func given[V any](m map[string]V) []string {
	return slices.DeleteFunc(sorted(m), func(name string) bool { return strings.HasPrefix(name, made) })
}

// MarshalJSON writes a dimension or a metric; one that is made up with how.
func (n name) MarshalJSON() ([]byte, error) {
	out := map[string]any{"name": n.Name}
	if how, ok := strings.CutPrefix(n.Name, made); ok {
		how, of, _ := strings.Cut(how, "_")
		one := map[string]string{"dimensionName": of}
		switch how {
		case "lower":
			out["dimensionExpression"] = map[string]any{"lowerCase": one}
		case "upper":
			out["dimensionExpression"] = map[string]any{"upperCase": one}
		case "share":
			out["expression"] = strings.ReplaceAll(of, "_", " / ")
		case "more":
			a, b, _ := strings.Cut(of, "_")
			out["expression"] = "(" + a + "+" + a + ") - " + b
		default:
			out["dimensionExpression"] = map[string]any{"concatenate": map[string]any{"dimensionNames": strings.Split(of, "_"), "delimiter": madeDelimiter}}
		}
	}
	return json.Marshal(out)
}

// made makes something up of a dimension, now and then.
func (a *asker) made(dimension string) string {
	if !a.chance(12) || !makeable(dimension) {
		return dimension
	}
	if other := one(a.Rand, a.dimensions...); a.chance(40) && makeable(other) {
		return made + "join_" + dimension + "_" + other
	}
	return made + one(a.Rand, "lower_", "upper_") + dimension
}

// madeMetric is a metric, or now and then an expression of two.
func (a *asker) madeMetric(metric string) string {
	if !a.chance(8) {
		return metric
	}
	return made + one(a.Rand, "share_", "more_") + one(a.Rand, countable...) + "_" + one(a.Rand, countable...)
}

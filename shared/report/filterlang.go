package report

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// operators of the filter language, the longer before those they begin with.
var operators = []struct {
	text   string
	kind   TestKind
	negate bool
	fold   bool
	number TestKind // for metrics; 0 (Exact) = not for metrics
	metric bool     // for metrics only
}{
	{text: "==", kind: Exact, number: Equal},
	{text: "!=", kind: Exact, negate: true, number: Equal},
	{text: "=~", kind: PartialRegexp},
	{text: "!~", kind: PartialRegexp, negate: true},
	{text: "*=", kind: Contains, fold: true},
	{text: "!*", kind: Contains, negate: true, fold: true},
	{text: "^=", kind: BeginsWith},
	{text: "$=", kind: EndsWith},
	{text: ">=", number: GreaterOrEqual, metric: true},
	{text: "<=", number: LessOrEqual, metric: true},
	{text: ">", number: Greater, metric: true},
	{text: "<", number: Less, metric: true},
}

const operatorList = "one of == != =~ !~ *= !* ^= $= after a dimension, or == != > >= < <= after a metric"

// ParseFilter reads the filter language of /v1/reports: conditions joined by
// ";" (and) and "," (or, which binds closer). It returns the part about
// dimensions and the part about metrics, nil where there is none. Errors name
// the field "filter" and the position in characters, from 1.
func ParseFilter(c *catalog.Catalog, s string) (dimensions, metrics *Filter, err error) {
	var dims, mets []*Filter
	n, at := 0, 0
	for _, clause := range split(s, ';') {
		var kids []*Filter
		start := at
		for _, term := range split(clause, ',') {
			if n++; n > maxFilterSize {
				return nil, nil, fault.Field("filter", fmt.Sprintf("at most %d conditions", maxFilterSize))
			}
			kid, err := parseTerm(c, s, term, at)
			if err != nil {
				return nil, nil, err
			}
			kids = append(kids, kid)
			at += len(term) + 1
		}
		metric := isMetric(kids[0])
		for _, k := range kids {
			if isMetric(k) != metric {
				return nil, nil, filterFault(s, start, "dimensions or metrics between commas, not both")
			}
		}
		if metric {
			mets = append(mets, join(Or, kids))
		} else {
			dims = append(dims, join(Or, kids))
		}
	}
	return join(And, dims), join(And, mets), nil
}

func isMetric(f *Filter) bool {
	if f.Op == Not {
		return isMetric(f.Kids[0])
	}
	return f.Metric != nil
}

func join(op FilterOp, kids []*Filter) *Filter {
	switch len(kids) {
	case 0:
		return nil
	case 1:
		return kids[0]
	default:
		return &Filter{Op: op, Kids: kids}
	}
}

func filterFault(s string, at int, expected string) error {
	position := len([]rune(s[:min(at, len(s))])) + 1
	return fault.Field("filter", fmt.Sprintf("%s, at position %d", expected, position))
}

// split cuts s at each separator that no backslash stands before.
func split(s string, separator byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

func parseTerm(c *catalog.Catalog, s, term string, at int) (*Filter, error) {
	end := 0
	for end < len(term) && isNameByte(term[end]) {
		end++
	}
	name, rest := term[:end], term[end:]
	if name == "" {
		return nil, filterFault(s, at, "the name of a dimension or metric")
	}
	for _, op := range operators {
		if !strings.HasPrefix(rest, op.text) {
			continue
		}
		value := unescape(rest[len(op.text):])
		valueAt := at + end + len(op.text)
		leaf := &Filter{}
		if d, err := c.DimensionFor("filter", name); err == nil && !op.metric {
			leaf.Dimension = d
			if leaf.Test, err = TextTest("filter", op.kind, value, op.fold); err != nil {
				return nil, err
			}
		} else if m, merr := c.MetricFor("filter", name); merr == nil {
			if op.number == 0 {
				return nil, filterFault(s, at+end, "one of == != > >= < <= after the metric "+name)
			}
			leaf.Metric = m
			v, err := strconv.ParseFloat(value, 64)
			if err != nil || v != v {
				return nil, filterFault(s, valueAt, "a number after "+name+op.text)
			}
			leaf.Test = NumberTest(op.number, v, 0)
		} else if err == nil {
			return nil, filterFault(s, at+end, "one of == != =~ !~ *= !* ^= $= after the dimension "+name)
		} else {
			return nil, unknownName(s, at, name, err, merr)
		}
		if op.negate {
			return &Filter{Op: Not, Kids: []*Filter{leaf}}, nil
		}
		return leaf, nil
	}
	return nil, filterFault(s, at+end, operatorList)
}

// unknownName says what a name that is neither a dimension's nor a metric's may
// have been meant to be.
func unknownName(s string, at int, name string, errs ...error) error {
	expected := "the name of a dimension or metric"
	for _, err := range errs {
		var f *fault.Error
		if errors.As(err, &f) {
			if errors.Is(err, catalog.ErrAbsent) {
				return err
			}
			if _, near, ok := strings.Cut(f.Expected, ", such as "); ok {
				return filterFault(s, at, fmt.Sprintf("%s, such as %s, not %s", expected, near, name))
			}
		}
	}
	return filterFault(s, at, fmt.Sprintf("%s, not %s", expected, printable(name)))
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == ':'
}

// unescape takes off the backslash before a separator or another backslash,
// and no other, so that a regular expression's \d stays.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == ';' || s[i+1] == '\\') {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

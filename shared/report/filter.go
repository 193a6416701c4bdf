package report

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// FilterOp is what a node of a filter does.
type FilterOp uint8

// The operations.
const (
	Leaf FilterOp = iota // a test of one dimension or metric
	And
	Or
	Not // of Kids[0]
)

// Filter is a condition on dimensions, or on metrics; never on both.
type Filter struct {
	Op        FilterOp
	Kids      []*Filter
	Dimension *catalog.Dimension
	Metric    *catalog.Metric
	Test      Test
}

// each calls fn with every leaf; a nil filter has none.
func (f *Filter) each(fn func(*Filter)) {
	if f == nil {
		return
	}
	if f.Op == Leaf {
		fn(f)
	}
	for _, k := range f.Kids {
		k.each(fn)
	}
}

func (f *Filter) size() int {
	n := 0
	f.each(func(*Filter) { n++ })
	return n
}

// Eval decides the filter, given the verdict on each leaf. nil is true.
func (f *Filter) Eval(leaf func(*Filter) bool) bool {
	if f == nil {
		return true
	}
	switch f.Op {
	case And:
		for _, k := range f.Kids {
			if !k.Eval(leaf) {
				return false
			}
		}
		return true
	case Or:
		for _, k := range f.Kids {
			if k.Eval(leaf) {
				return true
			}
		}
		return false
	case Not:
		return !f.Kids[0].Eval(leaf)
	default:
		return leaf(f)
	}
}

// can reports whether the filter may come to a verdict where those on some
// leaves are not known: known says which are.
func (f *Filter) can(verdict bool, leaf func(*Filter) (is, known bool)) bool {
	if f == nil {
		return verdict
	}
	switch f.Op {
	case And, Or:
		able := func(k *Filter) bool { return k.can(verdict, leaf) }
		if verdict == (f.Op == Or) {
			return slices.ContainsFunc(f.Kids, able) // one decides
		}
		return !slices.ContainsFunc(f.Kids, func(k *Filter) bool { return !able(k) })
	case Not:
		return f.Kids[0].can(!verdict, leaf)
	default:
		is, known := leaf(f)
		return !known || is == verdict
	}
}

// TestKind is how a leaf compares.
type TestKind uint8

// The tests. Text tests are for dimensions, number tests for metrics, and for
// dimensions whose value reads as a number.
const (
	Exact TestKind = iota
	BeginsWith
	EndsWith
	Contains
	FullRegexp
	PartialRegexp
	InList
	Empty // no value, or (not set)
	Equal
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
	Between // Low ≤ x ≤ High
)

// Test is one comparison. Make it with TextTest, ListTest or NumberTest.
type Test struct {
	Kind      TestKind
	Fold      bool // ignore case
	Text      string
	List      []string
	Low, High float64
	expr      *regexp.Regexp
	set       map[string]bool
}

const maxPattern = 1000

// TextTest makes a test of Exact to PartialRegexp. Where the pattern is no
// regular expression the error names field.
func TextTest(field string, kind TestKind, text string, fold bool) (Test, error) {
	t := Test{Kind: kind, Fold: fold, Text: text}
	if kind != FullRegexp && kind != PartialRegexp {
		if fold {
			t.Text = strings.ToLower(text)
		}
		return t, nil
	}
	if len(text) > maxPattern {
		return t, fault.Field(field, "a regular expression of at most "+strconv.Itoa(maxPattern)+" bytes")
	}
	pattern := text
	if kind == FullRegexp {
		pattern = `^(?:` + pattern + `)$`
	}
	if fold {
		pattern = `(?i)` + pattern
	}
	expr, err := regexp.Compile(pattern)
	if err != nil {
		return t, &fault.Error{Kind: fault.Invalid, Field: field, Expected: "a regular expression (RE2)", Err: err}
	}
	t.expr = expr
	return t, nil
}

// ListTest makes a test of a value being one of a list.
func ListTest(list []string, fold bool) Test {
	t := Test{Kind: InList, Fold: fold, List: list, set: make(map[string]bool, len(list))}
	for _, s := range list {
		if fold {
			s = strings.ToLower(s)
		}
		t.set[s] = true
	}
	return t
}

// NumberTest makes a test of Equal to Between; high is for Between only.
func NumberTest(kind TestKind, low, high float64) Test {
	return Test{Kind: kind, Low: low, High: high}
}

// MatchText decides about the shown value of a dimension.
func (t *Test) MatchText(v string) bool {
	if t.Fold && t.expr == nil {
		v = strings.ToLower(v)
	}
	switch t.Kind {
	case Exact:
		return v == t.Text
	case BeginsWith:
		return strings.HasPrefix(v, t.Text)
	case EndsWith:
		return strings.HasSuffix(v, t.Text)
	case Contains:
		return strings.Contains(v, t.Text)
	case FullRegexp, PartialRegexp:
		return t.expr.MatchString(v)
	case InList:
		return t.set[v]
	case Empty:
		return v == "" || v == catalog.NotSet
	default:
		n, err := strconv.ParseFloat(v, 64)
		return err == nil && t.MatchNumber(n)
	}
}

// MatchNumber decides about a metric's value.
func (t *Test) MatchNumber(v float64) bool {
	switch t.Kind {
	case Equal:
		return v == t.Low
	case Less:
		return v < t.Low
	case LessOrEqual:
		return v <= t.Low
	case Greater:
		return v > t.Low
	case GreaterOrEqual:
		return v >= t.Low
	case Between:
		return t.Low <= v && v <= t.High
	default:
		return false
	}
}

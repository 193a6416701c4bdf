package report

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/footfall/footfall/shared/catalog"
	"github.com/footfall/footfall/shared/fault"
)

// operators of the filter language, the longer before those they begin with.
var operators = []struct {
	text    string
	kind    TestKind
	negate  bool
	fold    bool
	number  TestKind // for metrics; 0 (Exact) = not for metrics
	numeric bool     // compares numbers, also of dimensions
	list    bool     // takes (a,b,c)
}{
	{text: "=between=", numeric: true, number: Between, list: true},
	{text: "=empty=", kind: Empty},
	{text: "=in=", kind: InList, number: Equal, list: true},
	{text: "=out=", kind: InList, negate: true, number: Equal, list: true},
	{text: "==", kind: Exact, number: Equal},
	{text: "!=", kind: Exact, negate: true, number: Equal},
	{text: "=~", kind: PartialRegexp},
	{text: "!~", kind: PartialRegexp, negate: true},
	{text: "*=", kind: Contains, fold: true},
	{text: "!*", kind: Contains, negate: true, fold: true},
	{text: "^=", kind: BeginsWith},
	{text: "$=", kind: EndsWith},
	{text: ">=", number: GreaterOrEqual, numeric: true},
	{text: "<=", number: LessOrEqual, numeric: true},
	{text: ">", number: Greater, numeric: true},
	{text: "<", number: Less, numeric: true},
}

const (
	numberOperators = "== != > >= < <= =in= =out= =between="
	operatorList    = "one of == != =~ !~ *= !* ^= $= > >= < <= =in= =out= =between= =empty= after a dimension, or " + numberOperators + " after a metric"
)

// ParseFilter reads the filter language of /v1/reports: conditions joined by
// ";" (and) and "," (or, which binds closer), grouped by parentheses, and a "!"
// before a group denies it. It returns the part about dimensions and the part
// about metrics, nil where there is none. Errors name the field "filter" and
// the position in characters, from 1.
func ParseFilter(c *catalog.Catalog, s string) (dimensions, metrics *Filter, err error) {
	p := &filterParser{catalog: c, text: s}
	clauses, starts, err := p.clauses(0)
	if err != nil {
		return nil, nil, err
	}
	if p.at < len(s) {
		return nil, nil, filterFault(s, p.at, "no closing parenthesis without an opening one")
	}
	var dims, mets []*Filter
	var put func(f *Filter, start int) error
	put = func(f *Filter, start int) error {
		ofDimension, ofMetric := false, false
		f.each(func(l *Filter) { ofDimension, ofMetric = ofDimension || l.Metric == nil, ofMetric || l.Metric != nil })
		switch {
		case ofDimension && ofMetric && f.Op == And:
			for _, k := range f.Kids {
				if err := put(k, start); err != nil {
					return err
				}
			}
		case ofDimension && ofMetric:
			return filterFault(s, start, "dimensions or metrics in what commas join or ! denies, not both")
		case ofMetric:
			mets = append(mets, f)
		default:
			dims = append(dims, f)
		}
		return nil
	}
	for i, f := range clauses {
		if err := put(f, starts[i]); err != nil {
			return nil, nil, err
		}
	}
	return join(And, dims), join(And, mets), nil
}

// filterParser reads a filter from left to right.
type filterParser struct {
	catalog *catalog.Catalog
	text    string
	at      int // bytes
	terms   int
}

func (p *filterParser) has(prefix string) bool { return strings.HasPrefix(p.text[p.at:], prefix) }

func (p *filterParser) take(prefix string) bool {
	if !p.has(prefix) {
		return false
	}
	p.at += len(prefix)
	return true
}

// clauses reads what semicolons join, up to the end or a parenthesis.
func (p *filterParser) clauses(depth int) (list []*Filter, starts []int, err error) {
	for {
		starts = append(starts, p.at)
		var kids []*Filter
		for {
			kid, err := p.term(depth)
			if err != nil {
				return nil, nil, err
			}
			kids = append(kids, kid)
			if !p.take(",") {
				break
			}
		}
		list = append(list, join(Or, kids))
		if !p.take(";") {
			return list, starts, nil
		}
	}
}

// term reads a condition, or a group in parentheses.
func (p *filterParser) term(depth int) (*Filter, error) {
	deny := p.has("!(")
	if !deny && !p.has("(") {
		if p.terms++; p.terms > maxFilterSize {
			return nil, fault.Field("filter", fmt.Sprintf("at most %d conditions", maxFilterSize))
		}
		return p.condition(depth)
	}
	start := p.at
	if depth == maxDepth {
		return nil, filterFault(p.text, start, fmt.Sprintf("at most %d levels of parentheses", maxDepth))
	}
	p.at += len("(")
	if deny {
		p.at += len("!")
	}
	list, _, err := p.clauses(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, filterFault(p.text, p.at, "a closing parenthesis to that of position "+strconv.Itoa(len([]rune(p.text[:start]))+1))
	}
	group := join(And, list)
	if deny {
		group = &Filter{Op: Not, Kids: []*Filter{group}}
	}
	return group, nil
}

// value reads up to the next separator that no backslash stands before. In a
// group a parenthesis that the value itself did not open ends it, too.
func (p *filterParser) value(depth int) string {
	from, open := p.at, 0
	for ; p.at < len(p.text); p.at++ {
		switch b := p.text[p.at]; {
		case b == '\\':
			p.at++
		case b == ',' || b == ';':
			return p.text[from:p.at]
		case b == '(':
			open++
		case b == ')' && depth > 0:
			if open--; open < 0 {
				return p.text[from:p.at]
			}
		}
	}
	p.at = len(p.text)
	return p.text[from:]
}

// list reads "(a,b,c)".
func (p *filterParser) list(after string) ([]string, error) {
	if !p.take("(") {
		return nil, filterFault(p.text, p.at, "a list in parentheses after "+after+", such as (a,b)")
	}
	var list []string
	for {
		list = append(list, unescape(p.value(1), true))
		if len(list) > maxFilterSize {
			return nil, fault.Field("filter", fmt.Sprintf("at most %d values in a list", maxFilterSize))
		}
		switch {
		case p.take(","):
		case p.take(")"):
			return list, nil
		default:
			return nil, filterFault(p.text, p.at, "a closing parenthesis after the list of "+after)
		}
	}
}

// condition reads a name, an operator and a value.
func (p *filterParser) condition(depth int) (*Filter, error) {
	s, start := p.text, p.at
	for p.at < len(s) && isNameByte(s[p.at]) {
		p.at++
	}
	name := s[start:p.at]
	if name == "" {
		return nil, filterFault(s, start, "the name of a dimension or metric")
	}
	dimension, dimErr := p.catalog.DimensionFor("filter", name)
	var metric *catalog.Metric
	if dimErr != nil {
		var err error
		if metric, err = p.catalog.MetricFor("filter", name); err != nil && p.operator() >= 0 {
			return nil, unknownName(s, start, name, dimErr, err)
		}
	}
	i := p.operator()
	if i < 0 {
		return nil, filterFault(s, p.at, operatorList)
	}
	op := operators[i]
	if metric != nil && op.number == 0 {
		return nil, filterFault(s, p.at, "one of "+numberOperators+" after the metric "+name)
	}
	p.at += len(op.text)
	leaf := &Filter{Dimension: dimension, Metric: metric}
	var err error
	switch {
	case op.list:
		leaf, err = p.ofList(leaf, op.kind, op.number, name+op.text)
	case metric != nil || op.numeric:
		valueAt := p.at
		var v float64
		if v, err = p.number(p.value(depth), valueAt, name+op.text); err == nil {
			leaf.Test = NumberTest(op.number, v, 0)
		}
	case op.kind == Empty:
		valueAt := p.at
		leaf.Test = Test{Kind: Empty}
		switch p.value(depth) {
		case "", "true":
		case "false":
			leaf = &Filter{Op: Not, Kids: []*Filter{leaf}}
		default:
			return nil, filterFault(s, valueAt, "true or false after "+name+op.text)
		}
	default:
		value := p.value(depth)
		leaf.Test, err = TextTest("filter", op.kind, unescape(value, depth > 0 && op.kind != PartialRegexp), op.fold)
	}
	if err != nil {
		return nil, err
	}
	if op.negate {
		return &Filter{Op: Not, Kids: []*Filter{leaf}}, nil
	}
	return leaf, nil
}

// operator finds the operator that stands next; -1 where none does.
func (p *filterParser) operator() int {
	for i := range operators {
		if p.has(operators[i].text) {
			return i
		}
	}
	return -1
}

func (p *filterParser) number(text string, at int, after string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) {
		return 0, filterFault(p.text, at, "a number after "+after)
	}
	return v, nil
}

// ofList completes a condition about a list of values.
func (p *filterParser) ofList(leaf *Filter, kind, number TestKind, after string) (*Filter, error) {
	at := p.at
	list, err := p.list(after)
	if err != nil {
		return nil, err
	}
	if leaf.Metric == nil && number != Between {
		leaf.Test = ListTest(list, false)
		return leaf, nil
	}
	numbers := make([]float64, len(list))
	for i, text := range list {
		if numbers[i], err = p.number(text, at, after); err != nil {
			return nil, err
		}
	}
	if number == Between {
		if len(numbers) != 2 || numbers[0] > numbers[1] {
			return nil, filterFault(p.text, at, "two numbers after "+after+", the lower one first")
		}
		leaf.Test = NumberTest(Between, numbers[0], numbers[1])
		return leaf, nil
	}
	any := &Filter{Op: Or}
	for _, v := range numbers {
		any.Kids = append(any.Kids, &Filter{Metric: leaf.Metric, Test: NumberTest(Equal, v, 0)})
	}
	return any, nil
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
// before a parenthesis where asked to, and no other, so that a regular
// expression's \d stays.
func unescape(s string, parentheses bool) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	separators := `,;\`
	if parentheses {
		separators = `,;\()`
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(separators, s[i+1]) >= 0 {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

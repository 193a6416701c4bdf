package filter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	cesql "github.com/cloudevents/sdk-go/sql/v2"
	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/cloudevents/sdk-go/sql/v2/utils"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

// Matcher says whether an event passes. It changes nothing and may be used
// from many goroutines at once.
type Matcher interface {
	Match(e *cloudevents.Event) bool
}

// Expr is one element of a Trigger's filters: exactly one of its fields is
// set, and none of its lists and maps is empty.
type Expr struct {
	Exact  map[string]string // every attribute has this value
	Prefix map[string]string // every attribute begins with this
	Suffix map[string]string // every attribute ends with this
	All    []Expr            // every one passes
	Any    []Expr            // at least one passes
	Not    *Expr             // it does not pass
	CESQL  string            // an expression of the CloudEvents SQL language
}

// Bounds of what Compile takes.
const (
	MaxDepth = 16   // how deep all, any and not may nest
	MaxCESQL = 1024 // bytes of an expression: its parser takes time quadratic in broken input
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// Attributes compiles a Trigger's filter.attributes: every attribute has its
// value, and an empty value takes any value of an attribute that is present.
func Attributes(attrs map[string]string) (Matcher, error) {
	var m anyValue
	var errs []error
	for _, name := range sorted(attrs) {
		if !attributeName.MatchString(name) {
			errs = append(errs, badName("attributes", name))
		}
		m = append(m, pair{name, attrs[name]})
	}
	return m, errors.Join(errs...)
}

// Compile compiles a Trigger's filters: an event passes when it passes every
// one; with none, every event passes. The errors name the element at fault, as
// in "[1].any[0].cesql".
func Compile(exprs []Expr) (Matcher, error) {
	list, err := compileList(exprs, "", 1)
	if err != nil {
		return nil, err
	}
	return all(list), nil
}

func compileList(exprs []Expr, at string, depth int) ([]Matcher, error) {
	list := make([]Matcher, 0, len(exprs))
	var errs []error
	for i, x := range exprs {
		m, err := compile(x, fmt.Sprintf("%s[%d]", at, i), depth)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, m)
	}
	return list, errors.Join(errs...)
}

func compile(x Expr, at string, depth int) (Matcher, error) {
	if depth > MaxDepth {
		return nil, fault.Field(at, fmt.Sprintf("at most %d levels of all, any and not", MaxDepth))
	}
	if n := x.dialects(); n != 1 {
		return nil, fault.Field(at, fmt.Sprintf("exactly one of exact, prefix, suffix, all, any, not, cesql, not empty; there are %d", n))
	}
	switch {
	case len(x.Exact) > 0:
		return compilePairs(x.Exact, at+".exact", func(given, wanted string) bool { return given == wanted })
	case len(x.Prefix) > 0:
		return compilePairs(x.Prefix, at+".prefix", strings.HasPrefix)
	case len(x.Suffix) > 0:
		return compilePairs(x.Suffix, at+".suffix", strings.HasSuffix)
	case len(x.All) > 0:
		list, err := compileList(x.All, at+".all", depth+1)
		return all(list), err
	case len(x.Any) > 0:
		list, err := compileList(x.Any, at+".any", depth+1)
		return anyOf(list), err
	case x.Not != nil:
		m, err := compile(*x.Not, at+".not", depth+1)
		return not{m}, err
	default:
		return compileCESQL(x.CESQL, at+".cesql")
	}
}

// dialects counts what is set. An empty list or map is not: Knative would skip
// such an element silently, and then everything passes.
func (x Expr) dialects() int {
	n := 0
	for _, set := range []bool{
		len(x.Exact) > 0, len(x.Prefix) > 0, len(x.Suffix) > 0,
		len(x.All) > 0, len(x.Any) > 0, x.Not != nil, x.CESQL != "",
	} {
		if set {
			n++
		}
	}
	return n
}

func compilePairs(attrs map[string]string, at string, match func(given, wanted string) bool) (Matcher, error) {
	m := compare{match: match}
	var errs []error
	for _, name := range sorted(attrs) {
		if !attributeName.MatchString(name) {
			errs = append(errs, badName(at, name))
		}
		if attrs[name] == "" {
			errs = append(errs, fault.Field(at+"."+name, `a value that is not empty; cesql: "EXISTS `+name+`" takes any value`))
		}
		m.pairs = append(m.pairs, pair{name, attrs[name]})
	}
	return m, errors.Join(errs...)
}

func badName(at, name string) error {
	return fault.Field(at+"."+name, "an attribute name: a letter a-z, then letters a-z and digits")
}

// compileCESQL parses an expression. The engine's parser panics on some broken
// input, which is an error of that input and not of ours.
func compileCESQL(text, at string) (m Matcher, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, fault.Field(at, fmt.Sprintf("an expression of the CloudEvents SQL language; the parser broke on it: %v", r))
		}
	}()
	if len(text) > MaxCESQL {
		return nil, fault.Field(at, fmt.Sprintf("an expression of at most %d bytes", MaxCESQL))
	}
	expr, err := parser.Parse(text)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Invalid, Field: at, Expected: "an expression of the CloudEvents SQL language", Err: err}
	}
	return sql{expr}, nil
}

type pair struct{ name, value string }

// anyValue is filter.attributes. A value that is no string never equals one:
// Knative compares without converting here, and only here.
type anyValue []pair

func (m anyValue) Match(e *cloudevents.Event) bool {
	for _, p := range m {
		text, isText, ok := attribute(e, p.name)
		if p.value == "" {
			ok = ok && text != ""
		} else {
			ok = ok && isText && text == p.value
		}
		if !ok {
			return false
		}
	}
	return true
}

// compare is exact, prefix and suffix.
type compare struct {
	pairs []pair
	match func(given, wanted string) bool
}

func (m compare) Match(e *cloudevents.Event) bool {
	for _, p := range m.pairs {
		text, _, ok := attribute(e, p.name)
		if !ok || !m.match(text, p.value) {
			return false
		}
	}
	return true
}

type all []Matcher

func (m all) Match(e *cloudevents.Event) bool {
	for _, part := range m {
		if !part.Match(e) {
			return false
		}
	}
	return true
}

type anyOf []Matcher

func (m anyOf) Match(e *cloudevents.Event) bool {
	for _, part := range m {
		if part.Match(e) {
			return true
		}
	}
	return false
}

type not struct{ part Matcher }

func (m not) Match(e *cloudevents.Event) bool { return !m.part.Match(e) }

type sql struct{ expr cesql.Expression }

// Match evaluates the expression; an error is no match. A result that is no
// boolean is cast to one as the Kafka Broker does it (Knative's Go filter
// would panic). A panic of the engine counts as an error, for one event must
// not end the process.
func (m sql) Match(e *cloudevents.Event) (pass bool) {
	defer func() {
		if recover() != nil {
			pass = false
		}
	}()
	result, err := m.expr.Evaluate(*e)
	if err != nil {
		return false
	}
	result, err = utils.Cast(result, cesql.BooleanType)
	return err == nil && result == true
}

// attribute is the value of an attribute by name, as Knative's filters see it:
// an optional attribute that is absent is there and empty, and an extension
// that is no string has a text all the same.
func attribute(e *cloudevents.Event, name string) (text string, isText, ok bool) {
	switch name {
	case "specversion":
		return e.SpecVersion(), true, true
	case "type":
		return e.Type(), true, true
	case "source":
		return e.Source(), true, true
	case "subject":
		return e.Subject(), true, true
	case "id":
		return e.ID(), true, true
	case "time":
		text, err := e.Time().MarshalText()
		return string(text), true, err == nil
	case "dataschema", "schemaurl":
		return e.DataSchema(), true, true
	case "datacontenttype":
		return e.DataContentType(), true, true
	case "datamediatype":
		return e.DataMediaType(), true, true
	case "datacontentencoding":
		return e.DeprecatedDataContentEncoding(), true, true
	}
	value, ok := extension(e, name)
	if !ok {
		return "", false, false
	}
	if text, isText = value.(string); !isText {
		text = fmt.Sprint(value)
	}
	return text, isText, true
}

// extension looks one up without the copy that Event.Extensions makes.
func extension(e *cloudevents.Event, name string) (any, bool) {
	if v1, ok := e.Context.(*cloudevents.EventContextV1); ok {
		value, ok := v1.Extensions[name]
		return value, ok
	}
	value, ok := e.Extensions()[name]
	return value, ok
}

func sorted(attrs map[string]string) []string {
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

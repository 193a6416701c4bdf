package eventing

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/footfall/footfall/shared/fault"
)

// problems gathers all that is wrong in all files.
type problems struct{ errs []error }

func (p *problems) err() error { return errors.Join(p.errs...) }

// document is one YAML document of one file.
type document struct {
	problems *problems
	file     string
	number   int    // from 1
	kind     string // known once read
	name     string
}

// value is a place in a document. Its node is nil where a field is absent;
// then line is that of the object that lacks it.
type value struct {
	doc  *document
	node *yaml.Node
	line int
	path string // "spec.delivery.retry"
}

func (v value) present() bool { return v.node != nil }

// fail notes what was expected at this place.
func (v value) fail(format string, args ...any) {
	v.problem(v.line, v.path, fmt.Sprintf(format, args...), nil)
}

func (v value) problem(line int, path, expected string, cause error) {
	what := ""
	if v.doc.kind != "" {
		what = fmt.Sprintf(", %s %q", v.doc.kind, v.doc.name)
	}
	field := fmt.Sprintf("%s:%d (document %d%s)", v.doc.file, line, v.doc.number, what)
	if path != "" {
		field += " " + path
	}
	v.doc.problems.errs = append(v.doc.problems.errs,
		&fault.Error{Kind: fault.Invalid, Field: field, Expected: expected, Err: cause})
}

func (v value) at(n *yaml.Node, path string) value {
	return value{doc: v.doc, node: n, line: n.Line, path: path}
}

// plain refuses what the subset leaves out of YAML itself.
func (v value) plain() bool {
	switch {
	case v.node == nil:
		return false
	case v.node.Kind == yaml.AliasNode || v.node.Anchor != "":
		v.fail("a plain value: anchors and aliases are not supported")
		return false
	case v.node.Style&yaml.TaggedStyle != 0:
		v.fail("a plain value: tags are not supported")
		return false
	}
	return true
}

// object is a mapping whose keys have been checked.
type object struct {
	value
	fields map[string]value
}

// object reads a mapping that may have the keys named, and no others.
func (v value) object(known ...string) object {
	o := object{value: v, fields: v.entries("an object")}
	for _, key := range sortedKeys(o.fields) {
		if !slices.Contains(known, key) {
			o.fields[key].fail("no such field; supported are %s", strings.Join(known, ", "))
		}
	}
	return o
}

// get is a field, absent or not.
func (o object) get(key string) value {
	if f, ok := o.fields[key]; ok {
		return f
	}
	return value{doc: o.doc, line: o.line, path: join(o.path, key)}
}

// entries reads a mapping; an absent one has none.
func (v value) entries(what string) map[string]value {
	if !v.present() {
		return nil
	}
	if !v.plain() {
		return nil
	}
	if v.node.Kind != yaml.MappingNode {
		v.fail("%s", what)
		return nil
	}
	entries := make(map[string]value, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, ok := v.at(v.node.Content[i], v.path).str("a key that is a string; put it in quotes if it is one")
		if !ok {
			continue
		}
		entry := v.at(v.node.Content[i+1], join(v.path, key))
		entry.line = v.node.Content[i].Line
		if _, twice := entries[key]; twice {
			entry.fail("each key once; this one stands here twice")
			continue
		}
		entries[key] = entry
	}
	return entries
}

// stringEntries reads a mapping of strings to strings; entries that are no
// strings are noted and left out.
func (v value) stringEntries() map[string]value {
	entries := v.entries("an object of strings")
	for _, key := range sortedKeys(entries) {
		if _, ok := entries[key].str("a string; put it in quotes if it is one"); !ok {
			delete(entries, key)
		}
	}
	return entries
}

// texts is stringEntries without their places; nil where absent.
func (v value) texts() map[string]string {
	entries := v.stringEntries()
	if entries == nil {
		return nil
	}
	texts := make(map[string]string, len(entries))
	for key, entry := range entries {
		texts[key] = entry.node.Value
	}
	return texts
}

// list reads a sequence; an absent one is empty.
func (v value) list(what string) []value {
	if !v.present() {
		return nil
	}
	if !v.plain() {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		v.fail("%s", what)
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = v.at(n, fmt.Sprintf("%s[%d]", v.path, i))
	}
	return items
}

// text reads a string; "" where it is absent or wrong.
func (v value) text(expected string) string {
	if !v.present() {
		return ""
	}
	s, _ := v.str(expected)
	return s
}

// required reads a string that must be there.
func (v value) required(expected string) string {
	if !v.present() {
		v.fail("%s", expected)
		return ""
	}
	s, ok := v.str(expected)
	if ok && s == "" {
		v.fail("%s", expected)
	}
	return s
}

// str reads a scalar that is a string to this parser and to Kubernetes', whose
// YAML is older: there an unquoted yes, no, on, off, y and n are booleans.
func (v value) str(expected string) (string, bool) {
	if !v.plain() {
		return "", false
	}
	n := v.node
	unquoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || unquoted && oldBoolean(n.Value) {
		v.fail("%s", expected)
		return "", false
	}
	return n.Value, true
}

func oldBoolean(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

// integer reads a whole number within bounds; ok is false where it is absent or wrong.
func (v value) integer(low, high int64) (n int64, ok bool) {
	if !v.present() || !v.plain() {
		return 0, false
	}
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!int" {
		// Decimal only: 010 is eight to one YAML and ten to another.
		n, err := strconv.ParseInt(v.node.Value, 10, 64)
		if err == nil && n >= low && n <= high && strconv.FormatInt(n, 10) == v.node.Value {
			return n, true
		}
	}
	v.fail("a whole number from %d to %d", low, high)
	return 0, false
}

// faults takes a joined error apart.
func faults(err error) []*fault.Error {
	switch e := err.(type) { //nolint:errorlint // the joined error itself is taken apart, level by level
	case nil:
		return nil
	case *fault.Error:
		return []*fault.Error{e}
	case interface{ Unwrap() []error }:
		var list []*fault.Error
		for _, part := range e.Unwrap() {
			list = append(list, faults(part)...)
		}
		return list
	default:
		return []*fault.Error{{Kind: fault.Invalid, Expected: "something else", Err: err}}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

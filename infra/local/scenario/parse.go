package scenario

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Step is one line of a story, with the table that may stand below it.
type Step struct {
	Line    int
	Verb    string     // "merchant", "send", "report", …
	Words   []string   // bare words after the verb
	Options []Option   // key=value words, in order
	Rows    [][]string // the indented lines below, cut at "|"
	Body    string     // of those that begin with ">", what stands behind it
}

// Option is one key=value word.
type Option struct{ Key, Value string }

// Get is the value of the first option of that key, or "".
func (s *Step) Get(key string) string {
	for _, o := range s.Options {
		if o.Key == key {
			return o.Value
		}
	}
	return ""
}

// verbs and the options that each takes; a trailing "." admits any suffix.
var verbs = map[string][]string{
	"needs":    {},
	"merchant": {"zone", "currency", "bot_filter", "key_events", "session_timeout_minutes", "channel_rules", "rates", "internal_filter", "internal_networks", "definitions"},
	"use":      {},
	"settings": {"zone", "currency", "bot_filter", "key_events", "session_timeout_minutes", "channel_rules", "rates", "internal_filter", "internal_networks", "definitions"},
	"clock":    {},
	"advance":  {},
	"send": {
		"id", "client", "user", "session", "page", "title", "referrer", "agent", "hint.", "header.", "ip", "language", "screen",
		"value", "currency", "engaged", "item", "param.", "property.", "stream", "reject",
	},
	"resend":   {},
	"report":   {"metrics", "dimensions", "from", "to", "filter", "order", "limit", "offset", "empty", "compare", "currency", "total", "pending", "duplicates", "bots", "rejected", "token", "error"},
	"google":   {"error", "currency"},
	"ledger":   {"from", "to", "accepted", "counted", "duplicate", "pending", "bots", "internal", "rejected.", "refused."},
	"rejected": {"from", "to"},
}

// ReadFile reads the story in a file. Errors name file and line.
func ReadFile(path string) ([]Step, error) {
	story, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer story.Close()
	steps, err := Parse(story)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return steps, nil
}

// Parse reads a story. Errors name the line.
func Parse(r io.Reader) ([]Step, error) {
	var steps []Step
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if bare := strings.TrimSpace(text); bare == "" || bare[0] == '#' {
			continue
		}
		if text[0] == ' ' || text[0] == '\t' {
			if len(steps) == 0 {
				return nil, fmt.Errorf("line %d: expected a step before the first row", n)
			}
			last := &steps[len(steps)-1]
			if last.Verb != "report" && last.Verb != "google" && last.Verb != "rejected" {
				return nil, fmt.Errorf("line %d: expected rows only below report, google and rejected, not below %s", n, last.Verb)
			}
			if body, ok := strings.CutPrefix(strings.TrimSpace(text), ">"); ok && last.Verb == "google" {
				last.Body += body
				continue
			}
			var row []string
			for cell := range strings.SplitSeq(text, "|") {
				row = append(row, strings.TrimSpace(cell))
			}
			last.Rows = append(last.Rows, row)
			continue
		}
		step, err := parseStep(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		step.Line = n
		steps = append(steps, step)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the story: %w", err)
	}
	return steps, nil
}

func parseStep(text string) (Step, error) {
	words, err := cut(text)
	if err != nil {
		return Step{}, err
	}
	if len(words) == 0 {
		return Step{}, fmt.Errorf("expected a step")
	}
	step := Step{Verb: words[0]}
	known, ok := verbs[step.Verb]
	if !ok {
		return Step{}, fmt.Errorf("unknown step %q: expected one of merchant, use, settings, clock, advance, send, resend, report, google, ledger, rejected, needs", step.Verb)
	}
	for _, word := range words[1:] {
		key, value, isOption := strings.Cut(word, "=")
		if !isOption || !admits(known, key) {
			if isOption && isKey(key) {
				return Step{}, fmt.Errorf("%s: unknown option %q: expected one of %s", step.Verb, key, strings.Join(known, ", "))
			}
			step.Words = append(step.Words, word)
			continue
		}
		step.Options = append(step.Options, Option{key, value})
	}
	return step, nil
}

func isKey(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '_' && r != '.' {
			return false
		}
	}
	return s != ""
}

func admits(known []string, key string) bool {
	for _, k := range known {
		if k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) {
			return true
		}
	}
	return false
}

// cut splits at blanks; double quotes hold blanks together, and a # that
// begins a word begins a comment.
func cut(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range text {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case quoted:
			word.WriteRune(r)
		case r == ' ' || r == '\t':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case r == '#' && !begun:
			return words, nil
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("expected a closing quote")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// parseTime reads an instant: RFC 3339, or without a zone in the merchant's.
func parseTime(s string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("cannot read time %q: expected 2026-03-10T09:00 or 2026-03-10T09:00:00, with or without a zone", s)
}

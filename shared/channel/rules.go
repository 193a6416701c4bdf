package channel

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/fault"
)

// Limits of a merchant's rules. Google Analytics takes 50 channels to a group.
const (
	MaxRules      = 50
	MaxConditions = 10  // of a rule
	MaxName       = 100 // letters of a channel's name
	MaxText       = 200 // bytes of what a condition compares with
)

// Rule gives a channel to traffic that meets all its conditions.
type Rule struct {
	Channel string      `json:"channel"`
	When    []Condition `json:"when"`
}

// Condition looks at one of source, medium and campaign, as reports show it:
// "(direct)", "(none)" and "(not set)" stand for what is absent. Exactly one of
// the texts is given; case does not matter.
type Condition struct {
	Field    string `json:"field"`
	Is       string `json:"is,omitempty"`
	Contains string `json:"contains,omitempty"`
	Begins   string `json:"begins,omitempty"`
	Regexp   string `json:"regexp,omitempty"` // RE2, matches somewhere
}

const fieldsExpected = `"source", "medium" or "campaign"`

// Validate returns the first fault of a list of rules that stands at a field.
func Validate(field string, rules []Rule) error {
	if len(rules) > MaxRules {
		return fault.Field(field, fmt.Sprintf("at most %d rules", MaxRules))
	}
	for i := range rules {
		r := &rules[i]
		at := fmt.Sprintf("%s[%d].", field, i)
		n := utf8.RuneCountInString(r.Channel)
		if n == 0 || n > MaxName || !utf8.ValidString(r.Channel) || strings.TrimSpace(r.Channel) != r.Channel || strings.ContainsFunc(r.Channel, unicode.IsControl) {
			return fault.Field(at+"channel", fmt.Sprintf("the name of a channel, of 1 to %d letters", MaxName))
		}
		if len(r.When) == 0 || len(r.When) > MaxConditions {
			return fault.Field(at+"when", fmt.Sprintf("1 to %d conditions", MaxConditions))
		}
		for k := range r.When {
			if err := r.When[k].validate(fmt.Sprintf("%swhen[%d].", at, k)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Condition) validate(at string) error {
	if !among(c.Field, "source", "medium", "campaign") {
		return fault.Field(at+"field", fieldsExpected)
	}
	given := 0
	for _, t := range []struct{ name, text string }{{"is", c.Is}, {"contains", c.Contains}, {"begins", c.Begins}, {"regexp", c.Regexp}} {
		if t.text == "" {
			continue
		}
		given++
		if len(t.text) > MaxText || !utf8.ValidString(t.text) {
			return fault.Field(at+t.name, fmt.Sprintf("a text of at most %d bytes", MaxText))
		}
	}
	if given != 1 {
		return fault.Field(strings.TrimSuffix(at, "."), `exactly one of "is", "contains", "begins" and "regexp"`)
	}
	if c.Regexp != "" {
		if _, err := compile(c.Regexp); err != nil {
			return fault.Field(at+"regexp", "a regular expression (RE2)")
		}
	}
	return nil
}

func compile(text string) (*regexp.Regexp, error) { return regexp.Compile("(?i)" + text) }

// Equal reports whether two lists give every visit the same channel for sure.
func Equal(a, b []Rule) bool {
	return slices.EqualFunc(a, b, func(x, y Rule) bool { return x.Channel == y.Channel && slices.Equal(x.When, y.When) })
}

// Group is a merchant's rules, ready to be used, with the default channel group
// behind them. nil is the default channel group alone. It does not change.
type Group struct {
	rules []compiled
}

type compiled struct {
	channel string
	when    []test
}

type test struct {
	field    string
	is       string
	contains string
	begins   string
	regexp   *regexp.Regexp
}

// NewGroup compiles rules that Validate has passed; nil where there are none.
// A rule that it would refuse never holds.
func NewGroup(rules []Rule) *Group {
	if len(rules) == 0 {
		return nil
	}
	g := &Group{}
next:
	for i := range rules {
		c := compiled{channel: rules[i].Channel}
		for _, w := range rules[i].When {
			t := test{field: w.Field, is: strings.ToLower(w.Is), contains: strings.ToLower(w.Contains), begins: strings.ToLower(w.Begins)}
			if w.Regexp != "" {
				var err error
				if t.regexp, err = compile(w.Regexp); err != nil {
					continue next
				}
			}
			c.when = append(c.when, t)
		}
		if len(c.when) > 0 {
			g.rules = append(g.rules, c)
		}
	}
	return g
}

// Of is the channel of a source, medium and campaign: that of the first rule
// that holds. "" is what is absent.
func (g *Group) Of(source, medium, campaign string) string {
	t := trafficOf(source, medium, campaign)
	if g != nil {
		for i := range g.rules {
			if g.rules[i].holds(&t) {
				return g.rules[i].channel
			}
		}
	}
	return t.channel()
}

func (c *compiled) holds(t *traffic) bool {
	for i := range c.when {
		if !c.when[i].holds(t) {
			return false
		}
	}
	return true
}

func (c *test) holds(t *traffic) bool {
	text := t.campaign
	switch c.field {
	case "source":
		text = t.source
	case "medium":
		text = t.medium
	}
	switch {
	case c.is != "":
		return text == c.is
	case c.contains != "":
		return strings.Contains(text, c.contains)
	case c.begins != "":
		return strings.HasPrefix(text, c.begins)
	default:
		return c.regexp != nil && c.regexp.MatchString(text)
	}
}

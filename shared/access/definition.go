package access

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/footfall/footfall/shared/fault"
)

// CustomDefinition says what a parameter of the merchant's own means. It is for
// the lists of names that a report can ask for, and alters no number: what is
// not defined can be asked for, too.
type CustomDefinition struct {
	Parameter   string         `json:"parameter"` // of events, or the name of a user property
	Kind        DefinitionKind `json:"kind"`
	Name        string         `json:"name"` // as a person reads it
	Description string         `json:"description,omitempty"`
}

// DefinitionKind says what the parameter is asked for as.
type DefinitionKind string

// The kinds: a dimension of events, one of users, and metrics of the numbers in
// a parameter of events.
const (
	EventDimension DefinitionKind = "event"
	UserDimension  DefinitionKind = "user"
	EventMetric    DefinitionKind = "metric"
)

// Limits of definitions, Google Analytics 4's (support.google.com/analytics/
// answer/14240153): 50 dimensions of events, 25 of users and 50 metrics.
const (
	MaxDefinitions           = 125
	MaxParameter             = 100 // bytes
	MaxDefinitionName        = 82  // letters
	MaxDefinitionDescription = 150 // letters
)

// validateDefinitions returns the first fault.
func (s *Settings) validateDefinitions() error {
	if len(s.CustomDefinitions) > MaxDefinitions {
		return fault.Field("custom_definitions", fmt.Sprintf("at most %d definitions", MaxDefinitions))
	}
	type key struct {
		kind      DefinitionKind
		parameter string
	}
	seen := map[key]bool{}
	for i, d := range s.CustomDefinitions {
		field := func(member string) string { return fmt.Sprintf("custom_definitions[%d].%s", i, member) }
		name, description := utf8.RuneCountInString(d.Name), utf8.RuneCountInString(d.Description)
		switch {
		// Parameters that begin so are user properties where they are kept.
		case strings.HasPrefix(d.Parameter, "user:"):
			return fault.Field(field("parameter"), `a name that does not begin with "user:"; a user property has the kind user`)
		case d.Parameter == "" || len(d.Parameter) > MaxParameter || !printable(d.Parameter):
			return fault.Field(field("parameter"), fmt.Sprintf("the name of a parameter or user property of 1 to %d bytes", MaxParameter))
		case d.Kind != EventDimension && d.Kind != UserDimension && d.Kind != EventMetric:
			return fault.Field(field("kind"), "event, user or metric")
		case name == 0 || name > MaxDefinitionName || !printable(d.Name):
			return fault.Field(field("name"), fmt.Sprintf("a name of 1 to %d letters", MaxDefinitionName))
		case description > MaxDefinitionDescription || !printable(d.Description):
			return fault.Field(field("description"), fmt.Sprintf("at most %d letters", MaxDefinitionDescription))
		case seen[key{d.Kind, d.Parameter}]:
			return fault.Field(field("parameter"), "one definition of each kind and parameter")
		}
		seen[key{d.Kind, d.Parameter}] = true
	}
	return nil
}

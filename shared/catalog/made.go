package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/summary"
)

// Made is how the value of a dimension that a question makes up follows from
// those that other dimensions show.
type Made struct {
	Parts []*Dimension // of the catalog, each once
	of    func(shown []string) string
	size  int // values that are put together
}

// maxMade bounds how many values may be put together to one.
const maxMade = 100

// Parts are the dimensions of the catalog that d follows from: itself, where it
// is one of them.
func (d *Dimension) Parts() []*Dimension {
	if d.Made == nil {
		return []*Dimension{d}
	}
	return d.Made.Parts
}

// Value is the value as it stands in answers, of what Parts have.
func (d *Dimension) Value(parts []string) string {
	if d.Made == nil {
		return d.Show(parts[0])
	}
	shown := make([]string, len(parts))
	for i, p := range d.Made.Parts {
		shown[i] = p.Show(parts[i])
	}
	return d.Made.of(shown)
}

// LowerCase makes a dimension of another in lower case, under a name.
func LowerCase(name string, d *Dimension) *Dimension {
	return Make(name, "lower", d.Parts(), d.size(), func(shown []string) string { return strings.ToLower(d.ofShown(shown)) })
}

// UpperCase is the same in upper case.
func UpperCase(name string, d *Dimension) *Dimension {
	return Make(name, "upper", d.Parts(), d.size(), func(shown []string) string { return strings.ToUpper(d.ofShown(shown)) })
}

// Concatenate makes a dimension of others, one behind the other with a
// delimiter in between. An error names field.
func Concatenate(field, name, delimiter string, list []*Dimension) (*Dimension, error) {
	var parts []*Dimension
	size := 0
	places := make([][]int, len(list)) // of each one's parts among all
	for i, d := range list {
		for _, p := range d.Parts() {
			at := slices.Index(parts, p)
			if at < 0 {
				at = len(parts)
				parts = append(parts, p)
			}
			places[i] = append(places[i], at)
		}
		size += d.size()
	}
	if size > maxMade {
		return nil, fault.Field(field, fmt.Sprintf("at most %d values to put together", maxMade))
	}
	return Make(name, "concatenate", parts, size, func(shown []string) string {
		values := make([]string, len(list))
		for i, d := range list {
			own := make([]string, len(places[i]))
			for k, at := range places[i] {
				own[k] = shown[at]
			}
			values[i] = d.ofShown(own)
		}
		return strings.Join(values, delimiter)
	}), nil
}

// Make makes a dimension of what parts, which are of the catalog, show. It is
// about time where all of them are, about items where one is.
func Make(name, how string, parts []*Dimension, size int, of func(shown []string) string) *Dimension {
	d := &Dimension{Name: name, Scope: ScopeTime, Dim: summary.DimParam, Made: &Made{Parts: parts, of: of, size: size}}
	for _, p := range parts {
		switch {
		case p.Scope == ScopeItem:
			d.Scope, d.Dim = ScopeItem, p.Dim
		case p.Scope != ScopeTime && d.Scope == ScopeTime:
			d.Scope = ScopeEvent
		}
	}
	// No parameter is called so: names have no zero byte.
	d.Param = "\x00" + how + "\x00" + name
	return d
}

func (d *Dimension) size() int {
	if d.Made == nil {
		return 1
	}
	return d.Made.size
}

func (d *Dimension) ofShown(shown []string) string {
	if d.Made == nil {
		return shown[0]
	}
	return d.Made.of(shown)
}

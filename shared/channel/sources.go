package channel

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed data/sources.txt
var sourceList string

// Kind is what a service is that visitors come from.
type Kind uint8

// The kinds. A Site is known by name only, so that it is not taken for another
// service of its domain.
const (
	Unknown Kind = iota
	Site
	Search
	Social
	Video
	Shopping
	AI
)

var kindNames = map[string]Kind{"site": Site, "search": Search, "social": Social, "video": Video, "shopping": Shopping, "ai": AI}

// MediumAI is the medium of visitors whom an assistant sent, as Google
// Analytics has it since May 2026.
const MediumAI = "ai-assistant"

// Medium is that of visitors whom a service of this kind sent without a tag.
func (k Kind) Medium() string {
	switch k {
	case Search:
		return "organic"
	case Social:
		return "social"
	case AI:
		return MediumAI
	default:
		return "referral"
	}
}

// Service is one of the services in the list.
type Service struct {
	Source string // what it is called as a source
	Kind   Kind
}

// Sources knows services by their hosts and names. It does not change.
type Sources struct {
	hosts   map[string]Service // "bing.com" and below
	domains map[string]Service // "google" of "google.*" and below
	names   map[string]Kind    // what links say in utm_source
}

// Known is the list that is part of this program.
var Known = sync.OnceValue(func() *Sources {
	s, err := parseSources(sourceList)
	if err != nil {
		panic("the embedded list of sources does not parse: " + err.Error())
	}
	return s
})

func parseSources(list string) (*Sources, error) {
	s := &Sources{hosts: map[string]Service{}, domains: map[string]Service{}, names: map[string]Kind{}}
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		kind := kindNames[words[0]]
		if kind == Unknown || len(words) < 2 {
			return nil, fmt.Errorf("cannot read %q: expected \"search|social|video|shopping|ai|site source hosts…\"", line)
		}
		service := Service{words[1], kind}
		for _, word := range words[1:] {
			if name, ok := strings.CutSuffix(word, ".*"); ok {
				s.domains[name] = service
				continue
			}
			if was, twice := s.names[word]; twice && was != kind {
				return nil, fmt.Errorf("cannot read %q: %q is of another kind, too", line, word)
			}
			s.names[word] = kind
		}
		for _, word := range words[2:] {
			if strings.Contains(word, ".") && !strings.HasSuffix(word, ".*") {
				s.hosts[word] = service
			}
		}
	}
	return s, nil
}

// Host finds the service that a host belongs to, in lower case; the longest
// name that fits counts.
func (s *Sources) Host(host string) (Service, bool) {
	for rest := host; rest != ""; {
		if service, ok := s.hosts[rest]; ok {
			return service, true
		}
		label, more, _ := strings.Cut(rest, ".")
		if service, ok := s.domains[label]; ok && publicSuffix(more) {
			return service, true
		}
		rest = more
	}
	return Service{}, false
}

// Kind is that of a source, in lower case: by its name, or by its host.
func (s *Sources) Kind(source string) Kind {
	if kind, ok := s.names[source]; ok {
		return kind
	}
	if strings.IndexByte(source, '.') < 0 {
		return Unknown
	}
	service, _ := s.Host(strings.TrimPrefix(source, "www."))
	return service.Kind
}

// publicSuffix reports whether a name looks like "com", "de" or "co.uk".
func publicSuffix(s string) bool {
	first, second, two := strings.Cut(s, ".")
	if !two {
		return len(first) >= 2
	}
	return len(first) <= 3 && len(second) == 2
}

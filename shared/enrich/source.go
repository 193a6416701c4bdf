package enrich

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed data/sources/sources.txt
var sourceList string

// Source is where an event says its visitor came from. All empty where it says
// nothing: a page of the same site, a bookmark, a typed address.
type Source struct {
	Source, Medium, Campaign, Term, Content string
}

// notSet stands for the half of a source and medium that a link leaves out.
const notSet = "(not set)"

// clicks are the parameters by which advertisers' and networks' links are
// known, where no utm parameter says more. Where two are there the first in
// this list counts. fbclid stands on every link out of Facebook, paid or not.
var clicks = []struct {
	key, source, medium string
}{
	{"gclid", "google", "cpc"}, {"gbraid", "google", "cpc"}, {"wbraid", "google", "cpc"}, {"gad_source", "google", "cpc"},
	{"dclid", "google", "display"}, {"msclkid", "bing", "cpc"}, {"yclid", "yandex", "cpc"}, {"ttclid", "tiktok", "cpc"},
	{"twclid", "twitter", "cpc"}, {"li_fat_id", "linkedin", "cpc"}, {"rdt_cid", "reddit", "cpc"}, {"ScCid", "snapchat", "cpc"},
	{"epik", "pinterest", "cpc"}, {"fbclid", "facebook", "social"}, {"igsh", "instagram", "social"}, {"igshid", "instagram", "social"},
	{"srsltid", "google", "organic"}, {"mc_cid", "mailchimp", "email"}, {"_hsenc", "hubspot", "email"},
}

// campaign collects what tracking parameters say.
type campaign struct {
	utm   Source
	id    string
	click int // index+1 into clicks
}

func (c *campaign) found(key, value string) {
	if value == "" {
		return
	}
	switch key {
	case "utm_source":
		c.utm.Source = value
	case "utm_medium":
		c.utm.Medium = value
	case "utm_campaign":
		c.utm.Campaign = value
	case "utm_term":
		c.utm.Term = value
	case "utm_content":
		c.utm.Content = value
	case "utm_id":
		c.id = value
	default:
		for i := range clicks {
			if clicks[i].key == key && (c.click == 0 || i < c.click-1) {
				c.click = i + 1
			}
		}
	}
}

// Referrers knows search engines and social networks by their hosts.
type Referrers struct {
	exact map[string]referrer // "bing.com" and below
	names map[string]referrer // "google" of "google.*" and below
}

type referrer struct{ source, medium string }

// NewReferrers reads the list.
func NewReferrers() (*Referrers, error) {
	r := &Referrers{exact: map[string]referrer{}, names: map[string]referrer{}}
	for line := range strings.Lines(sourceList) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) < 3 || words[0] != "organic" && words[0] != "social" && words[0] != "referral" {
			return nil, fmt.Errorf("cannot read source list: expected \"organic|social|referral source hosts…\", got %q", line)
		}
		for _, host := range words[2:] {
			if name, ok := strings.CutSuffix(host, ".*"); ok {
				r.names[name] = referrer{words[1], words[0]}
			} else {
				r.exact[host] = referrer{words[1], words[0]}
			}
		}
	}
	return r, nil
}

// of finds what a host is known as; the longest name that fits counts.
func (r *Referrers) of(host string) (referrer, bool) {
	for rest := host; rest != ""; {
		if known, ok := r.exact[rest]; ok {
			return known, true
		}
		label, more, _ := strings.Cut(rest, ".")
		if known, ok := r.names[label]; ok && publicSuffix(more) {
			return known, true
		}
		rest = more
	}
	return referrer{}, false
}

// publicSuffix reports whether a name looks like "com", "de" or "co.uk".
func publicSuffix(s string) bool {
	first, second, two := strings.Cut(s, ".")
	if !two {
		return len(first) >= 2
	}
	return len(first) <= 3 && len(second) == 2
}

// sourceOf decides by the page's own parameters first, by the referrer then.
func (r *Referrers) sourceOf(c *campaign, pageHost, referring string) Source {
	s := c.utm
	if s.Campaign == "" {
		s.Campaign = c.id
	}
	if c.click > 0 && s.Source == "" {
		click := &clicks[c.click-1]
		s.Source = click.source
		if s.Medium == "" {
			s.Medium = click.medium
		}
		return s
	}
	if s != (Source{}) {
		if s.Source == "" {
			s.Source = notSet
		}
		if s.Medium == "" {
			s.Medium = notSet
		}
		return s
	}
	if referring == "" {
		return s
	}
	host, _, _ := splitURL(referring)
	if host == "" || !strings.Contains(host, ".") {
		return s // about:blank, "-", localhost
	}
	host = strings.TrimPrefix(host, "www.")
	if host == strings.TrimPrefix(pageHost, "www.") {
		return s
	}
	if known, ok := r.of(host); ok {
		s.Source, s.Medium = known.source, known.medium
		return s
	}
	s.Source, s.Medium = host, "referral"
	return s
}

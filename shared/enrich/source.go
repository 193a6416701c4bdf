package enrich

import (
	"strings"

	"github.com/footfall/footfall/shared/channel"
)

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

// sourceOf decides by the page's own parameters first, by the referrer then.
func sourceOf(known *channel.Sources, c *campaign, pageHost, referring string) Source {
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
	if service, ok := known.Host(host); ok {
		s.Source, s.Medium = service.Source, service.Kind.Medium()
		return s
	}
	s.Source, s.Medium = host, "referral"
	return s
}

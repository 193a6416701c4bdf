package enrich

import (
	_ "embed"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

//go:embed data/crawlers/crawlers.txt
var crawlerPatterns string

// libraries are programs' own agents that the crawler list leaves out: HTTP
// clients, tools and readers of feeds, by how the agent begins or what it
// holds. Compared in lower case.
var (
	libraryPrefixes = []string{
		"java/", "java1", "ruby", "undici", "node", "deno/", "bun/", "reqwest", "faraday", "guzzle", "php/", "php ",
		"k6/", "apachebench/", "ab/", "wrk", "hey/", "vegeta", "postman", "insomnia", "chef client", "dalvik/",
		"jakarta commons", "perl", "lwp", "libcurl", "lua-resty", "dart/", "rest-client", "typhoeus", "mechanize",
		"scrapy", "winhttp", "powershell", "httpclient", "universalfeedparser", "footfall-",
	}
	libraryParts = []string{
		"+http:", "+https:", "feedparser", "commons-httpclient", "crawler", "spider", "windowspowershell",
		"@", // an address to complain to
	}
)

// Bots tells programs from people by their user agent.
type Bots struct {
	literals map[uint32][]string // by their first three bytes
	seen     [1 << 10]uint64     // bits of hashed three bytes that begin a literal
	patterns []pattern           // the few that are no literals
}

// pattern is a regular expression, and a text that every match holds: looking
// for that first is a hundred times quicker.
type pattern struct {
	must string
	re   *regexp.Regexp
}

// NewBots compiles the list. It is used for the life of the process.
func NewBots() (*Bots, error) {
	b := &Bots{literals: map[uint32][]string{}}
	for line := range strings.Lines(crawlerPatterns) {
		line = strings.TrimSuffix(line, "\n")
		if literal, ok := literalOf(line); ok && len(literal) >= 3 {
			key := three(literal)
			b.literals[key] = append(b.literals[key], literal)
			b.seen[key>>6&1023] |= 1 << (key & 63)
			continue
		}
		if line == "" {
			continue
		}
		re, err := regexp.Compile(line)
		if err != nil {
			return nil, fmt.Errorf("cannot compile crawler pattern %q: %w", line, err)
		}
		tree, err := syntax.Parse(line, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("cannot parse crawler pattern %q: %w", line, err)
		}
		b.patterns = append(b.patterns, pattern{mustOf(tree), re})
	}
	return b, nil
}

// mustOf is the longest text that each match of a pattern holds for sure; ""
// where the pattern's top says nothing of the kind.
func mustOf(tree *syntax.Regexp) string {
	switch tree.Op {
	case syntax.OpLiteral:
		if tree.Flags&syntax.FoldCase == 0 {
			return string(tree.Rune)
		}
	case syntax.OpConcat, syntax.OpCapture:
		longest := ""
		for _, sub := range tree.Sub {
			if text := mustOf(sub); len(text) > len(longest) {
				longest = text
			}
		}
		return longest
	}
	return ""
}

// literalOf is the text that a pattern without operators matches.
func literalOf(pattern string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '\\' && i+1 < len(pattern) && strings.IndexByte(`./+-()!?*[]{}|^$\`, pattern[i+1]) >= 0 {
			i++
			b.WriteByte(pattern[i])
			continue
		}
		if strings.IndexByte(`\[](){}^$*+?|.`, c) >= 0 {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

func three(s string) uint32 { return uint32(s[0])<<16 | uint32(s[1])<<8 | uint32(s[2]) }

// Is reports whether an agent is a program's. An empty agent, or the "-" that
// a log writes for one, is: every browser names itself. It takes microseconds;
// Agents remembers the answer.
func (b *Bots) Is(agent string) bool {
	if agent == "" || agent == "-" {
		return true
	}
	for i := 0; i+3 <= len(agent); i++ {
		key := three(agent[i:])
		if b.seen[key>>6&1023]>>(key&63)&1 == 0 {
			continue
		}
		for _, literal := range b.literals[key] {
			if strings.HasPrefix(agent[i:], literal) {
				return true
			}
		}
	}
	lower := strings.ToLower(agent)
	for _, prefix := range libraryPrefixes {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	for _, part := range libraryParts {
		if strings.Contains(lower, part) {
			return true
		}
	}
	for i := range b.patterns {
		if p := &b.patterns[i]; strings.Contains(agent, p.must) && p.re.MatchString(agent) {
			return true
		}
	}
	return false
}

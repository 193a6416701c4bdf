package scenario

import (
	"strings"
	"testing"
)

func TestParseNamesTheLineAtFault(t *testing.T) {
	for story, want := range map[string]string{
		"merchant\nsned 1":                     "line 2: unknown step \"sned\"",
		"  1 | 2":                              "line 1: expected a step before the first row",
		"merchant\n  1 | 2":                    "line 2: expected rows only below report",
		"report metrics=users foo=bar":         "line 1: report: unknown option \"foo\"",
		"send 2026-03-10T09:00 x title=\"open": "line 1: expected a closing quote",
	} {
		_, err := Parse(strings.NewReader(story))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", story, err, want)
		}
	}
}

func TestParseKeepsOptionsAndRows(t *testing.T) {
	steps, err := Parse(strings.NewReader("# a story\nreport metrics=users filter=\"page==/a b;country!=DE\" # why\n  /a b | 1\n  / | 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 1 || steps[0].Line != 2 || steps[0].Get("filter") != "page==/a b;country!=DE" {
		t.Fatalf("steps = %+v", steps)
	}
	if rows := steps[0].Rows; len(rows) != 2 || rows[0][0] != "/a b" || rows[1][1] != "2" {
		t.Fatalf("rows = %q", rows)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("merchant zone=Europe/Berlin\nsend 2026-03-10T09:00 page_view client=a\nreport metrics=users\n  1\n")
	f.Add("send \"\n")
	f.Fuzz(func(t *testing.T, story string) {
		steps, err := Parse(strings.NewReader(story))
		if err == nil {
			for _, s := range steps {
				if _, ok := verbs[s.Verb]; !ok {
					t.Fatalf("accepted verb %q", s.Verb)
				}
			}
		}
	})
}

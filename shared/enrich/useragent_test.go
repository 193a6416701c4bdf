package enrich_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/footfall/footfall/shared/enrich"
)

// TestAgentsGolden compares what is read out of real agents with
// testdata/agents.golden; -update writes it, for a person to read.
func TestAgentsGolden(t *testing.T) {
	agents := enrich.NewAgents(bots(t), 10)
	file, err := os.Open("testdata/agents.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out strings.Builder
	for lines := bufio.NewScanner(file); lines.Scan(); {
		a := agents.Of(lines.Text(), "")
		if a != agents.Of(lines.Text(), "") {
			t.Errorf("a second look at %q says something else", lines.Text())
		}
		who := "person"
		if a.Bot {
			who = "bot"
		}
		fmt.Fprintf(&out, "%s\n\t%s | %s %s | %s %s | %s | %s %s\n", lines.Text(), who, a.Browser, a.BrowserVersion, a.OS, a.OSVersion, a.Device, a.Brand, a.Model)
	}
	const golden = "testdata/agents.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")
	if len(was) != len(is) {
		t.Fatalf("%d lines, want %d", len(is), len(was))
	}
	for i := range is {
		if is[i] != was[i] {
			t.Errorf("%s\n got %s\nwant %s", is[max(0, i-1)], is[i], was[i])
		}
	}
}

func TestLongAgent(t *testing.T) {
	agents := enrich.NewAgents(bots(t), 4)
	agents.Of(strings.Repeat("x(;/", 100_000), strings.Repeat("\"(;:\n", 100_000))
}

func BenchmarkAgentsKnown(b *testing.B) {
	agents := enrich.NewAgents(bots(b), 100)
	b.ReportAllocs()
	for b.Loop() {
		agents.Of("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", "")
	}
}

func BenchmarkAgentsNew(b *testing.B) {
	agents := enrich.NewAgents(bots(b), 2)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		agents.Of(fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", i), "")
	}
}

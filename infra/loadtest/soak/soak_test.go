package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/loadtest/plot"
	"github.com/footfall/footfall/infra/local"
)

// TestMain makes this program a Footfall where it is told to run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := local.Main(ctx, os.Environ(), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What comes first is sent for as long as it is told, though no server takes so
// much, and compared; what is judged begins after it.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for seconds")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var said bytes.Buffer
	o := Options{Binary: self, Data: t.TempDir(), For: 4 * time.Second, Every: 500 * time.Millisecond, Rate: 500, Warm: 2 * time.Second, WarmRate: 1_000_000, Reports: 5, Merchants: 20, Seed: 7, Out: &said}
	seen, err := Soak(ctx, o)
	if err != nil {
		t.Fatalf("%v; it said:\n%s", err, said.String())
	}
	if seen.Audited.Merchants == 0 || seen.Audited.Differences != 0 || len(seen.Samples) < 4 {
		t.Errorf("compared %+v after %d looks", seen.Audited, len(seen.Samples))
	}
	last := seen.Samples[len(seen.Samples)-1]
	if last.Events < 500 || last.Resident == 0 || last.Archive == 0 || last.Kafka == 0 || last.Goroutines == 0 || last.CPU == 0 {
		t.Errorf("the last look: %+v", last)
	}
	if w := seen.Warm; w.Events < 3000 || w.rate() > 500_000 || w.For < o.Warm || w.For > o.Warm+10*time.Second {
		t.Errorf("before it: %+v", w)
	}
	if first := seen.Samples[0]; float64(first.Events) > 2*o.Rate*(first.At+1) {
		t.Errorf("the first look is of more than was due by then: %+v", first)
	}
	if !strings.HasPrefix(said.String(), "warm-up, ") || !strings.Contains(said.String(), "\nwarm-up: ") {
		t.Errorf("it said:\n%s", said.String())
	}
	// What was kept writes the same table and a picture that is whole.
	kept, folder := filepath.Join(t.TempDir(), "seen.json"), t.TempDir()
	if err := seen.keep(kept); err != nil {
		t.Fatal(err)
	}
	again, err := readSeen(kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.write(folder); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(folder, "soak.md"))
	if err != nil {
		t.Fatal(err)
	}
	var first bytes.Buffer
	if err := seen.table(&first); err != nil || first.String() != string(table) {
		t.Errorf("%v, another table:\n%s\n%s", err, first.String(), table)
	}
	uncompared := *seen
	uncompared.Uncompared = "nobody answered"
	var bad bytes.Buffer
	if err := uncompared.table(&bad); err != nil || !strings.Contains(bad.String(), "not compared with what was sent: nobody answered") || strings.Contains(bad.String(), "differences") {
		t.Errorf("%v, a table of what was not compared:\n%s", err, bad.String())
	}
	for _, want := range []string{"**0 differences**", "| resident memory |", "| documents |", fmt.Sprintf("%d events were sent in the first", seen.Warm.Events), "not judged"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("%q is not in %s", want, table)
		}
	}
	picture, err := os.Open(filepath.Join(folder, "soak.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	for d := xml.NewDecoder(picture); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// over makes 240 looks of one figure.
func over(kind Kind, value func(i int) float64) Series { return looks(240, kind, value) }

func looks(n int, kind Kind, value func(i int) float64) Series {
	s := Series{Name: "figure", Kind: kind, Format: plot.Count}
	for i := range n {
		s.At, s.Events, s.Values = append(s.At, float64(15*i)), append(s.Events, float64(1000*i)), append(s.Values, value(i))
	}
	return s
}

func TestRule(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return rng.NormFloat64() }
	for _, c := range []struct {
		name string
		s    Series
		says string
	}{
		{"constant", over(Level, func(int) float64 { return 5 }), "flat"},
		{"nothing", over(Level, func(int) float64 { return 0 }), "flat"},
		{"grows first and then stays", over(Level, func(i int) float64 { return math.Min(float64(i), 80) }), "flat"},
		{"a little noise", over(Level, func(int) float64 { return 100 + 5*noise() }), "flat"},
		{"a saw", over(Level, func(i int) float64 { return 100 + float64(i%7) }), "flat"},
		{"falls", over(Level, func(i int) float64 { return 1000 - float64(i) }), "flat"},
		{"grows", over(Level, func(i int) float64 { return 100 + float64(i) }), "grows"},
		{"grows in noise", over(Level, func(i int) float64 { return 100 + float64(i) + 5*noise() }), "grows"},
		{"much noise", over(Level, func(int) float64 { return math.Exp(2 * noise()) }), "not seen to grow"},
		{"gaps", over(Level, func(i int) float64 { return []float64{100, math.NaN()}[i%2] }), "flat"},
		{"no value", over(Level, func(int) float64 { return math.NaN() }), "too few"},
		{"a saw with a bound", over(Bounded, func(i int) float64 { return float64(i % 31) }), "bounded"},
		{"a saw that grows", over(Bounded, func(i int) float64 { return float64(i%31 + i) }), "grows"},
		{"an hour's saw", looks(480, Level, func(i int) float64 { return 100 + float64(i%240) }), "flat: +0 % ± 1 % from one hour to the next"},
		{"an hour's saw in noise", looks(480, Level, func(i int) float64 { return 100 + float64(i%240) + 5*noise() }), "flat"},
		{"an hour's saw that grows", looks(480, Level, func(i int) float64 { return 100 + float64(i%240+i) + 5*noise() }), "grows"},
		{"hours that have little to do with each other", looks(480, Level, func(int) float64 { return math.Exp(3 * noise()) }), "not seen to grow"},
		{"files of what is kept", over(Held, func(i int) float64 { return 0.1 * float64(i) }), "by events: 100 of a million events ± 0, before 100"},
		{"files that stay open", over(Held, func(i int) float64 { return 0.01 * float64(i) * float64(i) }), "grows faster"},
		{"by events", over(Kept, func(i int) float64 { return 42_000 * float64(i) }), "by events: 42 B"},
		{"by more than events", over(Kept, func(i int) float64 { return 400 * float64(i) * float64(i) }), "grows faster"},
		{"by next to nothing", over(Kept, func(i int) float64 { return 0.4 * float64(i) * float64(i) }), "by events"},
	} {
		v := c.s.Judge()
		if !strings.HasPrefix(v.Says, c.says) || v.Grows != strings.HasPrefix(c.says, "grows") {
			t.Errorf("%s: %+v, want %q", c.name, v, c.says)
		}
	}
}

func TestLine(t *testing.T) {
	x, y := []float64{1, 2, 3, 4}, []float64{3, 5, 7, 9}
	if slope, e := line(x, y); math.Abs(slope-2) > 1e-12 || e > 1e-9 {
		t.Errorf("slope %v, error %v", slope, e)
	}
	// By hand: residuals 0.5, -1.5, 1.5, -0.5 of slope 2 → sqrt(5/2/5).
	if slope, e := line(x, []float64{3.5, 3.5, 8.5, 8.5}); math.Abs(slope-2) > 1e-12 || math.Abs(e-math.Sqrt(0.5)) > 1e-12 {
		t.Errorf("slope %v, error %v", slope, e)
	}
	if slope, _ := line([]float64{1, 1}, []float64{2, 3}); slope != 0 {
		t.Errorf("slope %v of one instant", slope)
	}
}

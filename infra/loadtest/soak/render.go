package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/footfall/footfall/infra/loadtest"
	"github.com/footfall/footfall/infra/loadtest/plot"
)

// the questions whose latencies are shown by themselves.
const (
	byDay = loadtest.QuestionMonth
	adHoc = loadtest.QuestionAdHoc
)

// series are the figures of all looks, in the order of the table.
func (s *Seen) series() []Series {
	var all []Series
	add := func(name string, kind Kind, format func(float64) string, value func(i int) float64) {
		one := Series{Name: name, Kind: kind, Format: format}
		for i := range s.Samples {
			one.At = append(one.At, s.Samples[i].At)
			one.Events = append(one.Events, float64(s.Samples[i].Events))
			one.Values = append(one.Values, value(i))
		}
		all = append(all, one)
	}
	of := func(value func(*Sample) int64) func(int) float64 {
		return func(i int) float64 { return float64(value(&s.Samples[i])) }
	}
	quantile := func(q func(*Sample) Quantiles, p99 bool) func(int) float64 {
		return func(i int) float64 {
			switch v := q(&s.Samples[i]); {
			case v.N == 0:
				return math.NaN()
			case p99:
				return v.P99
			default:
				return v.P50
			}
		}
	}
	fresh, write := func(s *Sample) Quantiles { return s.Fresh }, func(s *Sample) Quantiles { return s.Write }
	report := func(name string) func(*Sample) Quantiles { return func(s *Sample) Quantiles { return s.Report[name] } }
	add("resident memory", Level, plot.Bytes, of(func(s *Sample) int64 { return s.Resident }))
	add("heap that the collector allows", Level, plot.Bytes, of(func(s *Sample) int64 { return s.Heap }))
	add("CPU per event", Level, plot.Seconds, s.cpuPerEvent)
	add("goroutines", Level, plot.Count, of(func(s *Sample) int64 { return s.Goroutines }))
	add("open files and sockets", Held, plot.Count, of(func(s *Sample) int64 { return s.OpenFiles }))
	add("accepted → visible, p50", Level, plot.Seconds, quantile(fresh, false))
	add("accepted → visible, p99", Level, plot.Seconds, quantile(fresh, true))
	add("write, p50", Level, plot.Seconds, quantile(write, false))
	add("write, p99", Level, plot.Seconds, quantile(write, true))
	add("report of 28 days by day, p50", Level, plot.Seconds, quantile(report(byDay), false))
	add("report of 28 days by day, p99", Level, plot.Seconds, quantile(report(byDay), true))
	add("ad hoc report, p99", Level, plot.Seconds, quantile(report(adHoc), true))
	add("disk: the in-process Kafka", Bounded, plot.Bytes, of(func(s *Sample) int64 { return s.Kafka }))
	table := func(name string) func(int) float64 { return of(func(s *Sample) int64 { return s.Tables[name] }) }
	for _, name := range []string{"log", "dead files", "journal payloads"} {
		add("disk: "+shownAs(name), Bounded, plot.Bytes, table(name))
	}
	add("disk: archive", Kept, plot.Bytes, of(func(s *Sample) int64 { return s.Archive }))
	for _, name := range slices.Sorted(maps.Keys(s.Samples[len(s.Samples)-1].Tables)) {
		switch name {
		case "log", "dead files", "journal payloads":
		case "merchants", "changes of merchants", "streams", "other": // nothing is made of events in them
		default:
			add("disk: "+shownAs(name), Kept, plot.Bytes, table(name))
		}
	}
	return all
}

func shownAs(table string) string {
	switch table {
	case "log":
		return "the store's log"
	case "dead files":
		return "the store's files that are about to go"
	}
	return table
}

// cpuPerEvent is of the window before a look.
func (s *Seen) cpuPerEvent(i int) float64 {
	if i == 0 || s.Samples[i].Events == s.Samples[i-1].Events {
		return math.NaN()
	}
	return (s.Samples[i].CPU - s.Samples[i-1].CPU).Seconds() / float64(s.Samples[i].Events-s.Samples[i-1].Events)
}

// growing names what is neither flat nor bounded.
func (s *Seen) growing() (names []string) {
	for _, one := range s.series() {
		if one.Judge().Grows {
			names = append(names, one.Name)
		}
	}
	return names
}

// table writes what was seen as Markdown.
func (s *Seen) table(w io.Writer) error {
	var b bytes.Buffer
	first, last := &s.Samples[0], &s.Samples[len(s.Samples)-1]
	took := time.Duration((last.At - first.At) * float64(time.Second))
	rate := float64(last.Events-first.Events) / took.Seconds()
	behind := time.Duration(0)
	for i := range s.Samples {
		behind = max(behind, s.Samples[i].Behind)
	}
	fmt.Fprintf(&b, "# A soak\n\nWritten by `make soak`. %s, %s", s.Began.Format("2006-01-02 15:04 UTC"), s.Machine)
	if s.Beside != "" {
		fmt.Fprintf(&b, ", %s", s.Beside)
	}
	fmt.Fprintf(&b, ".\n\nOne process on embedded defaults, every acknowledged event synced to disk; %.0f events/s of %d merchants in an open loop (asked for: %.0f; at most %v behind), %s reports/s beside them (of merchants by Zipf's law, as the events; a tenth of them ad hoc, of all merchants alike), for %v: %d events. ",
		rate, s.Merchants, s.Rate, behind.Round(time.Millisecond), plot.Digits(s.Reports), time.Duration(last.At*float64(time.Second)).Round(time.Second), last.Events)
	if s.Warm.For > 0 {
		fmt.Fprintf(&b, "Before them, to fill the open hours, %d events were sent in the first %s minutes at %.0f/s (asked for: %.0f; %d requests sent again, %d reports refused for a time) and delivered; they are compared as well, but not judged, nor in table and picture. ",
			s.Warm.Events, plot.Digits(s.Warm.For.Minutes()), s.Warm.rate(), s.Warm.Rate, s.Warm.SentAgain, s.Warm.Refused)
	}
	switch {
	case s.Failed != "":
		fmt.Fprintf(&b, "**It ended before its time: %s**", s.Failed)
	case s.Uncompared != "":
		fmt.Fprintf(&b, "**It was not compared with what was sent: %s**", s.Uncompared)
	default:
		fmt.Fprintf(&b, "Then %d values of %d hours of %d merchants were compared with what was sent: **%d differences**.", s.Audited.Values, s.Audited.MerchantHours, s.Audited.Merchants, s.Audited.Differences)
	}
	b.WriteString("\n\n![what a soak shows over time](soak.svg)\n\n| what | first quarter | last quarter (of what grows: at the end) | peak | by the rule |\n|---|---|---|---|---|\n")
	for _, one := range s.series() {
		if one.Kind == Kept && one.Values[len(one.Values)-1] < 1<<20 {
			continue // some blocks
		}
		v := one.Judge()
		says := v.Says
		if v.Grows {
			says = "**" + says + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", one.Name, v.First, v.Last, v.Peak, says)
	}
	b.WriteString("\n" + rules + "\n")
	over := "Over the whole run"
	if s.Warm.For > 0 {
		over = "Over the steady load"
	}
	fmt.Fprintf(&b, "\n%s, from the instant at which something was due: writes %s; accepted → visible %s; ", over, s.Writes, s.Freshness)
	for _, name := range slices.Sorted(maps.Keys(s.Read)) {
		fmt.Fprintf(&b, "report %s %s; ", name, s.Read[name])
	}
	fmt.Fprintf(&b, "%d requests sent again, %d reports refused for a time.\n", s.SentAgain, s.Refused)
	if len(s.Tables) > 0 {
		b.WriteString("\nWhat stands in the store at the end:\n\n| table | keys | their values | on disk | disk per event |\n|---|---|---|---|---|\n")
		for _, t := range s.Tables {
			if t.Keys > 0 {
				fmt.Fprintf(&b, "| %s | %d | %s | %s | %s B |\n", t.Name, t.Keys, plot.Bytes(float64(t.Values)), plot.Bytes(float64(t.Disk)), plot.Digits(float64(t.Disk)/float64(max(1, s.Warm.Events+last.Events))))
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

const rules = `The rule. A **level** (memory, CPU, latencies; each of the looks' windows) is flat where a line through the means of ten spans of the second half moves by no more than 10 % of its mean, twice the
line's standard error included, or of two hours the second one's mean is no more than that above the first one's; it grows where it moves by more than that even so; what lies between is too noisy to tell. What goes up and down is **bounded** where the last quarter's peak
is no more than 10 % above that of the second and third. What is **kept** of each event (archive, documents, summaries, and rows of the journal until their retention ends) may grow
by events only: an event of the second half takes no more than 10 % (and half a byte) more than one of the first; and so may the files that are open of it, by lines through both halves.`

// plot draws it.
func (s *Seen) plot(w io.Writer) error {
	of := map[string]Series{}
	for _, one := range s.series() {
		of[one.Name] = one
	}
	minutes := func(at []float64) []float64 {
		m := make([]float64, len(at))
		for i := range at {
			m[i] = at[i] / 60
		}
		return m
	}
	panel := func(title string, log bool, format func(float64) string, lines ...[2]string) plot.Panel {
		p := plot.Panel{Title: title, LogY: log, FormatY: format, FormatX: func(v float64) string { return plot.Digits(v) + " min" }}
		for _, l := range lines {
			if one, ok := of[l[0]]; ok {
				p.Lines = append(p.Lines, plot.Line{Name: l[1], X: minutes(one.At), Y: one.Values})
			}
		}
		return p
	}
	return plot.SVG(w, 2,
		panel("memory", false, plot.Bytes, [2]string{"resident memory", "resident"}, [2]string{"heap that the collector allows", "heap that the collector allows"}),
		panel("CPU per event, of each window", false, plot.Seconds, [2]string{"CPU per event", ""}),
		panel("accepted → visible in a report", true, plot.Seconds, [2]string{"accepted → visible, p50", "p50"}, [2]string{"accepted → visible, p99", "p99"}),
		panel("write latency", true, plot.Seconds, [2]string{"write, p50", "p50"}, [2]string{"write, p99", "p99"}),
		panel("report latency", true, plot.Seconds, [2]string{"report of 28 days by day, p50", "28 days p50"}, [2]string{"report of 28 days by day, p99", "28 days p99"}, [2]string{"ad hoc report, p99", "ad hoc p99"}),
		panel("goroutines, open files", false, plot.Count, [2]string{"goroutines", "goroutines"}, [2]string{"open files and sockets", "open files and sockets"}),
		panel("disk that is bounded", false, plot.Bytes, [2]string{"disk: the in-process Kafka", "Kafka"}, [2]string{"disk: journal payloads", "journal payloads"}, [2]string{"disk: the store's log", "store's log"}, [2]string{"disk: the store's files that are about to go", "going"}),
		panel("disk that is kept of events", false, plot.Bytes, [2]string{"disk: archive", "archive"}, [2]string{"disk: documents", "documents"}, [2]string{"disk: summaries", "summaries"}, [2]string{"disk: visitors", "visitors"}, [2]string{"disk: journal rows", "journal rows"}),
	)
}

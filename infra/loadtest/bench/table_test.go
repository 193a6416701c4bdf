package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestVerdict(t *testing.T) {
	less, more := budget{First: 20, Goal: 8}, budget{First: 30_000, Goal: 100_000, More: true}
	for _, c := range []struct {
		b    budget
		v    float64
		want string
	}{
		{less, 8, "goal met"}, {less, 8.1, "target met"}, {less, 20, "target met"}, {less, 20.1, "MISSED"},
		{more, 100_000, "goal met"}, {more, 99_999, "target met"}, {more, 30_000, "target met"}, {more, 29_999, "MISSED"},
		{budget{}, 1, ""},
	} {
		if got := c.b.verdict(c.v); got != c.want {
			t.Errorf("%v of %+v: %q, want %q", c.v, c.b, got, c.want)
		}
	}
}

func TestShow(t *testing.T) {
	for want, v := range map[string]float64{"8 µs": 8, "8.10 µs": 8.1, "17.4 µs": 17.42, "317 µs": 317.4, "11,574 µs": 11574.2, "1,000,000 µs": 1e6, "0.30 µs": 0.3} {
		if got := show(v, "µs"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := show(30_000, ""); got != "30,000" {
		t.Error(got)
	}
}

// The table says the same to people and to programs.
func TestTable(t *testing.T) {
	b := newTable("a test")
	b.measured("CPU per event", "µs", budget{First: 20, Goal: 8}, 17.4, "in batches")
	b.note("of it ingest", "5 µs")
	var out strings.Builder
	b.print(&out)
	for _, want := range []string{"a test\n", "| CPU per event | 20 µs | 8 µs | 17.4 µs; in batches | target met |\n", "| of it ingest |  |  | 5 µs |  |\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("expected %q in\n%s", want, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "table.json")
	if err := b.save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Machine string
		Rows    []struct {
			What, Unit, Verdict string
			Value               float64
			First               float64 `json:"first_target"`
			Goal                float64
		}
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if r := read.Rows[0]; read.Machine == "" || len(read.Rows) != 2 || r.Value != 17.4 || r.First != 20 || r.Goal != 8 || r.Unit != "µs" || r.Verdict != "target met" {
		t.Errorf("%s", data)
	}
}

// Stacks as profiles of a running process have shown them, from the inside out.
func TestStages(t *testing.T) {
	const of = "github.com/footfall/footfall/"
	dispatched := of + "eventing/local.(*InProcess).work\n" + of + "eventing/local.(*exchange).serve"
	samples := map[string]string{
		"runtime.memmove\n" + of + "functions/etl.(*Service).Handle\n" + dispatched:                                                              "ETL, processed data included",
		of + "shared/store/embedded.(*journal).Mark\n" + of + "functions/archive.(*Service).Handle\n" + dispatched:                               "archive",
		of + "shared/store/embedded.(*archive).flush":                                                                                            "archive",
		of + "shared/summary.NewRecord\n" + of + "functions/summary.(*Service).closeHour":                                                        "summary, closing hours",
		of + "shared/store/embedded.(*journal).Append\n" + of + "functions/ingest.(*writer).flush\n" + of + "functions/ingest.(*collector).loop": "journal",
		of + "shared/broker/kafka.(*Publisher).Publish\n" + of + "functions/ingest.(*writer).flush":                                              "broker: Kafka and its clients, dispatcher",
		"github.com/twmb/franz-go/pkg/kfake.(*Cluster).handleProduce\ngithub.com/twmb/franz-go/pkg/kfake.(*Cluster).run":                         "broker: Kafka and its clients, dispatcher",
		of + "functions/ingest.(*Ingest).serveEvents\nnet/http.serverHandler.ServeHTTP\nnet/http.(*conn).serve":                                  "ingest, HTTP included",
		of + "shared/function.(*expressConn).head\n" + of + "shared/function.(*expressConn).serve":                                               "ingest, HTTP included",
		"net/http.(*conn).readRequest\nnet/http.(*conn).serve":                                                                                   "ingest, HTTP included",
		of + "functions/report.(*Service).serve\nnet/http.(*conn).serve":                                                                         "reports and ledgers",
		of + "shared/store/embedded.(*engine).write.func1\n" + of + "shared/store/embedded.within.func1":                                         "store: log, memtables, compactions",
		"github.com/cockroachdb/pebble/v2.(*DB).compact":                                                                                         "store: log, memtables, compactions",
		"runtime.scanobject\nruntime.gcDrain\nruntime.gcBgMarkWorker":                                                                            "garbage collector",
		"runtime.futex\nruntime.findRunnable\nruntime.schedule\nruntime.park_m\nruntime.mcall":                                                   "scheduler and timers",
		"somebody.else": rest,
	}
	var p profile.Profile
	want := map[string]int64{}
	for stack, stage := range samples {
		if got := stageOf(stack); got != stage {
			t.Errorf("%q is of %q, want %q", stack, got, stage)
		}
		want[stage] += 10
		s := &profile.Sample{Value: []int64{1, 10}}
		for name := range strings.SplitSeq(stack, "\n") {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		p.Sample = append(p.Sample, s)
	}
	spent := map[string]int64{}
	add(&p, spent)
	var sum float64
	for _, s := range shares(spent) {
		sum += s.share
		if spent[s.name] != want[s.name] {
			t.Errorf("%s: %d, want %d", s.name, spent[s.name], want[s.name])
		}
	}
	if sum < 0.999 || sum > 1.001 || len(shares(spent)) != len(stages)+1 {
		t.Errorf("%v", shares(spent))
	}
}

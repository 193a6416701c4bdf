package conformance

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rickb777/date/period"

	"github.com/footfall/footfall/eventing"
)

// length is a duration as Knative reads it; 0 where it does not.
func length(s string) time.Duration {
	p, err := period.Parse(s)
	if err != nil {
		return 0
	}
	d, _ := p.Duration()
	return d
}

// wholeWiring is all files as one, with one piece replaced.
func wholeWiring(t testing.TB, old, with string) []byte {
	t.Helper()
	files := wiringFiles(t)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, string(files[name]))
	}
	whole := strings.Join(parts, "---\n")
	if !strings.Contains(whole, old) {
		t.Fatalf("the wiring has no %q", old)
	}
	return []byte(strings.Replace(whole, old, with, 1))
}

func parse(text []byte) error {
	_, err := eventing.Parse(fstest.MapFS{"all.yaml": {Data: text}})
	return err
}

func TestBothRefuse(t *testing.T) {
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	const filter = "  filter:\n    attributes:\n      type: footfall.batch.accepted.v1\n"
	for name, c := range map[string]struct{ old, with string }{
		"retryAfterMax":          {"    timeout: PT30S\n", "    timeout: PT30S\n    retryAfterMax: PT30S\n"},
		"two dialects":           {filter, "  filters:\n    - exact: {type: a}\n      prefix: {type: b}\n"},
		"two dialects, nested":   {filter, "  filters:\n    - any:\n        - suffix: {type: a}\n          cesql: 'TRUE'\n"},
		"unknown dialect":        {filter, "  filters:\n    - sql: 'TRUE'\n"},
		"broken cesql":           {filter, "  filters:\n    - cesql: 'type =='\n"},
		"attribute name":         {filter, "  filters:\n    - exact: {Type: a}\n"},
		"every":                  {`schedule: "* * * * *"`, `schedule: "@every 1h"`},
		"bad schedule":           {`schedule: "* * * * *"`, `schedule: "* * * *"`},
		"bad zone":               {"timezone: Etc/UTC", "timezone: Mars/Base"},
		"array data":             {`data: '{"tick":"archive"}'`, `data: '["archive"]'`},
		"two kinds of data":      {`  data: '{"tick":"archive"}'`, "  dataBase64: e30=\n  data: '{}'"},
		"no base64":              {`  data: '{"tick":"archive"}'`, "  dataBase64: '%'"},
		"unknown field":          {"    retry: 10\n", "    retries: 10\n"},
		"negative retry":         {"    retry: 10\n", "    retry: -1\n"},
		"retry as text":          {"    retry: 10\n", "    retry: \"10\"\n"},
		"policy":                 {"backoffPolicy: exponential", "backoffPolicy: quadratic"},
		"duration":               {"timeout: PT30S", "timeout: 30s"},
		"zero timeout":           {"timeout: PT30S", "timeout: PT0S"},
		"subscriber of nothing":  {"    ref:\n      apiVersion: serving.knative.dev/v1\n      kind: Service\n      name: archive\n    uri: /batches\n", "    uri: /batches\n"},
		"absolute uri with ref":  {"    uri: /batches\n", "    uri: http://example.com/batches\n"},
		"no broker":              {"  broker: batches\n", ""},
		"no class":               {"    eventing.knative.dev/broker.class: Kafka\n", ""},
		"sink's mode":            {"contentMode: binary", "contentMode: text"},
		"sink without topic":     {"  topic: footfall.batches.dead.v1\n", ""},
		"partitions as number":   {`default.topic.partitions: "24"`, `default.topic.partitions: 24`},
		"attribute as a boolean": {"      tick: archive\n", "      tick: yes\n"},
	} {
		text := wholeWiring(t, c.old, c.with)
		if err := parse(text); err == nil {
			t.Errorf("%s: our parser takes it", name)
		}
		if _, err := judgeAll(ctx, text); err == nil {
			t.Errorf("%s: Knative takes it", name)
		}
	}
	if _, err := judgeAll(ctx, wholeWiring(t, "", "")); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// mutate changes a line or two of a text.
func mutate(r *rand.Rand, text []byte) []byte {
	values := []string{
		"a", "Kafka", "batches", "control", "yes", "true", "null", "~", "3", "-1", "010", "1_000", "0x10", "1.5", "1e3", `""`, `"5"`, "{}", "[]", "[a]", "{a: b}",
		"PT5M", "PT0.5S", "P1D", "PT0S", "PT3276S", "PT9999S", "P1M", "PT1H30M", "-PT5S", "PT5m", "P1DT", "PT.5S", "PT0.05S",
		"linear", "ordered", "/x", "x", "//x/y", "http://example.com", "http://", "'@hourly'", "'@every 1m'", "'0 0 * * * *'", "'*/5 * * * 1-5'", "'61 * * * *'",
		"'TZ=UTC * * * * *'", "Europe/Berlin", "Local", "'{\"a\":1}'", "'[1]'", "e30=", "text/plain", "v1", "Service", "Broker", "KafkaSink", "2026-11-23", "12:30", "off", "!!str x",
	}
	keys := []string{
		"retry", "timeout", "backoffDelay", "backoffPolicy", "retryAfterMax", "format", "uri", "ref", "namespace", "name", "kind", "apiVersion", "data", "dataBase64", "schedule",
		"timezone", "contentType", "filter", "filters", "attributes", "labels", "annotations", "numPartitions", "replicationFactor", "contentMode", "extensions", "x", "Type", "tick", "brokerRef", "audience",
	}
	lines := strings.Split(string(text), "\n")
	for range 1 + r.IntN(2) {
		i := r.IntN(len(lines))
		key, _, isPair := strings.Cut(lines[i], ": ")
		indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " -"))]
		value := values[r.IntN(len(values))]
		switch r.IntN(5) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, i, lines[i])
		case 2:
			lines = slices.Insert(lines, i+1, indent+keys[r.IntN(len(keys))]+": "+value)
		default:
			if isPair && !strings.HasPrefix(strings.TrimSpace(key), "#") {
				lines[i] = key + ": " + value
			}
		}
		if len(lines) == 0 {
			break
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// Whatever our parser takes, Knative takes: it is the stricter of the two.
func TestKnativeTakesWhatWeTake(t *testing.T) {
	ctx, err := webhook()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(20261123, 1))
	whole := wholeWiring(t, "", "")
	known := make(map[string]error) // documents judged before: most stay as they were
	judgeOnce := func(text []byte) error {
		docs, err := split(text)
		if err != nil {
			return err
		}
		for _, doc := range docs {
			verdict, ok := known[string(doc)]
			if !ok {
				_, verdict = judge(ctx, doc)
				known[string(doc)] = verdict
			}
			if verdict != nil {
				return verdict
			}
		}
		return nil
	}
	taken, refused, onlyHere := 0, 0, 0
	const rounds = 2000
	for range rounds {
		text := mutate(r, whole)
		ours := parse(text)
		theirs := judgeOnce(text)
		switch {
		case ours == nil && theirs == nil:
			taken++
		case ours == nil:
			t.Errorf("we take what Knative does not (%v):\n%s", theirs, difference(whole, text))
		case theirs == nil:
			onlyHere++
		default:
			refused++
		}
	}
	t.Logf("%d changed wirings: %d taken by both, %d refused by both, %d refused by ours alone", rounds, taken, refused, onlyHere)
	if taken < rounds/10 || refused < rounds/10 {
		t.Error("the changes do not test both outcomes")
	}
}

// difference shows the lines of b that a does not have, and how many went.
func difference(a, b []byte) string {
	has := make(map[string]int)
	for _, line := range strings.Split(string(a), "\n") {
		has[line]++
	}
	var out []string
	for _, line := range strings.Split(string(b), "\n") {
		if has[line]--; has[line] < 0 {
			out = append(out, "+ "+line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(has)) {
		if has[line] > 0 {
			out = append(out, "- "+line)
		}
	}
	return strings.Join(out, "\n")
}

// Every duration that we take is as long for Knative.
func TestDurationsAreAsLongForKnative(t *testing.T) {
	r := rand.New(rand.NewPCG(20261123, 2))
	numbers := []string{"0", "1", "2", "23", "24", "59", "60", "90", "600", "3276", "3277", "0.5", "0.9", "1.5", "0.25", "007"}
	// The first to have these two lines is the Trigger ingest-ticks.
	const delay, timeout = "    backoffDelay: PT0.5S\n", "    timeout: PT60S\n"
	taken := 0
	for range 1000 {
		s := "P"
		number := func() string { return numbers[r.IntN(len(numbers))] }
		if r.IntN(6) == 0 {
			s += number() + []string{"D", "W", "M"}[r.IntN(3)]
		}
		if r.IntN(8) > 0 {
			s += "T"
		}
		for _, unit := range []string{"H", "M", "S"} {
			if r.IntN(2) == 0 {
				s += number() + unit
			}
		}
		text := wholeWiring(t, delay+timeout, delay+"    timeout: "+s+"\n")
		w, err := eventing.Parse(fstest.MapFS{"all.yaml": {Data: text}})
		if err != nil {
			continue
		}
		taken++
		i := slices.IndexFunc(w.Triggers, func(tr eventing.Trigger) bool { return tr.Name == "ingest-ticks" })
		if got, want := w.Triggers[i].Delivery.Timeout, length(s); got != want || want == 0 {
			t.Errorf("%s: %s for us, %s for Knative", s, got, want)
		}
	}
	if taken < 100 {
		t.Errorf("only %d durations taken", taken)
	}
}

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/footfall/footfall/infra/services"
)

// ports are the conformance suites by the names that adapters' tests give them.
var ports = []string{"journal", "processed", "visitors", "registry", "archive", "summaries", "quotas"}

// onlyPort is the port of an adapter that has one, and so does not name it.
var onlyPort = map[string]string{"hdfs": "archive"}

// table runs the tests of packages and prints how many of each port's tests
// each adapter has passed. What failed is shown whole.
func table(packages []string, out, progress io.Writer) (int, error) {
	if len(packages) == 0 {
		return 2, errors.New("table of what? services table PACKAGES")
	}
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout=30m"}, packages...)...)
	cmd.Stderr = progress
	report, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	if err := services.StartWithUs(cmd, done); err != nil {
		return 1, err
	}
	r := newResults()
	err = r.read(report, progress)
	if err := errors.Join(err, r.print(out)); err != nil {
		return 1, errors.Join(err, <-done)
	}
	var exit *exec.ExitError
	if err := <-done; errors.As(err, &exit) {
		return 1, nil // go test has said why
	} else if err != nil {
		return 1, err
	}
	return 0, nil
}

// testEvent is a line of go test -json, as go doc test2json has it.
type testEvent struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// testName names a test of a package.
type testName struct{ pkg, test string }

// results are what tests have come to.
type results struct {
	outcome map[testName]string // pass, fail or skip
	output  map[testName][]string
	elapsed map[string]float64 // by package, in seconds
}

func newResults() *results {
	return &results{outcome: map[testName]string{}, output: map[testName][]string{}, elapsed: map[string]float64{}}
}

// read reads the report of go test and shows each failure as it comes.
func (r *results) read(report io.Reader, progress io.Writer) error {
	lines := bufio.NewReader(report)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var e testEvent
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(progress, "%s", line) // of the compiler or a program that broke in
			continue
		}
		r.add(e, progress)
	}
}

func (r *results) add(e testEvent, progress io.Writer) {
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(progress, e.Output)
	case "output":
		r.output[name] = append(r.output[name], e.Output)
	case "pass", "fail", "skip":
		if e.Action == "fail" {
			fmt.Fprintf(progress, "%s", strings.Join(r.output[name], ""))
		}
		if e.Test == "" {
			r.elapsed[e.Package] = e.Elapsed
			return
		}
		r.outcome[name] = e.Action
		if e.Action != "skip" {
			delete(r.output, name)
		}
	}
}

// row is a line of the table.
type row struct{ port, adapter string }

type counts struct{ passed, failed, skipped int }

// count adds the tests up, each subtest for itself. A test that has subtests
// counts only where it failed and none of them did.
func (r *results) count() map[row]counts {
	parents, failedBelow := map[testName]bool{}, map[testName]bool{}
	for name, outcome := range r.outcome {
		for up := name.test; strings.Contains(up, "/"); {
			up = up[:strings.LastIndexByte(up, '/')]
			parents[testName{name.pkg, up}] = true
			if outcome == "fail" {
				failedBelow[testName{name.pkg, up}] = true
			}
		}
	}
	all := map[row]counts{}
	for name, outcome := range r.outcome {
		if parents[name] && (outcome != "fail" || failedBelow[name]) {
			continue
		}
		at := rowOf(name)
		c := all[at]
		switch outcome {
		case "pass":
			c.passed++
		case "fail":
			c.failed++
		case "skip":
			c.skipped++
		}
		all[at] = c
	}
	return all
}

// other is the row of an adapter's own tests, which belong to no suite.
const other = "(own tests)"

// rowOf finds the port and the adapter of a test: TestConformance/journal/x
// in shared/store/mongo is mongo's journal, and TestClusterConformance/quotas
// in shared/store/redis is that of redis (cluster).
func rowOf(name testName) row {
	adapter := path.Base(name.pkg)
	switch {
	case strings.Contains(name.pkg, "/broker/"):
		return row{"broker", adapter + kafkaUsed(name.pkg)}
	case strings.Contains(name.pkg, "/eventing/"):
		return row{"delivery", adapter + kafkaUsed(name.pkg)}
	}
	parts := strings.Split(name.test, "/")
	suite := strings.TrimPrefix(parts[0], "Test")
	if !strings.Contains(suite, "Conformance") {
		return row{other, adapter}
	}
	variant := strings.ToLower(strings.Replace(suite, "Conformance", "", 1))
	for i, part := range parts[1:] {
		if slices.Contains(ports, part) {
			variant = strings.Join(append([]string{variant}, parts[1:i+1]...), " ")
			return row{part, adapter + inBrackets(variant)}
		}
	}
	for _, port := range ports { // a suite of its own: TestArchiveConformance
		if rest, ok := strings.CutPrefix(variant, port); ok {
			return row{port, adapter + inBrackets(rest)}
		}
	}
	if port, ok := onlyPort[adapter]; ok {
		return row{port, adapter + inBrackets(variant)}
	}
	return row{"(all)", adapter + inBrackets(variant)} // skipped as a whole
}

func inBrackets(variant string) string {
	if variant = strings.TrimSpace(variant); variant == "" {
		return ""
	}
	return " (" + variant + ")"
}

// kafkaUsed says which Kafka the tests that can use both were run with.
func kafkaUsed(pkg string) string {
	switch {
	case strings.HasSuffix(pkg, "/http"):
		return ""
	case os.Getenv(services.KafkaVariable) == "":
		return " (in process)"
	default:
		return " (real)"
	}
}

func (r *results) print(out io.Writer) error {
	all := r.count()
	rows := slices.SortedFunc(maps.Keys(all), func(a, b row) int {
		return cmp.Or(cmp.Compare(rank(a.port), rank(b.port)), cmp.Compare(a.port, b.port), cmp.Compare(a.adapter, b.adapter))
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nPORT\tADAPTER\tPASSED\tFAILED\tSKIPPED")
	var sum counts
	for _, at := range rows {
		c := all[at]
		sum.passed, sum.failed, sum.skipped = sum.passed+c.passed, sum.failed+c.failed, sum.skipped+c.skipped
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", at.port, at.adapter, c.passed, c.failed, c.skipped)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for reason, n := range r.skips() {
		fmt.Fprintf(out, "skipped %d: %s\n", n, reason)
	}
	for _, pkg := range slices.Sorted(maps.Keys(r.elapsed)) {
		if s := r.elapsed[pkg]; s >= 10 {
			fmt.Fprintf(out, "%.0f s in %s\n", s, pkg)
		}
	}
	_, err := fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped)
	return err
}

// rank puts ports into the order of the list and the rest behind.
func rank(port string) int {
	if i := slices.Index(ports, port); i >= 0 {
		return i
	}
	return len(ports)
}

// skips counts the reasons that tests gave for skipping.
func (r *results) skips() map[string]int {
	reasons := map[string]int{}
	for name, outcome := range r.outcome {
		if outcome != "skip" {
			continue
		}
		reason := "no reason given"
		for _, line := range r.output[name] {
			// "    file_test.go:12: the reason"
			if _, after, ok := strings.Cut(line, ".go:"); ok {
				if _, said, ok := strings.Cut(after, ": "); ok {
					reason = strings.TrimSpace(said)
				}
			}
		}
		reasons[reason]++
	}
	return reasons
}

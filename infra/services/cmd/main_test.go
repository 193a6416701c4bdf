package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/footfall/footfall/infra/services"
)

// call runs the tool as the command line does.
func call(t *testing.T, args ...string) (code int, out, progress string, err error) {
	t.Helper()
	var o, p bytes.Buffer
	code, err = run(args, &o, &p)
	return code, o.String(), p.String(), err
}

// ours makes the environment name servers of the user's, so that none is started.
func ours(t *testing.T) {
	t.Helper()
	for _, kind := range services.Kinds() {
		t.Setenv(kind.Variable(), "")
	}
	t.Setenv(services.MongoDBVariable, "mongodb+srv://user:it's@example.test/")
	t.Setenv(services.CacheVariable, t.TempDir())
}

func TestRunGivesTheCommandsStatusAndEnvironment(t *testing.T) {
	ours(t)
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 128 + 15} {
		code, out, progress, err := call(t, "-only", "mongodb", "run", "--", "sh", "-c", "echo $"+services.MongoDBVariable+"; "+script)
		if code != want || err != nil || !strings.Contains(out, "it's@example") {
			t.Errorf("%s: status %d, want %d: %v\n%s%s", script, code, want, err, out, progress)
		}
	}
	if code, _, _, err := call(t, "-only", "mongodb", "run", "--", "/no/such/command"); code != 1 || err == nil {
		t.Errorf("status %d, %v", code, err)
	}
	if code, _, _, err := call(t, "-only", "mongodb", "run"); code != 2 || err == nil {
		t.Errorf("status %d, %v", code, err)
	}
}

func TestUpEnvDown(t *testing.T) {
	ours(t)
	dir := filepath.Join(t.TempDir(), "up")
	args := []string{"-only", "mongodb", "-dir", dir}
	if code, _, _, err := call(t, append(args, "env")...); code != 1 || err == nil || !strings.Contains(err.Error(), "nothing is up") {
		t.Errorf("before: status %d, %v", code, err)
	}
	if code, _, progress, err := call(t, append(args, "up")...); code != 0 || err != nil || !strings.Contains(progress, services.MongoDBVariable+" is set") {
		t.Errorf("up: status %d, %v\n%s", code, err, progress)
	}
	_, out, _, _ := call(t, append(args, "env")...)
	if want := "export " + services.MongoDBVariable + `='mongodb+srv://user:it'\''s@example.test/'` + "\n"; out != want {
		t.Errorf("env: %q, want %q", out, want)
	}
	if code, out, _, err := call(t, append(args, "status")...); code != 0 || err != nil || !strings.HasPrefix(out, "SERVER") {
		t.Errorf("status: %d, %v, %q", code, err, out)
	}
	if code, _, _, err := call(t, append(args, "down")...); code != 0 || err != nil {
		t.Errorf("down: status %d, %v", code, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestWrongCalls(t *testing.T) {
	for _, args := range [][]string{{}, {"dance"}, {"-only", "oracle", "up"}, {"up", "now"}, {"-nonsense"}, {"table"}} {
		if code, _, progress, err := call(t, args...); code != 2 || (err == nil && progress == "") {
			t.Errorf("%q: status %d, %v, %q", args, code, err, progress)
		}
	}
	if code, _, progress, err := call(t, "-h"); code != 0 || err != nil || !strings.Contains(progress, "services [-only") {
		t.Errorf("help: status %d, %v", code, err)
	}
}

func TestKeepLogs(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/a.log", "a/data/x"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := keepLogs(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "a", "*", "x")); left != nil {
		t.Errorf("%v is left", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "a.log")); err != nil {
		t.Error(err)
	}
}

const report = `{"Action":"start","Package":"x/shared/store/mongo"}
{"Action":"pass","Package":"x/shared/store/mongo","Test":"TestConformance/journal/one"}
{"Action":"output","Package":"x/shared/store/mongo","Test":"TestConformance/journal/two","Output":"    journal.go:9: lost it\n"}
{"Action":"fail","Package":"x/shared/store/mongo","Test":"TestConformance/journal/two"}
{"Action":"fail","Package":"x/shared/store/mongo","Test":"TestConformance/journal"}
{"Action":"fail","Package":"x/shared/store/mongo","Test":"TestConformance"}
{"Action":"pass","Package":"x/shared/store/mongo","Test":"TestOpen"}
{"Action":"fail","Package":"x/shared/store/mongo","Elapsed":12.3}
{"Action":"pass","Package":"x/shared/store/redis","Test":"TestConformance/cluster/quotas/a"}
{"Action":"pass","Package":"x/shared/store/redis","Test":"TestConformance/single/quotas/a"}
{"Action":"pass","Package":"x/shared/store/redis","Test":"TestClusterConformance/summaries/a"}
{"Action":"pass","Package":"x/shared/store/hdfs","Test":"TestConformance/list"}
{"Action":"output","Package":"x/shared/store/other","Test":"TestConformance","Output":"    c_test.go:12: set IT: to run this\n"}
{"Action":"skip","Package":"x/shared/store/other","Test":"TestConformance"}
{"Action":"pass","Package":"x/shared/broker/http","Test":"TestPublish"}
{"Action":"pass","Package":"x/shared/broker/kafka","Test":"TestPublish/a"}
{"Action":"fail","Package":"x/shared/broker/kafka","Test":"TestPublish"}
{"Action":"pass","Package":"x/eventing/local","Test":"TestRetry"}
{"Action":"build-output","ImportPath":"x/broken","Output":"undefined: y\n"}
a line that is no JSON
`

func TestTable(t *testing.T) {
	t.Setenv(services.KafkaVariable, "")
	r := newResults()
	var progress, out strings.Builder
	if err := r.read(strings.NewReader(report), &progress); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"lost it", "undefined: y", "a line that is no JSON"} {
		if !strings.Contains(progress.String(), part) {
			t.Errorf("%q is not shown: %s", part, progress.String())
		}
	}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if words := strings.Fields(line); len(words) > 0 {
			got = append(got, strings.Join(words, " "))
		}
	}
	want := []string{
		"PORT ADAPTER PASSED FAILED SKIPPED",
		"journal mongo 1 1 0",
		"archive hdfs 1 0 0",
		"summaries redis (cluster) 1 0 0",
		"quotas redis (cluster) 1 0 0",
		"quotas redis (single) 1 0 0",
		"(all) other 0 0 1",
		"(own tests) mongo 1 0 0",
		"broker http 1 0 0",
		"broker kafka (in process) 1 1 0",
		"delivery local (in process) 1 0 0",
		"skipped 1: set IT: to run this",
		"12 s in x/shared/store/mongo",
		"9 passed, 2 failed, 1 skipped",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

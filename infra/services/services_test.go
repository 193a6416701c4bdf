package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sleeper is a server that needs no download: it is ready when its log has a line.
func sleeper(t *testing.T, opts Options, script string) *Server {
	t.Helper()
	opts.Dir = t.TempDir()
	s := &Server{name: "sleeper", dir: opts.Dir, opts: opts, program: program{path: "/bin/sh", args: []string{"-c", script}}}
	s.probe = func(context.Context) error {
		log, err := os.ReadFile(s.Log())
		if err == nil && !strings.Contains(string(log), "ready") {
			err = errors.New("not ready yet")
		}
		return err
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const sleeps = "echo ready; exec sleep 1000"

func TestServerLives(t *testing.T) {
	s := sleeper(t, Options{}, sleeps)
	if s.Running() || s.PID() != 0 {
		t.Error("it runs before it was started")
	}
	for _, end := range []func() error{s.Stop, s.Kill} {
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "it is running") {
			t.Errorf("started twice: %v", err)
		}
		if !s.Running() {
			t.Error("it does not run")
		}
		if bytes, err := s.Memory(); err != nil || bytes <= 0 {
			t.Errorf("%d bytes of memory: %v", bytes, err)
		}
		if err := s.Pause(); err != nil {
			t.Error(err)
		}
		pid := s.PID()
		eventually(t, func() bool { return state(t, pid) == "T" })
		if err := s.Resume(); err != nil {
			t.Error(err)
		}
		eventually(t, func() bool { return state(t, pid) != "T" })
		if err := s.Pause(); err != nil { // neither end waits for Resume
			t.Error(err)
		}
		for range 2 { // the second finds nothing to do
			if err := end(); err != nil {
				t.Error(err)
			}
		}
		if id, err := identity(pid); id != "" || err != nil || s.Running() {
			t.Errorf("it lives on: %q, %v", id, err)
		}
	}
	if err := s.Pause(); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("paused what does not run: %v", err)
	}
}

func TestServerThatDoesNotStartSaysWhy(t *testing.T) {
	ends := sleeper(t, Options{}, "echo 'no such flag'; exit 3")
	if err := ends.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such flag") {
		t.Errorf("one that ends: %v", err)
	}
	hangs := sleeper(t, Options{}, "echo 'cannot bind'; exec sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := startOrKill(ctx, hangs); err == nil || !strings.Contains(err.Error(), "not ready yet") || !strings.Contains(err.Error(), "cannot bind") {
		t.Errorf("one that hangs: %v", err)
	}
	if hangs.Running() {
		t.Error("it was left running")
	}
	if err := (&Server{name: "none", dir: t.TempDir(), program: program{path: "/no/such/program"}}).Start(t.Context()); err == nil {
		t.Error("started a program that is not there")
	}
}

// A test binary that is killed leaves no server behind.
func TestServersEndWithUs(t *testing.T) {
	if dir := os.Getenv("FOOTFALL_TEST_SERVICES_CHILD"); dir != "" {
		s := &Server{name: "sleeper", dir: dir, program: program{path: "/bin/sh", args: []string{"-c", sleeps}}}
		if err := s.spawn(); err != nil {
			t.Fatal(err)
		}
		if err := record(dir, s); err != nil {
			t.Fatal(err)
		}
		select {} // until killed
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServersEndWithUs$")
	cmd.Env = append(os.Environ(), "FOOTFALL_TEST_SERVICES_CHILD="+dir)
	cmd.SysProcAttr = attached()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var p Process
	eventually(t, func() bool {
		s, err := OpenState(filepath.Join(dir, "state.json"))
		if err != nil || len(s.Processes) == 0 {
			return false
		}
		p = s.Processes[0]
		return true
	})
	if running, err := p.Running(); !running || err != nil {
		t.Fatalf("running %v: %v", running, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, func() bool { running, err := p.Running(); return err == nil && !running })
}

// record adds a server to the state file of a folder.
func record(dir string, s *Server) error {
	state, err := OpenState(filepath.Join(dir, "state.json"))
	if err != nil {
		return err
	}
	s.opts.Started = state.Add
	return s.tell(s.run)
}

func TestStateStopsWhatItStartedAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	state, err := OpenState(path)
	if err != nil {
		t.Fatal(err)
	}
	ours := sleeper(t, Options{Detach: true, Started: state.Add}, sleeps)
	if err := ours.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := sleeper(t, Options{}, sleeps)
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A process that ended, and whose pid went to another one.
	if err := state.Add(Process{Name: "old", PID: other.PID(), Identity: "another boot/1"}); err != nil {
		t.Fatal(err)
	}
	if err := state.Add(Process{Name: "gone", PID: 1 << 22, Identity: "x"}); err != nil {
		t.Fatal(err)
	}
	env := []Setting{{KafkaVariable, "127.0.0.1:1"}}
	if err := state.Set(env); err != nil {
		t.Fatal(err)
	}
	if err := ours.Pause(); err != nil { // it is stopped all the same
		t.Fatal(err)
	}

	again, err := OpenState(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Processes) != 3 || again.Processes[0].PID != ours.PID() || !slices.Equal(again.Environment, env) {
		t.Errorf("read %+v", again)
	}
	started := again.Processes[0]
	if err := again.Stop(); err != nil {
		t.Error(err)
	}
	if running, err := started.Running(); running || err != nil {
		t.Errorf("what was started runs on: %v, %v", running, err)
	}
	if !other.Running() {
		t.Error("another process was stopped")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the state is still there: %v", err)
	}
}

func TestStateKillsWhatDoesNotStop(t *testing.T) {
	s := sleeper(t, Options{}, "trap '' TERM; echo ready; while :; do sleep 1000; done")
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, err := identity(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	p := Process{Name: "stubborn", PID: s.PID(), Identity: id}
	if err := p.stop(50 * time.Millisecond); err != nil {
		t.Error(err)
	}
	if running, err := p.Running(); running || err != nil { // s hears of it some time later
		t.Errorf("it runs on: %v, %v", running, err)
	}
}

func TestUnreadableStateIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestPortsAreKeptAndHeld(t *testing.T) {
	if dir := os.Getenv("FOOTFALL_TEST_SERVICES_CHILD"); dir != "" {
		if _, err := choosePorts(dir, "a", "b"); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	p, err := choosePorts(dir, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if p["a"] == p["b"] || p["a"] < firstPort || p["a"] > lastPort {
		t.Errorf("chose %v", p)
	}
	if err := hold(p["a"]); err == nil {
		t.Error("a port was given twice")
	}
	// Another process finds the same ports in the folder.
	child := exec.Command(os.Args[0], "-test.run", "^TestPortsAreKeptAndHeld$")
	child.Env = append(os.Environ(), "FOOTFALL_TEST_SERVICES_CHILD="+dir)
	if said, err := child.CombinedOutput(); err == nil || !strings.Contains(string(said), "is taken") {
		t.Errorf("held by us, and: %v\n%s", err, said)
	}
}

func TestPortsOfAnEarlierTime(t *testing.T) {
	dir := t.TempDir()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", ports{"x": port}.address("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// A port that we would not choose by ourselves.
	was, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kept := was.Addr().(*net.TCPAddr)
	was.Close()
	if err := os.WriteFile(filepath.Join(dir, portFile), fmt.Appendf(nil, `{"a": %d}`, kept.Port), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := choosePorts(dir, "a"); err != nil || p.address("a") != kept.String() {
		t.Errorf("got %v, %v", p, err)
	}
	if err := hold(port); err == nil {
		t.Error("held a port on which somebody listens")
	}
}

func TestGivenServersAreUsed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	up := l.Addr().String()
	env := map[string]string{MongoDBVariable: "mongodb://user:secret@" + up + "/?replicaSet=rs", KafkaVariable: "127.0.0.1:1," + up}
	given, start, err := Given(t.Context(), func(name string) string { return env[name] }, Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if want := []Kind{KindHDFS, KindRedis, KindRedisCluster}; !slices.Equal(start, want) {
		t.Errorf("starts %v, want %v", start, want)
	}
	if want := []Setting{{KafkaVariable, env[KafkaVariable]}, {MongoDBVariable, env[MongoDBVariable]}}; !slices.Equal(given, want) {
		t.Errorf("uses %v, want %v", given, want)
	}
	env[RedisVariable] = "127.0.0.1:1"
	env[MongoDBVariable] = "mongodb://user:se%%cret@" + up
	_, _, err = Given(t.Context(), func(name string) string { return env[name] }, Kinds())
	if err == nil || !strings.Contains(err.Error(), RedisVariable) || strings.Contains(err.Error(), "cret") {
		t.Errorf("got %v", err)
	}
}

func TestParseKinds(t *testing.T) {
	if kinds, err := ParseKinds("kafka,hdfs"); err != nil || !slices.Equal(kinds, []Kind{KindKafka, KindHDFS}) {
		t.Errorf("got %v, %v", kinds, err)
	}
	if kinds, err := ParseKinds(""); err != nil || len(kinds) != 5 {
		t.Errorf("got %v, %v", kinds, err)
	}
	if _, err := ParseKinds("oracle"); err == nil || !strings.Contains(err.Error(), "redis-cluster") {
		t.Errorf("got %v", err)
	}
}

func TestJavaVersion(t *testing.T) {
	for said, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`: 17,
		`java version "1.8.0_292"`:             1,
		`openjdk version "23-ea" 2024-09-17`:   23,
		`command not found`:                    0,
	} {
		if got := javaVersion([]byte(said)); got != want {
			t.Errorf("%q: %d, want %d", said, got, want)
		}
	}
}

func TestMissingSoftwareIsNamed(t *testing.T) {
	_, err := Cached(t.Context(), t.TempDir(), Kinds()...)
	for _, part := range []string{"kafka-4.1.1", "hdfs-3.4.2", "SecantusDB", "make services-fetch"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not name %s: %v", part, err)
		}
	}
}

// A fetch that fails half way leaves nothing that the next takes for whole.
func TestHalfAFetchDoesNotCount(t *testing.T) {
	f := fetcher{cache: t.TempDir(), progress: t.Output()}
	m := missing{name: "thing", dir: filepath.Join(f.cache, "thing-1")}
	broken := true
	m.fetch = func(_ context.Context, dir string) error {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the last try's folder is still there: %v", err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if broken {
			return errors.New("connection reset")
		}
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
	}
	if err := f.fetch(t.Context(), m); err == nil || !strings.Contains(err.Error(), "cannot fetch thing: connection reset") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(m.dir); !os.IsNotExist(err) {
		t.Errorf("half a fetch is there: %v", err)
	}
	broken = false
	if err := f.fetch(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "whole")); err != nil {
		t.Error(err)
	}
}

func TestRedisAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := []string{"+PONG\r\n", "-LOADING Redis is loading the dataset in memory\r\n", "$5\r\nab\r\nc\r\n", "$-1\r\n"}
	go func() {
		for _, a := range answers {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 100))
			_, _ = conn.Write([]byte(a))
			conn.Close()
		}
	}()
	for _, want := range []string{"PONG", "LOADING", "ab\r\nc", "unexpected"} {
		got, err := redisDo(t.Context(), l.Addr().String(), "PING")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestJMX(t *testing.T) {
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("qry") {
		case "Hadoop:service=NameNode,name=NameNodeStatus":
			_, _ = w.Write([]byte(`{"beans":[{"State":"active"}]}`))
		default:
			_, _ = w.Write([]byte(`{"beans":[]}`))
		}
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	var status struct{ State string }
	if err := jmx(t.Context(), l.Addr().String(), "NameNodeStatus", "NameNode", &status); err != nil || status.State != "active" {
		t.Errorf("got %+v, %v", status, err)
	}
	if err := jmx(t.Context(), l.Addr().String(), "Other", "NameNode", &status); err == nil || !strings.Contains(err.Error(), "no such bean") {
		t.Errorf("got %v", err)
	}
}

func TestKafkaIDIsNoOption(t *testing.T) {
	for range 1000 {
		if id := kafkaID(); len(id) != 22 || id[0] == '-' {
			t.Fatalf("got %q", id)
		}
	}
}

func state(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[0]
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(20 * time.Second); !condition(); <-pause.C {
		if time.Now().After(end) {
			t.Fatal("it did not come to it")
		}
	}
}

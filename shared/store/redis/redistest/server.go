package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a server may take to be there.
const patience = 20 * time.Second

// Server is a redis-server of a test.
type Server struct {
	Addr string // host:port

	t      testing.TB
	dir    string
	args   []string
	secure *Security // nil: it asks for nothing
	cmd    *exec.Cmd
	said   *bytes.Buffer // what cmd wrote, to be read when it has ended
	done   chan struct{} // closed when cmd has ended
}

// Start starts a server that answers when Start returns; args are options of
// redis-server beside address and folder. It writes nothing to disk unless they
// say so.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Addr: FreeAddr(t)}
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", ""}, args...)
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// StartSentinel starts a Sentinel that watches a master under a name and fails
// over within a second or two. It may be outvoted by none.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Addr: FreeAddr(t)}
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	host, masterPort, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(s.dir, "sentinel.conf") // a Sentinel writes into it
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 1\n"+
		"sentinel down-after-milliseconds %[3]s 500\nsentinel failover-timeout %[3]s 3000\n", port, s.dir, name, host, masterPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = []string{conf, "--sentinel"}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart starts the server again, on the same address and folder.
func (s *Server) Restart() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Skip("there is no redis-server on PATH: install it to run this test")
	}
	s.cmd = exec.Command(path, s.args...) //nolint:noctx // it ends with Kill
	s.cmd.SysProcAttr = withoutOrphans()
	s.said = new(bytes.Buffer)
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("cannot start redis-server: %v", err)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait() // killed, mostly
	}()
	s.await()
}

// await waits until the server answers.
func (s *Server) await() {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for c.Ping(ctx).Err() != nil {
		select {
		case <-s.done:
			if s.secure != nil && withoutTLS(s.said.String()) {
				s.t.Skip("redis-server was built without TLS: install one that has it to run this test")
			}
			s.t.Fatalf("redis-server has ended by itself: %v\n%s", s.cmd.Args, s.said)
		case <-ctx.Done():
			s.t.Fatalf("redis-server does not answer on %s", s.Addr)
		case <-ticker.C:
		}
	}
}

// Client is a client of this very server, which may do all. The caller closes it.
func (s *Server) Client() *redis.Client {
	o := &redis.Options{Addr: s.Addr, MaxRetries: -1, DialTimeout: time.Second, DisableIdentity: true}
	if s.secure != nil {
		o.TLSConfig, o.Username, o.Password = s.secure.Client, adminName, adminPassword
	}
	return redis.NewClient(o)
}

// Kill ends the server at once, as kill -9 does. It may have ended.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}

// Empty removes all that the server holds.
func (s *Server) Empty() {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.FlushAll(ctx).Err(); err != nil {
		s.t.Fatalf("cannot empty %s: %v", s.Addr, err)
	}
}

// FreeAddr is an address of this machine on which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it takes no time
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

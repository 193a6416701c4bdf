package mongo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// wire stands between the stores and their server, and can be cut.
type wire struct {
	to      string
	late    atomic.Int64 // ns that each answer takes longer
	answers atomic.Int64 // that it has carried, about

	mu    sync.Mutex
	l     net.Listener
	addr  string
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// wired returns a URI that leads through a wire to the given one's server.
func wired(t *testing.T, uri string) (*wire, string) {
	u, err := url.Parse(uri)
	must(t, err)
	w := &wire{to: u.Host, conns: map[net.Conn]bool{}}
	w.mend(t)
	t.Cleanup(w.cut)
	u.Host = w.addr
	q := u.Query()
	q.Set("directConnection", "true") // else the driver would go where the server says it is
	q.Set("heartbeatFrequencyMS", "500")
	u.RawQuery = q.Encode()
	if u.Path == "" {
		u.Path = "/"
	}
	return w, u.String()
}

// mend listens, on the same port again.
func (w *wire) mend(t *testing.T) {
	t.Helper()
	addr := w.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	must(t, err)
	w.mu.Lock()
	w.l, w.addr = l, l.Addr().String()
	w.mu.Unlock()
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = c.Close()
				continue
			}
			w.mu.Lock()
			closed := w.l != l
			w.conns[c], w.conns[s] = true, true
			w.mu.Unlock()
			if closed {
				w.drop()
			}
			for _, ends := range [][2]net.Conn{{c, s}, {s, c}} {
				w.wg.Go(func() {
					_, _ = io.Copy(wireEnd{ends[0], w, ends[0] == c}, ends[1])
					_ = ends[0].Close()
					_ = ends[1].Close()
				})
			}
		}
	})
}

// wireEnd is where a wire hands on what it carries.
type wireEnd struct {
	net.Conn
	w       *wire
	answers bool
}

func (e wireEnd) Write(p []byte) (int, error) {
	if e.answers {
		time.Sleep(time.Duration(e.w.late.Load()))
		e.w.answers.Add(1)
	}
	return e.Conn.Write(p)
}

// cut ends all connections and takes no more.
func (w *wire) cut() {
	w.mu.Lock()
	if w.l != nil {
		_ = w.l.Close()
		w.l = nil
	}
	w.mu.Unlock()
	w.drop()
	w.wg.Wait()
}

// drop ends all connections.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// eventually waits until a call succeeds.
func eventually(t *testing.T, what string, fn func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := fn(ctx)
		if err == nil {
			return
		}
		if !sleep(ctx, 20*time.Millisecond) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// The server goes away and comes back, before the first call and after it: no
// call waits for long, each says Transient, Ping tells the truth, and nothing
// needs a restart.
func TestServerGoesAndComesBack(t *testing.T) {
	direct := server(t)
	w, uri := wired(t, direct)
	w.cut()
	cfg := testConfig(uri)
	cfg.Patience = 200 * time.Millisecond
	s := mustOpen(t, cfg)
	cleaner := testConfig(direct)
	cleaner.Database = cfg.Database
	cleaning := mustOpen(t, cleaner)
	t.Cleanup(func() { must(t, cleaning.db.Drop(context.Background())) })

	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	away := func() {
		t.Helper()
		began := time.Now()
		for name, err := range map[string]error{
			"append": s.Journal.Append(ctx, batches(1, 1)), "ping": s.Ping(ctx),
			"update": s.Registry.UpdateMerchant(ctx, access.Merchant{ID: "m"}),
		} {
			if !fault.Is(err, fault.Transient) {
				t.Errorf("%s: got %v, expected a transient fault", name, err)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("three calls took %s", took)
		}
	}
	away()
	w.mend(t)
	eventually(t, "ready", s.Ready)
	must(t, s.Journal.Append(ctx, batches(1, 1)))
	w.cut()
	away()
	w.mend(t)
	eventually(t, "append", func(ctx context.Context) error { return s.Journal.Append(ctx, batches(1, 2)) })
	eventually(t, "ready", s.Ready)
	same(t, "counts", counts(t, s), ledger(3, 3, 2, 2))
	cancel()
	must(t, <-ran)
}

// A server that is slow counts as there, and so does one that has gone a moment
// ago; one that has not answered for a while is asked.
func TestReady(t *testing.T) {
	direct := server(t)
	w, uri := wired(t, direct)
	s := mustPrepare(t, testConfig(direct))
	cfg := testConfig(uri)
	cfg.Database, cfg.Patience = s.db.Name(), 200*time.Millisecond
	s = mustOpen(t, cfg)
	must(t, s.prepare(t.Context()))
	ready := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return s.Ready(ctx)
	}
	must(t, ready(t.Context())) // prepare had its answers
	w.cut()
	must(t, ready(t.Context()))
	if err := s.Ping(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("a server that is gone: got %v", err)
	}

	// As after function.Fresh.
	s.health = function.NewHealth(s.ping)
	if err := s.Ready(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("a server that has gone long ago: got %v", err)
	}
	w.mend(t)
	eventually(t, "ready", s.Ready)

	// Nobody who asks waits as long as an answer takes, and the second is told.
	s.health = function.NewHealth(s.ping)
	w.late.Store(int64(300 * time.Millisecond))
	if err := ready(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("before the first answer: got %v", err)
	}
	eventually(t, "ready", ready)

	s.health = function.NewHealth(func(context.Context) error { return errors.New("asked") })
	_, err := s.Journal.Stages(t.Context(), batch(1).Batch)
	must(t, err)
	must(t, ready(t.Context()))
}

// Connections are cut again and again under writers: what was acknowledged is
// there, and counted once.
func TestConnectionsAreCut(t *testing.T) {
	direct := server(t)
	w, uri := wired(t, direct)
	cfg := testConfig(direct)
	plain := mustPrepare(t, cfg)
	cfg.URI = function.Secret(uri)
	s := mustOpen(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() {
		// A server that is slow must get on between two cuts: connecting alone takes
		// some answers.
		last := int64(0)
		for {
			select {
			case <-done:
				return
			case <-time.Tick(30 * time.Millisecond):
				if n := w.answers.Load(); n-last >= 40 {
					w.drop()
					last = n
				}
			}
		}
	})
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 10 {
				r := batch(byte(1 + 10*n + i))
				put := store.Put{Batch: r.Batch, Docs: []store.Doc{document("m", 1, r.Batch)}}
				for _, call := range []func() error{
					func() error { return s.Journal.Append(ctx, []store.JournalRow{r}) },
					func() error { return s.Processed.Put(ctx, put) },
					func() error { return s.Journal.Mark(ctx, store.AllStages, []store.JournalRow{r}) },
				} {
					for err := call(); err != nil; err = call() {
						if !fault.Is(err, fault.Transient) || ctx.Err() != nil {
							t.Error(err)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	close(done)
	cutter.Wait()
	same(t, "counts", counts(t, plain), ledger(820, 0, 40, 0))
	same(t, "documents", len(scanned(t, plain, "m")), 40)
	same(t, "marks", len(marks(t, plain, "m")), 40)
}

func TestDeadlinesAreKept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	must(t, err)
	defer l.Close()
	cfg := testConfig("mongodb://somebody:hunter2@" + l.Addr().String() + "/?directConnection=true")
	var logged bytes.Buffer
	s, err := Open(cfg, slog.New(slog.NewTextHandler(&logged, nil)))
	must(t, err)
	defer func() { must(t, s.Close(context.Background())) }()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = s.Journal.Append(ctx, batches(1, 1))
	if !fault.Is(err, fault.Transient) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, expected that the deadline has passed", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	must(t, s.Run(ctx))
	for _, text := range []string{err.Error(), logged.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password stands in %q", text)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	bad := DefaultConfig("mongodb://somebody:hunter2@[::1/")
	bad.Database, bad.MaxConns, bad.Timeout, bad.TLSCertFile, bad.Password = "a.b", 0, 0, "x.pem", "hunter2"
	_, err := Open(bad, nil)
	if err == nil {
		t.Fatal("opened")
	}
	for _, want := range []string{"MONGODB_URI", "MONGODB_DATABASE", "MONGODB_MAX_CONNS", "MONGODB_TIMEOUT", "MONGODB_TLS_CERT_FILE", "MONGODB_USERNAME"} {
		if !strings.Contains(err.Error(), function.Prefix+want) {
			t.Errorf("does not name %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password stands in %q", err)
	}
	var none Config
	if err := function.Load(nil, nil, &none); err == nil || !strings.Contains(err.Error(), "MONGODB_URI") {
		t.Errorf("an empty environment: %v", err)
	}
	tls := DefaultConfig("mongodb://a/")
	tls.TLSCAFile = "no-such-file.pem"
	if _, err := Open(tls, nil); err == nil || !strings.Contains(err.Error(), "MONGODB_TLS_CA_FILE") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// The concerns of the URI do not weaken ours.
func TestConcernsAreOurs(t *testing.T) {
	cfg := DefaultConfig("mongodb://a,b/?replicaSet=x&w=1&journal=false&readConcernLevel=local&readPreference=secondary")
	cfg.Username, cfg.Password = "u", "p"
	o, err := cfg.options()
	must(t, err)
	if o.WriteConcern.W != "majority" || !*o.WriteConcern.Journal || o.ReadConcern.Level != "majority" || o.ReadPreference.Mode().String() != "primary" {
		t.Errorf("write concern %v, read concern %v, read preference %v", o.WriteConcern, o.ReadConcern, o.ReadPreference)
	}
	if o.Auth == nil || o.Auth.Username != "u" || o.Auth.AuthSource != "admin" {
		t.Errorf("credentials are not taken from their variables")
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Open(testConfig("mongodb://127.0.0.1:1/?directConnection=true"), nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	must(t, s.Run(ctx))
	must(t, s.Close(context.Background()))
	must(t, s.Close(context.Background()))
}

func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, s := range []string{"", "a", "ü", "%", "%25", "a%", "\xff", "a\xffb", "%FF", "\x00", "a\xc3", "100%er"} {
		enc := text(s)
		if untext(enc) != s {
			t.Errorf("%q becomes %q and then %q", s, enc, untext(enc))
		}
		if other, twice := seen[enc]; twice {
			t.Errorf("%q and %q both become %q", s, other, enc)
		}
		seen[enc] = s
	}
}

package hdfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// leaseEnds is more than HDFS takes to give up a dead writer's lease: 60 s,
// and some for the recovery of its blocks.
const leaseEnds = 2 * time.Minute

// ownHDFS starts an HDFS that a test may break.
func ownHDFS(t *testing.T) *services.HDFS {
	t.Helper()
	cache := os.Getenv(services.CacheVariable)
	if cache == "" || testing.Short() {
		t.Skipf("starts servers of its own and waits for leases to end: runs where %s is set, without -short", services.CacheVariable)
	}
	software, err := services.Cached(t.Context(), cache, services.KindHDFS)
	if err != nil {
		t.Fatal(err)
	}
	h, err := services.StartHDFS(t.Context(), services.Options{Software: software, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Kill(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// faultConfig finds out soon that something is wrong.
func faultConfig(t *testing.T, nameNodes ...string) Config {
	cfg := configFor(t, nameNodes...)
	cfg.DialTimeout, cfg.CallTimeout, cfg.WriteTimeout = time.Second, 3*time.Second, 3*time.Second
	return cfg
}

func newBlock(arrival time.Time, size int) (store.Block, error) {
	id, err := event.NewBatchID()
	if err != nil {
		return store.Block{}, err
	}
	container, err := event.EncodeBatch(&event.Batch{ID: id, ReceivedAt: arrival, Instance: strings.Repeat("i", size)})
	if err != nil {
		return store.Block{}, err
	}
	data, err := event.BlockOf(container)
	return store.Block{Batch: id, ReceivedAt: arrival, Data: data}, err
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// traffic appends until it is stopped and remembers what was acknowledged.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[event.BatchID]bool
	refused      int
	slowest      time.Duration // call
	wrong        error
}

const appendDeadline = 5 * time.Second

func send(a *Archive, writers int) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	tr := &traffic{cancel: cancel, acknowledged: map[event.BatchID]bool{}}
	for range writers {
		tr.done.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				tr.one(a)
				<-pace.C
			}
		})
	}
	return tr
}

func (tr *traffic) one(a *Archive) {
	b, err := newBlock(noon, 1000)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), appendDeadline)
		defer cancel()
		start := time.Now()
		err = a.Append(ctx, []store.Block{b})
		tr.mu.Lock()
		tr.slowest = max(tr.slowest, time.Since(start))
		tr.mu.Unlock()
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch {
	case err == nil:
		tr.acknowledged[b.Batch] = true
	case fault.Is(err, fault.Transient):
		tr.refused++
	default:
		tr.wrong = err
	}
}

func (tr *traffic) count() (acknowledged, refused int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.acknowledged), tr.refused
}

func (tr *traffic) stop(t *testing.T) map[event.BatchID]bool {
	t.Helper()
	tr.cancel()
	tr.done.Wait()
	t.Logf("%d batches acknowledged, %d refused; the slowest call took %s", len(tr.acknowledged), tr.refused, tr.slowest.Round(time.Millisecond))
	if tr.wrong != nil {
		t.Errorf("an error is not transient: %v", tr.wrong)
	}
	if tr.slowest > appendDeadline+2*time.Second {
		t.Errorf("a call took %s with a deadline of %s", tr.slowest, appendDeadline)
	}
	return tr.acknowledged
}

// eventually waits for a condition.
func eventually(t *testing.T, within time.Duration, what string, fn func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !fn() {
		select {
		case <-deadline:
			t.Fatalf("waited %s in vain: %s", within, what)
		case <-tick.C:
		}
	}
}

// completeAll ticks until every acknowledged batch was told, and compares what
// was told with what stands in complete files.
func completeAll(t *testing.T, acknowledged, told map[event.BatchID]bool, archives ...*Archive) {
	t.Helper()
	said := ""
	eventually(t, leaseEnds, "some acknowledged batches were not told", func() bool {
		for _, a := range archives {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			ids, err := a.Complete(ctx, time.Now(), store.ClosePolicy{})
			cancel()
			if err != nil && err.Error() != said {
				said = err.Error()
				t.Logf("a tick failed: %v", err)
			}
			for _, id := range ids {
				told[id] = true
			}
		}
		for id := range acknowledged {
			if !told[id] {
				return false
			}
		}
		return true
	})
	read, blocks := readAll(t, archives[0])
	for id := range acknowledged {
		if !read[id] {
			t.Errorf("acknowledged batch %s is not in a complete file", id)
		}
	}
	for id := range told {
		if !read[id] {
			t.Errorf("batch %s was told and is not in a complete file", id)
		}
	}
	t.Logf("%d batches told, %d read from %d blocks", len(told), len(read), blocks)
}

// readAll reads every complete file whole.
func readAll(t *testing.T, a *Archive) (batches map[event.BatchID]bool, blocks int) {
	t.Helper()
	files, err := a.List(t.Context(), -1<<31, 1<<31-1)
	if err != nil {
		t.Fatal(err)
	}
	batches = map[event.BatchID]bool{}
	for _, f := range files {
		if !f.Complete {
			continue
		}
		r, err := a.Open(t.Context(), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		end, ids, err := event.ScanBlocks(r)
		if err != nil || end != f.Bytes {
			t.Errorf("file %+v has whole blocks up to byte %d: %v", f, end, err)
		}
		for _, id := range ids {
			batches[id] = true
		}
		blocks += len(ids)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	return batches, blocks
}

// An answer says that the DataNodes have the block, not that it was sent.
func TestAppendWaitsForDataNodes(t *testing.T) {
	t.Parallel() // it waits for a lease to end
	h := ownHDFS(t)
	removed := faultConfig(t, h.Addr())
	a := mustOpen(t, removed)
	taken := func() (b store.Block) {
		eventually(t, 30*time.Second, "it takes nothing", func() bool {
			var err error
			if b, err = newBlock(noon, 1000); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), appendDeadline)
			defer cancel()
			return a.Append(ctx, []store.Block{b}) == nil
		})
		return b
	}
	first := taken()
	if err := h.DataNode.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	second, err := newBlock(noon, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Append(ctx, []store.Block{second}); err == nil || !fault.Is(err, fault.Transient) {
		t.Errorf("a DataNode that stands still has acknowledged: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the call took %s with a deadline of one second", took)
	}
	if _, err := a.List(t.Context(), 0, 1<<30); err != nil {
		t.Errorf("cannot list meanwhile: %v", err)
	}
	if err := h.DataNode.Resume(); err != nil {
		t.Fatal(err)
	}
	third := taken()
	completeAll(t, map[event.BatchID]bool{first.Batch: true, third.Batch: true}, map[event.BatchID]bool{}, a)
}

// An instance did not reach HDFS for longer than its lock lasts, and nothing is
// written afterwards: what it has acknowledged is completed all the same.
func TestLostLockOfAnIdleInstance(t *testing.T) {
	t.Parallel() // it waits for a lease to end
	a := mustOpen(t, testConfig(t))
	b, err := newBlock(noon, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Append(t.Context(), []store.Block{b}); err != nil {
		t.Fatal(err)
	}
	pulse := &a.me.session.pulse
	pulse.mu.Lock()
	pulse.lost = true
	pulse.mu.Unlock()
	completeAll(t, map[event.BatchID]bool{b.Batch: true}, map[event.BatchID]bool{}, a)
}

// Nodes of HDFS die under load and come back; nothing that was acknowledged is
// lost, and the archive goes on without a restart.
func TestNodesKilled(t *testing.T) {
	t.Parallel() // it waits for a lease to end
	h := ownHDFS(t)
	a := mustOpen(t, faultConfig(t, h.Addr()))
	tr := send(a, 8)
	progress := func(what string) {
		t.Helper()
		before, _ := tr.count()
		eventually(t, 40*time.Second, what, func() bool { n, _ := tr.count(); return n > before+100 })
	}
	progress("nothing was acknowledged at first")
	for _, node := range []*services.Server{h.DataNode, h.NameNode} {
		if err := node.Kill(); err != nil {
			t.Fatal(err)
		}
		if node == h.NameNode {
			progress("an open file takes blocks without a NameNode, too")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if ids, err := a.Complete(ctx, time.Now(), store.ClosePolicy{}); err == nil {
				t.Errorf("completed %d batches without a NameNode", len(ids))
			}
			cancel()
			eventually(t, function.Fresh+10*time.Second, "it stays ready without a NameNode", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				return a.Ready(ctx) != nil
			})
			progress("a tick without a NameNode closes no file")
		} else {
			_, before := tr.count()
			eventually(t, 30*time.Second, "nothing is refused without DataNodes", func() bool { _, n := tr.count(); return n > before+20 })
		}
		if err := node.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "it is not ready again", func() bool { return a.Ready(t.Context()) == nil })
		progress(node.Name() + " came back")
	}
	acknowledged := tr.stop(t)
	completeAll(t, acknowledged, map[event.BatchID]bool{}, a)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.left) > 0 || a.pending != 0 {
		t.Errorf("%d files and %d bytes are left", len(a.left), a.pending)
	}
}

// childRoot, in the environment of a child process, is "host:port root": it
// writes there until it is killed, and says what was acknowledged.
const childRoot = "FOOTFALL_TEST_HDFS_CHILD"

func TestMain(m *testing.M) {
	if where := os.Getenv(childRoot); where != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(where, os.Stdout))
		os.Exit(1)
	}
	if where := os.Getenv(carerRoot); where != "" {
		fmt.Fprintln(os.Stderr, careUntilKilled(where, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(where string, out io.Writer) error {
	address, root, _ := strings.Cut(where, " ")
	a, err := Open(Config{
		NameNodes: []string{address}, User: "footfall", Root: root, FolderMode: "750", FileMode: "640", BlockBytes: 1 << 20, OpenFiles: 2,
		DialTimeout: 3 * time.Second, CallTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range 8 {
		go func() {
			for {
				b, err := newBlock(noon.Add(time.Duration(i%3)*time.Hour), 100_000)
				if err == nil {
					err = a.Append(context.Background(), []store.Block{b})
				}
				if err == nil {
					_, err = fmt.Fprintln(out, b.Batch)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// A killed writer's files are recovered by whoever comes first, each once,
// while two others try the same and one of them writes on.
func TestKilledWriter(t *testing.T) {
	t.Parallel() // it waits for a lease to end
	if testing.Short() {
		t.Skip("waits for a lease to end")
	}
	cfg := testConfig(t)
	removeRoot(t, cfg)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), childRoot+"="+cfg.NameNodes[0]+" "+cfg.Root)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[event.BatchID]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := event.ParseBatchID(lines.Text())
		if err != nil {
			continue // cut by the kill
		}
		if acknowledged[id] = true; len(acknowledged) == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || complaint.Len() > 0 {
		t.Fatalf("the child ended by itself: %v: %s", err, complaint.String())
	}
	t.Logf("%d batches were acknowledged before the kill", len(acknowledged))

	archives := []*Archive{mustOpen(t, cfg), mustOpen(t, cfg), mustOpen(t, cfg)}
	tr := send(archives[0], 2)
	progress, _ := tr.count()
	eventually(t, 20*time.Second, "another instance writes meanwhile", func() bool { n, _ := tr.count(); return n > progress+10 })
	var mu sync.Mutex
	told, recovered, twice := map[event.BatchID]bool{}, 0, 0
	var wg sync.WaitGroup
	stop, end := context.WithTimeout(t.Context(), leaseEnds)
	defer end()
	for _, a := range archives {
		wg.Go(func() {
			for stop.Err() == nil {
				ids, err := a.Complete(stop, time.Now(), store.ClosePolicy{Idle: time.Hour})
				if err != nil && stop.Err() == nil {
					t.Errorf("a tick failed: %v", err)
				}
				mu.Lock()
				for _, id := range ids {
					if told[id] {
						twice++
					}
					told[id] = true
					if acknowledged[id] {
						recovered++
					}
				}
				if recovered >= len(acknowledged) {
					end()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if recovered != len(acknowledged) || twice > 0 {
		t.Errorf("%d of %d batches were told, %d more than once", recovered, len(acknowledged), twice)
	}
	for id := range tr.stop(t) {
		acknowledged[id] = true
	}
	completeAll(t, acknowledged, told, archives...)
	for _, a := range archives {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if entries, err := readDir(clientOf(t, cfg), paths{cfg.Root}.open()); err != nil || len(entries) > 0 {
		t.Errorf("folders of %d instances are left: %v", len(entries), err)
	}
}

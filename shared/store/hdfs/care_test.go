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
	"testing"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// carerRoot, in the environment of a child process, is "host:port root": it
// writes small files there and replaces them, until it is killed.
const carerRoot = "FOOTFALL_TEST_HDFS_CARER"

func careUntilKilled(where string, out io.Writer) error {
	address, root, _ := strings.Cut(where, " ")
	a, err := Open(Config{
		NameNodes: []string{address}, User: "footfall", Root: root, FolderMode: "750", FileMode: "640", BlockBytes: 1 << 20, OpenFiles: 2,
		DialTimeout: 3 * time.Second, CallTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx := context.Background()
	for n := 0; ; n++ {
		b, err := newBlock(noon, 50_000)
		if err == nil {
			err = a.Append(ctx, []store.Block{b})
		}
		if err == nil {
			_, err = a.Complete(ctx, time.Now(), store.ClosePolicy{})
		}
		if err == nil {
			_, err = fmt.Fprintln(out, b.Batch)
		}
		if err == nil && n%2 == 1 {
			err = replaceAll(ctx, a, time.Now())
		}
		if err != nil {
			return err
		}
	}
}

// replaceAll makes one file of all in noon's hour, and removes what was replaced before.
func replaceAll(ctx context.Context, a *Archive, at time.Time) error {
	hour := event.HourOf(noon)
	files, err := a.List(ctx, hour, hour+1)
	if err != nil {
		return err
	}
	r := store.Replacement{Hour: hour, At: at}
	for _, f := range files {
		if f.Complete {
			r.Sources = append(r.Sources, f.Path)
		}
	}
	if _, err := a.Replace(ctx, r); err != nil {
		return err
	}
	_, _, err = a.Sweep(ctx, hour, at)
	return err
}

// Somebody who looks after an hour is killed at a moment of chance. Every batch
// stands in a list once at any time; a minute later another one goes on, and
// the dead one's calls, should they still arrive, do nothing.
func TestKilledCarer(t *testing.T) {
	t.Parallel() // it waits for leases to end
	if testing.Short() {
		t.Skip("waits for leases to end")
	}
	cfg := testConfig(t)
	removeRoot(t, cfg)
	acknowledged := killCarer(t, cfg, 21)

	a := mustOpen(t, cfg)
	exact := func(when string) {
		t.Helper()
		batches, blocks := readAll(t, a)
		for id := range acknowledged {
			if !batches[id] {
				t.Errorf("%s: batch %s is missing", when, id)
			}
		}
		if blocks != len(batches) {
			t.Errorf("%s: %d batches stand in %d blocks", when, len(batches), blocks)
		}
	}
	exact("after the kill")
	eventually(t, leaseEnds, "nobody can look after the hour", func() bool {
		err := replaceAll(t.Context(), a, time.Now())
		if err != nil && !fault.Is(err, fault.Conflict) {
			t.Fatal(err)
		}
		return err == nil
	})
	exact("after another one went on")

	// One that stands still just before it switches.
	hour := event.HourOf(noon)
	files, err := a.List(t.Context(), hour, hour+1)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v: %v", files, err)
	}
	s, err := a.sessions.begin()
	if err != nil {
		t.Fatal(err)
	}
	still := &carer{Archive: a, hour: hour, session: s, dir: a.paths.hour(hour), own: a.paths.care(hour)}
	if err := still.take(); err != nil {
		t.Fatal(err)
	}
	r := store.Replacement{Hour: hour, Sources: []string{files[0].Path}}
	note, err := store.NewReplacement(r)
	if err != nil {
		t.Fatal(err)
	}
	err = still.make(t.Context(), note.File, func(w io.Writer) error {
		_, err := store.CopyBlocks(t.Context(), w, r, func(path string) (io.ReadCloser, error) { return a.open(t.Context(), cfg.Root+"/"+path) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceAll(t.Context(), a, time.Now()); !fault.Is(err, fault.Conflict) {
		t.Errorf("two look after an hour at once: %v", err)
	}
	s.close()
	eventually(t, leaseEnds, "nobody can look after the hour", func() bool { return replaceAll(t.Context(), a, time.Now()) == nil })
	if still.session, err = a.sessions.begin(); err != nil {
		t.Fatal(err)
	}
	defer still.session.close()
	if err := still.rename(note.File, note.File); err == nil {
		t.Error("one that had lost the hour has switched")
	}
	exact("at the end")
	if _, _, err := a.Sweep(t.Context(), hour, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	exact("after it was swept")
	if left, err := readDir(clientOf(t, cfg), a.paths.hour(hour)); err != nil || len(left) != 1 {
		t.Errorf("%d files are left in the hour's folder: %v", len(left), err)
	}
	if left, err := readDir(clientOf(t, cfg), cfg.Root+"/_care"); err != nil || len(left) != 0 {
		t.Errorf("%d folders of locks are left: %v", len(left), err)
	}
}

// killCarer kills a child after it has completed so many files.
func killCarer(t *testing.T, cfg Config, files int) map[event.BatchID]bool {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), carerRoot+"="+cfg.NameNodes[0]+" "+cfg.Root)
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
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, err := event.ParseBatchID(lines.Text())
		if err != nil {
			continue // cut by the kill
		}
		if acknowledged[id] = true; len(acknowledged) == files {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || complaint.Len() > 0 {
		t.Fatalf("the child ended by itself: %v: %s", err, complaint.String())
	}
	return acknowledged
}

package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// crashDir names, in the environment of a child process, the data folder on
// which it works until it is killed.
const crashDir = "FOOTFALL_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled(dir, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// workUntilKilled writes to every store and says on out what was acknowledged.
func workUntilKilled(dir string, out io.Writer) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	appended := 0
	work := map[string]func(event.BatchID) error{
		"journal": func(id event.BatchID) error { return s.Journal.Append(ctx, []store.JournalRow{crashRow(id)}) },
		"marked": func(id event.BatchID) error {
			return s.Journal.Mark(ctx, store.StageArchived, []store.JournalRow{crashRow(id)})
		},
		"archive": func(id event.BatchID) error {
			b, err := crashBlock(id)
			if err != nil {
				return err
			}
			if appended++; appended%20 == 0 {
				if _, err := s.Archive.Complete(ctx, time.Now(), store.ClosePolicy{}); err != nil {
					return err
				}
			}
			return s.Archive.Append(ctx, []store.Block{b})
		},
		"processed": func(id event.BatchID) error { return s.Processed.Put(ctx, crashPut(id)) },
		"revision": func(id event.BatchID) error {
			put := crashPut(id)
			put.Docs[0].Key.Revision = 2
			return s.Processed.PutRevision(ctx, 2, put.Docs, put.Rejects)
		},
		"queue": func(id event.BatchID) error {
			return s.Processed.Mark(ctx, []store.Mark{{Merchant: "m", Queue: 3, Hour: crashHour, Batch: id}})
		},
		"resolved": func(id event.BatchID) error {
			put := crashPut(id)
			put.Docs[0].Key.Merchant, put.Rejects[0].Merchant = "r", "r"
			if err := s.Processed.Put(ctx, store.Put{Batch: id, Rejects: put.Rejects}); err != nil {
				return err
			}
			again := resolved(id)
			put.Docs[0].Key.Batch = again
			return s.Processed.Resolve(ctx, store.Put{Batch: again, Docs: put.Docs}, put.Rejects)
		},
		"visitors": func(id event.BatchID) error {
			// Durable with the next write that is.
			if _, err := s.Visitors.See(ctx, "m", 1, []uint64{crashUser(id)}, []int64{1}, nil); err != nil {
				return err
			}
			return s.Processed.Put(ctx, crashPut(id))
		},
	}
	failed := make(chan error)
	for kind, do := range work {
		go func() {
			for {
				id, err := event.NewBatchID()
				if err == nil {
					err = do(id)
				}
				if err == nil {
					_, err = fmt.Fprintf(out, "%s %s\n", kind, id)
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

const crashHour = event.Hour(100)

// resolved is the batch that a batch's rejects become.
func resolved(id event.BatchID) event.BatchID {
	id[15] ^= 1
	return id
}

func crashRow(id event.BatchID) store.JournalRow {
	return store.JournalRow{
		Batch: id, ReceivedAt: crashHour.Start(), Payload: id[:],
		Counts: []event.StreamHour{{Stream: "G-A", Hour: crashHour, Events: 1}},
	}
}

func crashBlock(id event.BatchID) (store.Block, error) {
	c, err := event.EncodeBatch(&event.Batch{ID: id, ReceivedAt: crashHour.Start(), Instance: strings.Repeat("i", 1000)})
	if err != nil {
		return store.Block{}, err
	}
	data, err := event.BlockOf(c)
	return store.Block{Batch: id, ReceivedAt: crashHour.Start(), Data: data}, err
}

func crashPut(id event.BatchID) store.Put {
	return store.Put{
		Batch:   id,
		Docs:    []store.Doc{{Key: store.DocKey{Merchant: "m", Hour: crashHour, Revision: 1, Batch: id}, Events: 1, Data: id[:]}},
		Rejects: []store.Reject{{Merchant: "m", Hour: crashHour, Batch: id, Reason: "invalid"}},
	}
}

func crashUser(id event.BatchID) uint64 { return (&decoder{b: id[8:]}).uint64() }

// TestKilled kills a process that writes, some times, and then looks for
// everything that it had acknowledged.
func TestKilled(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acknowledged := map[string]map[event.BatchID]bool{}
	for range 4 {
		runAndKill(t, exe, dir, 400+rand.IntN(400), acknowledged)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := context.Background()
	missing := func(kind string, have map[event.BatchID]bool) {
		t.Helper()
		if len(acknowledged[kind]) == 0 {
			t.Errorf("%s acknowledged nothing", kind)
		}
		lost := 0
		for id := range acknowledged[kind] {
			if !have[id] {
				lost++
			}
		}
		t.Logf("%s: %d acknowledged, %d lost", kind, len(acknowledged[kind]), lost)
		if lost > 0 {
			t.Errorf("%s: %d of %d acknowledged are lost", kind, lost, len(acknowledged[kind]))
		}
	}

	rows, err := s.Journal.Unfinished(ctx, store.AllStages, time.Time{}, time.Now(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	have := map[event.BatchID]bool{}
	for _, r := range rows {
		have[r.Batch] = true
		if p, err := s.Journal.Payload(ctx, r.Batch); r.Stages == 0 && (err != nil || event.BatchID(p) != r.Batch) {
			t.Errorf("payload of batch %s is %x: %v", r.Batch, p, err)
		}
	}
	missing("journal", have)
	missing("marked", have)
	counts, err := s.Journal.Counts(ctx, []string{"G-A"}, crashHour, crashHour+1)
	if err != nil || len(counts) != 1 || counts[0].Accepted != int64(len(rows)) || counts[0].Pending != int64(len(rows)) {
		t.Errorf("counts are %+v, expected %d of each: %v", counts, len(rows), err)
	}

	have = map[event.BatchID]bool{}
	docs := int64(0)
	err = s.Processed.Scan(ctx, "m", 1, crashHour, crashHour+1, func(d store.Doc) error {
		have[d.Key.Batch] = event.BatchID(d.Data) == d.Key.Batch
		docs++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	missing("processed", have)
	marks, err := s.Processed.Marks(ctx, "m", liveQueue, crashHour, crashHour+1)
	if err != nil || int64(len(marks)) != docs {
		t.Errorf("%d marks for %d documents: %v", len(marks), docs, err)
	}
	rejects, err := s.Processed.RejectCounts(ctx, "m", nil, crashHour, crashHour+1)
	if err != nil || len(rejects) != 1 || rejects[0].Events != docs {
		t.Errorf("rejects are %+v, expected %d: %v", rejects, docs, err)
	}

	checkRevision(t, s, missing)
	checkResolved(t, s, missing)

	have = map[event.BatchID]bool{}
	queued, err := s.Processed.Marks(ctx, "m", []store.Queue{3}, crashHour, crashHour+1)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range queued {
		have[m.Batch] = true
	}
	missing("queue", have)

	have = map[event.BatchID]bool{}
	for id := range acknowledged["visitors"] {
		at, err := s.Visitors.FirstSeen(ctx, "m", 1, []uint64{crashUser(id)})
		if err != nil {
			t.Fatal(err)
		}
		have[id] = at[0] == 1
	}
	missing("visitors", have)

	if _, err := s.Archive.Complete(ctx, time.Now(), store.ClosePolicy{}); err != nil {
		t.Fatal(err)
	}
	missing("archive", archived(t, s))
}

// checkRevision looks for what PutRevision wrote, each document with its reject.
func checkRevision(t *testing.T, s *Stores, missing func(string, map[event.BatchID]bool)) {
	t.Helper()
	ctx := context.Background()
	have := map[event.BatchID]bool{}
	if err := s.Processed.Scan(ctx, "m", 2, crashHour, crashHour+1, func(d store.Doc) error {
		have[d.Key.Batch] = event.BatchID(d.Data) == d.Key.Batch
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	missing("revision", have)
	layers := access.Layers{{Revision: 2, From: 0, To: 1 << 47}}
	rejects, err := s.Processed.RejectCounts(ctx, "m", layers, crashHour, crashHour+1)
	if err != nil || len(rejects) != 1 || rejects[0].Events != int64(len(have)) {
		t.Errorf("rejects are %+v, expected %d: %v", rejects, len(have), err)
	}
}

// checkResolved looks for what rejects became, which are listed no more.
func checkResolved(t *testing.T, s *Stores, missing func(string, map[event.BatchID]bool)) {
	t.Helper()
	ctx := context.Background()
	have := map[event.BatchID]bool{}
	if err := s.Processed.Scan(ctx, "r", 1, crashHour, crashHour+1, func(d store.Doc) error {
		have[resolved(d.Key.Batch)] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	missing("resolved", have)
	left, _, err := s.Processed.Rejects(ctx, "r", nil, crashHour, crashHour+1, "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range left {
		if have[r.Batch] {
			t.Errorf("batch %s is counted and listed as rejected", r.Batch)
		}
	}
	counts, err := s.Processed.RejectCounts(ctx, "r", nil, crashHour, crashHour+1)
	if err != nil || len(left) > 0 && (len(counts) != 1 || counts[0].Events != int64(len(left))) || len(left) == 0 && len(counts) > 0 {
		t.Errorf("counts are %+v, expected %d: %v", counts, len(left), err)
	}
}

// archived is every batch that stands in a file of the archive, all complete.
func archived(t *testing.T, s *Stores) map[event.BatchID]bool {
	t.Helper()
	files, err := s.Archive.List(context.Background(), -1<<31, 1<<31-1)
	if err != nil {
		t.Fatal(err)
	}
	have := map[event.BatchID]bool{}
	for _, f := range files {
		r, err := s.Archive.Open(context.Background(), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		end, ids, err := event.ScanBlocks(r)
		if err != nil || end != f.Bytes {
			t.Errorf("file %+v has whole blocks up to byte %d: %v", f, end, err)
		}
		for _, id := range ids {
			have[id] = true
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return have
}

// runAndKill lets a child acknowledge so many writes and kills it.
func runAndKill(t *testing.T, exe, dir string, writes int, acknowledged map[string]map[event.BatchID]bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == writes {
			// What stands in the pipe after it was acknowledged, too.
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		kind, hex, whole := strings.Cut(lines.Text(), " ")
		id, err := event.ParseBatchID(hex)
		if !whole || err != nil {
			continue // cut by the kill
		}
		if acknowledged[kind] == nil {
			acknowledged[kind] = map[event.BatchID]bool{}
		}
		acknowledged[kind][id] = true
	}
	if err := cmd.Wait(); err == nil || complaint.Len() > 0 {
		t.Fatalf("the child ended by itself: %v: %s", err, complaint.String())
	}
}

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// careOptions are those of an archive alone.
func careOptions(fs vfs.FS) Options {
	o := Options{FS: fs, Logger: slog.New(slog.DiscardHandler)}
	return o.withDefaults()
}

func mustArchive(t *testing.T, fs vfs.FS) *archive {
	t.Helper()
	a, err := newArchive("/data/archive", careOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// addFile makes a complete file of some batches.
func addFile(t *testing.T, a *archive, ids ...event.BatchID) {
	t.Helper()
	for _, id := range ids {
		b, err := crashBlock(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Append(t.Context(), []store.Block{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Complete(t.Context(), time.Now(), store.ClosePolicy{}); err != nil {
		t.Fatal(err)
	}
}

// blocksOf are the batches of all complete files that a list gives, in order.
func blocksOf(t *testing.T, a *archive) []event.BatchID {
	t.Helper()
	ids, err := tryBlocks(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func listed(t *testing.T, a *archive) []store.ArchiveFile {
	t.Helper()
	files, err := a.List(t.Context(), -1<<31, 1<<31-1)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A process dies at each step of replacing and sweeping, and what was not
// synced may be lost or not. Each batch stands in the list once, before and
// after another process has cleared up.
func TestCareCrashes(t *testing.T) {
	t.Parallel()
	var want []event.BatchID
	for i := range 4 {
		want = append(want, event.BatchID{15: byte(i)})
	}
	const at = 1_000_000
	care := func(ctx context.Context, a *archive) error {
		for round := range int64(2) { // the second replaces what the first has written
			files, err := a.List(ctx, crashHour, crashHour+1)
			if err != nil {
				return err
			}
			r := store.Replacement{Hour: crashHour, At: time.Unix(at+round, 0)}
			for _, f := range files[:3-round] {
				r.Sources = append(r.Sources, f.Path)
			}
			if _, err := a.Replace(ctx, r); err != nil {
				return err
			}
		}
		_, _, err := a.Sweep(ctx, crashHour, time.Unix(at+9, 0))
		return err
	}
	for step := int64(0); ; step++ {
		fs := vfs.NewCrashableMem()
		a := mustArchive(t, fs)
		for _, id := range want {
			addFile(t, a, id)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		var steps atomic.Int64
		dying := mustArchive(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(errorfs.Op) error {
			if steps.Add(1) > step {
				return errors.New("dead")
			}
			return nil
		})))
		err := care(t.Context(), dying)
		percent := rand.IntN(101)
		what := fmt.Sprintf("death at step %d, %d percent of what was not synced is left", step, percent)
		next := mustArchive(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(step)))}))
		if got := blocksOf(t, next); !slices.Equal(got, want) {
			t.Fatalf("%s: found batches %v", what, got)
		}
		if _, err := next.Complete(t.Context(), time.Now(), store.ClosePolicy{}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for range 2 {
			if _, _, err := next.Sweep(t.Context(), crashHour, time.Unix(at+9, 0)); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := blocksOf(t, next); !slices.Equal(got, want) {
				t.Fatalf("%s: found batches %v after it was swept", what, got)
			}
		}
		names, nameErr := next.names(next.folder(crashHour))
		if nameErr != nil || len(names) != len(listed(t, next)) {
			t.Fatalf("%s: %v is left: %v", what, names, nameErr)
		}
		if err == nil {
			if len(names) != 1 {
				t.Fatalf("%v is left without a death", names)
			}
			t.Logf("%d steps", step)
			return
		}
	}
}

// What could still be rescued from a damaged file is not thrown away.
func TestReplaceDamaged(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	a := mustArchive(t, fs)
	addFile(t, a, event.BatchID{1})
	addFile(t, a, event.BatchID{2}, event.BatchID{3})
	files := listed(t, a)
	path := a.fs.PathJoin(a.folder(crashHour), files[1].Path[strings.LastIndexByte(files[1].Path, '/')+1:])
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{0xff}, int64(len(event.ContainerHeader())+20))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = a.Replace(t.Context(), store.Replacement{Hour: crashHour, Sources: []string{files[0].Path, files[1].Path}})
	var damaged *store.DamagedFileError
	if !errors.As(err, &damaged) || damaged.Path != files[1].Path {
		t.Fatalf("error is %v, expected that %q is damaged", err, files[1].Path)
	}
	if after := listed(t, a); !slices.Equal(after, files) {
		t.Fatalf("files are %v, were %v", after, files)
	}
	names, err := a.names(a.folder(crashHour))
	if err != nil || len(names) != 2 {
		t.Fatalf("%v is left: %v", names, err)
	}
}

// On a real disk a folder is listed in more than one step.
func TestListBesideReplace(t *testing.T) {
	t.Parallel()
	a, err := newArchive(t.TempDir(), careOptions(vfs.Default))
	if err != nil {
		t.Fatal(err)
	}
	var want []event.BatchID
	for i := range 30 {
		want = append(want, event.BatchID{15: byte(i)})
		addFile(t, a, want[i])
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for round := range 29 {
				files, err := a.List(t.Context(), crashHour, crashHour+1)
				if err != nil {
					return err
				}
				at := time.Unix(int64(round), 0)
				_, err = a.Replace(t.Context(), store.Replacement{Hour: crashHour, At: at, Sources: []string{files[0].Path, files[len(files)-1].Path}})
				if err == nil {
					_, _, err = a.Sweep(t.Context(), crashHour, at.Add(-3*time.Second))
				}
				if err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d reads", reads)
			return
		default:
		}
		if got, err := tryBlocks(t.Context(), a); err != nil && !errors.Is(err, errGone) {
			t.Fatal(err)
		} else if err == nil && !slices.Equal(got, want) {
			t.Fatalf("found batches %v", got)
		}
	}
}

var errGone = errors.New("a listed file is gone")

func tryBlocks(ctx context.Context, a *archive) (ids []event.BatchID, err error) {
	files, err := a.List(ctx, crashHour, crashHour+1)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := a.Open(ctx, f.Path)
		if err != nil {
			return nil, errors.Join(errGone, err)
		}
		end, found, err := event.ScanBlocks(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		if end != f.Bytes {
			return nil, fmt.Errorf("file %+v has whole blocks up to byte %d", f, end)
		}
		ids = append(ids, found...)
	}
	slices.SortFunc(ids, func(a, b event.BatchID) int { return strings.Compare(a.String(), b.String()) })
	return ids, nil
}

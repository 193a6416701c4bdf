package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }

// List implements store.Archive.
func (a *archive) List(ctx context.Context, from, to event.Hour) (files []store.ArchiveFile, err error) {
	const what = "list the archive"
	if err := ctx.Err(); err != nil {
		return nil, failed(what, err)
	}
	if err := a.use.begin(); err != nil {
		return nil, failed(what, err)
	}
	defer a.use.end()
	err = a.walk(ctx, from, to, func(h event.Hour, dir string) error {
		found, err := a.listHour(ctx, h, dir)
		files = append(files, found...)
		return err
	})
	if err != nil {
		return nil, failed(what, err)
	}
	return files, nil
}

// listHour lists the files of an hour that count, by path. What changes beside
// it is looked at again.
func (a *archive) listHour(ctx context.Context, h event.Hour, dir string) ([]store.ArchiveFile, error) {
	for range 1000 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		before, err := a.names(dir)
		if err != nil {
			return nil, err
		}
		names, err := a.names(dir)
		if err != nil {
			return nil, err
		}
		if !store.SameSwitches(before, names) {
			continue
		}
		notes, err := store.ReadNotes(names, a.reads(dir))
		var files []store.ArchiveFile
		if err == nil {
			files, err = a.stat(h, dir, names, notes.Replaced())
		}
		if !isNotExist(err) {
			return files, err
		}
	}
	return nil, fmt.Errorf("folder %q changes faster than it can be listed", dir)
}

// names are the names in a folder, in order; none where there is no folder.
func (a *archive) names(dir string) ([]string, error) {
	names, err := a.fs.List(dir)
	if isNotExist(err) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

// reads reads small files of a folder.
func (a *archive) reads(dir string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		f, err := a.fs.Open(a.fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(f)
		return data, errors.Join(err, f.Close())
	}
}

// stat is the files among the names of a folder that are not replaced.
func (a *archive) stat(h event.Hour, dir string, names []string, replaced map[string]bool) (files []store.ArchiveFile, err error) {
	for _, name := range names {
		isComplete := strings.HasSuffix(name, complete)
		if replaced[name] || !isComplete && !strings.HasSuffix(name, beingOpen) {
			continue
		}
		info, err := a.fs.Stat(a.fs.PathJoin(dir, name))
		if !isComplete && isNotExist(err) { // completed while we looked
			name, isComplete = strings.TrimSuffix(name, ".open"), true
			info, err = a.fs.Stat(a.fs.PathJoin(dir, name))
		}
		if err != nil {
			return nil, err
		}
		files = append(files, store.ArchiveFile{Path: hourDir(h) + "/" + name, Hour: h, Bytes: info.Size(), Complete: isComplete})
	}
	slices.SortFunc(files, func(a, b store.ArchiveFile) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(files, func(a, b store.ArchiveFile) bool { return a.Path == b.Path }), nil
}

// ListArchive lists the archive of a data folder without opening the folder:
// it only reads, beside whatever process writes there.
func ListArchive(ctx context.Context, dir string, from, to event.Hour) ([]store.ArchiveFile, error) {
	a, err := newArchive(dir, Options{}.withDefaults())
	if err != nil {
		return nil, err
	}
	return a.List(ctx, from, to)
}

// walk calls fn with the folders of hours in [from, to), in order. It reads only
// folders that can hold such hours, and passes over what is no folder of ours.
func (a *archive) walk(ctx context.Context, from, to event.Hour, fn func(h event.Hour, dir string) error) error {
	if from >= to {
		return nil
	}
	var visit func(dir string, at []int) error
	visit = func(dir string, at []int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(at) == 4 {
			start, _ := store.FolderSpan(at)
			return fn(event.HourOf(start), dir)
		}
		names, err := a.names(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			n, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			next := append(at[:len(at):len(at)], n)
			if start, end := store.FolderSpan(next); end.After(from.Start()) && start.Before(to.Start()) {
				if err := visit(a.fs.PathJoin(dir, name), next); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return visit(a.dir, nil)
}

// recoverOnce completes what dead processes left open, at the first call that
// succeeds. Nobody else writes to those files, so appends go on meanwhile.
func (a *archive) recoverOnce() (found []event.BatchID, err error) {
	a.scan.Lock()
	defer a.scan.Unlock()
	if a.scanned {
		return nil, nil
	}
	const first, last = event.Hour(-1 << 31), event.Hour(1<<31 - 1)
	var errs error
	err = a.walk(context.Background(), first, last, func(_ event.Hour, dir string) error {
		names, err := a.names(dir)
		for _, name := range names {
			path := a.fs.PathJoin(dir, name)
			switch {
			case strings.HasPrefix(name, a.instance+"-"):
			case strings.HasSuffix(name, ".part"):
				errs = errors.Join(errs, a.fs.Remove(path))
			case strings.HasSuffix(name, beingOpen):
				ids, err := a.recoverFile(path)
				found = append(found, ids...)
				errs = errors.Join(errs, err)
			}
		}
		return err
	})
	err = errors.Join(err, errs)
	a.scanned = err == nil
	return found, err
}

// recoverFile completes an open file that ends anyhow: it is cut after its
// last whole block. It returns the batches that it holds.
func (a *archive) recoverFile(path string) ([]event.BatchID, error) {
	f, err := a.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	end, ids, scanErr := event.ScanBlocks(f)
	info, err := f.Stat()
	if err == nil {
		// Bytes that were read may be in the system's memory only.
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	final := strings.TrimSuffix(path, ".open")
	switch {
	case len(ids) > 0 && end == info.Size():
		return ids, a.rename(path)
	case len(ids) > 0:
		if err := a.copyHead(path, final, end); err != nil {
			return nil, err
		}
	}
	if scanErr != nil {
		// Whole blocks behind a broken one are not thrown away. Their batches
		// are not told as archived, so the journal brings them here again.
		a.log.Error("an archive file is damaged; what could be read of it is complete, the file is kept as it was",
			"file", path+".damaged", "whole_bytes", end, "bytes", info.Size(), "error", scanErr)
		err = a.fs.Rename(path, final+".damaged")
	} else {
		a.log.Warn("cut an archive file that was not closed", "file", final, "whole_bytes", end, "bytes", info.Size())
		err = a.fs.Remove(path)
	}
	if err = errors.Join(err, syncDir(a.fs, a.fs.PathDir(path))); err != nil {
		return nil, err
	}
	return ids, nil
}

// copyHead copies the first n bytes of a file to a new one that has its name
// only once it is whole and durable.
func (a *archive) copyHead(from, to string, n int64) (err error) {
	src, err := a.fs.Open(from, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := a.fs.Create(to+".part", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.CopyN(dst, src, n)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	if err := a.fs.Rename(to+".part", to); err != nil {
		return err
	}
	return syncDir(a.fs, a.fs.PathDir(to))
}

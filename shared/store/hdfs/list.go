package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// List implements store.Archive.
func (a *Archive) List(ctx context.Context, from, to event.Hour) ([]store.ArchiveFile, error) {
	var files []store.ArchiveFile
	err := a.within(ctx, a.reading, func() error {
		return a.ask(ctx, func(c *hdfs.Client) (err error) {
			files, err = a.list(ctx, c, from, to)
			return err
		})
	})
	if err != nil {
		return nil, failed("list the archive", err)
	}
	return files, nil
}

func (a *Archive) list(ctx context.Context, c *hdfs.Client, from, to event.Hour) ([]store.ArchiveFile, error) {
	// Open files first: one that is completed meanwhile is then found twice,
	// not never.
	open, err := a.listOpen(ctx, c, from, to)
	if err != nil {
		return nil, err
	}
	var files []store.ArchiveFile
	complete := make(map[string]bool)
	err = a.walk(ctx, c, a.paths.root, nil, from, to, func(h event.Hour, dir string) error {
		found, err := a.listHour(ctx, c, h, dir)
		for _, f := range found {
			complete[f.Path] = true
		}
		files = append(files, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range open {
		if !complete[f.relativeFinalPath()] {
			files = append(files, store.ArchiveFile{Path: f.relativePath(), Hour: f.hour, Bytes: f.bytes})
		}
	}
	slices.SortFunc(files, func(a, b store.ArchiveFile) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(files, func(a, b store.ArchiveFile) bool { return a.Path == b.Path }), nil
}

type listed struct {
	openFile
	bytes int64
}

func (a *Archive) listOpen(ctx context.Context, c *hdfs.Client, from, to event.Hour) (files []listed, err error) {
	instances, err := readDir(c, a.paths.open())
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !i.IsDir() {
			continue
		}
		entries, err := readDir(c, a.paths.instance(i.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if f, ok := parseOpen(i.Name(), e.Name()); ok && f.hour >= from && f.hour < to {
				files = append(files, listed{f, e.Size()})
			}
		}
	}
	return files, nil
}

// readDir is the content of a folder; nothing where there is none.
func readDir(c *hdfs.Client, path string) ([]os.FileInfo, error) {
	entries, err := c.ReadDir(path)
	if isMissing(err) {
		return nil, nil
	}
	return entries, err
}

// onePage is how many entries a NameNode surely lists in one step
// (dfs.ls.limit is 1,000); a longer folder comes in pages.
const onePage = 100

// folder is what stands in an hour's folder.
type folder struct {
	entries map[string]os.FileInfo
	names   []string
	notes   store.ReplacementNotes
}

// readHour reads an hour's folder as it is at one moment. What changes beside
// it is looked at again.
func (a *Archive) readHour(ctx context.Context, c *hdfs.Client, dir string) (*folder, error) {
	for range 100 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := &folder{entries: make(map[string]os.FileInfo)}
		entries, err := readDir(c, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() {
				f.entries[e.Name()] = e
				f.names = append(f.names, e.Name())
			}
		}
		if len(entries) >= onePage {
			again, err := readDir(c, dir)
			if err != nil {
				return nil, err
			}
			names := make([]string, len(again))
			for i, e := range again {
				names[i] = e.Name()
			}
			if !store.SameSwitches(f.names, names) {
				continue
			}
		}
		f.notes, err = store.ReadNotes(f.names, func(name string) ([]byte, error) {
			r, err := a.open(ctx, dir+"/"+name)
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(r)
			return data, errors.Join(err, r.Close())
		})
		if !isMissing(err) {
			return f, err
		}
	}
	return nil, fmt.Errorf("folder %q changes faster than it can be listed", dir)
}

// listHour lists the complete files of an hour that are not replaced, by path.
func (a *Archive) listHour(ctx context.Context, c *hdfs.Client, h event.Hour, dir string) ([]store.ArchiveFile, error) {
	folder, err := a.readHour(ctx, c, dir)
	if err != nil {
		return nil, err
	}
	var files []store.ArchiveFile
	replaced := folder.notes.Replaced()
	for name, e := range folder.entries {
		if strings.HasSuffix(name, ".avro") && !strings.HasPrefix(name, "_") && !replaced[name] {
			files = append(files, store.ArchiveFile{Path: hourDir(h) + "/" + name, Hour: h, Bytes: e.Size(), Complete: true})
		}
	}
	return files, nil
}

// walk calls fn with the folders of hours in [from, to), in order. It reads only
// folders that can hold such hours, and passes over what is no folder of ours. at
// is the folder's year, month, day and hour, as far as it goes.
func (a *Archive) walk(ctx context.Context, c *hdfs.Client, dir string, at []int, from, to event.Hour, fn func(h event.Hour, dir string) error) error {
	if err := ctx.Err(); err != nil || from >= to {
		return err
	}
	if len(at) == 4 {
		start, _ := store.FolderSpan(at)
		return fn(event.HourOf(start), dir)
	}
	entries, err := readDir(c, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		next := append(at[:len(at):len(at)], n)
		if start, end := store.FolderSpan(next); end.After(from.Start()) && start.Before(to.Start()) {
			if err := a.walk(ctx, c, dir+"/"+e.Name(), next, from, to, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// Open implements store.Archive.
func (a *Archive) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	what := "open archive file " + strconv.Quote(path)
	if !isComplete(path) {
		return nil, failed(what, fault.New(fault.NotFound, "expected YYYY/MM/DD/HH/name.avro"))
	}
	var r *reader
	err := a.within(ctx, a.reading, func() (err error) {
		r, err = a.open(ctx, a.paths.root+"/"+path)
		return err
	})
	if isMissing(err) {
		return nil, failed(what, fault.New(fault.NotFound, "there is no such file"))
	}
	if err != nil {
		return nil, failed(what, err)
	}
	return r, nil
}

// isComplete reports whether a path is one of a complete file.
func isComplete(path string) bool {
	parts := strings.Split(path, "/")
	ok := len(parts) == 5 && strings.HasSuffix(path, ".avro") && !strings.HasPrefix(parts[0], "_")
	for _, p := range parts {
		ok = ok && p != "" && p != "." && p != ".." && !strings.ContainsAny(p, `\:`)
	}
	return ok
}

func (a *Archive) open(ctx context.Context, path string) (*reader, error) {
	var f *hdfs.FileReader
	err := a.ask(ctx, func(c *hdfs.Client) (err error) {
		f, err = c.Open(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.Stat().IsDir() {
		return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	return &reader{FileReader: f, timeout: a.cfg.CallTimeout}, nil
}

// reader reads a file, each read within a deadline.
type reader struct {
	*hdfs.FileReader
	timeout time.Duration
	failed  error
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.SetDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, err
	}
	n, err := r.FileReader.Read(p)
	if isGone(err) {
		err = fault.New(fault.NotFound, "it was removed before it was read: %w", errors.Join(os.ErrNotExist, err))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // the client returns it bare
		r.failed = err
	}
	return n, err
}

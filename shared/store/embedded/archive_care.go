package embedded

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// Hours implements store.ArchiveCare.
func (a *archive) Hours(ctx context.Context, from, to event.Hour, limit int) (hours []event.Hour, err error) {
	const what = "list the hours of the archive"
	if err := a.use.begin(); err != nil {
		return nil, failed(what, err)
	}
	defer a.use.end()
	enough := errors.New("enough")
	err = a.walk(ctx, from, to, func(h event.Hour, _ string) error {
		if len(hours) >= limit {
			return enough
		}
		hours = append(hours, h)
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, failed(what, err)
	}
	return hours, nil
}

// caring runs fn alone among those who care for the archive. fn looks at ctx.
func (a *archive) caring(ctx context.Context, what string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return failed(what, err)
	}
	if err := a.use.begin(); err != nil {
		return failed(what, err)
	}
	select {
	case a.care <- struct{}{}:
	case <-ctx.Done():
		a.use.end()
		return failed(what, ctx.Err())
	}
	err := within(ctx, apart, func() error {
		defer a.use.end()
		defer func() { <-a.care }()
		return fn()
	})
	if err != nil {
		return failed(what, err)
	}
	return nil
}

// folder is the folder of an hour.
func (a *archive) folder(h event.Hour) string {
	return a.fs.PathJoin(a.dir, a.fs.PathJoin(strings.Split(hourDir(h), "/")...))
}

// Replace implements store.ArchiveCare.
func (a *archive) Replace(ctx context.Context, r store.Replacement) (store.Replaced, error) {
	var done store.Replaced
	err := a.caring(ctx, "replace files of the archive", func() (err error) {
		done, err = a.replace(ctx, r)
		return err
	})
	if err != nil {
		return store.Replaced{}, err
	}
	return done, nil
}

func (a *archive) replace(ctx context.Context, r store.Replacement) (done store.Replaced, err error) {
	dir := a.folder(r.Hour)
	files, err := a.listHour(ctx, r.Hour, dir)
	if err != nil {
		return done, err
	}
	if err := store.CheckSources(r, files); err != nil {
		return done, err
	}
	note, err := store.NewReplacement(r)
	if err != nil {
		return done, err
	}
	part := a.fs.PathJoin(dir, a.instance+"-"+note.File+".part")
	defer func() {
		if err != nil {
			_ = a.fs.Remove(part) // or the next process does
		}
	}()
	err = a.create(part, func(f vfs.File) (err error) {
		done, err = store.CopyBlocks(ctx, f, r, a.openComplete)
		return err
	})
	if err != nil {
		return done, err
	}
	text, err := note.Encode()
	if err != nil {
		return done, err
	}
	notePart := a.fs.PathJoin(dir, a.instance+"-"+note.File+".note.part")
	err = a.create(notePart, func(f vfs.File) error {
		_, err := f.Write(text)
		return err
	})
	if err != nil {
		return done, errors.Join(err, a.fs.Remove(notePart))
	}
	if err := a.fs.Rename(notePart, a.fs.PathJoin(dir, note.Name())); err != nil {
		return done, err
	}
	if err := syncDir(a.fs, dir); err != nil {
		return done, err
	}
	if err := ctx.Err(); err != nil {
		return done, err // nobody would be told
	}
	if err := a.fs.Rename(part, a.fs.PathJoin(dir, note.File)); err != nil {
		return done, err
	}
	done.File.Path = hourDir(r.Hour) + "/" + note.File
	return done, syncDir(a.fs, dir)
}

// create makes a durable file of what fn writes to it.
func (a *archive) create(path string, fn func(vfs.File) error) error {
	f, err := a.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err = fn(f); err == nil && !a.noSync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Sweep implements store.ArchiveCare.
func (a *archive) Sweep(ctx context.Context, hour event.Hour, before time.Time) (removed, left int, err error) {
	err = a.caring(ctx, "sweep an hour of the archive", func() (err error) {
		removed, left, err = a.sweep(ctx, a.folder(hour), before)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return removed, left, nil
}

func (a *archive) sweep(ctx context.Context, dir string, before time.Time) (removed, left int, err error) {
	names, err := a.names(dir)
	if err != nil {
		return 0, 0, err
	}
	notes, err := store.ReadNotes(names, a.reads(dir))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range notes.Inert { // of a Replace that was cut off
		if err := a.fs.Remove(a.fs.PathJoin(dir, name)); err != nil && !isNotExist(err) {
			return 0, 0, err
		}
	}
	for _, n := range notes.Due(before) {
		if err := ctx.Err(); err != nil {
			return removed, 0, err
		}
		for _, s := range n.Sources {
			switch err := a.fs.Remove(a.fs.PathJoin(dir, s)); {
			case err == nil:
				removed++
			case !isNotExist(err):
				return removed, 0, err
			}
		}
		// Durably gone before the note is: a crash must not bring them back alone.
		if err := syncDir(a.fs, dir); err != nil {
			return removed, 0, err
		}
		if err := a.fs.Remove(a.fs.PathJoin(dir, n.Name())); err != nil && !isNotExist(err) {
			return removed, 0, err
		}
	}
	for replaced := range notes.Replaced() {
		if slices.Contains(names, replaced) {
			left++
		}
	}
	return removed, left - removed, nil
}

// Drop implements store.ArchiveCare.
func (a *archive) Drop(ctx context.Context, hour event.Hour) (done store.Dropped, err error) {
	err = a.caring(ctx, "drop an hour of the archive", func() (err error) {
		done, err = a.drop(ctx, a.folder(hour))
		return err
	})
	if err != nil {
		return store.Dropped{}, err
	}
	return done, nil
}

func (a *archive) drop(ctx context.Context, dir string) (done store.Dropped, err error) {
	names, err := a.names(dir)
	if err != nil || names == nil {
		return done, err
	}
	open := 0
	// Notes, which begin with an underscore, go after the files that they are about.
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.TrimLeft(a, "_"), strings.TrimLeft(b, "_")) })
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if strings.HasSuffix(name, beingOpen) || strings.HasSuffix(name, ".part") {
			open++
			continue
		}
		path := a.fs.PathJoin(dir, name)
		info, err := a.fs.Stat(path)
		if err == nil {
			err = a.fs.Remove(path)
		}
		if isNotExist(err) {
			continue
		}
		if err != nil {
			return done, err
		}
		if strings.HasSuffix(name, complete) {
			done.Files++
			done.Bytes += info.Size()
		}
	}
	if err := syncDir(a.fs, dir); err != nil || open > 0 {
		return done, err
	}
	// An hour without files has no folder, nor has a day without hours.
	for dir != a.dir && a.fs.Remove(dir) == nil {
		dir = a.fs.PathDir(dir)
	}
	return done, syncDir(a.fs, dir)
}

package hdfs

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/store"
)

// Hours implements store.ArchiveCare.
func (a *Archive) Hours(ctx context.Context, from, to event.Hour, limit int) ([]event.Hour, error) {
	var hours []event.Hour
	enough := errors.New("enough")
	err := a.within(ctx, a.reading, func() error {
		return a.ask(ctx, func(c *hdfs.Client) error {
			hours = nil
			err := a.walk(ctx, c, a.paths.root, nil, from, to, func(h event.Hour, _ string) error {
				if len(hours) >= limit {
					return enough
				}
				hours = append(hours, h)
				return nil
			})
			if errors.Is(err, enough) {
				return nil
			}
			return err
		})
	})
	if err != nil {
		return nil, failed("list the hours of the archive", err)
	}
	return hours, nil
}

// carer is who looks after an hour, alone among all processes: it has the lease
// of a lock. One that does not notice that it has lost it (it stood still for a
// minute) can do nothing any more: who takes the lock removes what the last one
// was making, and only what was made before can be switched to.
type carer struct {
	*Archive
	hour    event.Hour
	session *session
	dir     string // of the hour
	own     string // of the lock, and of files that are being made
}

const careLock = "lock"

// caring runs fn as the carer of an hour.
func (a *Archive) caring(ctx context.Context, what string, hour event.Hour, fn func(c *carer) error) error {
	err := a.within(ctx, a.care, func() (err error) {
		s, err := a.sessions.begin()
		if err != nil {
			return err
		}
		defer s.close()
		c := &carer{Archive: a, hour: hour, session: s, dir: a.paths.hour(hour), own: a.paths.care(hour)}
		if err := c.take(); err != nil {
			return err
		}
		// Where it fails, the lease ends in a minute.
		defer func() { err = errors.Join(err, c.leave()) }()
		return fn(c)
	})
	if err != nil {
		return failed(what, err)
	}
	return nil
}

// take takes the lock, and removes what the last one has left.
func (c *carer) take() error {
	mode, err := parseMode(c.cfg.FolderMode)
	if err != nil {
		return err
	}
	if err := c.session.client.MkdirAll(c.own, mode); err != nil {
		return err
	}
	lock, err := c.takeLease(c.session, c.own+"/"+careLock)
	if err != nil {
		return err
	}
	if lock == nil {
		return fault.New(fault.Conflict, "another process looks after hour %s", c.hour)
	}
	entries, err := readDir(c.session.client, c.own)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != careLock {
			if err := c.remove(c.own + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *carer) leave() error {
	if !c.session.pulse.held() {
		return nil // not ours any more
	}
	if err := c.remove(c.own + "/" + careLock); err != nil {
		return err
	}
	// Another one may have come meanwhile: then the folder is not empty.
	_ = c.session.client.Remove(c.own)
	return nil
}

// remove removes a file that may be gone.
func (c *carer) remove(path string) error {
	if err := c.session.client.Remove(path); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// make makes a file, which only the holder of the lock can give its final name.
func (c *carer) make(ctx context.Context, name string, fn func(io.Writer) error) error {
	err := c.createWith(ctx, c.session, c.own+"/"+name, func(w io.Writer) error {
		// The file is there, so from here on who takes the lock removes it.
		if !c.session.pulse.held() {
			return errLost
		}
		return fn(w)
	})
	return err
}

var errLost = errors.New("HDFS was not reached for too long: another process may look after the hour now")

// rename gives a file that was made its final name.
func (c *carer) rename(name, final string) error {
	err := c.session.client.Rename(c.own+"/"+name, c.dir+"/"+final)
	if isMissing(err) {
		// It has its name, where the answer to an earlier try got lost.
		if _, there := c.session.client.Stat(c.dir + "/" + final); there == nil {
			return nil
		}
		return errLost
	}
	return err
}

// Replace implements store.ArchiveCare.
func (a *Archive) Replace(ctx context.Context, r store.Replacement) (store.Replaced, error) {
	var done store.Replaced
	err := a.caring(ctx, "replace files of the archive", r.Hour, func(c *carer) (err error) {
		done, err = c.replace(ctx, r)
		return err
	})
	if err != nil {
		return store.Replaced{}, err
	}
	return done, nil
}

func (c *carer) replace(ctx context.Context, r store.Replacement) (store.Replaced, error) {
	var done store.Replaced
	files, err := c.listHour(ctx, c.session.client, c.hour, c.dir)
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
	err = c.make(ctx, note.File, func(w io.Writer) (err error) {
		done, err = store.CopyBlocks(ctx, w, r, func(path string) (io.ReadCloser, error) {
			return c.open(ctx, c.paths.root+"/"+path)
		})
		return err
	})
	if err != nil {
		return done, err
	}
	text, err := note.Encode()
	if err != nil {
		return done, err
	}
	err = c.make(ctx, note.Name(), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return done, err
	}
	if err := c.rename(note.Name(), note.Name()); err != nil {
		return done, err
	}
	if err := ctx.Err(); err != nil {
		return done, err // nobody would be told
	}
	if err := c.rename(note.File, note.File); err != nil {
		return done, err
	}
	done.File.Path = hourDir(c.hour) + "/" + note.File
	return done, nil
}

// Sweep implements store.ArchiveCare.
func (a *Archive) Sweep(ctx context.Context, hour event.Hour, before time.Time) (removed, left int, err error) {
	err = a.caring(ctx, "sweep an hour of the archive", hour, func(c *carer) (err error) {
		removed, left, err = c.sweep(ctx, before)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return removed, left, nil
}

func (c *carer) sweep(ctx context.Context, before time.Time) (removed, left int, err error) {
	f, err := c.readHour(ctx, c.session.client, c.dir)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range f.notes.Inert { // of a Replace that was cut off
		if err := c.remove(c.dir + "/" + name); err != nil {
			return 0, 0, err
		}
	}
	for _, n := range f.notes.Due(before) {
		for _, s := range n.Sources {
			if err := ctx.Err(); err != nil {
				return removed, 0, err
			}
			if f.entries[s] == nil {
				continue
			}
			if err := c.remove(c.dir + "/" + s); err != nil {
				return removed, 0, err
			}
			delete(f.entries, s)
			removed++
		}
		if err := c.remove(c.dir + "/" + n.Name()); err != nil {
			return removed, 0, err
		}
	}
	for name := range f.notes.Replaced() {
		if f.entries[name] != nil {
			left++
		}
	}
	return removed, left, nil
}

// Drop implements store.ArchiveCare.
func (a *Archive) Drop(ctx context.Context, hour event.Hour) (done store.Dropped, err error) {
	err = a.caring(ctx, "drop an hour of the archive", hour, func(c *carer) (err error) {
		done, err = c.drop(ctx)
		return err
	})
	if err != nil {
		return store.Dropped{}, err
	}
	return done, nil
}

func (c *carer) drop(ctx context.Context) (done store.Dropped, err error) {
	f, err := c.readHour(ctx, c.session.client, c.dir)
	if err != nil {
		return done, err
	}
	// Notes, which begin with an underscore, go after the files that they are about.
	slices.SortFunc(f.names, func(a, b string) int { return strings.Compare(strings.TrimLeft(a, "_"), strings.TrimLeft(b, "_")) })
	for _, name := range f.names {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if err := c.remove(c.dir + "/" + name); err != nil {
			return done, err
		}
		if strings.HasSuffix(name, ".avro") {
			done.Files++
			done.Bytes += f.entries[name].Size()
		}
	}
	// An hour without files has no folder, nor has a day without hours. HDFS
	// refuses to remove one that is not empty.
	for dir := c.dir; dir != c.paths.root && c.session.client.Remove(dir) == nil; {
		dir = dir[:strings.LastIndexByte(dir, '/')]
	}
	return done, nil
}

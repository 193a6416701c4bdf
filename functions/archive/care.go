package archive

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// What one tick does at most: it begins nothing new after careTime, and one
// thing is a merged file, or a dropped hour.
const (
	careTime    = 40 * time.Second
	hoursAtOnce = 100  // of old ones that are looked at, and of those that are dropped
	mostSources = 1000 // of a merged file
	mostRows    = 1000 // of the journal that are looked at before hours are dropped
)

// recentHours are looked at by every process; older ones once in its life.
const recentHours = 48

// carer merges small files and drops old hours, a little with each tick. What
// it remembers spares work and decides nothing: another process, or this one
// after a restart, finds the same by looking at the archive.
type carer struct {
	archive store.Archive
	journal store.Journal
	cfg     Config
	clock   function.Clock
	log     *slog.Logger

	mu      sync.Mutex
	looked  map[event.Hour]time.Time // hours that were looked at, and when to look again; zero = never
	walked  event.Hour               // of older hours those before it have been looked at
	damaged map[string]bool          // files that cannot be merged
	needed  int                      // old hours that the journal needs, as was last logged
}

func newCarer(cfg Config, archive store.Archive, journal store.Journal, clock function.Clock, log *slog.Logger) *carer {
	return &carer{
		archive: archive, journal: journal, cfg: cfg, clock: clock, log: log,
		looked: make(map[event.Hour]time.Time), walked: firstHour, damaged: make(map[string]bool),
	}
}

const firstHour = event.Hour(-1 << 31)

// care does what there is to do within its time.
func (c *carer) care(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, until := c.clock(), time.Now().Add(careTime)
	return errors.Join(c.drop(ctx, now, until), c.merge(ctx, now, until))
}

// drop drops whole hours that are past the retention, oldest first, but none
// with a batch that is not archived and processed: the journal may have lost
// its payload, or never had it, and then the archive is where it is.
func (c *carer) drop(ctx context.Context, now time.Time, until time.Time) error {
	if c.cfg.Retention == 0 {
		return nil
	}
	end := event.HourOf(now.Add(-c.cfg.Retention)) // hours before it have ended that long ago
	hours, err := c.archive.Hours(ctx, firstHour, end, hoursAtOnce)
	if err != nil || len(hours) == 0 {
		return err
	}
	needed, known, err := c.neededHours(ctx, end)
	if err != nil {
		return err
	}
	var sum store.Dropped
	dropped, kept := 0, 0
	var errs error
	for _, h := range hours {
		if h >= known || needed[h] {
			kept++
			continue
		}
		if ctx.Err() != nil || time.Now().After(until) {
			break
		}
		done, err := c.archive.Drop(ctx, h)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		delete(c.looked, h)
		if done.Files > 0 {
			dropped++
		}
		sum.Files += done.Files
		sum.Bytes += done.Bytes
	}
	if dropped > 0 {
		c.log.Info("dropped hours of the archive that are past its retention", "function", "archive",
			"hours", dropped, "files", sum.Files, "bytes", sum.Bytes, "before", end.Start())
	}
	if kept != c.needed {
		c.log.Warn("hours of the archive are past its retention, but the journal has unfinished batches of them", "function", "archive", "hours", kept)
		c.needed = kept
	}
	return errs
}

// neededHours are hours with a batch that is not finished, and those beside
// them. Of hours from known on it does not say.
func (c *carer) neededHours(ctx context.Context, end event.Hour) (needed map[event.Hour]bool, known event.Hour, err error) {
	rows, err := c.journal.Unfinished(ctx, store.StageArchived|store.StageProcessed, time.Time{}, end.End(), mostRows)
	if err != nil {
		return nil, 0, err
	}
	needed = make(map[event.Hour]bool)
	for _, r := range rows {
		h := event.HourOf(r.ReceivedAt)
		needed[h-1], needed[h], needed[h+1] = true, true, true
	}
	if len(rows) == mostRows {
		return needed, event.HourOf(rows[len(rows)-1].ReceivedAt) - 1, nil
	}
	return needed, end, nil
}

// merge looks at hours that ended a while ago: recent ones, those to be looked
// at again, and some older ones.
func (c *carer) merge(ctx context.Context, now time.Time, until time.Time) error {
	if c.cfg.MergeFiles == 0 {
		return nil
	}
	end := event.HourOf(now.Add(-c.cfg.MergeAfter))
	recent, err := c.archive.Hours(ctx, end-recentHours, end, recentHours)
	if err != nil {
		return err
	}
	older, err := c.archive.Hours(ctx, c.walked, end-recentHours, hoursAtOnce)
	if err != nil {
		return err
	}
	look := make(map[event.Hour]bool)
	for _, h := range slices.Concat(recent, older) {
		if _, known := c.looked[h]; !known {
			look[h] = true
		}
	}
	for h, again := range c.looked {
		if !again.IsZero() && !again.After(now) {
			look[h] = true
		}
	}
	var errs error
	for _, h := range slices.Sorted(maps.Keys(look)) {
		if ctx.Err() != nil || time.Now().After(until) {
			break
		}
		again, err := c.mergeHour(ctx, h, now, until)
		if err != nil && !fault.Is(err, fault.Conflict) { // somebody else is at it
			errs = errors.Join(errs, err)
		}
		c.looked[h] = again
	}
	for _, h := range older {
		again, known := c.looked[h]
		if !known {
			break
		}
		c.walked = h + 1
		if again.IsZero() {
			delete(c.looked, h)
		}
	}
	return errs
}

// mergeHour sweeps and merges an hour. It says when to look at it again: never
// where nothing is left to do.
func (c *carer) mergeHour(ctx context.Context, h event.Hour, now, until time.Time) (again time.Time, err error) {
	soon, later := now.Add(time.Minute), now.Add(c.cfg.MergeKeep+time.Second)
	removed, left, err := c.archive.Sweep(ctx, h, now.Add(-c.cfg.MergeKeep))
	if err != nil {
		return soon, err
	}
	if removed > 0 {
		c.log.Info("removed files of the archive that others replaced", "function", "archive", "hour", h, "files", removed)
	}
	files, err := c.archive.List(ctx, h, h+1)
	if err != nil {
		return soon, err
	}
	for _, sources := range c.cfg.groups(files, c.damaged) {
		if time.Now().After(until) {
			return now, nil
		}
		done, err := c.archive.Replace(ctx, store.Replacement{Hour: h, Sources: sources, At: now})
		var damaged *store.DamagedFileError
		if errors.As(err, &damaged) {
			c.damaged[damaged.Path] = true // the others are merged without it
			c.log.Error("a file of the archive cannot be merged", "function", "archive", "error", err)
			return soon, nil
		}
		if err != nil {
			return soon, err
		}
		left += len(sources)
		c.log.Info("merged small files of the archive", "function", "archive", "hour", h,
			"files", len(sources), "bytes", done.File.Bytes, "batches", done.Batches, "doubled", done.Doubled, "file", done.File.Path)
	}
	if left > 0 {
		return later, nil
	}
	return time.Time{}, nil
}

// groups are the files that are to be merged, each group into one: neighbours
// that fill a file together, where there are enough of them. A file that is half
// full already stays as it is.
func (c *Config) groups(files []store.ArchiveFile, damaged map[string]bool) (groups [][]string) {
	var group []string
	size := int64(0)
	end := func() {
		if len(group) >= c.MergeFiles {
			groups = append(groups, group)
		}
		group, size = nil, 0
	}
	for _, f := range files {
		if !f.Complete || f.Bytes > c.FileBytes/2 || damaged[f.Path] {
			continue
		}
		if size+f.Bytes > c.FileBytes || len(group) == mostSources {
			end()
		}
		group = append(group, f.Path)
		size += f.Bytes
	}
	end()
	return groups
}

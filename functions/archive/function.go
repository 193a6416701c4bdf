package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// Config is the function's configuration from the environment.
type Config struct {
	FileBytes int64         `env:"ARCHIVE_FILE_BYTES" envDefault:"268435456"` // a file is completed at this size,
	FileAge   time.Duration `env:"ARCHIVE_FILE_AGE" envDefault:"1h"`          // this long after its first batch
	FileIdle  time.Duration `env:"ARCHIVE_FILE_IDLE" envDefault:"2m"`         // or this long after its last

	// Small files of an hour are merged, MergeFiles or more at a time (0: never),
	// from MergeAfter after its end. For MergeKeep the merged ones can be read
	// still, by those who found them in a list: a job that reads the archive
	// for longer than that may have to begin again.
	MergeFiles int           `env:"ARCHIVE_MERGE_FILES" envDefault:"4"`
	MergeAfter time.Duration `env:"ARCHIVE_MERGE_AFTER" envDefault:"2h"`
	MergeKeep  time.Duration `env:"ARCHIVE_MERGE_KEEP" envDefault:"6h"`
	// Retention is how long after an hour's end its files are removed; 0: never.
	Retention time.Duration `env:"ARCHIVE_RETENTION" envDefault:"0"`
}

// minKeep is more than listing an hour takes.
const minKeep = time.Minute

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if c.FileBytes < event.MaxBatchBytes {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_FILE_BYTES", "at least 716800, the size of a batch"))
	}
	if c.FileAge <= 0 {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_FILE_AGE", "a positive duration"))
	}
	if c.FileIdle <= 0 {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_FILE_IDLE", "a positive duration"))
	}
	if c.MergeFiles < 0 || c.MergeFiles == 1 {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_MERGE_FILES", "at least 2, or 0 to merge nothing"))
	}
	if c.MergeFiles > 0 && c.MergeAfter <= c.FileAge {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_MERGE_AFTER", "longer than FOOTFALL_ARCHIVE_FILE_AGE: an hour's files are complete by then"))
	}
	if c.MergeFiles > 0 && c.MergeKeep < minKeep {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_MERGE_KEEP", "at least "+minKeep.String()))
	}
	if c.Retention < 0 || c.Retention > 0 && c.Retention < minRetention {
		faults = append(faults, fault.Field("FOOTFALL_ARCHIVE_RETENTION", "at least "+minRetention.String()+", or 0 to keep files for ever"))
	}
	return errors.Join(faults...)
}

// minRetention keeps a slip of the pen from emptying the archive.
const minRetention = 24 * time.Hour

// tickDeadline is within the five minutes of the Trigger archive-ticks.
const tickDeadline = 280 * time.Second

// markAtOnce is how many batches are marked in one write to the journal.
const markAtOnce = 1000

// Service handles accepted batches and ticks.
type Service struct {
	archive store.Archive
	journal store.Journal
	policy  store.ClosePolicy
	clock   function.Clock
	log     *slog.Logger

	carer *carer
	ticks function.EventHandler

	mu       sync.Mutex // completions do not overlap
	unmarked []event.BatchID
	rest     bool         // the last completion did not do all it should, or told the journal of
	appended atomic.Int64 // when the last batch came, ns of the machine's clock
}

// New makes the service.
func New(cfg Config, archive store.Archive, journal store.Journal, clock function.Clock, log *slog.Logger) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{
		archive: archive, journal: journal, clock: clock, log: log,
		policy: store.ClosePolicy{Bytes: cfg.FileBytes, Age: cfg.FileAge, Idle: cfg.FileIdle},
	}
	s.carer = newCarer(cfg, archive, journal, clock, log)
	s.ticks = function.Coalesce(func(ctx context.Context, _ cloudevents.Event) error {
		if err := s.complete(ctx, s.policy); err != nil {
			return err
		}
		// What fails of this is tried again by a later tick, and need not hold
		// up this one.
		if err := s.carer.care(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot look after files of the archive", "function", "archive", "error", err)
		}
		return nil
	})
	return s, nil
}

// Function is the service as its runner serves it. Close completes the files
// that this process writes, so that they can be read before another process
// has recovered them; a process that is killed instead loses nothing.
func (s *Service) Function() function.Function {
	return function.Function{
		Name:   "archive",
		Events: map[string]function.EventHandler{"/batches": s.Append, "/ticks": s.Tick},
		// The first tick completes what a dead process left, however much.
		Deadlines: map[string]time.Duration{"/ticks": tickDeadline},
		Run:       s.run,
		Close:     s.close,
	}
}

// close completes what this process writes. Where the archive or the journal
// is away it leaves that to a later tick, as a process that is killed does.
func (s *Service) close(ctx context.Context) error {
	err := s.complete(ctx, store.ClosePolicy{})
	if err != nil && fault.KindOf(err) == fault.Transient {
		s.log.Warn("cannot complete the last files; a tick of another process does", "function", "archive", "error", err)
		return nil
	}
	return err
}

// Append takes a footfall.batch.accepted.v1. nil means that the batch stands
// in a file and survives a crash.
func (s *Service) Append(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeBatchAccepted {
		return fault.Field("type", event.TypeBatchAccepted)
	}
	id, err := event.ParseBatchID(e.ID())
	if err != nil {
		return &fault.Error{Kind: fault.Invalid, Field: "id", Expected: "a batch id", Err: err}
	}
	block, err := event.BlockOf(e.Data())
	if err != nil {
		return fault.New(fault.Invalid, "cannot archive batch %q: %w", e.ID(), err)
	}
	received := e.Time()
	if received.IsZero() {
		received = s.openedAt(id)
	}
	err = s.archive.Append(ctx, []store.Block{{Batch: id, ReceivedAt: received, Data: block}})
	s.appended.Store(time.Now().UnixNano()) // also of one that failed: it may stand in a file
	return err
}

// run completes the files of this process when they are due. Of many instances
// one gets a tick, and it is not the same each time: without this, files would
// stay open for minutes times instances. A process that writes nothing does
// nothing.
func (s *Service) run(ctx context.Context) error {
	every := max(s.policy.Idle/2, 10*time.Millisecond)
	beat := time.NewTicker(every)
	defer beat.Stop()
	failing := false
	settled := int64(0) // of appended: since then all files have been idle, and completed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		last := s.appended.Load()
		s.mu.Lock()
		idle := !s.rest && last == settled
		s.mu.Unlock()
		if idle {
			continue
		}
		// A beat may come late, however late: what counts is a completion that
		// began when the last file had been idle for long enough.
		due := time.Since(time.Unix(0, last)) >= s.policy.Idle+every
		completing, cancel := context.WithTimeout(ctx, tickDeadline)
		err := s.complete(completing, s.policy)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.Warn("cannot complete files of the archive; trying again", "function", "archive", "error", err)
		}
		if failing = err != nil; !failing && due {
			settled = last
		}
	}
}

// Tick takes a ping with tick=archive: it completes the files that are due,
// merges small ones and drops old ones. Ticks that come together share a run.
func (s *Service) Tick(ctx context.Context, e cloudevents.Event) error {
	if tick, _ := e.Extensions()[event.ExtensionTick].(string); tick != "archive" {
		return fault.Field(event.ExtensionTick, "archive")
	}
	return s.ticks(ctx, e)
}

// complete completes files and tells the journal. The archive names a batch
// once, so what the journal did not take is kept for the next time.
func (s *Service) complete(ctx context.Context, policy store.ClosePolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	done, err := s.archive.Complete(ctx, s.clock(), policy)
	s.unmarked = append(s.unmarked, done...)
	for err == nil && len(s.unmarked) > 0 {
		part := s.unmarked[:min(markAtOnce, len(s.unmarked))]
		rows := make([]store.JournalRow, len(part))
		for i, id := range part {
			// Counts stay unknown to who reads no event. Where the journal has
			// no row, the ETL's mark brings them.
			rows[i] = store.JournalRow{Batch: id, ReceivedAt: s.openedAt(id), Stages: store.StageArchived}
		}
		if err = s.journal.Mark(ctx, store.StageArchived, rows); err == nil {
			s.unmarked = s.unmarked[len(part):]
		}
	}
	if len(s.unmarked) == 0 {
		s.unmarked = nil
	}
	s.rest = err != nil
	if len(done) > 0 {
		s.log.Info("completed files of the archive", "function", "archive", "batches", len(done))
	}
	return err
}

// openedAt is the instant in a batch's id (UUIDv7: ms since the Unix epoch in
// its first 48 bits); now, where an id is of another kind.
func (s *Service) openedAt(id event.BatchID) time.Time {
	if id[6]>>4 != 7 {
		return s.clock()
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

const (
	markEvery = 500 * time.Millisecond
	maxMarks  = 20_000 // waiting; a lost mark only means that a tick publishes again
	// marksTogether are written at once: few enough that a journal which is slow,
	// as after an outage, when many come, takes some within the deadline.
	marksTogether = 100
)

// marks tells the journal which batches are published: some time after, many
// at once, because nobody waits for it.
type marks struct {
	journal store.Journal
	clock   function.Clock
	timeout time.Duration
	log     *slog.Logger

	mu      sync.Mutex
	rows    []store.JournalRow
	timer   *time.Timer // runs while rows wait
	closed  bool
	writing sync.Mutex // one write at a time
	failing bool       // under writing
}

func newMarks(cfg Config, ports Ports) *marks {
	return &marks{journal: ports.Journal, clock: ports.Clock, timeout: cfg.WriteTimeout, log: ports.Log}
}

// add takes rows of batches that the Broker has just taken.
func (m *marks) add(rows []store.JournalRow) {
	now := m.clock()
	published := make([]store.JournalRow, len(rows))
	for i, r := range rows {
		r.Payload, r.PublishedAt = nil, now
		published[i] = r
	}
	m.wait(published)
}

// wait lets marks wait for their write.
func (m *marks) wait(rows []store.JournalRow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, rows...)
	if over := len(m.rows) - maxMarks; over > 0 {
		m.rows = append(m.rows[:0], m.rows[over:]...)
	}
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(markEvery, func() { m.write(context.Background()) })
	}
}

// write tells the journal what waits.
func (m *marks) write(ctx context.Context) {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	rows := m.rows
	m.rows, m.timer = nil, nil
	m.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	var err error
	for len(rows) > 0 && err == nil {
		part := rows[:min(marksTogether, len(rows))]
		if err = m.part(ctx, part); err == nil {
			rows = rows[len(part):]
		}
	}
	if failing := err != nil; failing != m.failing {
		m.failing = failing
		if failing {
			m.log.Warn("cannot mark batches as published; trying again", "batches", len(rows), "error", err)
		}
	}
	if err != nil {
		m.wait(rows)
	}
}

func (m *marks) part(ctx context.Context, rows []store.JournalRow) error {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	return m.journal.Mark(ctx, store.StagePublished, rows)
}

// close writes what waits; what cannot be written is published again by
// a tick.
func (m *marks) close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	m.write(ctx)
}

package importer

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"maps"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
)

// Limits of one request, and how many are under way at once.
const (
	maxEvents   = 500
	maxBatch    = 768 << 10 // bytes of JSON
	maxUnderWay = 4
)

// converter turns a line (without its end) into a CloudEvent as JSON, or says
// why it is none. It may remember lines: it is given every line of a log in
// order, also those that an earlier run has sent.
type converter interface {
	convert(line []byte) (event []byte, skipped string)
}

// errOtherLog says that the log's beginning is not the one that was imported.
var errOtherLog = errors.New("the log has changed since the import was interrupted")

// logError is a fault of the log itself.
type logError struct{ error }

func (e *logError) Unwrap() error { return e.error }

// engine runs one import.
type engine struct {
	lines    *lines
	convert  converter
	send     func(ctx context.Context, events [][]byte) (receipt, error)
	save     func(state) error
	progress func()
	resume   state // zero: from the start
}

// chunk is events that are sent together, and the place after them.
type chunk struct {
	seq    int
	events [][]byte
	after  mark
}

type acknowledged struct {
	chunk
	receipt receipt
}

// run imports to the log's end. The counts are of all lines that were
// acknowledged, those of an earlier run included, also beside an error.
func (e *engine) run(ctx context.Context) (Counts, error) {
	counts := newCounts()
	if e.resume.Counts.Lines > 0 {
		counts = e.resume.Counts
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan chunk)
	done := make(chan acknowledged, maxUnderWay)
	// Every chunk holds a slot from its making to its place in the counts, so
	// that one slow answer lets only so many others wait for it.
	slots := make(chan struct{}, 2*maxUnderWay)

	var unreadable error // the log broke off: what came before is sent all the same
	group.Go(func() error {
		defer close(chunks)
		err := e.read(ctx, slots, chunks)
		if errors.As(err, new(*logError)) {
			unreadable = err
			return nil
		}
		return err
	})
	senders, sending := errgroup.WithContext(ctx)
	for range maxUnderWay {
		senders.Go(func() error {
			return e.sendAll(sending, chunks, done)
		})
	}
	group.Go(func() error {
		defer close(done)
		return senders.Wait()
	})
	group.Go(func() error {
		return e.acknowledge(done, slots, &counts, stop)
	})
	if err := group.Wait(); err != nil {
		return counts, err
	}
	return counts, unreadable
}

// sendAll sends chunks until there are no more.
func (e *engine) sendAll(ctx context.Context, chunks <-chan chunk, done chan<- acknowledged) error {
	for {
		var a acknowledged
		var ok bool
		select {
		case a.chunk, ok = <-chunks:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if len(a.events) > 0 {
			var err error
			if a.receipt, err = e.send(ctx, a.events); err != nil {
				return err
			}
		}
		done <- a // always taken: what was answered is not forgotten
	}
}

// read makes chunks of the lines after the place to resume at.
func (e *engine) read(ctx context.Context, slots chan<- struct{}, chunks chan<- chunk) error {
	digest := xxh3.New()
	at := mark{Skipped: map[string]int64{}}
	var c chunk
	size := 0
	emit := func() error {
		c.after = mark{Lines: at.Lines, Pages: at.Pages, Skipped: maps.Clone(at.Skipped), Digest: digestOf(digest)}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case chunks <- c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c, size = chunk{seq: c.seq + 1}, 0
		return nil
	}
	for {
		line, tooLong, err := e.lines.next()
		if errors.Is(err, io.EOF) {
			if at.Lines < e.resume.Counts.Lines {
				return errOtherLog
			}
			return emit()
		}
		if err != nil {
			if emitted := emit(); emitted != nil {
				return emitted
			}
			return &logError{err}
		}
		at.Lines++
		_, _ = digest.Write(line) // a hash takes everything
		var event []byte
		skipped := "too_long"
		if !tooLong {
			event, skipped = e.convert.convert(trimEnd(line))
		}
		if skipped != "" {
			at.Skipped[skipped]++
		} else {
			at.Pages++
		}
		switch before := e.resume.Counts.Lines; {
		case at.Lines < before:
			if at.Lines&0xffff == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		case at.Lines == before:
			if digestOf(digest) != e.resume.Digest {
				return errOtherLog
			}
			continue
		}
		if skipped == "" {
			c.events = append(c.events, event)
			size += len(event) + 1
		}
		if len(c.events) == maxEvents || size >= maxBatch || (at.Lines-e.resume.Counts.Lines)%(64<<10) == 0 {
			if err := emit(); err != nil {
				return err
			}
		}
	}
}

// acknowledge counts chunks in their order and keeps the place after each. It
// takes all that comes; when a place cannot be kept it stops the others.
func (e *engine) acknowledge(done <-chan acknowledged, slots <-chan struct{}, counts *Counts, stop context.CancelCauseFunc) error {
	var failed error
	early := map[int]acknowledged{} // as many as there are slots
	next := 0
	for a := range done {
		early[a.seq] = a
		for {
			a, ok := early[next]
			if !ok {
				break
			}
			delete(early, next)
			next++
			<-slots
			counts.reached(a.after)
			counts.Sent += int64(len(a.events))
			counts.Accepted += a.receipt.Accepted
			for _, r := range a.receipt.Rejected {
				reason := r.Reason
				if r.Field != "" {
					reason += " " + r.Field
				}
				counts.Rejected[reason]++
			}
			if failed == nil {
				if failed = e.save(state{Digest: a.after.Digest, Counts: *counts}); failed != nil {
					stop(failed)
				}
			}
			e.progress()
		}
	}
	return failed
}

func digestOf(h *xxh3.Hasher) string {
	sum := h.Sum128()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], sum.Hi)
	binary.BigEndian.PutUint64(b[8:], sum.Lo)
	return hex.EncodeToString(b[:])
}

// trimEnd takes "\n" or "\r\n" off.
func trimEnd(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

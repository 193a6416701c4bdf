package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// othersAtOnce is how many other instances one Complete looks at, chosen by
// chance: many instances must not keep a NameNode busy with looking at one another.
const othersAtOnce = 16

var errLeased = errors.New("HDFS still holds its lease")

// Complete implements store.Archive.
func (a *Archive) Complete(ctx context.Context, now time.Time, policy store.ClosePolicy) ([]event.BatchID, error) {
	const what = "complete files of the archive"
	var told []event.BatchID
	err := a.within(ctx, a.complete, func() error {
		// What fails here is tried again by the next call. One bad file does
		// not keep back the news of good ones.
		err := a.completeAll(ctx, now, policy)
		if ctx.Err() != nil {
			return ctx.Err() // nobody listens any more: told by the next call
		}
		if err != nil {
			if len(a.told) == 0 {
				return err
			}
			a.log.Error("cannot complete a file of the archive", "error", err)
		}
		told, a.told = a.told, nil
		return nil
	})
	if err != nil {
		return nil, failed(what, err)
	}
	return told, nil
}

func (a *Archive) completeAll(ctx context.Context, now time.Time, policy store.ClosePolicy) error {
	// While no NameNode answers, files are better kept open: DataNodes take
	// blocks all the same.
	var client *hdfs.Client
	var others []os.FileInfo
	err := a.ask(ctx, func(c *hdfs.Client) (err error) {
		client = c
		others, err = c.ReadDir(a.paths.open())
		return err
	})
	if isMissing(err) {
		return nil // nobody has written yet
	}
	if err != nil {
		return err
	}
	r := &recovery{Archive: a, client: client}
	defer r.end()
	errs := a.closeDue(ctx, now, policy)
	a.resign()
	errs = errors.Join(errs, r.completeLeft(ctx))

	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	looked := 0
	for _, o := range others {
		a.mu.Lock()
		mine := a.me != nil && a.me.id == o.Name()
		a.mu.Unlock()
		if mine || !o.IsDir() {
			continue
		}
		if looked++; looked > othersAtOnce || ctx.Err() != nil {
			break
		}
		if err := r.recoverInstance(ctx, o.Name()); err != nil {
			errs = errors.Join(errs, fmt.Errorf("cannot recover what instance %q left: %w", o.Name(), err))
		}
	}
	return errors.Join(errs, ctx.Err())
}

// closeDue closes the files that are due.
func (a *Archive) closeDue(ctx context.Context, now time.Time, policy store.ClosePolicy) error {
	a.mu.Lock()
	lanes := make([]*lane, 0, len(a.lanes))
	for _, l := range a.lanes {
		lanes = append(lanes, l)
	}
	a.mu.Unlock()
	var errs error
	for _, l := range lanes {
		select {
		case l.turn <- struct{}{}:
		case <-ctx.Done():
			return errors.Join(errs, ctx.Err())
		}
		if l.file != nil && (l.file.due(now, policy) || !l.file.of.held()) {
			errs = errors.Join(errs, a.setAside(l))
			a.retire(l)
		}
		<-l.turn
	}
	return errs
}

// recovery is what one Complete does with files that are closed or broken. It
// has one session: what it opens belongs to nobody else until it ends.
type recovery struct {
	*Archive
	client  *hdfs.Client
	session *session // begun when it is needed
}

func (r *recovery) end() {
	if r.session != nil {
		r.session.close()
	}
}

// completeLeft completes this instance's own files.
func (r *recovery) completeLeft(ctx context.Context) error {
	r.mu.Lock()
	left := r.left
	r.left = nil
	r.mu.Unlock()
	var errs error
	var keep []*file
	for _, f := range left {
		if ctx.Err() != nil {
			keep = append(keep, f)
			continue
		}
		if !f.of.held() {
			continue // whoever has the lock recovers it
		}
		ids, err := f.batches, error(nil)
		if f.torn {
			ids, err = r.recoverFile(ctx, f.openFile)
		} else {
			err = r.promote(f.path, f.openFile)
		}
		switch {
		case err == nil:
			r.told = append(r.told, ids...)
		case errors.Is(err, errLeased):
			keep = append(keep, f)
		default:
			keep = append(keep, f)
			errs = errors.Join(errs, fmt.Errorf("cannot complete archive file %q: %w", f.path, err))
		}
	}
	r.mu.Lock()
	r.left = append(r.left, keep...)
	r.mu.Unlock()
	return errs
}

// promote gives a closed file its final name, in one step.
func (r *recovery) promote(from string, f openFile) error {
	folder, err := parseMode(r.cfg.FolderMode)
	if err != nil {
		return err
	}
	if err := r.client.MkdirAll(r.paths.hour(f.hour), folder); err != nil {
		return err
	}
	err = r.client.Rename(from, r.paths.final(f))
	if isMissing(err) {
		// It has its name, where the answer to an earlier try got lost.
		if _, there := r.client.Stat(r.paths.final(f)); there == nil {
			return nil
		}
	}
	return err
}

// recoverInstance completes what a dead instance left. HDFS judges whether it
// is dead: only then its lock can be taken. Who has it is alone.
func (r *recovery) recoverInstance(ctx context.Context, id string) (err error) {
	if r.session == nil {
		if r.session, err = r.sessions.begin(); err != nil {
			return err
		}
	}
	lock, err := r.takeLock(id)
	if err != nil || lock == nil {
		return err
	}
	held := true
	defer func() {
		if held {
			err = errors.Join(err, closeWriter(lock, time.Now().Add(r.cfg.WriteTimeout)))
		}
	}()
	entries, err := r.client.ReadDir(r.paths.instance(id))
	if err != nil {
		return err
	}
	var errs error
	remaining := 0
	for _, e := range entries {
		f, ok := parseOpen(id, e.Name())
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(errs, err)
		}
		ids, err := r.recoverFile(ctx, f)
		r.told = append(r.told, ids...)
		switch {
		case err == nil:
			r.log.Info("recovered an archive file that a dead instance left", "file", r.paths.final(f), "batches", len(ids))
		case errors.Is(err, errLeased):
			remaining++
		default:
			remaining++
			errs = errors.Join(errs, err)
		}
	}
	if remaining > 0 || errs != nil {
		return errs
	}
	// The lock goes last, and the folder only where it is empty.
	held = false
	if err := r.client.Remove(r.paths.lock(id)); err != nil && !isMissing(err) {
		return err
	}
	if err := r.client.Remove(r.paths.instance(id)); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// takeLock opens the lock of a dead instance; nil where it lives, or where
// another one is recovering it.
func (r *recovery) takeLock(id string) (*hdfs.FileWriter, error) {
	return r.takeLease(r.session, r.paths.lock(id))
}

// takeLease opens a file that is there to have its lease, as long as s lasts;
// nil where another one has it. Where it is missing it is made.
func (a *Archive) takeLease(s *session, path string) (*hdfs.FileWriter, error) {
	w, err := s.client.Append(path)
	if isMissing(err) {
		// Who had it died before it was there, or after it was removed.
		w, err = a.createFile(s, path)
		if errors.Is(err, os.ErrExist) || isMissing(err) {
			return nil, nil
		}
	}
	if isLeased(err) {
		return nil, nil
	}
	return w, err
}

// recoverFile completes a file that ends anyhow: it is cut after its last
// whole block. It returns the batches that it holds. errLeased says that it
// can be had later only. Whoever calls it is the only one that may.
func (r *recovery) recoverFile(ctx context.Context, f openFile) ([]event.BatchID, error) {
	if r.session == nil {
		s, err := r.sessions.begin()
		if err != nil {
			return nil, err
		}
		r.session = s
	}
	path := r.paths.openPath(f)
	w, err := r.session.client.Append(path)
	switch {
	case isLeased(err):
		return nil, errLeased
	case isMissing(err):
		return nil, nil // another one was here, and has told its batches
	case err != nil:
		return nil, err
	}
	// Now nobody writes to it any more. Closed, it has its length.
	if err := closeWriter(w, time.Now().Add(r.cfg.WriteTimeout)); err != nil {
		return nil, err
	}
	in, err := r.open(ctx, path)
	if err != nil {
		return nil, err
	}
	end, ids, scanErr := event.ScanBlocks(in)
	size := in.Stat().Size()
	if err := errors.Join(in.failed, in.Close()); err != nil {
		return nil, err // what could not be read is not damaged
	}
	if len(ids) > 0 && end == size {
		return ids, r.promote(path, f)
	}
	if len(ids) > 0 {
		if err := r.copyHead(ctx, f, end); err != nil {
			return nil, err
		}
	}
	if scanErr != nil {
		// Whole blocks behind a broken one are not thrown away. Their batches
		// are not told as archived, so the journal brings them here again.
		r.log.Error("an archive file is damaged; what could be read of it is complete, the file is kept as it was",
			"file", r.paths.damaged(f), "whole_bytes", end, "bytes", size, "error", scanErr)
		return ids, r.keepDamaged(path, f)
	}
	if size > 0 {
		r.log.Warn("cut an archive file that was not closed", "file", r.paths.final(f), "whole_bytes", end, "bytes", size)
	}
	if err := r.client.Remove(path); err != nil && !isMissing(err) {
		return nil, err
	}
	return ids, nil
}

func (r *recovery) keepDamaged(path string, f openFile) error {
	folder, err := parseMode(r.cfg.FolderMode)
	if err != nil {
		return err
	}
	if err := r.client.MkdirAll(r.paths.hour(f.hour), folder); err != nil {
		return err
	}
	return r.client.Rename(path, r.paths.damaged(f))
}

// copyHead makes a complete file of the first n bytes of an open one.
func (r *recovery) copyHead(ctx context.Context, f openFile, n int64) error {
	if info, err := r.client.Stat(r.paths.final(f)); err == nil && info.Size() == n {
		return nil // a recovery that was cut off had come so far
	}
	part := r.paths.part(f)
	if err := r.client.Remove(part); err != nil && !isMissing(err) {
		return err
	}
	in, err := r.open(ctx, r.paths.openPath(f))
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	s, err := r.sessions.begin()
	if err != nil {
		return err
	}
	defer s.close()
	err = r.createWith(ctx, s, part, func(w io.Writer) error {
		_, err := io.CopyBuffer(w, io.LimitReader(in, n), make([]byte, 1<<20))
		return err
	})
	if err != nil {
		return err
	}
	if info, err := s.client.Stat(part); err != nil || info.Size() != n {
		return errors.Join(err, fmt.Errorf("expected %d bytes in %q", n, part))
	}
	return r.promote(part, f)
}

// createWith makes a closed file of what fn writes. Where that fails the file
// is removed, or a later recovery does it.
func (a *Archive) createWith(ctx context.Context, s *session, path string, fn func(io.Writer) error) error {
	w, err := a.createFile(s, path)
	if err != nil {
		return err
	}
	f := &file{path: path, session: s, w: w}
	if err := fn(&writing{ctx: ctx, file: f, timeout: a.cfg.WriteTimeout}); err != nil {
		f.giveUp()
		return errors.Join(err, s.client.Remove(path))
	}
	if err := f.closeFile(time.Now().Add(a.cfg.WriteTimeout)); err != nil {
		f.giveUp()
		return err
	}
	return nil
}

// writing writes to a file, each write within a deadline.
type writing struct {
	ctx     context.Context
	file    *file
	timeout time.Duration
}

func (w *writing) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if err := w.file.w.SetDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	n, err := w.file.w.Write(p)
	w.file.streaming = w.file.streaming || err == nil
	return n, err
}

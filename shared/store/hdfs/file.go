package hdfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/store"
)

// instance is this process as HDFS knows it: a folder for the files that it
// writes, and in it a lock whose lease says that it lives.
type instance struct {
	id      string
	session *session
	lock    *hdfs.FileWriter
	gone    atomic.Bool // somebody has taken its folder
	made    int         // files; guarded by Archive.mu
}

// held reports whether the lock is held for certain.
func (i *instance) held() bool { return !i.gone.Load() && i.session.pulse.held() }

// file is a file that is being written.
type file struct {
	openFile
	path         string
	of           *instance
	session      *session
	w            *hdfs.FileWriter
	capacity     int64
	size         int64 // acknowledged
	batches      []event.BatchID
	opened, last time.Time
	closed       bool // the stream is closed, and the file with it
	torn         bool // only a scan tells what it holds
	over         bool // the client has been told to close it: not again
	streaming    bool // the client has a stream to a DataNode
}

// enter makes this process an instance, where it is none or has lost its lock.
func (a *Archive) enter() (*instance, error) {
	a.entry.Lock()
	defer a.entry.Unlock()
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	if me != nil && me.held() {
		return me, nil
	}
	if me != nil {
		a.lose(me)
	}
	id, err := event.NewBatchID()
	if err != nil {
		return nil, err
	}
	// The time of its start, so that names sort by it, and chance.
	text := id.String()
	me = &instance{id: text[:12] + text[24:]}
	folder, err := parseMode(a.cfg.FolderMode)
	if err != nil {
		return nil, err
	}
	if me.session, err = a.sessions.begin(); err != nil {
		return nil, err
	}
	if err = me.session.client.MkdirAll(a.paths.instance(me.id), folder); err == nil {
		me.lock, err = a.createFile(me.session, a.paths.lock(me.id))
	}
	if err != nil {
		me.session.close()
		return nil, fmt.Errorf("cannot make the lock of this instance: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.me = me
	return me, nil
}

// resign stops being an instance that has lost its lock. The next file does
// it as well, but where none is written what it left would never be recovered,
// for its session goes on renewing its leases.
func (a *Archive) resign() {
	a.entry.Lock()
	defer a.entry.Unlock()
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	if me != nil && !me.held() {
		a.lose(me)
	}
}

// lose stops being an instance whose lock another one may have taken. What it
// has open is closed and left to whoever recovers its folder.
func (a *Archive) lose(me *instance) {
	me.gone.Store(true)
	a.mu.Lock()
	if a.me == me {
		a.me = nil
	}
	left := a.left[:0:0]
	var ours []*file
	for _, f := range a.left {
		if f.of == me {
			ours = append(ours, f)
		} else {
			left = append(left, f)
		}
	}
	a.left = left
	a.mu.Unlock()
	for _, f := range ours {
		f.session.close()
	}
	me.session.close()
	a.log.Warn("this instance of the archive did not reach HDFS for too long and begins anew; its files will be recovered", "instance", me.id)
}

// leave closes the lock, and removes it and its folder where nothing is left.
func (a *Archive) leave(me *instance, empty bool) error {
	defer me.session.close()
	if !me.held() {
		return nil // not ours any more
	}
	if !empty {
		return closeWriter(me.lock, time.Now().Add(a.cfg.WriteTimeout))
	}
	c := me.session.client
	if err := c.Remove(a.paths.lock(me.id)); err != nil {
		return err
	}
	return c.Remove(a.paths.instance(me.id))
}

func (a *Archive) createFile(s *session, path string) (*hdfs.FileWriter, error) {
	mode, err := parseMode(a.cfg.FileMode)
	if err != nil {
		return nil, err
	}
	replication := a.cfg.Replication
	if replication == 0 {
		d, err := s.client.ServerDefaults()
		if err != nil {
			return nil, err
		}
		replication = d.Replication
	}
	return s.client.CreateFile(path, replication, a.cfg.BlockBytes, mode)
}

// create opens a new file for an hour.
func (a *Archive) create(h event.Hour) (*file, error) {
	me, err := a.enter()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	me.made++
	name := openName(h, me.made)
	a.mu.Unlock()
	of, _ := parseOpen(me.id, name)
	f := &file{openFile: of, path: a.paths.openPath(of), of: me, capacity: a.cfg.BlockBytes, opened: time.Now()}
	if f.session, err = a.sessions.begin(); err != nil {
		return nil, err
	}
	if f.w, err = a.createFile(f.session, f.path); err != nil {
		f.session.close()
		if isMissing(err) { // somebody has taken our folder for a dead one's
			a.lose(me)
		}
		return nil, fmt.Errorf("cannot create archive file %q: %w", f.path, err)
	}
	return f, nil
}

// holds reports whether n bytes fit.
func (f *file) holds(n int) bool {
	if f.size == 0 {
		n += len(event.ContainerHeader())
	}
	return f.size+int64(n) <= f.capacity || f.size == 0
}

// write appends the blocks of parts and returns when the DataNodes have them.
func (f *file) write(parts []*part, until time.Time) error {
	if f.closed {
		w, err := f.session.client.Append(f.path)
		if err != nil {
			return err
		}
		f.w, f.closed, f.over, f.streaming = w, false, false, false
	}
	if err := f.w.SetDeadline(until); err != nil {
		return err
	}
	size := int64(0)
	put := func(data []byte) error {
		n, err := f.w.Write(data)
		size += int64(n)
		f.streaming = f.streaming || err == nil
		return err
	}
	if f.size == 0 {
		if err := put(event.ContainerHeader()); err != nil {
			return err
		}
	}
	for _, p := range parts {
		for _, b := range p.blocks {
			if err := put(b.Data); err != nil {
				return err
			}
		}
	}
	if err := f.sync(until); err != nil {
		return err
	}
	f.size += size
	f.last = time.Now()
	for _, p := range parts {
		for _, b := range p.blocks {
			f.batches = append(f.batches, b.Batch)
		}
	}
	return nil
}

// sync returns when the DataNodes have acknowledged all that was written.
// Where their acknowledgements cannot be followed, on connections that are
// encrypted or signed, it closes the file, which waits for them.
func (f *file) sync(until time.Time) error {
	if err := f.w.Flush(); err != nil {
		return err
	}
	c := f.session.dataConn()
	if c == nil {
		return errors.New("expected a connection to a DataNode")
	}
	if !c.readable() {
		return f.closeFile(until)
	}
	if err := c.wait(until); err != nil {
		return err
	}
	// The client's heartbeats must get through while the file rests.
	return f.w.SetDeadline(time.Time{})
}

// closeFile closes the file, but not its session.
func (f *file) closeFile(until time.Time) error {
	if f.closed || f.over {
		return nil
	}
	f.over = true
	if err := f.w.SetDeadline(until); err != nil {
		return err
	}
	if err := closeWriter(f.w, until); err != nil {
		return err
	}
	f.closed = true
	return nil
}

// closeStream closes the file for good. Where it fails, only recovery tells
// what it holds.
func (f *file) closeStream(until time.Time) error {
	err := f.closeFile(until)
	if !f.closed {
		f.torn = true
		f.giveUp()
	}
	f.session.close()
	return err
}

// giveUp ends the stream of a file that has broken, and what the client has
// running for it. It writes nothing to HDFS.
func (f *file) giveUp() {
	f.torn = true
	c := f.session.dataConn()
	if c == nil {
		return
	}
	c.give()
	if !f.over && !f.closed && (f.streaming || f.size > 0) {
		f.over = true
		_ = f.w.Close() // fails, for no acknowledgement can come
	}
}

// due reports whether a policy closes a file now.
func (f *file) due(now time.Time, p store.ClosePolicy) bool {
	return p == store.ClosePolicy{} ||
		p.Bytes > 0 && f.size >= p.Bytes ||
		p.Age > 0 && now.Sub(f.opened) >= p.Age ||
		p.Idle > 0 && now.Sub(f.last) >= p.Idle
}

// jitter is a time around d: from half of it to one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

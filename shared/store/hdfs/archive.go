package hdfs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// maxPending bounds the blocks that wait for the DataNodes.
const maxPending = 64 << 20

var errClosed = errors.New("the archive is closed")

// Archive is a store.Archive in HDFS. Blocks of one hour of arrival go through
// one lane: those that come while it waits for the DataNodes share the next
// write and its acknowledgement.
type Archive struct {
	cfg      Config
	paths    paths
	log      *slog.Logger
	sessions *sessions
	health   *function.Health // of the NameNodes
	writing  chan struct{}    // one for each lane that may write at once
	reading  chan struct{}    // one for each call that may read at once
	complete chan struct{}    // who has it completes files
	care     chan struct{}    // who has it replaces, sweeps or drops files
	close    sync.Once
	work     sync.WaitGroup // goroutines that outlive their callers

	mu      sync.Mutex // never held over the network
	closed  bool
	lanes   map[event.Hour]*lane
	pending int // bytes
	gate    gate
	me      *instance
	left    []*file // closed by us or broken, to be completed

	entry   sync.Mutex // held while this process becomes an instance
	connect sync.Mutex // held while the common session is begun
	common  *session

	told []event.BatchID // guarded by complete
}

// Open makes an archive. It uses no network: the first call that needs HDFS
// connects to it.
func Open(cfg Config, log *slog.Logger) (*Archive, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Archive{
		cfg: cfg, paths: paths{cfg.Root}, log: log,
		sessions: &sessions{cfg: cfg},
		writing:  make(chan struct{}, cfg.OpenFiles),
		reading:  make(chan struct{}, 16),
		complete: make(chan struct{}, 1),
		care:     make(chan struct{}, 1),
		lanes:    make(map[event.Hour]*lane),
	}
	a.health = function.NewHealth(a.reach)
	return a, nil
}

// lane is the way of one hour's blocks.
type lane struct {
	hour event.Hour
	turn chan struct{} // who has it writes to file or takes it away
	file *file         // guarded by turn

	// Guarded by Archive.mu.
	waiting []*part
	running bool
	rested  time.Time // when file was last written to; zero where there is none
}

// part is what one call of Append has for one hour.
type part struct {
	blocks []*store.Block
	size   int
	err    error
	done   chan struct{}
}

// Append implements store.Archive.
func (a *Archive) Append(ctx context.Context, blocks []store.Block) error {
	const what = "append to the archive"
	if len(blocks) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return failed(what, err)
	}
	parts, err := a.enqueue(blocks)
	if err != nil {
		return failed(what, err)
	}
	var errs []error
	for _, p := range parts {
		select {
		case <-p.done:
			errs = append(errs, p.err)
		case <-ctx.Done():
			return failed(what, ctx.Err())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return failed(what, err)
	}
	return nil
}

func (a *Archive) enqueue(blocks []store.Block) ([]*part, error) {
	parts := make(map[event.Hour]*part, 1)
	size := 0
	for i := range blocks {
		b := &blocks[i]
		if len(b.Data) > event.MaxBatchBytes+1<<10 {
			return nil, fault.New(fault.TooLarge, "batch %q has %d bytes", b.Batch, len(b.Data))
		}
		h := event.HourOf(b.ReceivedAt)
		p := parts[h]
		if p == nil {
			p = &part{done: make(chan struct{})}
			parts[h] = p
		}
		p.blocks = append(p.blocks, b)
		p.size += len(b.Data)
		size += len(b.Data)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed
	}
	if a.pending > 0 && a.pending+size > maxPending {
		return nil, fault.New(fault.Overloaded, "%d bytes wait for HDFS already", a.pending)
	}
	a.pending += size
	all := make([]*part, 0, len(parts))
	for h, p := range parts {
		all = append(all, p)
		l := a.lanes[h]
		if l == nil {
			l = &lane{hour: h, turn: make(chan struct{}, 1)}
			a.lanes[h] = l
		}
		l.waiting = append(l.waiting, p)
		if !l.running {
			l.running = true
			a.work.Add(1)
			go a.run(l)
		}
	}
	return all, nil
}

// run writes what waits in a lane until nothing does.
func (a *Archive) run(l *lane) {
	defer a.work.Done()
	for a.turn(l) {
	}
}

// turn is one write of what waits; false where nothing did.
func (a *Archive) turn(l *lane) bool {
	a.writing <- struct{}{}
	defer func() { <-a.writing }()
	l.turn <- struct{}{}
	defer func() { <-l.turn }()

	a.mu.Lock()
	parts := l.waiting
	l.waiting = nil
	if len(parts) == 0 {
		l.running = false
		if l.file == nil {
			delete(a.lanes, l.hour)
		}
		a.mu.Unlock()
		return false
	}
	a.mu.Unlock()

	err := a.write(l, parts)
	broken := (*file)(nil)
	if err != nil {
		broken, l.file = l.file, nil
	}
	size := 0
	for _, p := range parts {
		size += p.size
		close(p.done)
	}
	a.mu.Lock()
	a.pending -= size
	l.rested = time.Time{}
	if l.file != nil {
		l.rested = time.Now()
	}
	a.mu.Unlock()
	if broken != nil { // nobody waits for that
		a.abandon(broken)
	}
	return true
}

// write writes parts to the lane's file, or to more than one where a block of
// HDFS gets full. What fails leaves the lane's file broken.
func (a *Archive) write(l *lane, parts []*part) error {
	until := time.Now().Add(a.cfg.WriteTimeout)
	for len(parts) > 0 {
		n, err := a.writeSome(l, parts, until)
		if err != nil {
			for _, p := range parts {
				p.err = err
			}
			return err
		}
		parts = parts[n:]
	}
	return nil
}

// writeSome writes as many parts as the lane's file holds. A part is never
// cut, unless it is larger than a file.
func (a *Archive) writeSome(l *lane, parts []*part, until time.Time) (int, error) {
	if l.file != nil && !l.file.holds(parts[0].size) {
		if err := a.setAside(l); err != nil {
			a.log.Warn("cannot close an archive file; it will be recovered", "error", err)
		}
	}
	if l.file == nil {
		if err := a.gate.check(time.Now()); err != nil {
			return 0, err
		}
		a.makeRoom(l)
		f, err := a.create(l.hour)
		if err != nil {
			a.gate.failed(time.Now(), err)
			return 0, err
		}
		l.file = f
		a.mu.Lock()
		l.rested = time.Now()
		a.mu.Unlock()
	}
	f := l.file
	n, size := 1, parts[0].size
	for n < len(parts) && f.holds(size+parts[n].size) {
		size += parts[n].size
		n++
	}
	fresh := f.size == 0
	err := f.write(parts[:n], until)
	if fresh && err != nil {
		a.gate.failed(time.Now(), err)
	} else if fresh {
		a.gate.worked()
	}
	return n, err
}

// makeRoom closes files that rest where as many are open as may be.
func (a *Archive) makeRoom(l *lane) {
	a.mu.Lock()
	var others []*lane
	for _, o := range a.lanes {
		if o != l && !o.rested.IsZero() {
			others = append(others, o)
		}
	}
	excess := len(others) + 1 - a.cfg.OpenFiles
	slices.SortFunc(others, func(x, y *lane) int { return x.rested.Compare(y.rested) })
	a.mu.Unlock()
	for _, o := range others {
		if excess <= 0 {
			return
		}
		select {
		case o.turn <- struct{}{}:
		default:
			continue // it is written to
		}
		if o.file != nil {
			if err := a.setAside(o); err != nil {
				a.log.Warn("cannot close an archive file; it will be recovered", "error", err)
			}
			excess--
		}
		a.retire(o)
		<-o.turn
	}
}

// setAside closes the file of a lane, whose turn the caller has; Complete
// gives it its final name.
func (a *Archive) setAside(l *lane) error {
	f := l.file
	l.file = nil
	err := f.closeStream(time.Now().Add(a.cfg.WriteTimeout))
	a.mu.Lock()
	a.left = append(a.left, f)
	l.rested = time.Time{}
	a.mu.Unlock()
	return err
}

// retire forgets a lane without a file, whose turn the caller has.
func (a *Archive) retire(l *lane) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.file == nil && !l.running && a.lanes[l.hour] == l {
		delete(a.lanes, l.hour)
	}
}

// abandon gives up a file that has broken. One that holds nothing that was
// acknowledged is removed, any other is recovered when its lease has ended.
func (a *Archive) abandon(f *file) {
	f.giveUp()
	if f.size == 0 {
		if err := f.session.client.Remove(f.path); err == nil || isMissing(err) {
			f.session.close()
			return
		}
	}
	f.session.close()
	a.mu.Lock()
	a.left = append(a.left, f)
	a.mu.Unlock()
}

// gate keeps lanes from knocking at an HDFS that takes no new files.
type gate struct {
	mu    sync.Mutex
	until time.Time
	pause time.Duration
	err   error
}

const (
	minPause = 100 * time.Millisecond
	maxPause = 3 * time.Second
)

func (g *gate) check(now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.until) {
		return g.err
	}
	return nil
}

func (g *gate) failed(now time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pause = min(max(2*g.pause, minPause), maxPause)
	g.until, g.err = now.Add(jitter(g.pause)), err
}

func (g *gate) worked() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pause, g.until, g.err = 0, time.Time{}, nil
}

// shared is the session of all calls which write no file.
func (a *Archive) shared() (*session, error) {
	a.connect.Lock()
	defer a.connect.Unlock()
	if a.common == nil {
		a.mu.Lock()
		closed := a.closed
		a.mu.Unlock()
		if closed {
			return nil, errClosed
		}
		s, err := a.sessions.begin()
		if err != nil {
			return nil, err
		}
		a.common = s
	}
	return a.common, nil
}

// asks is how often a question is asked where no NameNode answers it.
const asks = 3

// ask runs fn, which must do no harm when it runs twice. A session whose
// connection has failed is begun anew: its client would not try that NameNode
// again for five seconds, nor the other one that was on standby until now.
func (a *Archive) ask(ctx context.Context, fn func(*hdfs.Client) error) error {
	for n := 1; ; n++ {
		s, err := a.shared()
		if err == nil {
			err = fn(s.client)
		}
		if err == nil {
			a.health.Answered()
		}
		if err == nil || n == asks || errors.Is(err, errClosed) || s != nil && !s.broken() {
			return err
		}
		if s != nil {
			a.connect.Lock()
			if a.common == s {
				a.common = nil
			}
			a.connect.Unlock()
			s.close()
		}
		pause := time.NewTimer(jitter(100 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// within runs fn, which the deadlines of the connections end at last, and
// returns by the deadline of ctx at the latest. slots bounds how many run.
func (a *Archive) within(ctx context.Context, slots chan struct{}, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		<-slots
		return errClosed
	}
	a.work.Add(1)
	a.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer a.work.Done()
		err := fn()
		<-slots
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready reports whether a NameNode has answered lately (function.Health).
func (a *Archive) Ready(ctx context.Context) error {
	if err := a.health.Ready(ctx); err != nil {
		return failed("reach HDFS", err)
	}
	return nil
}

// reach asks a NameNode for an answer.
func (a *Archive) reach(ctx context.Context) error {
	return a.within(ctx, a.reading, func() error {
		return a.ask(ctx, func(c *hdfs.Client) error {
			_, err := c.Stat("/")
			return err
		})
	})
}

// Close implements store.Archive. What cannot be closed, because HDFS does not
// answer, is recovered like what a dead process left.
func (a *Archive) Close() error {
	a.close.Do(func() {
		a.mu.Lock()
		a.closed = true
		a.mu.Unlock()
		a.work.Wait() // ends by the deadlines of the connections
		until := time.Now().Add(a.cfg.WriteTimeout)
		var errs error
		for _, l := range a.lanes {
			if l.file != nil {
				errs = errors.Join(errs, l.file.closeStream(until))
				a.left = append(a.left, l.file)
			}
		}
		for _, f := range a.left {
			f.session.close()
		}
		if a.me != nil {
			errs = errors.Join(errs, a.leave(a.me, len(a.left) == 0))
		}
		if a.common != nil {
			a.common.close()
		}
		a.sessions.close()
		if errs != nil {
			a.log.Warn("cannot tell HDFS that this instance of the archive ends; its files will be recovered in a minute", "error", errs)
		}
	})
	return nil
}

// failed names what could not be done and keeps the error's kind.
func failed(what string, err error) error {
	return fault.New(fault.KindOf(err), "cannot %s: %w", what, err)
}

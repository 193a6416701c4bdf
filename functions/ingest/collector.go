package ingest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
)

// submission is one request's events on their way to be durable.
type submission struct {
	receivedAt time.Time
	encoded    []byte // events as Avro, one behind the other
	ends       []int  // where each ends
	runs       []run
	refused    []event.Refused

	batches []event.BatchID // where the events are; set when done
	err     error           // not durable anywhere; set when done
	done    chan struct{}
}

// run is consecutive events of one stream and hour.
type run struct {
	stream string
	hash   uint64
	hour   event.Hour
	events int
}

func (s *submission) events() int { return len(s.ends) }

// add notes the event that was just encoded.
func (s *submission) add(stream string, hash uint64, hour event.Hour) {
	s.ends = append(s.ends, len(s.encoded))
	if n := len(s.runs); n > 0 && s.runs[n-1].hash == hash && s.runs[n-1].hour == hour && s.runs[n-1].stream == stream {
		s.runs[n-1].events++
		return
	}
	s.runs = append(s.runs, run{stream: stream, hash: hash, hour: hour, events: 1})
}

func (s *submission) reset() {
	s.encoded = trimmed(s.encoded)
	s.ends = s.ends[:0]
	clear(s.runs)
	s.runs = s.runs[:0]
	clear(s.refused)
	s.refused = s.refused[:0]
	s.batches = s.batches[:0]
	s.err = nil
}

// collector gathers the submissions of many requests and writes them together:
// while one flush is being written, the next fills.
type collector struct {
	cfg    Config
	writer *writer
	meters *meters

	mu         sync.Mutex
	queue      []*submission
	events     int // in queue
	bytes      int // in queue
	refused    []event.Refused
	refusedLen int
	closed     bool

	wake    chan struct{} // something was queued, or closed
	stopped chan struct{} // the loop has ended
	average float64       // submissions in a flush, lately

	publishing *time.Timer // runs while the loop is idle and batches wait
}

const (
	// lingerSlice is how long a flush waits at a time for company. It goes on
	// only as long as the last slice brought some: where senders wait for
	// their answers before they send on, waiting longer wins nothing.
	lingerSlice = time.Millisecond
	// crowd is the number of submissions in a flush, on average, from which
	// requests are said to come together and not one by one.
	crowd = 2
	// refusedDelay is how long refused events wait for a flush that takes
	// them along.
	refusedDelay = time.Second
	// maxFlushBytes bounds one flush, before compression.
	maxFlushBytes = 16 << 20
)

func newCollector(cfg Config, ports Ports, m *meters) *collector {
	c := &collector{
		cfg: cfg, meters: m, writer: newWriter(cfg, ports, m),
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	c.writer.wake = c.signal
	go c.loop()
	return c
}

// submit waits until a request's events are durable, or are known not to be.
// Refused events are kept as far as there is room, and not waited for.
func (c *collector) submit(s *submission) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return &fault.Error{Kind: fault.Overloaded, RetryAfter: retryAfter,
			Err: fault.New(fault.Overloaded, "cannot accept events: shutting down")}
	}
	c.keepRefused(s.refused)
	wait := s.events() > 0
	if wait && c.writer.hopeless() {
		c.mu.Unlock()
		return nowhere(errBothAway)
	}
	if wait {
		c.queue = append(c.queue, s)
		c.events += s.events()
		c.bytes += len(s.encoded)
	}
	notify := wait && len(c.queue) == 1 || c.full() || len(s.refused) > 0
	c.mu.Unlock()
	if notify {
		c.signal()
	}
	if !wait {
		return nil
	}
	// The wait is bounded by the deadlines of the writes, and what was
	// submitted must not be taken back: a sender that is gone costs nothing.
	<-s.done
	return s.err
}

// keepLater takes refused events that came with no request of their own.
func (c *collector) keepLater(refused []event.Refused) {
	c.mu.Lock()
	c.keepRefused(refused)
	c.mu.Unlock()
	c.signal()
}

// keepRefused copies refused events, for nobody waits until they are written.
func (c *collector) keepRefused(refused []event.Refused) {
	for i := range refused {
		r := &refused[i]
		size := len(r.Stream) + len(r.ID) + len(r.Field) + len(r.Reason) + len(r.Detail) + len(r.Data)
		if c.refusedLen+size > c.cfg.MaxRefusedBytes {
			c.meters.refusedLost.Add(context.Background(), int64(len(refused)-i))
			return
		}
		c.refusedLen += size
		c.refused = append(c.refused, event.Refused{
			Stream: strings.Clone(r.Stream), ID: strings.Clone(r.ID), Field: strings.Clone(r.Field),
			Reason: r.Reason, Detail: r.Detail, Data: r.Data,
		})
	}
}

// turnAway answers those who came while a flush was written that no sink took:
// their own would take as long to fail.
func (c *collector) turnAway() {
	c.mu.Lock()
	queue := c.queue
	c.queue, c.events, c.bytes = nil, 0, 0
	c.mu.Unlock()
	for _, s := range queue {
		s.err = nowhere(errBothAway)
		s.batches = s.batches[:0]
		s.done <- struct{}{}
	}
}

func (c *collector) full() bool {
	return c.events >= c.cfg.FlushEvents || c.bytes >= c.cfg.FlushBytes || c.closed
}

func (c *collector) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *collector) loop() {
	defer close(c.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	c.publishing = time.NewTimer(time.Hour)
	defer c.publishing.Stop()
	f := &flush{}
	for c.next(timer) {
		c.linger(timer)
		c.take(f)
		c.writer.flush(f, c.average >= crowd)
		if age, any := c.writer.due(time.Now()); any && age == 0 {
			c.writer.release()
		}
		if c.writer.failing() {
			c.turnAway()
		}
	}
	c.writer.seal()
	c.writer.release()
}

// next waits until there is something to write; false when there never will
// be. Meanwhile it sees that what waits to be published does not wait longer
// than it may.
func (c *collector) next(timer *time.Timer) bool {
	var due <-chan time.Time
	publish := c.publishDue(0)
	for {
		c.mu.Lock()
		queued, refused, closed := len(c.queue), len(c.refused), c.closed
		c.mu.Unlock()
		switch {
		case queued > 0 || (closed && refused > 0):
			return true
		case closed:
			return false
		case refused > 0 && due == nil:
			timer.Reset(refusedDelay)
			due = timer.C
		}
		select {
		case <-c.wake:
			if publish == nil { // a publish that hung may have given something back
				publish = c.publishDue(retryPublish)
			}
		case <-due:
			return true
		case <-publish:
			c.writer.release()
			publish = c.publishDue(retryPublish)
		}
	}
}

// publishDue tells when what waits to be published has waited long enough, but
// not before least; nil where nothing waits.
func (c *collector) publishDue(least time.Duration) <-chan time.Time {
	c.writer.collect()
	age, any := c.writer.due(time.Now())
	if !any {
		return nil
	}
	c.publishing.Reset(max(age, least))
	return c.publishing.C
}

// linger lets a batch fill: not at all while requests come one by one, else
// as long as they keep coming, at most FlushAge.
func (c *collector) linger(timer *time.Timer) {
	if c.average < crowd {
		return
	}
	for waited := time.Duration(0); waited < c.cfg.FlushAge; waited += lingerSlice {
		c.mu.Lock()
		before, full := len(c.queue), c.full()
		c.mu.Unlock()
		if full {
			return
		}
		timer.Reset(lingerSlice)
	slice:
		for {
			select {
			case <-timer.C:
				break slice
			case <-c.wake:
				c.mu.Lock()
				full = c.full()
				c.mu.Unlock()
				if full {
					return
				}
			}
		}
		c.mu.Lock()
		after := len(c.queue)
		c.mu.Unlock()
		if after == before {
			return
		}
	}
}

// take moves what is queued into a flush, as far as one flush may hold.
func (c *collector) take(f *flush) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.reset()
	n, bytes := 0, 0
	for n < len(c.queue) && (n == 0 || bytes+len(c.queue[n].encoded) <= maxFlushBytes) {
		bytes += len(c.queue[n].encoded)
		f.events += c.queue[n].events()
		n++
	}
	f.subs = append(f.subs, c.queue[:n]...)
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.events -= f.events
	c.bytes -= bytes
	f.refused = append(f.refused, c.refused...)
	clear(c.refused)
	c.refused, c.refusedLen = c.refused[:0], 0
	c.average += (float64(n) - c.average) / 4
}

func (c *collector) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// close writes what is left and stops. It may be called again.
func (c *collector) close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.signal()
	select {
	case <-c.stopped:
	case <-ctx.Done():
		return fault.New(fault.Transient, "cannot write the last batches: %w", ctx.Err())
	}
	return c.writer.close(ctx)
}

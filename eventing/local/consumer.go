package local

import (
	"context"
	"log/slog"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/eventing"
	"github.com/footfall/footfall/eventing/filter"
	"github.com/footfall/footfall/shared/broker"
	"github.com/footfall/footfall/shared/broker/kafka"
)

// Bounds of what a consumer holds, besides one fetch.
const (
	maxWindow    = 1 << 16 // records of a partition from its first gap on: then the partition pauses
	maxQueue     = 64      // records of an ordered partition that wait while it takes more
	workerLinger = 10 * time.Second
)

// consumer is one Trigger's reader: the kafka.Handler that filters records and
// hands them to workers, and commits at the first gap.
type consumer struct {
	trigger *eventing.Trigger
	topic   string
	filter  filter.Matcher
	courier *courier
	stats   *stats
	faults  *faults
	log     *slog.Logger

	maxInFlight    int
	commitInterval time.Duration
	drain          time.Duration

	wake    chan struct{} // a partition may be ready again
	changed func()        // something was finished

	mu  sync.Mutex
	gen *generation // nil between generations
}

var _ kafka.Handler = (*consumer)(nil)

// generation is the state from the assignment of partitions to their
// revocation.
type generation struct {
	commit     func(map[int]int64) error
	partitions map[int]*partition // fixed; each guarded by consumer.mu
	stopping   chan struct{}      // closed: begin nothing new
	ctx        context.Context    // done: give up what is under way
	cancel     context.CancelFunc
	work       chan job      // to an idle worker
	slots      chan struct{} // one per worker
	workers    sync.WaitGroup
	committer  sync.WaitGroup
}

type partition struct {
	id        int
	tracker   *tracker
	committed int64
	end       int64 // of the topic, as last heard

	queue   []job // ordered only
	running bool  // ordered only: a worker is on the queue
}

// job is a record that passed the filter.
type job struct {
	partition *partition
	ticket    uint64
	offset    int64
	event     cloudevents.Event
}

// Assigned implements kafka.Handler.
func (c *consumer) Assigned(offsets map[int]int64, commit func(map[int]int64) error) {
	g := &generation{
		commit: commit, partitions: make(map[int]*partition, len(offsets)), stopping: make(chan struct{}),
		work: make(chan job), slots: make(chan struct{}, c.maxInFlight),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for p, o := range offsets {
		g.partitions[p] = &partition{id: p, tracker: newTracker(o), committed: o, end: o}
	}
	c.mu.Lock()
	c.gen = g
	c.mu.Unlock()
	g.committer.Go(func() { c.commitLoop(g) })
	c.log.Debug("partitions assigned", "partitions", len(offsets))
}

// Ready implements kafka.Handler.
func (c *consumer) Ready(id int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.gen.partitions[id]
	return p.tracker.open() < maxWindow && len(p.queue) < maxQueue
}

// Wait implements kafka.Handler. The timer is for a second loop that sleeps on
// the same wake.
func (c *consumer) Wait(ctx context.Context) {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-c.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// Skipped implements kafka.Handler.
func (c *consumer) Skipped(id int, from, to int64) {
	c.mu.Lock()
	c.gen.partitions[id].tracker.skip(to)
	c.mu.Unlock()
	if to > from {
		c.stats.expired(to - from)
		c.log.Error("records left the topic before they were delivered", "partition", id, "from", from, "to", to)
	}
}

// Take implements kafka.Handler. It blocks while as many deliveries are in
// flight as may be.
func (c *consumer) Take(ctx context.Context, id int, records []kafka.Record, end int64) {
	c.mu.Lock()
	g := c.gen
	p := g.partitions[id]
	p.end = end
	c.mu.Unlock()
	if len(records) == 0 {
		return
	}
	ordered := c.trigger.Order == eventing.Ordered
	jobs := c.sift(p, records)
	if c.faults != nil && c.faults.Reorder && !ordered {
		c.faults.shuffle(jobs)
	}
	if ordered {
		c.enqueue(g, p, jobs)
		return
	}
	for _, j := range jobs {
		if !c.hand(ctx, g, j) {
			return
		}
	}
}

// sift notes every record in the tracker and keeps those that the filter lets
// through; the others are done with.
func (c *consumer) sift(p *partition, records []kafka.Record) []job {
	jobs := make([]job, 0, len(records))
	rest := make([]uint64, 0, len(records))
	c.mu.Lock()
	tickets := p.tracker.addAll(records)
	c.mu.Unlock()
	for i := range records {
		r := &records[i]
		e, err := broker.Decode(&r.Message)
		switch {
		case err != nil:
			c.stats.invalid()
			c.log.Error("a record is no CloudEvent, discarded", "partition", r.Partition, "offset", r.Offset, "err", err)
		case c.filter.Match(&e):
			jobs = append(jobs, job{partition: p, ticket: tickets + uint64(i), offset: r.Offset, event: e})
			continue
		default:
			c.stats.filtered()
		}
		rest = append(rest, tickets+uint64(i))
	}
	if len(rest) > 0 {
		c.mu.Lock()
		for _, t := range rest {
			p.tracker.done(t)
		}
		c.mu.Unlock()
		c.changed()
	}
	return jobs
}

// hand gives a job to an idle worker, else to a new one, else waits for one.
func (c *consumer) hand(ctx context.Context, g *generation, j job) bool {
	select {
	case g.work <- j:
		return true
	default:
	}
	select {
	case g.work <- j:
	case g.slots <- struct{}{}:
		g.workers.Go(func() { c.work(g, j) })
	case <-ctx.Done():
		return false
	}
	return true
}

// work delivers jobs one after the other, and ends when none comes for a while.
func (c *consumer) work(g *generation, j job) {
	defer func() { <-g.slots }()
	linger := time.NewTimer(workerLinger)
	defer linger.Stop()
	for {
		c.deliver(g, &j)
		j = job{} // let its data go
		linger.Reset(workerLinger)
		select {
		case j = <-g.work:
		case <-linger.C:
			return
		case <-g.stopping:
			return
		}
	}
}

func (c *consumer) deliver(g *generation, j *job) {
	c.stats.begin()
	settled := c.courier.deliver(g.ctx, g.stopping, &j.event, j.partition.id, j.offset)
	c.stats.end()
	if !settled {
		return
	}
	c.mu.Lock()
	was := j.partition.tracker.open()
	j.partition.tracker.done(j.ticket)
	freed := was >= maxWindow && j.partition.tracker.open() < maxWindow
	c.mu.Unlock()
	if freed {
		c.signal()
	}
	c.changed()
}

// enqueue puts jobs behind those of the same partition, and sees that exactly
// one worker is on the partition while there are any.
func (c *consumer) enqueue(g *generation, p *partition, jobs []job) {
	c.mu.Lock()
	p.queue = append(p.queue, jobs...)
	start := len(p.queue) > 0 && !p.running
	if start {
		p.running = true
	}
	c.mu.Unlock()
	if start {
		g.workers.Go(func() { c.workOrdered(g, p) })
	}
}

func (c *consumer) workOrdered(g *generation, p *partition) {
	for {
		c.mu.Lock()
		stop := false
		select {
		case <-g.stopping:
			stop = true
		default:
		}
		if stop || len(p.queue) == 0 {
			p.running, p.queue = false, nil
			c.mu.Unlock()
			return
		}
		j := p.queue[0]
		p.queue[0] = job{} // let its data go
		p.queue = p.queue[1:]
		freed := len(p.queue) == maxQueue-1
		c.mu.Unlock()
		if freed {
			c.signal()
		}
		c.deliver(g, &j)
	}
}

func (c *consumer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *consumer) commitLoop(g *generation) {
	t := time.NewTicker(c.commitInterval)
	defer t.Stop()
	for {
		select {
		case <-g.stopping:
			return
		case <-t.C:
			c.commitGaps(g)
		}
	}
}

// commitGaps commits, for each partition, up to its first record that is not
// done.
func (c *consumer) commitGaps(g *generation) {
	offsets := make(map[int]int64)
	c.mu.Lock()
	for id, p := range g.partitions {
		if o := p.tracker.commit(); o > p.committed {
			offsets[id] = o
		}
	}
	c.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	if err := g.commit(offsets); err != nil {
		c.log.Warn("cannot commit, trying again", "err", err)
		return
	}
	c.mu.Lock()
	for id, o := range offsets {
		g.partitions[id].committed = o
	}
	c.mu.Unlock()
}

// Revoked implements kafka.Handler: what is under way may end within the drain
// time, then everything that is done before the first gap is committed.
func (c *consumer) Revoked() {
	c.mu.Lock()
	g := c.gen
	c.mu.Unlock()
	close(g.stopping)
	idle := make(chan struct{})
	go func() {
		g.workers.Wait()
		close(idle)
	}()
	t := time.NewTimer(c.drain)
	select {
	case <-idle:
	case <-t.C:
		c.log.Warn("deliveries took longer than the drain, they are cut and come again")
	}
	t.Stop()
	g.cancel()
	<-idle
	g.committer.Wait()
	c.commitGaps(g)
	c.mu.Lock()
	c.gen = nil
	c.mu.Unlock()
	c.log.Debug("partitions revoked")
}

// position is, for each partition at hand, the first offset that is not done.
func (c *consumer) position(into map[int]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == nil {
		return
	}
	for id, p := range c.gen.partitions {
		into[id] = p.tracker.commit()
	}
}

// committed calls fn with what each partition has committed.
func (c *consumer) committed(fn func(partition int, offset int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == nil {
		return
	}
	for id, p := range c.gen.partitions {
		fn(id, p.committed)
	}
}

// lag is how many records the topic holds that are not done, as last heard.
func (c *consumer) lag() (lag int64, partitions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen == nil {
		return 0, 0
	}
	for _, p := range c.gen.partitions {
		lag += max(p.end-p.tracker.commit(), 0)
	}
	return lag, len(c.gen.partitions)
}

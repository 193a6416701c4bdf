package report

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
	"github.com/footfall/footfall/shared/report"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// live keeps for each view of a merchant that is asked about what its records do not
// hold, so that a question merges records instead of working them out.
//
// A picture is used as long as nothing has changed since. After a change the
// next reader waits for a new one, so that a quiet merchant's event is seen at
// once, while the merchant (and all together) have time left for it: an eighth
// of the machine. Who has none left gets a new picture every now and then, and
// meanwhile readers get the last one, which is no older than a few seconds, or where
// it costs much and the machine has no more to give, a minute. What it says of the
// watermark was read before it was taken, so it never claims to hold what it does not.
type live struct {
	loader     *history.Loader
	processed  store.Processed
	journal    store.Journal
	clock      function.Clock // of what is said; for waits and costs the machine's own is asked
	age        time.Duration
	most       int64
	mostTally  int64
	patience   time.Duration
	slots      chan struct{} // pictures taken at once
	background chan struct{} // of these, while nobody waits
	cores      float64

	mu      sync.Mutex
	bytes   int64
	tallies int64
	tight   bool
	order   *list.List // of *album; asked about last in front
	byView  map[albumKey]*list.Element
	allowed allowance // of all together
	resting bool      // throwOutIdle is to come
}

const (
	leastPause   = 250 * time.Millisecond
	pausePerCost = 8                      // a merchant's pictures in the background take at most one part in so many of a core
	agePerCost   = 12                     // where they cost more than that they may be so much older
	mostAge      = time.Minute            // but no older, whatever they cost
	ownShare     = 800 * time.Millisecond // that a merchant may save up for readers who wait
	commonShare  = 500 * time.Millisecond // that all may
	mostDebt     = 10 * time.Second       // that all may take beyond it
	leastCost    = 5 * time.Millisecond   // that is taken for what a first picture costs, where it took more
	mostWaiting  = 4096
	// patience is how long a reader waits for what is newer than the last picture,
	// where readers and events keep coming: most pictures are there by then, and
	// one that all must be counted anew for is as new for the next reader.
	patience = 4 * time.Millisecond
	forever  = time.Duration(math.MaxInt64)
)

// marks are the state of the journal before something is read.
type marks struct {
	watermark  time.Time
	unfinished []store.JournalRow // at most fewBatches; none where the watermark is now
}

// picture is what was open of a merchant at one moment.
type picture struct {
	*history.Snapshot
	marks
	merchant access.Merchant
	began    time.Time // on the machine's clock
	number   uint64    // among the merchant's
	size     int64

	mu       sync.Mutex
	days     map[liveKey]*liveDay
	answers  map[answerKey]*report.Result // read only
	rejected map[hours]int64
}

// albumKey names a view of a merchant.
type albumKey struct {
	merchant   string
	generation uint32
}

func keyOf(m *access.Merchant) albumKey { return albumKey{m.ID, m.Generation} }

// album has the last picture of a merchant in a view.
type album struct {
	key     albumKey
	mu      sync.Mutex
	last    *picture
	err     error         // why there is no newer one
	number  uint64        // of the one that is being taken, or was taken last
	taking  chan struct{} // closed when the one under way is there; nil where none is
	since   time.Time     // when that one was begun
	waiting int
	next    time.Time     // before it no picture is taken in the background
	looked  time.Time     // when the last reader found a picture that was not current
	cost    time.Duration // of the last picture, about
	allowed allowance
	size    int64 // that live.bytes counts

	asked  time.Time // live.mu guards it, and what follows
	follow *history.Following
	tally  int64 // bytes of follow, that live.tallies counts
}

// allowance is time that may be spent, and comes back by and by.
type allowance struct {
	left time.Duration
	at   time.Time
}

func (a *allowance) refill(now time.Time, most time.Duration, rate float64) bool {
	if a.at.IsZero() {
		a.left = most
	} else {
		a.left = min(most, a.left+time.Duration(float64(now.Sub(a.at))*rate))
	}
	a.at = now
	return a.left > 0
}

func newLive(config *Config, ports *Ports, clock function.Clock) *live {
	cores := min(runtime.GOMAXPROCS(0), runtime.NumCPU()) // more may run at once than there are cores
	return &live{
		loader: ports.History.Within(int(min(config.LiveEvents, config.MaxEvents))).Uncached().Waiting(ports.Summaries, int(config.MaxEvents)), processed: ports.Processed, journal: ports.Journal, clock: clock,
		age: config.LiveAge, most: share(config.LiveBytes, liveOf), mostTally: share(config.TallyBytes, tallyOf), patience: patience,
		slots: make(chan struct{}, cores), background: make(chan struct{}, max(1, cores/2)), cores: float64(cores),
		order: list.New(), byView: map[albumKey]*list.Element{},
	}
}

// marks reads the journal's state: the watermark first.
func (l *live) marks(ctx context.Context) (marks, error) {
	now := l.clock()
	var m marks
	var err error
	if m.watermark, err = l.journal.Watermark(ctx, now); err != nil {
		return m, fmt.Errorf("cannot read the watermark: %w", err)
	}
	if m.watermark.Before(now) {
		// Nearly always a few batches of all merchants are under way, and
		// looking at these is quicker than at each asked hour.
		if m.unfinished, err = l.journal.Unfinished(ctx, store.StageProcessed, time.Time{}, now.Add(time.Hour), fewBatches); err != nil {
			return m, fmt.Errorf("cannot list pending batches: %w", err)
		}
	}
	return m, nil
}

// of is the album of a merchant in a view.
func (l *live) of(key albumKey) *album {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at := l.byView[key]; at != nil {
		l.order.MoveToFront(at)
		a := at.Value.(*album)
		a.asked = now
		return a
	}
	a := &album{key: key, asked: now, follow: l.anew()}
	l.byView[key] = l.order.PushFront(a)
	l.resize(a, albumSize)
	return a
}

const albumSize = 2048

// resize notes what an album takes and throws the others out that were not
// asked about for longest. The caller holds l.mu.
func (l *live) resize(a *album, size int64) {
	at := l.byView[a.key]
	if at == nil || at.Value != a {
		return // thrown out meanwhile
	}
	l.bytes += size - a.size
	a.size = size
	for l.bytes > l.most && l.order.Len() > 1 {
		l.throwOut(l.order.Back())
	}
}

// throwOut drops an album. The caller holds l.mu.
func (l *live) throwOut(at *list.Element) {
	a := l.order.Remove(at).(*album)
	delete(l.byView, a.key)
	l.bytes -= a.size
	l.forget(a)
}

// grow notes that a merchant's picture has come to take more.
func (l *live) grow(m *access.Merchant, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.byView[keyOf(m)]; at != nil {
		a := at.Value.(*album)
		l.resize(a, a.size+size)
	}
}

// look is the picture to answer from, with what may be said of it. It is the
// last one where that is current or, unless it is to be newer, young enough, and a new one
// otherwise.
func (l *live) look(ctx context.Context, m *access.Merchant, cal *summary.Calendar, newer bool) (*picture, marks, error) {
	a, came := l.of(keyOf(m)), time.Now()
	var least uint64 // the number from which on pictures were begun after we came
	for round := 0; ; round++ {
		version, err := l.processed.Version(ctx, m.ID)
		if err != nil {
			return nil, marks{}, fmt.Errorf("cannot tell whether the data of merchant %q changed: %w", m.ID, err)
		}
		a.mu.Lock()
		p := a.last
		if p != nil && !p.shows(m) {
			p = nil
		}
		if round == 0 {
			least = a.number + 1
		}
		if p != nil && p.Version == version {
			a.mu.Unlock()
			now, err := l.marks(ctx)
			if err != nil {
				return nil, marks{}, err
			}
			if again, err := l.processed.Version(ctx, m.ID); err == nil && again == version {
				return p, now, nil
			}
			return p, p.marks, nil // it was current when we came
		}
		if p != nil && p.number >= least {
			a.mu.Unlock()
			return p, p.marks, nil
		}
		if newer {
			p = nil
		}
		most := forever
		if p != nil {
			most = l.mayWait(a, p)
		}
		if most == 0 {
			l.refresh(ctx, a, m, cal, p)
			a.mu.Unlock()
			return p, p.marks, nil
		}
		if a.waiting >= mostWaiting {
			a.mu.Unlock()
			return nil, marks{}, fault.New(fault.Overloaded, "cannot run another report of merchant %q now: too many wait already", m.ID)
		}
		a.waiting++
		if a.taking == nil {
			l.take(ctx, a, m, cal, false)
		}
		taking, since := a.taking, a.since
		a.mu.Unlock()
		if came.Before(since) {
			since = came
		}
		there, err := wait(ctx, taking, since, most)
		a.mu.Lock()
		a.waiting--
		if err == nil && !there {
			if a.last.shows(m) {
				p = a.last
			}
			a.mu.Unlock()
			return p, p.marks, nil
		}
		if err == nil && a.last == nil || round > 0 && a.err != nil {
			err = a.err
		}
		a.mu.Unlock()
		if err != nil {
			return nil, marks{}, fmt.Errorf("cannot work out what summaries do not hold of merchant %q: %w", m.ID, err)
		}
	}
}

// wait waits for a picture, at most so long from since on; there is false where it
// has not come.
func wait(ctx context.Context, taking <-chan struct{}, since time.Time, most time.Duration) (there bool, err error) {
	var enough <-chan time.Time
	if most < forever {
		timer := time.NewTimer(most - time.Since(since))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-taking:
		return true, nil
	case <-enough:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// shows reports whether the picture was taken under the merchant's settings.
func (p *picture) shows(m *access.Merchant) bool {
	return p.merchant.Generation == m.Generation && p.merchant.Version == m.Version && p.merchant.Settings.TimeZone == m.Settings.TimeZone
}

// mayWait decides how long a reader waits for a new picture rather than take the
// last one, 0 for not at all. It is as long as it takes where the last one is old, or
// nobody has asked for a while; where readers are many it is short, and only
// as long as half of what the merchant may save up is left: else they let it be
// renewed behind them. The caller holds a.mu.
func (l *live) mayWait(a *album, p *picture) time.Duration {
	now := time.Now()
	some := a.allowed.refill(now, ownShare, 1.0/pausePerCost)
	rare := now.Sub(a.looked) >= l.age/4
	a.looked = now
	age, stretched := now.Sub(p.began), l.stretched(a, now)
	switch {
	case l.age == 0 || age >= max(2*l.age, stretched):
		return forever
	case rare && some && (age >= max(l.age, stretched) || l.spare(now)):
		return forever
	case a.allowed.left > ownShare/2 && l.spare(now):
		return l.patience
	default:
		return 0
	}
}

// stretched is how old a merchant's picture may be for what it costs. Where all pictures
// together take more than their share of the machine, those that cost most may be older:
// else they would take it all, and a quiet merchant's readers would wait for a busy
// one's. The caller holds a.mu.
func (l *live) stretched(a *album, now time.Time) time.Duration {
	age := float64(agePerCost*a.cost) * (1 + float64(l.debt(now))/float64(commonShare/2))
	return time.Duration(min(float64(mostAge), age))
}

func (l *live) spare(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allowed.refill(now, commonShare, l.cores/pausePerCost)
}

// debt is what all have taken beyond their share.
func (l *live) debt(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed.refill(now, commonShare, l.cores/pausePerCost)
	return max(0, -l.allowed.left)
}

// refresh takes a new picture in the background where it is time. The caller
// holds a.mu.
func (l *live) refresh(ctx context.Context, a *album, m *access.Merchant, cal *summary.Calendar, p *picture) {
	now := time.Now()
	age := now.Sub(p.began)
	if a.taking != nil || now.Before(a.next) || age < l.age/2 && !l.spare(now) || age < l.stretched(a, now)/2 {
		return
	}
	select {
	case l.background <- struct{}{}:
		l.take(ctx, a, m, cal, true)
	default: // others are at it; the next reader tries again
	}
}

// take begins a new picture; the context's deadline is not its own, for many
// wait for it. The caller holds a.mu, and in the background a place there.
func (l *live) take(ctx context.Context, a *album, m *access.Merchant, cal *summary.Calendar, background bool) {
	a.number++
	number, done := a.number, make(chan struct{})
	a.taking, a.since = done, time.Now()
	merchant, follow := *m, l.follower(a)
	l.rest()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), history.DefaultTimeout)
	go func() {
		defer cancel()
		l.slots <- struct{}{}
		began := time.Now()
		p, err := l.expose(ctx, follow, &merchant, cal, number)
		tally := follow.Size()
		<-l.slots
		if background {
			// A place has half of its time: else a few merchants whose pictures take
			// long would have a core for themselves.
			time.AfterFunc(time.Since(began), func() { <-l.background })
		}
		l.develop(a, p, err)
		l.count(a, follow, tally)
		close(done)
	}()
}

// expose takes a picture: the journal's marks first, so that what they promise
// is in it.
func (l *live) expose(ctx context.Context, follow *history.Following, m *access.Merchant, cal *summary.Calendar, number uint64) (*picture, error) {
	p := &picture{merchant: *m, began: time.Now(), number: number, days: map[liveKey]*liveDay{}, answers: map[answerKey]*report.Result{}}
	var err error
	if p.marks, err = l.marks(ctx); err != nil {
		return p, err
	}
	if p.Snapshot, err = follow.Snapshot(ctx, m, cal); err != nil {
		return p, err
	}
	p.size = albumSize
	for _, r := range p.Hours {
		p.size += int64(recordSize(r))
	}
	return p, nil
}

// develop puts a picture into its album and counts what it cost.
func (l *live) develop(a *album, p *picture, err error) {
	now := time.Now()
	cost := now.Sub(p.began)
	a.mu.Lock()
	// What takes long once may have waited for the machine.
	a.taking, a.cost = nil, min(cost, max(2*a.cost, leastCost))
	a.allowed.refill(now, ownShare, 1.0/pausePerCost)
	a.allowed.left -= cost
	a.next = p.began.Add(max(leastPause, pausePerCost*cost))
	if a.err = err; err == nil {
		a.last = p
	}
	a.mu.Unlock()
	l.mu.Lock()
	l.allowed.refill(now, commonShare, l.cores/pausePerCost)
	l.allowed.left = max(l.allowed.left-cost, -mostDebt)
	if err == nil {
		l.resize(a, p.size)
	}
	l.mu.Unlock()
}

package report

import (
	"time"

	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/history"
)

// What pictures go on counting from has a bound of its own: a merchant without it
// is counted whole, which takes longer, and one without a picture has nothing to
// answer from.
const (
	tallyPart = 2                // of the memory, that one merchant's may take
	tallyRest = 10 * time.Second // that nobody asked about a merchant before it makes room for another
	tallyIdle = 5 * time.Minute  // that nobody asked about one before its memory is given back
	tallyOf   = 8                // of the process's memory, that all may take by default
)

// mostTally is the memory that counting goes on from.
func mostTally(c *Config) int64 {
	if c.TallyBytes < 0 {
		return function.Memory() / tallyOf
	}
	return int64(c.TallyBytes)
}

func (l *live) anew() *history.Following { return l.loader.Follow(l.mostTally / tallyPart) }

// follower is what the one that takes a merchant's picture counts on from.
func (l *live) follower(a *album) *history.Following {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.follow
}

// count notes what a merchant's tally has come to take. Where all take too much,
// those make room that nobody asked about for longest, but not those in use: where
// all are, the last one goes, for each would else be thrown out before its turn
// comes again.
func (l *live) count(a *album, follow *history.Following, size int64) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.byView[a.key]; at == nil || at.Value != a || a.follow != follow {
		return // thrown out meanwhile
	}
	l.tallies += size - a.tally
	a.tally = size
	for at := l.order.Back(); at != nil && l.tallies > l.mostTally; at = at.Prev() {
		old := at.Value.(*album)
		if now.Sub(old.asked) < tallyRest {
			l.forget(a)
			return
		}
		if old.tally > 0 {
			l.forget(old)
		}
	}
}

// forget drops a merchant's tally. The caller holds l.mu.
func (l *live) forget(a *album) {
	l.tallies -= a.tally
	a.follow, a.tally = l.anew(), 0
}

// rest sees to it that idle tallies are forgotten by and by.
func (l *live) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.resting {
		l.resting = true
		time.AfterFunc(tallyIdle, l.forgetIdle)
	}
}

// forgetIdle gives the memory back of merchants that nobody asked about for a while.
func (l *live) forgetIdle() {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = false
	for at := l.order.Back(); at != nil; at = at.Prev() {
		a := at.Value.(*album)
		if now.Sub(a.asked) < tallyIdle {
			l.resting = true
			time.AfterFunc(tallyIdle-now.Sub(a.asked), l.forgetIdle)
			return
		}
		if a.tally > 0 {
			l.forget(a)
		}
	}
}

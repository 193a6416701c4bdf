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
	liveIdle  = 5 * time.Minute  // that nobody asked about one before its memory is given back
	tallyOf   = 6                // of the process's memory, that all may take by default
	liveOf    = 16               // of it, that all pictures may
	fewTight  = 1 << 16          // events around open ones of which all are held while memory is tight
)

// share is a bound of memory, by default a part of the process's.
func share(bytes int, part int64) int64 {
	if bytes < 0 {
		return function.Memory() / part
	}
	return int64(bytes)
}

func (l *live) anew() *history.Following {
	return l.loader.Follow(l.mostTally/tallyPart).Tight(l.isTight, fewTight)
}

// isTight reports whether what is held of all takes much of what it may: from a half of it
// on, and until it is a quarter.
func (l *live) isTight() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tight {
		l.tight = 4*l.tallies > l.mostTally
	} else {
		l.tight = 2*l.tallies > l.mostTally
	}
	return l.tight
}

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
	a.follow, a.tally = a.follow.Afresh(), 0
}

// rest sees to it that what is idle is thrown out by and by.
func (l *live) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.resting {
		l.resting = true
		time.AfterFunc(liveIdle, l.throwOutIdle)
	}
}

// throwOutIdle gives the memory back of merchants that nobody asked about for a while.
func (l *live) throwOutIdle() {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := l.order.Back(); at != nil; at = l.order.Back() {
		if idle := now.Sub(at.Value.(*album).asked); idle < liveIdle {
			time.AfterFunc(liveIdle-idle, l.throwOutIdle)
			return
		}
		l.throwOut(at)
	}
	l.resting = false
}

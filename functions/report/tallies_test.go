package report

import (
	"container/list"
	"testing"
	"testing/synctest"
	"time"
)

// TestTalliesKeepTheirBound: who is asked about keeps what counting goes on from,
// who is not makes room, and nobody loses a picture for it.
func TestTalliesKeepTheirBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &live{most: 1 << 20, mostTally: 100, order: list.New(), byView: map[albumKey]*list.Element{}}
		ask := func(merchant string, size int64) *album {
			a := l.of(albumKey{merchant: merchant})
			l.count(a, l.follower(a), size)
			return a
		}
		kept := func(want int64, albums ...*album) {
			t.Helper()
			var sum int64
			for _, a := range albums {
				sum += a.tally
			}
			if l.tallies != want || sum != want {
				t.Errorf("tallies take %d bytes and are counted as %d, expected %d", sum, l.tallies, want)
			}
		}
		a, b := ask("a", 60), ask("b", 30)
		kept(90, a, b)
		before := l.follower(b)
		c := ask("c", 40) // all are in use: the last one goes
		kept(90, a, b, c)
		if l.follower(b) != before {
			t.Error("a tally in use was thrown out for another")
		}
		time.Sleep(tallyRest)
		b, c = ask("b", 30), ask("c", 40) // nobody asks about a any more
		kept(70, a, b, c)
		if a.tally != 0 || l.of(a.key) != a {
			t.Errorf("a tally of %d bytes is left, and the picture %v", a.tally, l.of(a.key) == a)
		}
		l.count(b, before, 99)
		l.forget(b)
		l.count(b, before, 99) // of one that was thrown out while it was used
		kept(40, a, b, c)
		l.most = albumSize // no room for pictures: a tally goes with its own
		l.resize(c, c.size)
		if l.order.Len() != 1 || l.tallies > 40 {
			t.Errorf("%d pictures and %d bytes of tallies are left", l.order.Len(), l.tallies)
		}
	})
}

// TestIdlePicturesAreThrownOut: what nobody asks about gives its memory back, and what
// somebody does keeps it.
func TestIdlePicturesAreThrownOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &live{most: 1 << 20, mostTally: 100, order: list.New(), byView: map[albumKey]*list.Element{}}
		ask := func(merchant string) *album {
			a := l.of(albumKey{merchant: merchant})
			l.rest()
			l.count(a, l.follower(a), 10)
			return a
		}
		quiet, busy := ask("quiet"), ask("busy")
		for range 3 {
			time.Sleep(liveIdle * 2 / 3)
			ask("busy")
		}
		kept := func(ofQuiet, ofBusy int64, resting bool) {
			t.Helper()
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			if albums := int((ofQuiet + ofBusy) / 10); l.order.Len() != albums || len(l.byView) != albums || l.bytes != int64(albums)*albumSize {
				t.Errorf("%d pictures of %d bytes are there, expected %d", l.order.Len(), l.bytes, albums)
			}
			if quiet.tally != ofQuiet || busy.tally != ofBusy || l.tallies != ofQuiet+ofBusy || l.resting != resting {
				t.Errorf("the quiet merchant's tally takes %d bytes, the busy one's %d, all %d, and they are looked at again: %v", quiet.tally, busy.tally, l.tallies, l.resting)
			}
		}
		kept(0, 10, true)
		time.Sleep(2 * liveIdle)
		kept(0, 0, false)
	})
}

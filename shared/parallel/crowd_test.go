package parallel

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// It is crowded where many have to wait for the processors that others use, and not where a
// computation has them for itself.
func TestCrowded(t *testing.T) {
	var stop atomic.Bool
	defer stop.Store(true)
	spin := func() {
		for !stop.Load() {
		}
	}
	go spin()
	c := crowd{line: newLine(), looked: time.Now()}
	look := func(ask func()) bool {
		began := c.looked
		for c.looked == began {
			ask()
			c.crowded()
		}
		return c.is
	}
	deadline := time.Now().Add(time.Minute)
	pause := time.NewTicker(lookEvery)
	defer pause.Stop()
	for look(func() { <-pause.C }) {
		if time.Now().After(deadline) {
			t.Fatal("crowded by a computation alone")
		}
	}
	for range 8 * runtime.GOMAXPROCS(0) {
		go spin()
	}
	for !look(runtime.Gosched) {
		if time.Now().After(deadline) {
			t.Fatal("nobody is said to have waited for a processor")
		}
	}
}

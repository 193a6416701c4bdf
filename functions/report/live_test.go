package report

import (
	"fmt"
	"testing"
	"time"
)

// The days that questions work out of a picture count as its memory.
func TestLiveDaysAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 200 {
		w.put(row(fmt.Sprint(i), fmt.Sprintf("client %d", i), fmt.Sprintf("/page/%d", i), midday.Add(time.Duration(i)*time.Second)))
	}
	w.report("metrics=views&from=2026-03-12&to=2026-03-12&dimensions=hour")
	l := w.service.live
	bytes := func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.bytes
	}
	before := bytes()
	w.report("metrics=users,views&from=2026-03-12&to=2026-03-12&dimensions=pagePath")
	if after := bytes(); after < before+200*8 {
		t.Fatalf("the live picture takes %d bytes and took %d before it held a day of 200 pages", after, before)
	}
}

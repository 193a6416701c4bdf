package summary

import (
	"sync"
	"time"
)

// longWork is from where on counting a merchant's hours is held back.
const longWork = 3 * time.Second

// pace holds back the merchants whose hours take long to count. Late events
// reopen a busy merchant's hours at every tick, and each of them looks at all
// that the merchant did in the day around it: without a pause that alone would
// take a core, and more with every hour of the day. What waits is not missing
// anywhere, for reports count it from processed data.
type pace struct {
	mu    sync.Mutex
	until map[string]time.Time // each entry cost longWork, and is gone when it has passed
}

// free reports whether it is a merchant's turn.
func (p *pace) free(merchant string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, held := p.until[merchant]
	if held && !now.Before(until) {
		delete(p.until, merchant)
		return true
	}
	return !held
}

// worked notes how long a merchant's hours took, of which the merchant may take
// one part in share of the time; 0 holds nobody back.
func (p *pace) worked(merchant string, began, ended time.Time, share int) {
	took := ended.Sub(began)
	if took < longWork || share == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for m, until := range p.until {
		if !began.Before(until) {
			delete(p.until, m)
		}
	}
	if p.until == nil {
		p.until = map[string]time.Time{}
	}
	p.until[merchant] = ended.Add(took * time.Duration(share-1))
}

// free reports whether a merchant is not held back, or is asked for.
func (s *Service) free(merchant string, now time.Time, late *lateness) bool {
	return late.asked || s.pace.free(merchant, now)
}

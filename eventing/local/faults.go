package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/footfall/footfall/shared/fault"
)

// Faults are what a test may have go wrong between Broker and subscriber, as
// it does in a cluster, only more often. Shares are from 0 to 1.
type Faults struct {
	Seed      uint64
	Duplicate float64       // deliveries that arrive twice
	LoseAck   float64       // deliveries that arrive, while their answer is lost: they come again while retries last
	Fail      float64       // deliveries that the subscriber refuses unseen with a 503: they come again while retries last
	Delay     float64       // deliveries that arrive late
	MaxDelay  time.Duration // by at most this
	Reorder   bool          // records of one fetch go out in any order, except to ordered Triggers
}

func (f Faults) validate() error {
	for name, share := range map[string]float64{"duplicate": f.Duplicate, "lose_ack": f.LoseAck, "fail": f.Fail, "delay": f.Delay} {
		if share < 0 || share > 1 {
			return fault.Field("faults."+name, fmt.Sprintf("a share from 0 to 1, not %v", share))
		}
	}
	if f.Delay > 0 && f.MaxDelay <= 0 {
		return fault.Field("faults.max_delay", "a positive duration with delay")
	}
	return nil
}

// faults draws from Faults; nil where none are asked for.
type faults struct {
	Faults
	mu  sync.Mutex
	rng *rand.Rand
}

func newFaults(f Faults) *faults {
	if f == (Faults{Seed: f.Seed}) {
		return nil
	}
	return &faults{Faults: f, rng: rand.New(rand.NewPCG(f.Seed, 0x666f6f7466616c6c))}
}

func (f *faults) hit(share float64) bool {
	if share == 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < share
}

var errFailed = errors.New("the subscriber failed (asked for by a test)")

var errLostAck = errors.New("the answer was lost on the way (asked for by a test)")

func (f *faults) send(ctx context.Context, t target, e *cloudevents.Event) (*answer, error) {
	if f.hit(f.Delay) {
		f.mu.Lock()
		d := time.Duration(f.rng.Int64N(int64(f.MaxDelay)) + 1)
		f.mu.Unlock()
		if !wait(ctx, nil, d) {
			return nil, ctx.Err()
		}
	}
	if f.hit(f.Fail) {
		return nil, errFailed
	}
	a, err := t.send(ctx, e)
	if err == nil && f.hit(f.Duplicate) {
		a, err = t.send(ctx, e)
	}
	if err == nil && f.hit(f.LoseAck) {
		return nil, errLostAck
	}
	return a, err
}

func (f *faults) shuffle(jobs []job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rng.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
}

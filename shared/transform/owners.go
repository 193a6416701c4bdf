package transform

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/enrich"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

const (
	// unknownFor is how long a stream stays nobody's without asking again.
	unknownFor = 2 * time.Second
	// askTimeout bounds one question to the registry.
	askTimeout = 5 * time.Second
	// askAtOnce is how many streams of one batch are asked for at once.
	askAtOnce  = 8
	changePage = 1000
)

// owners remembers whose streams are: at most 2×half of them, in two
// generations of which the older is forgotten when the younger is full.
type owners struct {
	registry store.Registry
	refresh  time.Duration
	clock    function.Clock
	log      *slog.Logger

	mu         sync.Mutex
	half       int
	young, old map[string]entry
}

// entry is one stream's owner; nobody's where Merchant is empty.
type entry struct {
	owner   enrich.Owner
	version uint64    // of the merchant
	until   time.Time // of a stream that is nobody's
}

func newOwners(registry store.Registry, limit int, refresh time.Duration, clock function.Clock, log *slog.Logger) *owners {
	return &owners{
		registry: registry, refresh: refresh, clock: clock, log: log,
		half: max(1, limit/2), young: map[string]entry{},
	}
}

// of finds the owners of all streams that batches name. Streams of nobody are
// not in the answer; where the registry cannot say, the answer is its error.
func (o *owners) of(ctx context.Context, batches []*event.Batch) (map[string]enrich.Owner, error) {
	found := map[string]enrich.Owner{}
	var ask []string
	seen := map[string]bool{}
	now := o.clock()
	look := func(stream string) {
		if stream == "" || seen[stream] {
			return
		}
		seen[stream] = true
		switch e, ok := o.get(stream); {
		case ok && e.owner.Merchant != "":
			found[stream] = e.owner
		case !ok || !now.Before(e.until):
			ask = append(ask, stream)
		}
	}
	last := ""
	for _, b := range batches {
		for i := range b.Events {
			if stream := b.Events[i].Stream; stream != last {
				look(stream)
				last = stream
			}
		}
		for i := range b.Refused {
			look(b.Refused[i].Stream)
		}
	}
	if len(ask) == 0 {
		return found, nil
	}
	answers := make([]entry, len(ask))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askAtOnce)
	for i, stream := range ask {
		group.Go(func() (err error) {
			answers[i], err = o.ask(ctx, stream)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fault.New(fault.Transient, "cannot find the owner of a stream: %w", err)
	}
	for i, stream := range ask {
		if answers[i].owner.Merchant != "" {
			found[stream] = answers[i].owner
		}
	}
	return found, nil
}

// ask asks the registry for one stream and remembers the answer.
func (o *owners) ask(ctx context.Context, stream string) (entry, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := o.registry.MerchantByStream(ctx, stream)
	stream = strings.Clone(stream) // it was part of a batch's memory
	if fault.Is(err, fault.NotFound) {
		e := entry{until: o.clock().Add(unknownFor)}
		o.put(stream, e)
		return e, nil
	}
	if err != nil {
		return entry{}, err
	}
	for i := range m.Streams {
		if m.Streams[i].MeasurementID == stream {
			e := entryOf(&m, &m.Streams[i])
			o.put(stream, e)
			return e, nil
		}
	}
	return entry{}, fault.New(fault.Transient, "cannot find stream %q in its merchant %q", stream, m.ID)
}

func entryOf(m *access.Merchant, s *access.Stream) entry {
	e := entry{version: m.Version, owner: enrich.Owner{Merchant: m.ID, Disabled: s.Disabled}}
	for _, secret := range s.APISecrets {
		e.owner.Secrets = append(e.owner.Secrets, string(secret))
	}
	return e
}

func (o *owners) get(stream string) (entry, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e, ok := o.young[stream]
	if !ok {
		if e, ok = o.old[stream]; ok {
			o.insert(strings.Clone(stream), e) // it is part of a batch's memory
		}
	}
	return e, ok
}

// put remembers an entry unless a newer one is known: an answer may be
// overtaken by news of a change.
func (o *owners) put(stream string, e entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.young[stream]
	if !ok {
		known, ok = o.old[stream]
	}
	if ok && known.owner.Merchant != "" && known.version > e.version {
		return
	}
	o.insert(stream, e)
}

func (o *owners) insert(stream string, e entry) {
	if _, ok := o.young[stream]; !ok && len(o.young) >= o.half {
		o.old, o.young = o.young, map[string]entry{}
	}
	o.young[stream] = e
}

func (o *owners) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.young) >= o.half
}

// run follows the registry's changes until ctx is done.
func (o *owners) run(ctx context.Context) error {
	cursor, walked := "", false
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next, end, err := o.follow(ctx, cursor, walked)
		if err != nil && ctx.Err() == nil && !failing {
			o.log.Warn("cannot follow changes of merchants", "function", "etl", "error", err)
		}
		failing = err != nil
		cursor, walked = next, walked || end
		timer.Reset(o.refresh)
	}
}

// follow takes in all changes after a cursor. On the first walk these are all
// merchants there are: they warm the cache as long as there is room, and are
// asked for one by one beyond that.
func (o *owners) follow(ctx context.Context, cursor string, walked bool) (next string, end bool, err error) {
	for {
		page, cancel := context.WithTimeout(ctx, askTimeout)
		changed, next, err := o.registry.Changes(page, cursor, changePage)
		cancel()
		if err != nil {
			return cursor, false, err
		}
		for i := range changed {
			m := &changed[i]
			for k := range m.Streams {
				stream := m.Streams[k].MeasurementID
				if !walked && o.full() && !o.knows(stream) {
					continue
				}
				o.put(stream, entryOf(m, &m.Streams[k]))
			}
		}
		if len(changed) == 0 || next == cursor {
			return next, true, nil
		}
		cursor = next
	}
}

func (o *owners) knows(stream string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, young := o.young[stream]
	_, old := o.old[stream]
	return young || old
}

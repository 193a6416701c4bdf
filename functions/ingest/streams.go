package ingest

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/footfall/footfall/shared/access"
)

type merchant = access.Merchant

// digest is the first half of a secret's SHA-256: 128 bits are more than
// anybody can guess, and a million streams are held in memory.
type digest [16]byte

// stream is what ingest knows of one stream.
type stream struct {
	secret   digest
	has      bool // secret is set
	keepIP   bool
	disabled bool
	rare     *rareParts // nil: it has none of them
}

// rareParts are what few streams have, so that a million others are small.
type rareParts struct {
	more     []digest       // further secrets
	tenant   *tenant        // nil: it may send what it likes
	internal []netip.Prefix // the merchant's own networks
}

func (st *stream) tenant() *tenant {
	if st.rare == nil {
		return nil
	}
	return st.rare.tenant
}

func (st *stream) internal() []netip.Prefix {
	if st.rare == nil {
		return nil
	}
	return st.rare.internal
}

// Streams is a snapshot of all streams. Streams are disabled, never removed.
type Streams struct {
	seed maphash.Seed
	mu   sync.RWMutex
	// By keyed hash of the measurement id, so that a stream takes a hundred
	// bytes (BenchmarkStreamsSnapshot) and no pointer to a text. Of a million streams two collide once
	// in 10^7 snapshots, and nobody outside can bring it about.
	byID    map[uint64]stream
	tenants map[string]*tenant // by merchant, of those with a quota
	quota   int64              // of merchants without one of their own; 0: none
}

// NewStreams makes an empty snapshot. quota is how many events a minute a
// merchant may send for whom its settings say nothing; 0 is no limit.
func NewStreams(quota int64) *Streams {
	return &Streams{seed: maphash.MakeSeed(), byID: map[uint64]stream{}, tenants: map[string]*tenant{}, quota: quota}
}

// tenantOf finds or makes a merchant's tenant; nil where it has no quota. What
// it has used stays when other settings change. The caller has the lock.
func (s *Streams) tenantOf(m *access.Merchant) *tenant {
	limit := s.quota
	if own := m.Settings.QuotaEventsPerMinute; own != nil {
		limit = *own
	}
	t := s.tenants[m.ID]
	switch {
	case limit <= 0:
		delete(s.tenants, m.ID)
		return nil
	case t == nil:
		t = &tenant{id: m.ID}
		s.tenants[m.ID] = t
	}
	t.setLimit(limit)
	return t
}

// Apply takes over merchants as they stand now.
func (s *Streams) Apply(merchants []access.Merchant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range merchants {
		m := &merchants[i]
		t := s.tenantOf(m)
		internal := internalOf(m)
		for _, st := range m.Streams {
			entry := stream{keepIP: m.Settings.KeepIP, disabled: st.Disabled}
			rare := rareParts{tenant: t, internal: internal}
			for _, h := range st.APISecrets {
				full, err := hex.DecodeString(string(h))
				if err != nil || len(full) < len(digest{}) {
					continue // no secret can match it
				}
				d := digest(full)
				if !entry.has {
					entry.secret, entry.has = d, true
				} else {
					rare.more = append(rare.more, d)
				}
			}
			if rare.tenant != nil || rare.internal != nil || rare.more != nil {
				entry.rare = &rare
			}
			s.byID[s.hash(st.MeasurementID)] = entry
		}
	}
}

// internalOf are the networks that a merchant names its own.
func internalOf(m *access.Merchant) (networks []netip.Prefix) {
	for _, text := range m.Settings.InternalNetworks {
		if p, err := access.ParseNetwork(text); err == nil {
			networks = append(networks, p)
		}
	}
	return networks
}

// Len is how many streams are known.
func (s *Streams) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byID)
}

func (s *Streams) hash(measurementID string) uint64 { return maphash.String(s.seed, measurementID) }

func (s *Streams) find(hash uint64) (stream, bool) {
	s.mu.RLock()
	st, ok := s.byID[hash]
	s.mu.RUnlock()
	return st, ok
}

// matches compares a secret's digest with the stream's, in a time that says
// nothing about either.
func (st *stream) matches(d digest) bool {
	ok := 0
	if st.has {
		ok = subtle.ConstantTimeCompare(st.secret[:], d[:])
	}
	if st.rare != nil {
		for i := range st.rare.more {
			ok |= subtle.ConstantTimeCompare(st.rare.more[i][:], d[:])
		}
	}
	return ok == 1
}

// refresher follows the registry.
type refresher struct {
	cfg      Config
	registry Registry
	streams  *Streams
	visitors *visitors
	log      *slog.Logger
	cursor   string
	failing  bool
}

const (
	refreshPage    = 1000
	refreshTimeout = 10 * time.Second
)

func (r *refresher) run(ctx context.Context) error {
	ticker := time.NewTicker(r.cfg.StreamsRefresh)
	defer ticker.Stop()
	for {
		err := r.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failing := err != nil; failing != r.failing {
			r.failing = failing
			if failing {
				r.log.Warn("cannot refresh the snapshot of streams; going on with the last one", "streams", r.streams.Len(), "error", err)
			} else {
				r.log.Info("the snapshot of streams is fresh again", "streams", r.streams.Len())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// once reads all that has changed.
func (r *refresher) once(ctx context.Context) error {
	if !r.visitors.keyed() {
		if err := r.loadSecret(ctx); err != nil {
			return err
		}
	}
	for {
		changed, next, err := r.changes(ctx)
		if err != nil {
			return err
		}
		r.streams.Apply(changed)
		r.cursor = next
		if len(changed) < refreshPage {
			return nil
		}
	}
}

func (r *refresher) changes(ctx context.Context) ([]access.Merchant, string, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return r.registry.Changes(ctx, r.cursor, refreshPage)
}

func (r *refresher) loadSecret(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	secret, err := r.registry.Secret(ctx, visitorSecret, newSecret)
	if err != nil {
		return err
	}
	r.visitors.use(secret)
	return nil
}

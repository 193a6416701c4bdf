package replay

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/access"
	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/transform"
)

// Rejects is what Retry needs of store.Processed.
type Rejects interface {
	Rejects(ctx context.Context, merchant string, layers access.Layers, from, to event.Hour, cursor string, limit int) ([]store.Reject, string, error)
	Resolve(ctx context.Context, put store.Put, rejects []store.Reject) error
}

// Retry tries rejected events again, after what they were rejected for was
// mended: a stream that was not registered, or that was disabled.
type Retry struct {
	rejects   Rejects
	transform *transform.Transform
	timeout   time.Duration // of one call of the store
}

// NewRetry makes a retry.
func NewRetry(rejects Rejects, t *transform.Transform, timeout time.Duration) *Retry {
	return &Retry{rejects: rejects, transform: t, timeout: timeout}
}

// Retried says what became of rejected events. It adds up:
// Looked = Counted + Rejected + Refused + Other + Skipped.
type Retried struct {
	Looked   int64 `json:"looked"`   // rejects that were read
	Counted  int64 `json:"counted"`  // are rejected no more
	Rejected int64 `json:"rejected"` // are rejected again
	Refused  int64 `json:"refused"`  // were never accepted: their senders were told
	Other    int64 `json:"other"`    // belong to a reprocess: another one tries them again
	Skipped  int64 `json:"skipped"`  // have other reasons than were asked for
}

// Add adds o to r.
func (r *Retried) Add(o Retried) {
	r.Looked += o.Looked
	r.Counted += o.Counted
	r.Rejected += o.Rejected
	r.Refused += o.Refused
	r.Other += o.Other
	r.Skipped += o.Skipped
}

// MaxRetry bounds a page.
const MaxRetry = 1000

// Page tries a page of at most limit (up to MaxRetry) of a merchant's rejected
// events again, or with no merchant of those whose stream belonged to none, with hours in [from, to),
// after a cursor ("" = start); next is "" at the end. Empty reasons are all.
// What is counted now is one of the merchant's rejects no more. It may be done
// again at any moment, and by several at once, and counts each event once.
func (r *Retry) Page(ctx context.Context, m access.Merchant, from, to event.Hour, reasons []string, cursor string, limit int) (did Retried, next string, err error) {
	rejects, next, err := r.read(ctx, m, from, to, cursor, min(limit, MaxRetry))
	if err != nil {
		return did, "", err
	}
	var batches []*event.Batch
	of := map[event.BatchID]*store.Reject{}
	for i := range rejects {
		x := &rejects[i]
		did.Looked++
		switch {
		case x.Refused || len(x.Data) == 0:
			did.Refused++
			continue
		case x.Revision > store.LiveRevision:
			did.Other++
			continue
		case len(reasons) > 0 && !slices.Contains(reasons, x.Reason):
			did.Skipped++
			continue
		}
		e, err := event.DecodeEvent(x.Data)
		if err != nil {
			return did, "", fault.New(fault.Invalid, "cannot read rejected event %d of batch %s: %w", x.Index, x.Batch, err)
		}
		b := &event.Batch{ID: batchOfOne(x.Batch, x.Index), ReceivedAt: x.ReceivedAt, Events: []event.Event{e}}
		batches, of[b.ID] = append(batches, b), x
	}
	if len(batches) == 0 {
		return did, next, nil
	}
	p := &retrying{of: of}
	if _, err := r.transform.Rows(ctx, batches, p.at); err != nil {
		return did, "", err
	}
	p.end()
	did.Counted = int64(len(p.counted))
	did.Rejected = int64(len(batches)) - did.Counted
	if len(p.counted) == 0 {
		return did, next, nil
	}
	return did, next, r.resolve(ctx, p)
}

func (r *Retry) read(ctx context.Context, m access.Merchant, from, to event.Hour, cursor string, limit int) ([]store.Reject, string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	rejects, next, err := r.rejects.Rejects(ctx, m.ID, m.Layers, from, to, cursor, limit)
	if fault.Is(err, fault.Invalid) {
		return nil, "", fault.Field("cursor", "the next of an earlier answer")
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot list rejected events of %q: %w", m.ID, err)
	}
	return rejects, next, nil
}

// resolve writes what is counted under one name: its documents are of many
// batches of one event each, as merged ones are.
func (r *Retry) resolve(ctx context.Context, p *retrying) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	hash := xxh3.New()
	for _, x := range p.counted {
		id := batchOfOne(x.Batch, x.Index)
		_, _ = hash.Write(id[:])
	}
	// Below what package summary names its merged documents, as docBatch.
	put := store.Put{Batch: store.MergedBatchID(hash.Sum64() >> 24), Docs: p.docs}
	for i := range put.Docs {
		put.Docs[i].Key.Batch = put.Batch
	}
	if err := r.rejects.Resolve(ctx, put, p.counted); err != nil {
		return fmt.Errorf("cannot count %d events that were rejected: %w", len(p.counted), err)
	}
	return nil
}

// batchOfOne names the batch of a rejected event alone. Readers count a batch's
// rows of an hour once, and so the event, however often it is tried; the
// instant of its arrival stays, by which it belongs to a revision or not.
func batchOfOne(id event.BatchID, index int) event.BatchID {
	var key [20]byte
	copy(key[:], id[:])
	binary.BigEndian.PutUint32(key[16:], uint32(index))
	h := xxh3.Hash128(key[:])
	binary.BigEndian.PutUint16(id[6:], 0x7000|uint16(h.Hi>>48)&0x0fff)
	binary.BigEndian.PutUint64(id[8:], h.Lo)
	return id
}

// retrying gathers what is counted now.
type retrying struct {
	of      map[event.BatchID]*store.Reject
	counted []store.Reject
	docs    []store.Doc
	builder processed.Builder
	key     store.DocKey
}

func (p *retrying) at(merchant string, hour event.Hour, id event.BatchID) *processed.Builder {
	if merchant != p.key.Merchant || hour != p.key.Hour {
		p.end()
		p.key = store.DocKey{Merchant: merchant, Hour: hour, Revision: store.LiveRevision}
	}
	p.counted = append(p.counted, *p.of[id])
	return &p.builder
}

func (p *retrying) end() {
	if n := p.builder.Len(); n > 0 {
		p.docs = append(p.docs, store.Doc{Key: p.key, Events: n, Data: p.builder.Encode()})
	}
}

package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// chunk writes what the batches of a chunk become.
func (w *work) chunk(ctx context.Context, decode *event.Decoder, c *chunk) error {
	p := &packing{work: w, ctx: ctx, chunk: c.index, count: map[store.DocKey]int{}}
	met := make(map[event.BatchID]bool, len(c.blocks))
	for i := range c.blocks {
		b := &c.blocks[i]
		batch, err := decode.Batch(c.data[b.start:b.end])
		if err != nil {
			w.problem(b.path, "the block at byte %d, of %d bytes: %v", b.at, b.end-b.start, err)
			continue
		}
		if at := batch.ID.Millis(); at < w.shard.From || at >= w.shard.To || met[batch.ID] {
			continue
		}
		met[batch.ID] = true
		if p.events > 0 && p.events+len(batch.Events) > w.limits.ChunkEvents {
			if err := p.pack(); err != nil {
				return err
			}
		}
		p.batches = append(p.batches, batch)
		p.events += len(batch.Events)
		p.counts.Batches++
	}
	if err := p.pack(); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	w.add(p.counts)
	return nil
}

// packing makes the documents of one chunk.
type packing struct {
	*work
	ctx     context.Context // of the one call of chunk that this is
	chunk   int
	batches []*event.Batch
	events  int                  // of batches
	count   map[store.DocKey]int // documents made of a merchant's hour, if more than one pack meets it
	counts  revision.Counts

	builder processed.Builder
	key     store.DocKey // of what is in builder
	docs    []store.Doc
	rejects []store.Reject
	bytes   int // of docs and rejects
	err     error
}

// pack makes documents of the batches at hand.
func (p *packing) pack() error {
	if len(p.batches) == 0 {
		return nil
	}
	rejects, err := p.transform.Rows(p.ctx, p.batches, p.at)
	if err != nil {
		return err
	}
	p.end()
	for i := range rejects {
		if x := &rejects[i]; p.covers(x.Merchant) && p.err == nil {
			p.rejects = append(p.rejects, own(*x))
			p.bytes += len(x.Data) + len(x.Detail) + 200
			p.counts.Rejects++
			p.flushFull()
		}
	}
	p.batches, p.events = p.batches[:0], 0
	return p.err
}

// own is a reject whose texts are no parts of its batch's memory, which is used
// again: a store may keep them.
func own(x store.Reject) store.Reject {
	for _, text := range []*string{&x.Stream, &x.EventID, &x.Reason, &x.Field, &x.Detail} {
		*text = strings.Clone(*text)
	}
	return x
}

func (p *packing) covers(merchant string) bool {
	return p.shard.Covers == nil || p.shard.Covers(merchant)
}

// at is where the rows of a batch go. All rows of a batch and an hour stand in
// one document, for that is what readers count once.
func (p *packing) at(merchant string, hour event.Hour, _ event.BatchID) *processed.Builder {
	if p.err != nil || !p.covers(merchant) {
		return nil
	}
	if merchant != p.key.Merchant || hour != p.key.Hour || p.builder.Len() >= p.limits.DocEvents || p.builder.Size() >= p.limits.DocBytes {
		p.end()
		p.key = store.DocKey{Merchant: merchant, Hour: hour, Revision: p.shard.Revision}
	}
	return &p.builder
}

// end makes a document of the rows at hand.
func (p *packing) end() {
	rows := p.builder.Len()
	if rows == 0 {
		return
	}
	n := p.count[p.key]
	p.count[p.key] = n + 1
	if n == maxNumber && p.err == nil {
		p.err = fmt.Errorf("cannot name a document of merchant %q: a chunk has %d of hour %s", p.key.Merchant, n, p.key.Hour)
	}
	doc := store.Doc{Key: p.key, Events: rows, Data: p.builder.Encode()}
	doc.Key.Batch = docBatch(p.shard.Index, p.chunk, n)
	p.docs = append(p.docs, doc)
	p.bytes += len(doc.Data) + 200
	p.counts.Documents++
	p.counts.Events += int64(rows)
	p.flushFull()
}

func (p *packing) flushFull() {
	if p.err == nil && (p.bytes >= p.limits.PutBytes || len(p.docs)+len(p.rejects) >= p.limits.PutDocs) {
		p.err = p.flush()
	}
}

// flush writes what was made. Its slices are not used again: a write whose
// deadline has passed may still happen.
func (p *packing) flush() error {
	if len(p.docs)+len(p.rejects) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.limits.Timeout)
	defer cancel()
	if err := p.target.PutRevision(ctx, p.shard.Revision, p.docs, p.rejects); err != nil {
		return fmt.Errorf("cannot write %d documents and %d rejects of revision %d: %w", len(p.docs), len(p.rejects), p.shard.Revision, err)
	}
	p.docs, p.rejects, p.bytes = nil, nil, 0
	return nil
}

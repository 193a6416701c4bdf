package event

import (
	"fmt"
	"time"
)

// maxRefused bounds the refused events of one batch; what is over it is
// counted by the one who refused, and not kept.
const maxRefused = 1000

// blockSpare is left in a block for the batch's own members, array heads and
// a compression that does not compress.
const blockSpare = 1 << 10

// MaxEventBytes bounds one encoded event, so that every event fits a batch
// however badly it compresses.
const MaxEventBytes = 256 << 10

// Packer gathers events that were encoded elsewhere, by many goroutines, and
// seals them into batches. The zero value is ready; it may be used again after
// Reset. It is not safe for concurrent use.
type Packer struct {
	events  []byte
	ends    []int // where each event ends in events
	refused []byte
	turned  int

	scratch []byte
}

// Sealed is one batch ready to be stored.
type Sealed struct {
	ID        BatchID
	First     int // place of its first event among those of the packer
	Events    int
	Container []byte // Avro container, at most MaxBatchBytes
}

// Reset empties the packer and keeps its memory.
func (p *Packer) Reset() {
	p.events, p.ends, p.refused, p.turned = p.events[:0], p.ends[:0], p.refused[:0], 0
}

// Events is how many events were added.
func (p *Packer) Events() int { return len(p.ends) }

// Bytes is how many bytes were added.
func (p *Packer) Bytes() int { return len(p.events) + len(p.refused) }

// Fits reports whether so much more can be added.
func (p *Packer) Fits(events, bytes int) bool {
	return len(p.ends)+events <= MaxBatchEvents && p.Bytes()+bytes <= MaxBatchRaw-blockSpare
}

// Add takes one encoded event. False where it is over the limits.
func (p *Packer) Add(encoded []byte) bool {
	if !p.Fits(1, len(encoded)) {
		return false
	}
	p.events = append(p.events, encoded...)
	p.ends = append(p.ends, len(p.events))
	return true
}

// AddRun takes several encoded events that stand one behind the other; ends
// are where each of them ends, counted from base. False, and nothing added,
// where they are over the limits together.
func (p *Packer) AddRun(encoded []byte, ends []int, base int) bool {
	if !p.Fits(len(ends), len(encoded)) {
		return false
	}
	shift := len(p.events) - base
	p.events = append(p.events, encoded...)
	for _, end := range ends {
		p.ends = append(p.ends, end+shift)
	}
	return true
}

// AddAll takes all that another packer was given. False, and nothing added, where
// it is over the limits; of refused events as many are taken as there may be.
func (p *Packer) AddAll(q *Packer) bool {
	if !p.AddRun(q.events, q.ends, 0) {
		return false
	}
	if p.turned+q.turned <= maxRefused && p.Fits(0, len(q.refused)) {
		p.refused, p.turned = append(p.refused, q.refused...), p.turned+q.turned
	}
	return true
}

// AddRefused takes a refused event. False where it is over the limits.
func (p *Packer) AddRefused(r *Refused) bool {
	if p.turned >= maxRefused {
		return false
	}
	p.scratch = AppendRefused(p.scratch[:0], r)
	if !p.Fits(0, len(p.scratch)) {
		return false
	}
	p.refused = append(p.refused, p.scratch...)
	p.turned++
	return true
}

// Seal makes batches of all that was added: one, or several where one would
// be over MaxBatchBytes. Refused events go into the first. newID is called
// once for each batch.
func (p *Packer) Seal(newID func() (BatchID, error), receivedAt time.Time, instance string) ([]Sealed, error) {
	if p.Events() == 0 && p.turned == 0 {
		return nil, nil
	}
	return p.sealRange(nil, newID, receivedAt, instance, 0, p.Events())
}

// sealRange seals events [from, to), in halves where they are too many.
func (p *Packer) sealRange(out []Sealed, newID func() (BatchID, error), receivedAt time.Time, instance string, from, to int) ([]Sealed, error) {
	id, err := newID()
	if err != nil {
		return nil, err
	}
	withRefused := from == 0
	container, err := p.seal(id, receivedAt, instance, from, to, withRefused)
	if err == nil {
		return append(out, Sealed{ID: id, First: from, Events: to - from, Container: container}), nil
	}
	switch {
	case to-from > 1:
		mid := from + (to-from)/2
		if out, err = p.sealRange(out, newID, receivedAt, instance, from, mid); err != nil {
			return nil, err
		}
		return p.sealRange(out, newID, receivedAt, instance, mid, to)
	case withRefused && p.turned > 0:
		// Refused events are kept for information: they give way.
		p.refused, p.turned = p.refused[:0], 0
		return p.sealRange(out, newID, receivedAt, instance, from, to)
	default:
		return nil, err
	}
}

// SealOne makes one batch of all that was added, be it nothing, under an id that
// is given already. It fails where a batch cannot hold all.
func (p *Packer) SealOne(id BatchID, receivedAt time.Time, instance string) ([]byte, error) {
	return p.seal(id, receivedAt, instance, 0, p.Events(), true)
}

// Part is all that was added as a part of a batch to which others will add: the
// batch as it stands in a container, and not compressed, for that is done once
// with all of them.
func (p *Packer) Part(id BatchID, receivedAt time.Time, instance string) []byte {
	return p.appendRaw(make([]byte, 0, p.Bytes()+blockSpare), id, receivedAt, instance, 0, p.Events(), true)
}

// JoinParts makes a container of a batch's parts, in their order.
func JoinParts(parts [][]byte) ([]byte, error) {
	var p Packer
	var whole Batch
	for i, part := range parts {
		b, err := decodeRaw(part)
		if err != nil {
			return nil, fmt.Errorf("cannot read part %d of a batch: %w", i, err)
		}
		if i == 0 {
			whole.ID, whole.ReceivedAt, whole.Instance = b.ID, b.ReceivedAt, b.Instance
		}
		if b.ID != whole.ID {
			return nil, fmt.Errorf("cannot join the parts of batch %q: expected all of them to be its, found one of %q", whole.ID, b.ID)
		}
		for k := range b.Events {
			p.scratch = AppendEvent(p.scratch[:0], &b.Events[k])
			if !p.Add(p.scratch) {
				return nil, fmt.Errorf("cannot join the parts of batch %q: expected at most %d events and %d bytes", whole.ID, MaxBatchEvents, MaxBatchRaw)
			}
		}
		for k := range b.Refused {
			p.AddRefused(&b.Refused[k]) // as many as a batch holds, as with those of one flush
		}
	}
	return p.SealOne(whole.ID, whole.ReceivedAt, whole.Instance)
}

// appendRaw appends a batch of events [from, to).
func (p *Packer) appendRaw(r []byte, id BatchID, receivedAt time.Time, instance string, from, to int, withRefused bool) []byte {
	start, end := 0, 0
	if from > 0 {
		start = p.ends[from-1]
	}
	if to > 0 {
		end = p.ends[to-1]
	}
	r = append(r, id[:]...)
	r = appendLong(r, receivedAt.UnixMicro())
	r = appendString(r, instance)
	if to > from {
		r = appendLong(r, int64(to-from))
		r = append(r, p.events[start:end]...)
	}
	r = append(r, 0)
	if withRefused && p.turned > 0 {
		r = appendLong(r, int64(p.turned))
		r = append(r, p.refused...)
	}
	return append(r, 0)
}

// seal makes the container of one batch of events [from, to).
func (p *Packer) seal(id BatchID, receivedAt time.Time, instance string, from, to int, withRefused bool) ([]byte, error) {
	raw := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(raw)
	r := p.appendRaw((*raw)[:0], id, receivedAt, instance, from, to, withRefused)
	*raw = r
	if len(r) > MaxBatchRaw {
		return nil, fmt.Errorf("expected at most %d bytes before compression, found %d", MaxBatchRaw, len(r))
	}
	packed := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(packed)
	*packed = compressor().EncodeAll(r, (*packed)[:0])
	size := len(ContainerHeader()) + blockHeadBytes + len(*packed) + len(syncMarker)
	if size > MaxBatchBytes {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", MaxBatchBytes, size)
	}
	return appendContainer(make([]byte, 0, size), *packed), nil
}

package event

import "fmt"

// Erase takes away what an event says of anybody. What is left holds its slot in
// its batch: the stream and the hour, so that counts of accepted events stay
// true, and later events keep their places.
func (e *Event) Erase() {
	*e = Event{Stream: e.Stream, TimeMicros: e.Hour().Start().UnixMicro()}
}

// Erased reports whether Erase was called before the event was written: all
// accepted events have a name.
func (e *Event) Erased() bool { return e.Name == "" }

// Erase takes away what the door has kept of a refused event; that there was
// one, and why it was refused, stays.
func (r *Refused) Erase() {
	r.ID, r.Detail = "", ""
	if r.Reason != ReasonQuota { // whose data are a number
		r.Data = nil
	}
}

// Edit is the block with its batch edited; b stays as it is. edit reports whether
// it has changed anything: where it has not, the block's own bytes are returned.
func (b *Block) Edit(edit func(*Batch) bool) ([]byte, error) {
	batch, err := b.Decode()
	if err != nil {
		return nil, fmt.Errorf("cannot decode batch %q: %w", b.Batch, err)
	}
	if !edit(batch) {
		return b.Data, nil
	}
	container, err := EncodeBatch(batch)
	if err != nil {
		return nil, err
	}
	return BlockOf(container)
}

package local

import "github.com/footfall/footfall/shared/broker/kafka"

// tracker follows the records of one partition from receipt to completion, in
// order of offset, to know up to where all are done: only that far may be
// committed. Not safe for concurrent use.
type tracker struct {
	base    uint64  // ticket of the oldest entry
	entries []entry // ring
	head    int
	count   int
	next    int64 // offset after the last record received
}

type entry struct {
	offset int64
	done   bool
}

func newTracker(next int64) *tracker { return &tracker{next: next} }

// add notes a record's receipt and gives the ticket to call done with.
func (t *tracker) add(offset int64) uint64 {
	if t.count == len(t.entries) {
		grown := make([]entry, max(64, 2*len(t.entries)))
		for i := range t.count {
			grown[i] = t.entries[(t.head+i)%len(t.entries)]
		}
		t.entries, t.head = grown, 0
	}
	t.entries[(t.head+t.count)%len(t.entries)] = entry{offset: offset}
	t.count++
	t.next = offset + 1
	return t.base + uint64(t.count-1)
}

// addAll notes the receipt of records; their tickets follow on the one returned.
func (t *tracker) addAll(records []kafka.Record) uint64 {
	first := t.base + uint64(t.count)
	for i := range records {
		t.add(records[i].Offset)
	}
	return first
}

// done notes that a record is finished, whatever came of it.
func (t *tracker) done(ticket uint64) {
	i := int(ticket - t.base)
	t.entries[(t.head+i)%len(t.entries)].done = true
	for t.count > 0 && t.entries[t.head].done {
		t.head = (t.head + 1) % len(t.entries)
		t.count--
		t.base++
	}
}

// open is how many records stand from the first gap on.
func (t *tracker) open() int { return t.count }

// commit is the offset of the first record that is not done: the next one to
// process after a restart.
func (t *tracker) commit() int64 {
	if t.count == 0 {
		return t.next
	}
	return t.entries[t.head].offset
}

// skip moves on over offsets at which there is nothing any more.
func (t *tracker) skip(to int64) { t.next = max(t.next, to) }

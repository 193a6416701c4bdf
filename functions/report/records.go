package report

import (
	"container/list"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// records keeps decoded records, those used last, within a bound of bytes. The
// stored bytes are read anew each time and a record is kept under their hash:
// one that was worked out again is never answered from here.
type records struct {
	most  int
	mu    sync.Mutex
	bytes int
	order *list.List // of *keptRecord; used last in front
	byKey map[recordKey]*list.Element
}

type recordKey struct {
	key  store.SummaryKey
	want summary.Want
}

type keptRecord struct {
	key    recordKey
	hash   xxh3.Uint128
	record *summary.Record
	bytes  int
}

func newRecords(most int) *records {
	return &records{most: most, order: list.New(), byKey: map[recordKey]*list.Element{}}
}

// decode is summary.DecodeRecord; what it returns is read only.
func (c *records) decode(key store.SummaryKey, data []byte, want summary.Want) (*summary.Record, error) {
	if c.most == 0 {
		return summary.DecodeRecord(data, want)
	}
	k, hash := recordKey{key, want}, xxh3.Hash128(data)
	c.mu.Lock()
	if at := c.byKey[k]; at != nil && at.Value.(*keptRecord).hash == hash {
		c.order.MoveToFront(at)
		c.mu.Unlock()
		return at.Value.(*keptRecord).record, nil
	}
	c.mu.Unlock()
	record, err := summary.DecodeRecord(data, want)
	if err != nil {
		return nil, err
	}
	if size := recordSize(record); size <= c.most/16 { // one must not push all others out
		c.mu.Lock()
		c.drop(c.byKey[k])
		c.byKey[k] = c.order.PushFront(&keptRecord{k, hash, record, size})
		for c.bytes += size; c.bytes > c.most; {
			c.drop(c.order.Back())
		}
		c.mu.Unlock()
	}
	return record, nil
}

func (c *records) drop(at *list.Element) {
	if at == nil {
		return
	}
	kept := c.order.Remove(at).(*keptRecord)
	delete(c.byKey, kept.key)
	c.bytes -= kept.bytes
}

// recordSize is about how much memory a decoded record takes.
func recordSize(r *summary.Record) int {
	const counters = int(summary.NumCounters) * 8
	n := 1024 + r.Users.Memory()
	for _, t := range r.Tables {
		if t == nil {
			continue
		}
		n += t.Len() * counters
		for _, u := range t.Users {
			n += u.Memory()
		}
		for _, values := range t.Values {
			for _, v := range values {
				n += 16 + len(v)
			}
		}
	}
	return n
}

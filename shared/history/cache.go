package history

import (
	"container/list"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
	"github.com/footfall/footfall/shared/summary"
)

// cache keeps decoded documents and packed facts, the ones used last, within a
// bound of bytes. A document never changes under its key; facts say of which
// version of their merchant's data they are.
type cache struct {
	most int64

	mu    sync.Mutex
	bytes int64
	order *list.List // of *entry; used last in front
	byKey map[cacheKey]*list.Element
}

// cacheKey names a document in a view, or packed facts: then there is no document.
type cacheKey struct {
	doc  store.DocKey
	view string
}

type entry struct {
	key    cacheKey
	frame  *processed.Frame
	packed *summary.Packed
	of     store.Version // of the data that facts were asked of
	bytes  int64
}

func newCache(most int64) *cache {
	return &cache{most: most, order: list.New(), byKey: map[cacheKey]*list.Element{}}
}

// viewOf names a selection of columns.
func viewOf(c processed.Columns) string {
	params := slices.Clone(c.Params)
	slices.Sort(params)
	return fmt.Sprintf("%t %t %x %t %t %s", c.Identity, c.Actors, c.Text, c.Items, c.AllParams, strings.Join(params, "\x00"))
}

func (c *cache) get(doc store.DocKey, view string) *processed.Frame {
	if e := c.find(cacheKey{doc, view}); e != nil {
		return e.frame
	}
	return nil
}

// known is of which version of the data facts were last asked for, and what was
// kept of them: nil where that is only the version.
func (c *cache) known(name string) (kept *summary.Packed, of store.Version, asked bool) {
	if e := c.find(cacheKey{view: name}); e != nil {
		return e.packed, e.of, true
	}
	return nil, store.Version{}, false
}

func (c *cache) find(key cacheKey) *entry {
	if c.most <= 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byKey[key]
	if at == nil {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*entry)
}

// put keeps a frame, and returns its size where it does.
func (c *cache) put(doc store.DocKey, view string, f *processed.Frame) int64 {
	size := sizeOf(f)
	if size > c.most/4 {
		return 0 // one document must not push all others out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{doc, view}
	if c.byKey[key] != nil {
		return 0
	}
	c.add(&entry{key: key, frame: f, bytes: size})
	return size
}

// keep keeps packed facts in place of others of the same name, or with nil only of
// which version they were asked for. They may be most of what is kept: they are what
// is left of many documents.
func (c *cache) keep(name string, p *summary.Packed, of store.Version) {
	size := int64(len(name)) + entrySize
	if p != nil {
		size += p.Size()
	}
	if size > mostPacked(c.most) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{view: name}
	if at := c.byKey[key]; at != nil {
		c.remove(at)
	}
	c.add(&entry{key: key, packed: p, of: of, bytes: size})
}

// entrySize is about what an entry takes besides what it holds.
const entrySize = 256

// mostPacked is how much packed facts of one name may take.
func mostPacked(most int64) int64 { return most / 4 * 3 }

// The caller of the next two holds c.mu.

func (c *cache) add(e *entry) {
	c.byKey[e.key] = c.order.PushFront(e)
	c.bytes += e.bytes
	for c.bytes > c.most {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(at *list.Element) {
	e := at.Value.(*entry)
	c.order.Remove(at)
	delete(c.byKey, e.key)
	c.bytes -= e.bytes
}

// sizeOf is about how much memory a frame takes.
func sizeOf(f *processed.Frame) int64 {
	n := int64(2048) // the frame itself with its columns' headers, key and entry
	n += int64(16*len(f.Batches) + 4*len(f.Batch) + 4*len(f.Seq) + 16*len(f.EventID) + 8*len(f.Millis))
	n += int64(8*len(f.User) + 8*len(f.Client) + 8*len(f.Session) + len(f.Flags) + 8*len(f.Engaged) + 8*len(f.Value))
	for i := range f.Text {
		n += textSize(&f.Text[i])
	}
	for _, p := range f.Params {
		n += 64 + textSize(p)
	}
	n += int64(20 * f.Items.Len)
	for i := range f.Items.Text {
		n += textSize(&f.Items.Text[i])
	}
	return n
}

func textSize(s *processed.Strings) int64 {
	n := int64(4*len(s.Code) + 16*len(s.Dict))
	for _, d := range s.Dict {
		n += int64(len(d))
	}
	return n
}

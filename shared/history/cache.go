package history

import (
	"container/list"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/footfall/footfall/shared/processed"
	"github.com/footfall/footfall/shared/store"
)

// cache keeps decoded documents, the ones used last, within a bound of bytes.
// A document never changes under its key, so nothing is ever stale.
type cache struct {
	most int64

	mu    sync.Mutex
	bytes int64
	order *list.List // of *entry; used last in front
	byKey map[cacheKey]*list.Element
}

type cacheKey struct {
	doc  store.DocKey
	view string
}

type entry struct {
	key   cacheKey
	frame *processed.Frame
	bytes int64
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
	if c.most <= 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byKey[cacheKey{doc, view}]
	if at == nil {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*entry).frame
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
	c.byKey[key] = c.order.PushFront(&entry{key, f, size})
	c.bytes += size
	for c.bytes > c.most {
		last := c.order.Back()
		e := last.Value.(*entry)
		c.order.Remove(last)
		delete(c.byKey, e.key)
		c.bytes -= e.bytes
	}
	return size
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

package enrich

import "sync"

// cache remembers the results of a pure function for at most limit keys. It
// has two generations: when the young one is full it becomes the old one, and
// what was in the old one and not asked for since is forgotten.
type cache[K comparable, V any] struct {
	mu         sync.Mutex
	half       int
	own        func(K) K // a key in memory of its own
	young, old map[K]V
}

func newCache[K comparable, V any](limit int, own func(K) K) *cache[K, V] {
	return &cache[K, V]{half: max(1, limit/2), own: own, young: map[K]V{}}
}

// get finds a value. The key may be part of a batch, whose memory may serve
// another one later.
func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.young[key]
	if ok {
		return v, true
	}
	if v, ok = c.old[key]; ok {
		delete(c.old, key)
		c.put(c.own(key), v)
	}
	return v, ok
}

// add remembers a value. The key must be memory of its own, not part of a
// batch that the cache would keep alive.
func (c *cache[K, V]) add(key K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, v)
}

func (c *cache[K, V]) put(key K, v V) {
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[K]V, c.half)
	}
	c.young[key] = v
}

func (c *cache[K, V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young) + len(c.old)
}

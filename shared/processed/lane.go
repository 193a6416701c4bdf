package processed

import (
	"encoding/binary"
	"math"
)

// lane is a growing column of integers, in blocks of which each is as narrow as
// its values let it be. Values beyond its end are 0. The zero value is ready.
type lane struct {
	blocks []laneBlock
	n      int
}

// laneBlock has blockRows values, or fewer at the end: each is base and what stands
// in so many bytes of data.
type laneBlock struct {
	base  int64
	width int // bytes: 0, 1, 2, 4 or 8
	data  []byte
}

const (
	blockBits = 12
	blockRows = 1 << blockBits
)

func (c *lane) at(i uint32) int64 {
	if int(i) >= c.n {
		return 0
	}
	return c.blocks[i>>blockBits].at(int(i & (blockRows - 1)))
}

func (b *laneBlock) at(i int) int64 {
	switch b.width {
	case 0:
		return b.base
	case 1:
		return b.base + int64(b.data[i])
	case 2:
		return b.base + int64(binary.LittleEndian.Uint16(b.data[2*i:]))
	case 4:
		return b.base + int64(binary.LittleEndian.Uint32(b.data[4*i:]))
	default:
		return b.base + int64(binary.LittleEndian.Uint64(b.data[8*i:]))
	}
}

func (c *lane) append(v int64) {
	i := c.n & (blockRows - 1)
	if i == 0 {
		c.blocks = append(c.blocks, laneBlock{base: v})
	}
	b := &c.blocks[len(c.blocks)-1]
	// What is below base is far above it here.
	if widthOf(uint64(v)-uint64(b.base)) > b.width {
		b.widen(i, v)
	}
	b.put(v)
	c.n++
}

// pad adds zeros up to n values.
func (c *lane) pad(n int) {
	for c.n < n {
		if c.n&(blockRows-1) == 0 && n-c.n >= blockRows {
			c.blocks = append(c.blocks, laneBlock{})
			c.n += blockRows
			continue
		}
		c.append(0)
	}
}

// widen makes room for a value beside the n that are there.
func (b *laneBlock) widen(n int, v int64) {
	lo, hi := v, v
	for i := range n {
		lo, hi = min(lo, b.at(i)), max(hi, b.at(i))
	}
	wide := laneBlock{base: lo, width: widthOf(uint64(hi) - uint64(lo))}
	wide.data = make([]byte, 0, max(wide.width*n+16, min(2*cap(b.data), wide.width*blockRows)))
	for i := range n {
		wide.put(b.at(i))
	}
	*b = wide
}

func (b *laneBlock) put(v int64) {
	off := uint64(v) - uint64(b.base)
	switch b.width {
	case 0:
	case 1:
		b.data = append(b.data, byte(off))
	case 2:
		b.data = binary.LittleEndian.AppendUint16(b.data, uint16(off))
	case 4:
		b.data = binary.LittleEndian.AppendUint32(b.data, uint32(off))
	default:
		b.data = binary.LittleEndian.AppendUint64(b.data, off)
	}
}

func widthOf(off uint64) int {
	switch {
	case off == 0:
		return 0
	case off <= math.MaxUint8:
		return 1
	case off <= math.MaxUint16:
		return 2
	case off <= math.MaxUint32:
		return 4
	default:
		return 8
	}
}

// size is about how much memory it takes.
func (c *lane) size() int64 {
	n := int64(cap(c.blocks)) * 40
	for i := range c.blocks {
		n += int64(cap(c.blocks[i].data))
	}
	return n
}

package embedded

import (
	"encoding/binary"
	"errors"

	"github.com/footfall/footfall/shared/event"
)

// A key begins with the byte of its table. Numbers are big-endian, signed ones
// with their sign bit flipped, so that keys sort as values do. A name is its
// length (uvarint) and its bytes, so that no name is the prefix of another.
const (
	tableMeta        byte = '!'
	tableRow         byte = 'j' // batch → journal row
	tablePayload     byte = 'p' // batch → container
	tableStage       byte = 'i' // missing stage, received, batch → nothing
	tableSums        byte = 'a' // stream, hour → accepted, pending
	tableDoc         byte = 'd' // merchant, revision, hour, batch → document, or how many rows a large merged one has
	tableBody        byte = 'D' // merchant, revision, hour, batch → large merged document
	tableMark        byte = 'm' // merchant, queue, hour, batch → nothing
	tableDirty       byte = 'h' // live or not, place, merchant, queue, hour → nothing
	tableReject      byte = 'r' // merchant, revision, hour, batch, index → reject
	tableRejectSum   byte = 'R' // merchant, revision, hour, refused, reason → events
	tableVisitor     byte = 'v' // merchant, generation, user → first seen
	tableSummary     byte = 's' // merchant, generation, grain, start → record
	tableMerchant    byte = 'M' // merchant → change sequence, merchant as JSON
	tableChange      byte = 'C' // change sequence → merchant as JSON
	tableStream      byte = 'S' // stream → merchant
	tableSecret      byte = 'K' // name → secret
	tableJob         byte = 'J' // revision → job
	tableWish        byte = 'W' // request id → revision of its job
	tableFlips       byte = 'F' // revision → flips of a job that has some
	tableShard       byte = 'T' // revision, phase, index → shard
	tableUndone      byte = 'U' // revision, phase, index → nothing
	tableProgress    byte = 'P' // revision, phase → progress
	tablePart        byte = 'B' // revision, name → bytes
	tableErasure     byte = 'E' // merchant, id → erasure
	tableOpenErasure byte = 'e' // id → merchant of an erasure that is not done
)

var errKey = errors.New("a stored key or value is cut short")

func appendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }
func appendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func appendHour(b []byte, h event.Hour) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(h)^1<<31)
}

func appendInt64(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v)^1<<63)
}

func appendName(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// successor is the first key after all that begin with prefix; nil where there
// is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			s := append([]byte(nil), prefix[:i+1]...)
			s[i]++
			return s
		}
	}
	return nil
}

// decoder takes a key or a value apart. After the first fault it returns
// zeros, and err says so.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.err = errKey
		return nil
	}
	s := d.b[:n:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) byte() byte {
	if s := d.take(1); s != nil {
		return s[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if s := d.take(4); s != nil {
		return binary.BigEndian.Uint32(s)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if s := d.take(8); s != nil {
		return binary.BigEndian.Uint64(s)
	}
	return 0
}

func (d *decoder) hour() event.Hour { return event.Hour(d.uint32() ^ 1<<31) }
func (d *decoder) int64() int64     { return int64(d.uint64() ^ 1<<63) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.err != nil || n <= 0 {
		d.err = errKey
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if d.err != nil || n <= 0 {
		d.err = errKey
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes is a length and that many bytes, within what was given.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.err = errKey
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) name() string { return string(d.bytes()) }

func (d *decoder) batch() event.BatchID {
	var id event.BatchID
	copy(id[:], d.take(len(id)))
	return id
}

package summary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/fault"
)

// Want says what DecodeRecord unpacks. The zero value is the total counters.
type Want struct {
	Users  bool   // the sets of users, of the total and of the tables
	Tables uint32 // bit 1<<id for each table
}

// WantAll unpacks everything, as merging takes.
func WantAll() Want { return Want{Users: true, Tables: 1<<NumTables - 1} }

// ErrFormat is wrapped by what DecodeRecord returns for bytes that are no
// record.
var ErrFormat = errors.New("not a summary record")

// DecodeRecord reads what Encode wrote. Tables that were not wanted are nil;
// so are users. Bytes that are no record are a fault of kind Invalid.
func DecodeRecord(data []byte, want Want) (*Record, error) {
	d := reader{in: data}
	r := d.record(want)
	if d.bad != "" {
		return nil, &fault.Error{Kind: fault.Invalid, Err: fmt.Errorf("cannot decode summary record: %w: %s", ErrFormat, d.bad)}
	}
	return r, nil
}

type reader struct {
	in      []byte
	bad     string
	version byte
}

func (d *reader) fail(what string) {
	if d.bad == "" {
		d.bad = what
	}
	d.in = nil
}

func (d *reader) record(want Want) *Record {
	if d.version = d.byte(); d.version != recordVersion && d.version != coarseVersion {
		d.fail(fmt.Sprintf("unknown version %d", d.version))
		return nil
	}
	flags := d.byte()
	if flags&^flagPacked != 0 {
		d.fail("unknown flags")
	}
	r := &Record{Hours: uint32(d.upTo(math.MaxUint32)), Duplicates: int64(d.upTo(math.MaxInt64)), Filtered: int64(d.upTo(math.MaxInt64))}
	d.counters(&r.Total)
	if want.Tables == 0 && !want.Users {
		return r
	}
	r.Users = d.users()
	if want.Tables == 0 || d.bad != "" {
		return r
	}
	if flags&flagPacked != 0 {
		d.unpack()
	}
	d.tables(r, want)
	if !want.Users {
		r.Users = Users{}
	}
	return r
}

func (d *reader) unpack() {
	size := d.upTo(maxBody)
	if d.bad != "" {
		return
	}
	var h zstd.Header
	if err := h.Decode(d.in); err != nil || h.HasFCS && h.FrameContentSize != size {
		d.fail("packed body of another size")
		return
	}
	body, err := unpacker().DecodeAll(d.in, make([]byte, 0, min(size, uint64(len(d.in))*64)))
	if err != nil || uint64(len(body)) != size {
		d.fail("damaged packed body")
		return
	}
	d.in = body
}

func (d *reader) tables(r *Record, want Want) {
	present, withUsers := d.upTo(1<<NumTables-1), d.upTo(1<<NumTables-1)
	coarse := uint64(0)
	if d.version == coarseVersion {
		coarse = d.upTo(1<<(gradeBits*NumTables) - 1)
	}
	users := r.Users.exact
	if !r.Users.Exact() {
		users = d.rice(d.count(1<<26, 4))
	}
	strs := d.strings()
	if d.bad != "" {
		return
	}
	payloads := make([]payload, 1, 16)
	payloads[0] = payload{r.Total, r.Users}
	for range d.count(1<<20, 2) {
		var p payload
		d.counters(&p.counters)
		p.users = d.usersRef(users, want.Users)
		if d.bad != "" {
			return
		}
		payloads = append(payloads, p)
	}
	for id := range NumTables {
		if present>>id&1 == 0 {
			continue
		}
		t := d.table(id, strs, payloads, want.Users && withUsers>>id&1 != 0, Grade(coarse>>(gradeBits*id)&(1<<gradeBits-1)))
		if d.bad != "" {
			return
		}
		if want.Tables>>id&1 != 0 {
			r.Tables[id] = t
		}
	}
	if len(d.in) > 0 {
		d.fail("bytes after the end")
	}
}

// maxText bounds the strings of a record in sum; what is written is far below.
const maxText = 1 << 26

func (d *reader) strings() []string {
	n := d.count(1<<20, 1)
	ends := make([]int, 0, n)
	text := make([]byte, 0, 2*len(d.in))
	from := 0 // where the string before begins
	for range n {
		size := d.upTo(2*maxText + 1)
		start, end := 0, 0
		before := len(text) - from
		if size&1 == 1 {
			start = int(d.upTo(uint64(before)))
			end = int(d.upTo(uint64(before - start)))
		}
		own := d.take(int(size >> 1))
		if d.bad == "" && len(text)+len(own)+start+end > maxText {
			d.fail("too much text")
		}
		if d.bad != "" {
			return nil
		}
		at := len(text)
		text = append(text, text[from:from+start]...)
		text = append(text, own...)
		text = append(text, text[at-end:at]...)
		from = at
		ends = append(ends, len(text))
	}
	all := string(text)
	strs := make([]string, n)
	at := 0
	for i, end := range ends {
		strs[i] = all[at:end]
		at = end
	}
	return strs
}

type payload struct {
	counters Counters
	users    Users
}

func (d *reader) table(id TableID, strs []string, payloads []payload, users bool, of Grade) *Table {
	t := &Table{Keys: id.Keys(), Grade: of}
	if of > coarsest {
		d.fail("unknown grade")
		return nil
	}
	n := d.count(MaxTableRows, 2)
	t.Values = make([][]string, len(t.Keys))
	for k := range t.Values {
		values := make([]string, n)
		for i := range values {
			ref := d.upTo(maxStatic + uint64(len(strs)))
			switch {
			case ref < uint64(len(builtin)):
				values[i] = builtin[ref]
			case ref >= maxStatic && ref-maxStatic < uint64(len(strs)):
				values[i] = strs[ref-maxStatic]
			default:
				d.fail("unknown string")
				return nil
			}
		}
		t.Values[k] = values
	}
	t.Counters = make([]Counters, n)
	if users {
		t.Users = make([]Users, n)
	}
	for i := range n {
		ref := d.upTo(uint64(len(payloads) - 1))
		if d.bad != "" {
			return nil
		}
		t.Counters[i] = payloads[ref].counters
		if users {
			t.Users[i] = payloads[ref].users
		}
	}
	return t
}

func (d *reader) byte() byte {
	if len(d.in) == 0 {
		d.fail("too short")
		return 0
	}
	b := d.in[0]
	d.in = d.in[1:]
	return b
}

func (d *reader) take(n int) []byte {
	if n < 0 || n > len(d.in) {
		d.fail("too short")
		return nil
	}
	b := d.in[:n]
	d.in = d.in[n:]
	return b
}

func (d *reader) upTo(most uint64) uint64 {
	v, n := binary.Uvarint(d.in)
	if n <= 0 || v > most {
		d.fail("number out of range")
		return 0
	}
	d.in = d.in[n:]
	return v
}

// count reads a number of elements of at least size bytes each.
func (d *reader) count(most, size int) int {
	return int(d.upTo(uint64(min(most, len(d.in)/size+1))))
}

func (d *reader) counters(c *Counters) {
	mask := d.upTo(1<<NumCounters - 1)
	for ; mask != 0; mask &= mask - 1 {
		v, n := binary.Varint(d.in)
		if n <= 0 {
			d.fail("too short")
			return
		}
		d.in = d.in[n:]
		c[bits.TrailingZeros64(mask)] = v
	}
}

func (d *reader) users() Users {
	n := d.upTo(UsersExact + 1)
	if d.bad != "" {
		return Users{}
	}
	if n == 0 {
		return Users{ranks: d.ranks(finest)}
	}
	return Users{exact: d.rice(int(n - 1))}
}

// rice reads n ascending, distinct hashes.
func (d *reader) rice(n int) []uint64 {
	if n == 0 {
		return nil
	}
	low := riceBits(n)
	if uint64(n)*uint64(low+1) > uint64(len(d.in))*8 {
		d.fail("too few hashes")
		return nil
	}
	out := make([]uint64, n)
	pos := uint(0)
	end := uint(len(d.in)) * 8
	// load is the 64 bits (or what is left) from a position on.
	load := func(pos uint) uint64 {
		at := pos / 8
		var b [9]byte
		copy(b[:], d.in[min(at, uint(len(d.in))):])
		return binary.LittleEndian.Uint64(b[:])>>(pos%8) | uint64(b[8])<<(63-pos%8)<<1
	}
	before := uint64(0)
	for i := range out {
		q := uint64(0)
		for {
			ones := uint(bits.TrailingZeros64(^load(pos)))
			q += uint64(ones)
			pos += ones
			if pos > end {
				d.fail("too few hashes")
				return nil
			}
			if ones < 64 {
				break
			}
		}
		pos++
		gap := q<<low | load(pos)&(1<<low-1)
		pos += low
		h := before + gap
		if q > 1<<hashBits || h >= 1<<hashBits || i > 0 && gap == 0 || pos > end {
			d.fail("hashes out of order")
			return nil
		}
		out[i] = h
		before = h
	}
	d.take(int((pos + 7) / 8))
	return out
}

func (d *reader) ranks(precision int) []uint8 {
	least := d.byte()
	packed := d.take(1 << precision / 2)
	if d.bad != "" {
		return nil
	}
	ranks := make([]uint8, 1<<precision)
	over := 0
	for i, b := range packed {
		lo, hi := b&15, b>>4
		ranks[2*i], ranks[2*i+1] = least+lo, least+hi
		if lo == 15 {
			over++
		}
		if hi == 15 {
			over++
		}
	}
	if int(least) > maxRank(precision) || over > len(d.in) {
		d.fail("damaged sketch")
		return nil
	}
	rest := d.take(over)
	for i := range ranks {
		if len(rest) > 0 && ranks[i] == least+15 {
			ranks[i] += rest[0]
			rest = rest[1:]
		}
		if int(ranks[i]) > maxRank(precision) {
			d.fail("damaged sketch")
			return nil
		}
	}
	return ranks
}

func (d *reader) usersRef(index []uint64, wanted bool) Users {
	list := lists(d.version)
	kind := d.upTo(list + uint64(len(index)))
	if d.bad != "" {
		return Users{}
	}
	switch {
	case kind == refSketch:
		return Users{ranks: d.ranks(finest)}
	case kind == refCoarse && kind < list:
		precision := int(d.upTo(finest))
		if !slices.ContainsFunc(grades[1:], func(g struct{ exact, precision int }) bool { return g.precision == precision }) {
			d.fail("sketch of unknown precision")
			return Users{}
		}
		return Users{ranks: d.ranks(precision)}
	case kind == refAll:
		return d.exact(index)
	case kind == refBits:
		set := d.take((len(index) + 7) / 8)
		if !wanted || d.bad != "" {
			return Users{}
		}
		n := 0
		for _, b := range set {
			n += bits.OnesCount8(b)
		}
		hashes := make([]uint64, 0, n)
		for i, b := range set {
			for ; b != 0; b &= b - 1 {
				at := 8*i + bits.TrailingZeros8(b)
				if at >= len(index) {
					d.fail("unknown user")
					return Users{}
				}
				hashes = append(hashes, index[at])
			}
		}
		return d.exact(hashes)
	}
	n := int(kind - list)
	if n > len(d.in) {
		d.fail("too few users")
		return Users{}
	}
	hashes := make([]uint64, n)
	next := uint64(0)
	for i := range hashes {
		next += d.upTo(uint64(len(index)))
		if next >= uint64(len(index)) {
			d.fail("unknown user")
			return Users{}
		}
		hashes[i] = index[next]
		next++
	}
	return d.exact(hashes)
}

func (d *reader) exact(hashes []uint64) Users {
	if len(hashes) > UsersExact {
		d.fail("too many users")
		return Users{}
	}
	return Users{exact: hashes}
}

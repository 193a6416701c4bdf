package summary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/footfall/footfall/shared/fault"
)

// The format is described, with example bytes, in
// shared/docs/formats/summary.md.
const (
	recordVersion = 1
	flagPacked    = 1 << 0 // the body is a zstd stream
	// packFrom is the size of a body below which packing gains nothing.
	packFrom = 160
	// maxBody bounds what is unpacked: a record at all its bounds has less.
	maxBody = 64 << 20
	// maxStatic is how many references stand for the built-in words.
	maxStatic = 64
)

var packer = sync.OnceValue(func() *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("summary: constant zstd options: %v", err))
	}
	return w
})

var unpacker = sync.OnceValue(func() *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		panic(fmt.Sprintf("summary: constant zstd options: %v", err))
	}
	return r
})

// Encode is the record as bytes. Equal records have equal bytes.
func (r *Record) Encode() []byte {
	w := writer{out: []byte{recordVersion, 0}}
	w.uvarint(uint64(r.Hours))
	w.uvarint(uint64(r.Duplicates))
	w.uvarint(uint64(r.Filtered))
	w.counters(&r.Total)
	w.users(r.Users)
	head := w.out

	body := bodyOf(r)
	if len(body) >= packFrom {
		packed := packer().EncodeAll(body, make([]byte, 0, len(body)))
		if len(packed)+4 < len(body) {
			head[1] |= flagPacked
			head = binary.AppendUvarint(head, uint64(len(body)))
			body = packed
		}
	}
	return append(head, body...)
}

// bodyOf is the record's tables. Strings, users and numbers that occur more
// than once stand there once: the rows of a small record's tables are mostly
// the same few visitors seen from another side.
func bodyOf(r *Record) []byte {
	var strs stringTable
	strs.init()
	users := r.userIndex()
	var payloads payloadTable
	payloads.init(users, r)

	var tables writer
	var present, withUsers uint64
	for id, t := range r.Tables {
		if t == nil {
			continue
		}
		present |= 1 << id
		if t.Users != nil {
			withUsers |= 1 << id
		}
		tables.uvarint(uint64(t.Len()))
		for _, values := range t.Values {
			for _, v := range values {
				tables.uvarint(strs.ref(v))
			}
		}
		for i := range t.Counters {
			tables.uvarint(payloads.ref(&t.Counters[i], t.Users, i))
		}
	}

	var w writer
	w.uvarint(present)
	w.uvarint(withUsers)
	if !r.Users.Exact() {
		w.hashes(users) // else they stand in the head
	}
	w.uvarint(uint64(len(strs.list)))
	w.strings(strs.list)
	w.uvarint(uint64(payloads.n))
	w.out = append(w.out, payloads.w.out...)
	w.out = append(w.out, tables.out...)
	return w.out
}

// userIndex lists the hashes that exact sets of the record hold.
func (r *Record) userIndex() []uint64 {
	if r.Users.Exact() {
		return r.Users.exact // every row's users are among all users
	}
	var all []uint64
	for _, t := range r.Tables {
		if t == nil {
			continue
		}
		for i := range t.Users {
			all = append(all, t.Users[i].exact...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stringTable numbers strings by first use, after the built-in ones.
type stringTable struct {
	refs map[string]uint64
	list []string
}

func (t *stringTable) init() {
	t.refs = make(map[string]uint64, len(builtin)+32)
	for i, s := range builtin {
		t.refs[s] = uint64(i)
	}
}

func (t *stringTable) ref(s string) uint64 {
	ref, ok := t.refs[s]
	if !ok {
		ref = maxStatic + uint64(len(t.list))
		t.refs[s] = ref
		t.list = append(t.list, s)
	}
	return ref
}

// payloadTable numbers the distinct (counters, users) of rows by first use;
// 0 is the record's total.
type payloadTable struct {
	users []uint64
	refs  map[string]uint64
	w     writer
	tmp   writer
	n     int
}

func (t *payloadTable) init(users []uint64, r *Record) {
	t.users = users
	t.refs = map[string]uint64{}
	t.tmp.out = t.tmp.out[:0]
	t.tmp.counters(&r.Total)
	t.usersRef(r.Users)
	t.refs[string(t.tmp.out)] = 0
}

func (t *payloadTable) ref(c *Counters, users []Users, i int) uint64 {
	t.tmp.out = t.tmp.out[:0]
	t.tmp.counters(c)
	if users != nil {
		t.usersRef(users[i])
	} else {
		t.usersRef(Users{})
	}
	if ref, ok := t.refs[string(t.tmp.out)]; ok {
		return ref
	}
	t.n++
	ref := uint64(t.n)
	t.refs[string(t.tmp.out)] = ref
	t.w.out = append(t.w.out, t.tmp.out...)
	return ref
}

// Kinds of references to users.
const (
	refSketch = iota // a sketch follows
	refAll           // all of the index
	refBits          // a bit for each of the index
	refList          // refList + n: n indexes, each less the one before, less one
)

func (t *payloadTable) usersRef(u Users) {
	w := &t.tmp
	switch n := len(u.exact); {
	case u.ranks != nil:
		w.uvarint(refSketch)
		w.ranks(u.ranks)
	case n == len(t.users) && n > 0:
		w.uvarint(refAll)
	case n > len(t.users)/8 && n > 1:
		w.uvarint(refBits)
		at := len(w.out)
		w.out = append(w.out, make([]byte, (len(t.users)+7)/8)...)
		t.indexes(u.exact, func(i uint32) { w.out[at+int(i/8)] |= 1 << (i % 8) })
	default:
		w.uvarint(refList + uint64(n))
		next := uint32(0)
		t.indexes(u.exact, func(i uint32) {
			w.uvarint(uint64(i - next))
			next = i + 1
		})
	}
}

// indexes finds hashes in the index, both ascending.
func (t *payloadTable) indexes(hashes []uint64, found func(uint32)) {
	from := 0
	for _, h := range hashes {
		i, _ := slices.BinarySearch(t.users[from:], h)
		from += i
		found(uint32(from))
	}
}

// writer appends the parts of the format.
type writer struct{ out []byte }

func (w *writer) uvarint(v uint64) { w.out = binary.AppendUvarint(w.out, v) }

// counters writes which counters are not zero, then these.
func (w *writer) counters(c *Counters) {
	var mask uint64
	for i, v := range c {
		if v != 0 {
			mask |= 1 << i
		}
	}
	w.uvarint(mask)
	for _, v := range c {
		if v != 0 {
			w.out = binary.AppendVarint(w.out, v)
		}
	}
}

// strings writes each string as what it does not share with the one before:
// pages of one folder begin alike, titles of one site end alike. The length of
// that, doubled, plus one where anything is shared; then how much at the
// start and at the end.
func (w *writer) strings(list []string) {
	before := ""
	for _, s := range list {
		most := min(len(s), len(before))
		start := 0
		for start < most && s[start] == before[start] {
			start++
		}
		end := 0
		for end < most-start && s[len(s)-1-end] == before[len(before)-1-end] {
			end++
		}
		if start+end < 3 {
			start, end = 0, 0 // saying so costs as much
		}
		own := s[start : len(s)-end]
		if start+end > 0 {
			w.uvarint(uint64(len(own))<<1 | 1)
			w.uvarint(uint64(start))
			w.uvarint(uint64(end))
		} else {
			w.uvarint(uint64(len(own)) << 1)
		}
		w.out = append(w.out, own...)
		before = s
	}
}

// users writes a set: 0 and a sketch, or its size plus one and its hashes.
func (w *writer) users(u Users) {
	if u.ranks != nil {
		w.uvarint(0)
		w.ranks(u.ranks)
		return
	}
	w.uvarint(uint64(len(u.exact)) + 1)
	w.rice(u.exact)
}

func (w *writer) hashes(hashes []uint64) {
	w.uvarint(uint64(len(hashes)))
	w.rice(hashes)
}

// riceBits is the number of low bits that stand as they are in the gaps of n
// evenly spread hashes.
func riceBits(n int) uint { return uint(max(0, hashBits-bits.Len(uint(n)))) }

// rice writes ascending hashes by their gaps: a Golomb-Rice code, which for
// evenly spread numbers comes within half a bit of the shortest there is.
func (w *writer) rice(hashes []uint64) {
	low := riceBits(len(hashes))
	var acc uint64
	var have uint
	put := func(v uint64, n uint) { // n ≤ 56
		for n > 0 {
			take := min(n, 64-have)
			acc |= v & (1<<take - 1) << have
			v >>= take
			have += take
			n -= take
			if have == 64 {
				w.out = binary.LittleEndian.AppendUint64(w.out, acc)
				acc, have = 0, 0
			}
		}
	}
	before := uint64(0)
	for _, h := range hashes {
		gap := h - before
		before = h
		for q := gap >> low; q > 0; q-- {
			put(1, 1)
		}
		put(0, 1)
		put(gap&(1<<low-1), low)
	}
	for ; have > 0; have -= min(have, 8) {
		w.out = append(w.out, byte(acc))
		acc >>= 8
	}
}

// ranks writes a sketch's registers: the least, then four bits for each above
// it; 15 is followed at the end by what is over 15.
func (w *writer) ranks(ranks []uint8) {
	least := slices.Min(ranks)
	w.out = append(w.out, least)
	var over []byte
	for i := 0; i < len(ranks); i += 2 {
		var b byte
		for k := range 2 {
			v := ranks[i+k] - least
			if v >= 15 {
				over = append(over, v-15)
				v = 15
			}
			b |= v << (4 * k)
		}
		w.out = append(w.out, b)
	}
	w.out = append(w.out, over...)
}

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
	in  []byte
	bad string
}

func (d *reader) fail(what string) {
	if d.bad == "" {
		d.bad = what
	}
	d.in = nil
}

func (d *reader) record(want Want) *Record {
	if v := d.byte(); v != recordVersion {
		d.fail(fmt.Sprintf("unknown version %d", v))
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
		t := d.table(id, strs, payloads, want.Users && withUsers>>id&1 != 0)
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

func (d *reader) table(id TableID, strs []string, payloads []payload, users bool) *Table {
	t := &Table{Keys: id.Keys()}
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
		return Users{ranks: d.ranks()}
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

func (d *reader) ranks() []uint8 {
	least := d.byte()
	packed := d.take(registers / 2)
	if d.bad != "" {
		return nil
	}
	ranks := make([]uint8, registers)
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
	if least > maxRank || over > len(d.in) {
		d.fail("damaged sketch")
		return nil
	}
	rest := d.take(over)
	for i := range ranks {
		if len(rest) > 0 && ranks[i] == least+15 {
			ranks[i] += rest[0]
			rest = rest[1:]
		}
		if ranks[i] > maxRank {
			d.fail("damaged sketch")
			return nil
		}
	}
	return ranks
}

func (d *reader) usersRef(index []uint64, wanted bool) Users {
	kind := d.upTo(refList + uint64(len(index)))
	if d.bad != "" {
		return Users{}
	}
	switch kind {
	case refSketch:
		return Users{ranks: d.ranks()}
	case refAll:
		return d.exact(index)
	case refBits:
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
	n := int(kind - refList)
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

// builtin are strings that stand in most records: their references take one
// byte. A new version of the format may change them, nothing else may.
var builtin = [...]string{
	"", "page_view", "user_engagement", "session_start", "first_visit", "scroll", "click", "purchase",
	"view_item", "view_item_list", "select_item", "add_to_cart", "remove_from_cart", "begin_checkout",
	"add_payment_info", "add_shipping_info", "view_cart", "search", "view_search_results", "sign_up",
	"login", "form_start", "form_submit", "file_download", "generate_lead", "share", "screen_view",
	"/", "desktop", "mobile", "tablet", "Chrome", "Safari", "Firefox", "Edge", "Opera", "Samsung Browser",
	"Windows", "macOS", "Linux", "Android", "iOS", "google", "bing", "duckduckgo", "facebook",
	"instagram", "newsletter", "organic", "referral", "social", "cpc", "email", "en-US", "en-GB", "en",
	"de-DE", "de", "fr-FR", "fr", "es-ES", "es",
}

package summary

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The format is described, with example bytes, in
// shared/docs/formats/summary.md.
const (
	recordVersion = 3
	coarseVersion = 4      // of records with a table whose sets are coarse
	flagPacked    = 1 << 0 // the body is a zstd stream
	// packFrom is the size of a body below which packing gains nothing.
	packFrom = 160
	// maxBody bounds what is unpacked: a record at all its bounds has less.
	maxBody = 64 << 20
	// maxStatic is how many references stand for the built-in words.
	maxStatic = 64
)

var packer = sync.OnceValue(func() *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
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
	w := writer{version: recordVersion}
	for _, t := range r.Tables {
		if t != nil && t.Grade > 0 {
			w.version = coarseVersion
		}
	}
	w.out = append(w.out, w.version, 0)
	w.uvarint(uint64(r.Hours))
	w.uvarint(uint64(r.Duplicates))
	w.uvarint(uint64(r.Filtered))
	w.counters(&r.Total)
	w.users(r.Users)
	head := w.out

	body := bodyOf(r, w.version)
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
func bodyOf(r *Record, version byte) []byte {
	var strs stringTable
	strs.init()
	users := r.userIndex()
	payloads := payloadTable{tmp: writer{version: version}}
	payloads.init(users, r)

	var tables writer
	var present, withUsers, coarse uint64
	for id, t := range r.Tables {
		if t == nil {
			continue
		}
		present |= 1 << id
		if t.Users != nil {
			withUsers |= 1 << id
		}
		coarse |= uint64(t.Grade) << (gradeBits * id)
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
	if version == coarseVersion {
		w.uvarint(coarse)
	}
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

// few is how many own strings or payloads of a record are compared one by one,
// which for a quiet hour is quicker than a map of them.
const few = 16

// builtinRefs are the references of the built-in strings.
var builtinRefs = sync.OnceValue(func() map[string]uint64 {
	refs := make(map[string]uint64, len(builtin))
	for i, s := range builtin {
		refs[s] = uint64(i)
	}
	return refs
})

// stringTable numbers strings by first use, after the built-in ones.
type stringTable struct {
	builtin map[string]uint64
	refs    map[string]uint64 // of list, where these are more than few
	list    []string
}

func (t *stringTable) init() { t.builtin = builtinRefs() }

func (t *stringTable) ref(s string) uint64 {
	if ref, ok := t.builtin[s]; ok {
		return ref
	}
	if t.refs == nil {
		for i, own := range t.list {
			if own == s {
				return maxStatic + uint64(i)
			}
		}
	} else if ref, ok := t.refs[s]; ok {
		return ref
	}
	ref := maxStatic + uint64(len(t.list))
	t.list = append(t.list, s)
	switch {
	case t.refs != nil:
		t.refs[s] = ref
	case len(t.list) > few:
		t.refs = make(map[string]uint64, 4*few)
		for i, own := range t.list {
			t.refs[own] = maxStatic + uint64(i)
		}
	}
	return ref
}

// payloadTable numbers the distinct (counters, users) of rows by first use;
// 0 is the record's total.
type payloadTable struct {
	users []uint64
	refs  map[string]uint64 // where they are more than few
	total []byte
	ends  []int // in w of each
	w     writer
	tmp   writer
	n     int
}

func (t *payloadTable) init(users []uint64, r *Record) {
	t.users = users
	t.tmp.out = t.tmp.out[:0]
	t.tmp.counters(&r.Total)
	t.usersRef(r.Users)
	t.total = bytes.Clone(t.tmp.out)
}

func (t *payloadTable) ref(c *Counters, users []Users, i int) uint64 {
	t.tmp.out = t.tmp.out[:0]
	t.tmp.counters(c)
	if users != nil {
		t.usersRef(users[i])
	} else {
		t.usersRef(Users{})
	}
	if bytes.Equal(t.tmp.out, t.total) {
		return 0
	}
	if t.refs == nil {
		from := 0
		for i, end := range t.ends {
			if bytes.Equal(t.tmp.out, t.w.out[from:end]) {
				return uint64(i) + 1
			}
			from = end
		}
	} else if ref, ok := t.refs[string(t.tmp.out)]; ok {
		return ref
	}
	t.n++
	t.w.out = append(t.w.out, t.tmp.out...)
	if t.refs != nil {
		t.refs[string(t.tmp.out)] = uint64(t.n)
		return uint64(t.n)
	}
	if t.ends = append(t.ends, len(t.w.out)); t.n > few {
		t.refs = make(map[string]uint64, 4*few)
		from := 0
		for i, end := range t.ends {
			t.refs[string(t.w.out[from:end])] = uint64(i) + 1
			from = end
		}
	}
	return uint64(t.n)
}

// Kinds of references to users.
const (
	refSketch = iota // a sketch follows
	refAll           // all of the index
	refBits          // a bit for each of the index
	refList          // refList + n: n indexes, each less the one before, less one

	// refCoarse stands in the place of refList, and refList + 1 in that of the empty
	// list, in records of coarseVersion: its precision and a sketch follow.
	refCoarse = refList
)

// gradeBits is what a table's grade takes.
const gradeBits = 2

// lists is the reference of an empty list.
func lists(version byte) uint64 {
	if version == coarseVersion {
		return refCoarse + 1
	}
	return refList
}

func (t *payloadTable) usersRef(u Users) {
	w := &t.tmp
	switch n := len(u.exact); {
	case u.ranks != nil:
		if precision := precisionOf(u.ranks); precision == finest {
			w.uvarint(refSketch)
		} else {
			w.uvarint(refCoarse)
			w.uvarint(uint64(precision))
		}
		w.ranks(u.ranks)
	case n == len(t.users) && n > 0:
		w.uvarint(refAll)
	case n > len(t.users)/8 && n > 1:
		w.uvarint(refBits)
		at := len(w.out)
		w.out = append(w.out, make([]byte, (len(t.users)+7)/8)...)
		t.indexes(u.exact, func(i uint32) { w.out[at+int(i/8)] |= 1 << (i % 8) })
	default:
		w.uvarint(lists(w.version) + uint64(n))
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
		// The next one is near where the set is large, so steps grow from one.
		to, step := from, 1
		for to < len(t.users) && t.users[to] < h {
			from = to + 1
			to += step
			step *= 2
		}
		i, _ := slices.BinarySearch(t.users[from:min(to, len(t.users))], h)
		from += i
		found(uint32(from))
	}
}

// writer appends the parts of the format.
type writer struct {
	out     []byte
	version byte
}

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

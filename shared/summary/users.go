package summary

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// The precision of sets of users. A set of up to UsersExact users is counted
// exactly; a larger one is kept as a HyperLogLog sketch of 2^14 registers,
// whose estimate has a relative standard error of UsersError. Sets of tables that
// hold very many users are coarser (grades).
const (
	UsersExact = 4096
	UsersError = 0.0081 // of 1.04/√16384: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", 2007

	finest    = 14 // the precision of sets that are not coarse
	registers = 1 << finest
	// hashBits is how much of a user's 64-bit hash a set keeps: two of 4,096
	// users share 48 bits once in 34 million sets.
	hashBits = 48
)

// Users is a set of users. It is a function of the set alone: sets that were
// built and united in any order are the same to the byte. The zero value is
// empty. Copies may share memory, which no method changes.
type Users struct {
	exact []uint64 // ascending hashes of 48 bits; nil where ranks is set, unless all are remembered
	ranks []uint8  // the sketch's registers: 2 to the power of its precision
}

// mostRemembered is up to how many users a sketch that remembers them holds.
const mostRemembered = 1 << 16

// remembers reports whether the set still knows each of its users.
func (u Users) remembers() bool { return u.ranks == nil || u.exact != nil }

// forget is the set as it is given out.
func (u Users) forget() Users {
	if u.ranks != nil {
		u.exact = nil
	}
	return u
}

// remembered is the set of ascending, distinct hashes, which it keeps though it be a
// sketch, where they are not too many.
func remembered(hashes []uint64) Users {
	u := sortedUsers(hashes)
	if u.ranks != nil && len(hashes) <= mostRemembered {
		u.exact = hashes
	}
	return u
}

// UsersOf is the set of the given user hashes (package processed); they need
// be neither sorted nor distinct.
func UsersOf(users ...uint64) Users {
	hashes := make([]uint64, len(users))
	for i, u := range users {
		hashes[i] = userHash(u)
	}
	return hashSet(hashes, false)
}

func userHash(user uint64) uint64 { return setHash(mix(user)) }

// setHash is what a set keeps of a mixed hash of a user.
func setHash(mixed uint64) uint64 { return mixed >> (64 - hashBits) }

// hashSet takes hashes of 48 bits, which it sorts but does not keep. distinct
// says that they come from different users, so that their number tells enough.
func hashSet(hashes []uint64, distinct bool) Users {
	if distinct && len(hashes) > 2*UsersExact {
		return Users{ranks: sketch(finest, hashes)}
	}
	slices.Sort(hashes)
	return sortedUsers(slices.Clone(slices.Compact(hashes)))
}

// sortedUsers takes ascending, distinct hashes and keeps the slice.
func sortedUsers(hashes []uint64) Users {
	if len(hashes) <= UsersExact {
		return Users{exact: hashes}
	}
	return Users{ranks: sketch(finest, hashes)}
}

// sketch is a sketch of hashes.
func sketch(precision int, hashes []uint64) []uint8 {
	ranks := make([]uint8, 1<<precision)
	insert(ranks, hashes)
	return ranks
}

func insert(ranks []uint8, hashes []uint64) {
	precision := precisionOf(ranks)
	for _, hash := range hashes {
		register, rank := standing(hash, precision)
		ranks[register] = max(ranks[register], rank)
	}
}

func precisionOf(ranks []uint8) int { return bits.TrailingZeros(uint(len(ranks))) }

// maxRank is the highest rank in a sketch.
func maxRank(precision int) int { return hashBits - precision + 1 }

// standing is the register of a hash, and how high it stands there.
func standing(hash uint64, precision int) (register uint64, rank uint8) {
	rest := hash << (64 - hashBits + precision)
	return hash >> (hashBits - precision), uint8(min(bits.LeadingZeros64(rest), maxRank(precision)-1) + 1)
}

// fold raises the ranks of a sketch by those of a finer one, or of one that is as fine:
// it is then what inserting the other's hashes would have made it. Where it has fewer
// registers, the lower bits of the other's are the first ones of what is ranked.
func fold(ranks, other []uint8) {
	more := precisionOf(other) - precisionOf(ranks)
	if more == 0 {
		raise(ranks, other)
		return
	}
	for register, rank := range other {
		if rank == 0 {
			continue
		}
		if low := register & (1<<more - 1); low != 0 {
			rank = uint8(more - bits.Len(uint(low)) + 1)
		} else {
			rank += uint8(more)
		}
		to := &ranks[register>>more]
		*to = max(*to, rank)
	}
}

// Exact reports whether Estimate is the exact number.
func (u Users) Exact() bool { return u.ranks == nil }

// Error is the relative standard error of Estimate, 0 where it is exact.
func (u Users) Error() float64 {
	if u.ranks == nil {
		return 0
	}
	return 1.04 / math.Sqrt(float64(len(u.ranks)))
}

// Memory is about how many bytes it takes.
func (u Users) Memory() int { return 48 + 8*len(u.exact) + len(u.ranks) }

// size is the number of elements, or one more than UsersExact in a sketch.
func (u Users) size() int {
	if u.ranks != nil {
		return UsersExact + 1
	}
	return len(u.exact)
}

// Union is the set of the users that stand in either.
func (u Users) Union(o Users) Users {
	switch {
	case o.ranks == nil && len(o.exact) == 0:
		return u
	case u.ranks == nil && len(u.exact) == 0:
		return o
	case u.ranks == nil && o.ranks == nil:
		return sortedUsers(union(u.exact, o.exact))
	default:
		return Users{ranks: sketchOf([]Users{u, o})}
	}
}

// sketchOf is a sketch of all users of some sets, of which one is a sketch at least: as
// fine as the coarsest of these.
func sketchOf(sets []Users) []uint8 {
	var first []uint8
	for _, u := range sets {
		if u.ranks != nil && (first == nil || len(u.ranks) < len(first)) {
			first = u.ranks
		}
	}
	ranks, met := slices.Clone(first), false
	for _, u := range sets {
		switch {
		case u.ranks == nil:
			insert(ranks, u.exact)
		case !met && &u.ranks[0] == &first[0]:
			met = true
		default:
			fold(ranks, u.ranks)
		}
	}
	return ranks
}

// raise makes each rank of a the greater one of a's and b's, eight at a time: ranks
// are below 128, so that in each byte of (x | 0x80) − y the top bit says
// whether x ≥ y, and nothing is borrowed from the next byte.
func raise(a, b []uint8) {
	const top = 0x8080808080808080
	for i := 0; i+8 <= len(a) && i+8 <= len(b); i += 8 {
		x, y := binary.LittleEndian.Uint64(a[i:]), binary.LittleEndian.Uint64(b[i:])
		keep := ((x | top) - y) & top >> 7 * 0xff
		binary.LittleEndian.PutUint64(a[i:], x&keep|y&^keep)
	}
}

// union merges two ascending lists.
func union(a, b []uint64) []uint64 {
	out := make([]uint64, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		if x <= y {
			out = append(out, x)
			a = a[1:]
			if x == y {
				b = b[1:]
			}
		} else {
			out = append(out, y)
			b = b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// UnionAll is the union of many sets, quicker than one by one.
func UnionAll(sets []Users) Users {
	for len(sets) > 2 {
		if slices.ContainsFunc(sets, func(u Users) bool { return u.ranks != nil }) {
			return Users{ranks: sketchOf(sets)}
		}
		half := make([]Users, 0, (len(sets)+1)/2)
		for i := 0; i < len(sets); i += 2 {
			if i+1 < len(sets) {
				half = append(half, sets[i].Union(sets[i+1]))
			} else {
				half = append(half, sets[i])
			}
		}
		sets = half
	}
	switch len(sets) {
	case 0:
		return Users{}
	case 1:
		return sets[0]
	default:
		return sets[0].Union(sets[1])
	}
}

// Estimate is the number of users, with the relative standard error Error. The estimator is the improved raw one of
// Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017
// (arXiv:1702.01284), which needs no tables and has no bias to correct.
func (u Users) Estimate() int64 {
	if u.ranks == nil {
		return int64(len(u.exact))
	}
	// Four counts side by side: one would wait for itself where neighbours
	// have the same rank, as most have.
	var by [4][64]uint32
	for i := 0; i+4 <= len(u.ranks); i += 4 {
		four := u.ranks[i : i+4 : i+4]
		by[0][four[0]&63]++
		by[1][four[1]&63]++
		by[2][four[2]&63]++
		by[3][four[3]&63]++
	}
	var counts [64]uint32
	for k := range counts {
		counts[k] = by[0][k] + by[1][k] + by[2][k] + by[3][k]
	}
	m, most := float64(len(u.ranks)), maxRank(precisionOf(u.ranks))
	z := m * tau(1-float64(counts[most])/m)
	for k := most - 1; k >= 1; k-- {
		z = 0.5 * (z + float64(counts[k]))
	}
	z += m * sigma(float64(counts[0])/m)
	return int64(math.Round(m / (2 * math.Ln2) * m / z))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}

// actors are the distinct users of a window's rows.
type actors struct {
	known  bool
	of     []uint32 // by place in Rows: index into users
	users  []uint64
	hashes []uint64 // of users, as sets keep them
	first  []uint32 // the user's first row that counts
	seen   []int64  // when it was first seen, ms; nil before SetFirstSeen
	// origins are what brought it first; nil before SetOrigins.
	origins []Origin

	buyersKnown bool
	bought      []uint32 // rows of the users' first purchases
	firstBought []int64  // by place in bought: when the user first bought, ms; nil before SetFirstSeen
}

// Users lists the distinct users of the rows that count, in the order of their
// first row, and the instant of that row (ms since the Unix epoch).
func (f *Facts) Users() (users []uint64, millis []int64) {
	f.indexUsers()
	millis = make([]int64, len(f.actors.first))
	for i, row := range f.actors.first {
		millis[i] = f.Frame.Millis[row]
	}
	return f.actors.users, millis
}

func (f *Facts) indexUsers() {
	a := &f.actors
	if a.known {
		return
	}
	a.known = true
	a.of = f.firstPlaces()
	for i, first := range a.of {
		if int(first) < i {
			a.of[i] = a.of[first]
			continue
		}
		a.of[i] = uint32(len(a.first))
		a.first = append(a.first, f.Rows[i])
	}
	a.users, a.hashes = make([]uint64, len(a.first)), make([]uint64, len(a.first))
	for i, row := range a.first {
		a.users[i] = f.Frame.User[row]
		a.hashes[i] = userHash(a.users[i])
	}
}

// firstPlaces is by place in Rows the first place of the same user.
func (f *Facts) firstPlaces() []uint32 {
	type met struct {
		user  uint64
		place uint32
	}
	var rows []met
	first := make([]uint32, len(f.Rows))
	bits := partsOf(len(f.Rows))
	choose := func(from, to int, part []uint8) {
		for i, row := range f.Rows[from:to] {
			part[i] = partOf(mix(f.Frame.User[row]), bits)
		}
	}
	ends := deal(len(f.Rows), bits, choose, func(n int) { rows = make([]met, n) }, func(from, to int, part []uint8, next []uint32) {
		for i, row := range f.Rows[from:to] {
			p := part[i]
			rows[next[p]] = met{f.Frame.User[row], uint32(from + i)}
			next[p]++
		}
	})
	tables := make([][]uint32, workers(len(rows))) // of rows of the part, from 1; 0 is free
	eachPart(len(tables), ends, func(g int, from, to uint32) {
		size := 1 << tableBits(int(to-from))
		tables[g] = slices.Grow(tables[g][:0], size)[:size]
		table, rows := tables[g], rows[from:to]
		clear(table)
		for i, m := range rows {
			slot := mix(m.user) & uint64(size-1)
			for table[slot] != 0 && rows[table[slot]-1].user != m.user {
				slot = (slot + 1) & uint64(size-1)
			}
			if table[slot] == 0 {
				table[slot] = uint32(i + 1)
			}
			first[m.place] = rows[table[slot]-1].place
		}
	})
	return first
}

// SetFirstSeen tells when each user was first seen in the merchant's history,
// and first bought: names as Firsts lists them, millis in the same order,
// math.MaxInt64 for one that nothing is known of. A user is new on its first row
// of the window where nothing of it was seen earlier, and in the sessions that
// did not begin after it was first seen.
func (f *Facts) SetFirstSeen(names []uint64, millis []int64) {
	f.indexUsers()
	n := min(len(names), len(millis), len(f.actors.first))
	f.setFirstBought(millis[n:])
	f.actors.seen = make([]int64, len(f.actors.first))
	for i, row := range f.actors.first {
		f.actors.seen[i] = f.Frame.Millis[row]
		if i < n {
			f.NewUser[row] = millis[i] >= f.Frame.Millis[row]
			f.actors.seen[i] = min(f.actors.seen[i], millis[i])
		}
	}
	if f.Session == nil {
		return
	}
	for place, row := range f.Rows {
		if user := int(f.actors.of[place]); user < n {
			f.NewSession[row] = f.actors.seen[user] >= f.Frame.Millis[f.Session[row][StartRow]]
		}
	}
}

package summary

// A user's first purchase is kept as the first sight of the user is, in the same
// store and by the same rules: the earlier of two instants stays, and the hour
// that held the later one is counted again. Only events of a purchase ask for it.

// Buyer is the name under which a store of visitors keeps when a user first
// bought: a hash like the user's own, and another one.
func Buyer(user uint64) uint64 { return mix(user ^ 0x6275796572) }

// Firsts lists what SetFirstSeen takes: the users as Users does, then the Buyer
// of each who has an event of a purchase among the rows, with the instant of the
// first such (ms since the Unix epoch).
func (f *Facts) Firsts() (names []uint64, millis []int64) {
	names, millis = f.Users()
	if f.indexBuyers(); len(f.actors.bought) == 0 {
		return names, millis
	}
	names = append(make([]uint64, 0, len(names)+len(f.actors.bought)), names...)
	for _, row := range f.actors.bought {
		names, millis = append(names, Buyer(f.Frame.User[row])), append(millis, f.Frame.Millis[row])
	}
	return names, millis
}

// whose is the user whose name stands at a place of Firsts.
func (f *Facts) whose(i int) (user uint64) {
	if n := len(f.actors.users); i >= n {
		return f.Frame.User[f.actors.bought[i-n]]
	}
	return f.actors.users[i]
}

// indexBuyers finds the first event of a purchase of each user, in the order of
// these events. One that repeats a transaction is one, too: else a late event of
// another user could undo a first purchase, and stores only know earlier ones.
func (f *Facts) indexBuyers() {
	a := &f.actors
	if a.buyersKnown {
		return
	}
	a.buyersKnown = true
	sells := false
	for _, cl := range f.classes {
		sells = sells || cl&isPurchase != 0
	}
	if !sells {
		return
	}
	met := map[uint32]bool{}
	for place, row := range f.Rows {
		if f.class(row)&isPurchase != 0 && !met[a.of[place]] {
			met[a.of[place]] = true
			a.bought = append(a.bought, row)
		}
	}
}

// setFirstBought marks the first purchase ever of those whose instants, in the
// order of Firsts, are not earlier than that of their first one here.
func (f *Facts) setFirstBought(millis []int64) {
	if f.indexBuyers(); len(f.actors.bought) == 0 {
		return
	}
	f.FirstPurchase = make([]bool, f.Frame.Len)
	f.actors.firstBought = make([]int64, len(f.actors.bought))
	for i, row := range f.actors.bought {
		at := f.Frame.Millis[row]
		f.actors.firstBought[i] = at
		if i < len(millis) {
			f.FirstPurchase[row] = millis[i] >= at
			f.actors.firstBought[i] = min(at, millis[i])
		}
	}
}

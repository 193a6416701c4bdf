package redis

// hash is the part of a call that concerns one hash.
type hash struct {
	bucket bucket
	fields []string
	at     []int // which of the call's arguments each field is for
}

// hashes sorts what a call names by hash, in order of appearance.
type hashes struct {
	list   []hash
	places map[bucket]int
}

func (h *hashes) add(b bucket, field string, at int) {
	n := len(h.list) - 1
	if n < 0 || h.list[n].bucket != b { // callers name neighbours one after the other
		if h.places == nil {
			h.places = make(map[bucket]int)
		}
		var known bool
		if n, known = h.places[b]; !known {
			n = len(h.list)
			h.places[b] = n
			h.list = append(h.list, hash{bucket: b})
		}
	}
	h.list[n].fields = append(h.list[n].fields, field)
	h.list[n].at = append(h.list[n].at, at)
}

// pipes cuts hashes into parts of at most most fields and calls fn with each.
func (h *hashes) pipes(most int, fn func(part []hash) error) error {
	var part []hash
	room := most
	for _, one := range h.list {
		for len(one.fields) > 0 {
			n := min(room, len(one.fields))
			part = append(part, hash{bucket: one.bucket, fields: one.fields[:n], at: one.at[:n]})
			one.fields, one.at = one.fields[n:], one.at[n:]
			if room -= n; room == 0 {
				if err := fn(part); err != nil {
					return err
				}
				part, room = nil, most
			}
		}
	}
	if len(part) == 0 {
		return nil
	}
	return fn(part)
}

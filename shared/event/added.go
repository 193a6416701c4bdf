package event

// Keys of parameters that are not the sender's: fields that came after the
// first version of the schema. The header of every batch and archive file stays
// the same bytes for them, so that old and new batches stand in one file and
// each version of the program reads what any other wrote. No sender's parameter
// begins with "@".
const (
	addedMark     = '@'
	addedRegion   = "@region"
	addedCity     = "@city"
	addedHints    = "@client_hints"
	addedPurpose  = "@purpose"
	addedNetworks = "@networks"
)

// ReservedKey reports whether a parameter's key is not for senders to use.
func ReservedKey(key string) bool { return key != "" && key[0] == addedMark }

// appendEventParams appends the event's parameters, and behind them the fields
// that are kept as such.
func appendEventParams(dst []byte, e *Event) []byte {
	if e.Region == "" && e.City == "" && e.Hints == "" && e.Purpose == "" && e.Networks == 0 {
		return appendParams(dst, e.Params) // most events
	}
	n := len(e.Params)
	for _, text := range [...]string{e.Region, e.City, e.Hints, e.Purpose} {
		if text != "" {
			n++
		}
	}
	if e.Networks != 0 {
		n++
	}
	dst = appendLong(dst, int64(n))
	for i := range e.Params {
		dst = appendParam(dst, &e.Params[i])
	}
	dst = appendAdded(dst, addedRegion, e.Region)
	dst = appendAdded(dst, addedCity, e.City)
	dst = appendAdded(dst, addedHints, e.Hints)
	dst = appendAdded(dst, addedPurpose, e.Purpose)
	if e.Networks != 0 {
		dst = appendParam(dst, &Param{Key: addedNetworks, Kind: ParamInt, Int: int64(e.Networks)})
	}
	return append(dst, 0)
}

func appendAdded(dst []byte, key, text string) []byte {
	if text == "" {
		return dst
	}
	return appendParam(dst, &Param{Key: key, Text: text})
}

// takeAdded moves what are no parameters to the fields that they are of. They
// stand last.
func (e *Event) takeAdded() {
	for n := len(e.Params); n > 0 && ReservedKey(e.Params[n-1].Key); n-- {
		p := &e.Params[n-1]
		switch {
		case p.Key == addedRegion && p.Kind == ParamText:
			e.Region = p.Text
		case p.Key == addedCity && p.Kind == ParamText:
			e.City = p.Text
		case p.Key == addedHints && p.Kind == ParamText:
			e.Hints = p.Text
		case p.Key == addedPurpose && p.Kind == ParamText:
			e.Purpose = p.Text
		case p.Key == addedNetworks && p.Kind == ParamInt:
			e.Networks = Networks(p.Int)
		default:
			return // of a time when such a key was a sender's
		}
		if e.Params = e.Params[:n-1]; n == 1 {
			e.Params = nil
		}
	}
}

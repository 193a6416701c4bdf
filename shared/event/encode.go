package event

import (
	"encoding/binary"
	"math"
)

// AppendEvent appends an event as an Avro record of the schema's Event. It
// cannot fail; text that is not UTF-8 is the caller's to keep out.
func AppendEvent(dst []byte, e *Event) []byte {
	dst = appendString(dst, e.Stream)
	dst = appendString(dst, e.Source)
	dst = appendLong(dst, int64(e.Auth))
	dst = appendString(dst, e.Credential)
	dst = appendString(dst, e.UserAgent)
	dst = appendString(dst, e.IP)
	dst = appendString(dst, e.Country)
	dst = appendString(dst, e.Language)
	dst = appendString(dst, e.Screen)
	dst = appendString(dst, e.ClaimedUserAgent)
	dst = appendString(dst, e.ClaimedIP)
	dst = appendLong(dst, int64(e.ClaimedVisitor))
	dst = appendLong(dst, int64(e.Visitor))
	dst = appendString(dst, e.ClientID)
	dst = appendString(dst, e.UserID)
	dst = appendString(dst, e.SessionID)
	dst = appendParams(dst, e.UserProperties)
	dst = appendString(dst, e.PageLocation)
	dst = appendString(dst, e.PageTitle)
	dst = appendString(dst, e.PageReferrer)
	dst = appendString(dst, e.Name)
	dst = appendEventParams(dst, e)
	dst = appendItems(dst, e.Items)
	if e.HasValue {
		dst = appendLong(dst, 1)
		dst = appendLong(dst, e.ValueMicros)
	} else {
		dst = append(dst, 0)
	}
	dst = appendString(dst, e.Currency)
	dst = appendLong(dst, e.EngagementMillis)
	dst = appendString(dst, e.Extra)
	dst = appendString(dst, e.ID)
	dst = appendLong(dst, e.TimeMicros)
	return appendBool(dst, e.TimeAssigned)
}

// EncodeEvent is AppendEvent into new bytes.
func EncodeEvent(e *Event) []byte { return AppendEvent(nil, e) }

// AppendRefused appends a refused event as an Avro record.
func AppendRefused(dst []byte, r *Refused) []byte {
	dst = appendString(dst, r.Stream)
	dst = appendString(dst, r.ID)
	dst = appendString(dst, r.Field)
	dst = appendString(dst, r.Reason)
	dst = appendString(dst, r.Detail)
	dst = appendLong(dst, int64(len(r.Data)))
	return append(dst, r.Data...)
}

func appendParams(dst []byte, params []Param) []byte {
	if len(params) > 0 {
		dst = appendLong(dst, int64(len(params)))
		for i := range params {
			dst = appendParam(dst, &params[i])
		}
	}
	return append(dst, 0)
}

func appendParam(dst []byte, p *Param) []byte {
	dst = appendString(dst, p.Key)
	dst = appendLong(dst, int64(p.Kind))
	switch p.Kind {
	case ParamInt:
		return appendLong(dst, p.Int)
	case ParamDouble:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(p.Double))
	case ParamBool:
		return appendBool(dst, p.Bool)
	default:
		return appendString(dst, p.Text)
	}
}

func appendItems(dst []byte, items []Item) []byte {
	if len(items) > 0 {
		dst = appendLong(dst, int64(len(items)))
		for i := range items {
			dst = appendItem(dst, &items[i])
		}
	}
	return append(dst, 0)
}

func appendItem(dst []byte, it *Item) []byte {
	dst = appendString(dst, it.ID)
	dst = appendString(dst, it.Name)
	dst = appendString(dst, it.Brand)
	dst = appendString(dst, it.Variant)
	n := len(it.Categories)
	for n > 0 && it.Categories[n-1] == "" {
		n--
	}
	if n > 0 {
		dst = appendLong(dst, int64(n))
		for _, c := range it.Categories[:n] {
			dst = appendString(dst, c)
		}
	}
	dst = append(dst, 0)
	dst = appendString(dst, it.ListID)
	dst = appendString(dst, it.ListName)
	dst = appendString(dst, it.Coupon)
	dst = appendLong(dst, it.PriceMicros)
	dst = appendLong(dst, it.Quantity)
	return appendParams(dst, it.Params)
}

func appendString(dst []byte, s string) []byte {
	dst = appendLong(dst, int64(len(s)))
	return append(dst, s...)
}

// appendLong writes Avro's zigzag varint. Most numbers are short lengths.
func appendLong(dst []byte, v int64) []byte {
	if uint64(v) < 64 {
		return append(dst, byte(v<<1))
	}
	return binary.AppendVarint(dst, v)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

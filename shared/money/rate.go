package money

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Rate is how much of one currency a unit of another is worth, in 10^-12
// parts: 0.92 is 920,000,000,000.
type Rate int64

// One is the rate of a currency to itself.
const One Rate = 1e12

// MaxRate is the highest rate that there may be.
const MaxRate = 1_000_000 * One

// Expected says what a rate is.
const Expected = "a decimal number above 0 and up to 1000000, with at most 12 decimals"

// ErrRate is what ParseRate says of a text that is no rate.
var ErrRate = errors.New("expected " + Expected)

const rateDecimals = 12

// ParseRate reads a decimal number, such as 0.9234: digits, with a point and
// at most 12 more of them. A rate is never rounded.
func ParseRate(s string) (Rate, error) {
	whole, decimals, point := strings.Cut(s, ".")
	if _, ok := ValidNumber(s); !ok || point && decimals == "" || len(decimals) > rateDecimals || len(whole) > 7 {
		return 0, ErrRate
	}
	var n Rate
	for i := range len(whole) + rateDecimals {
		d := byte('0')
		switch {
		case i < len(whole):
			d = whole[i]
		case i-len(whole) < len(decimals):
			d = decimals[i-len(whole)]
		}
		if d < '0' || d > '9' {
			return 0, ErrRate // an exponent or a sign
		}
		n = n*10 + Rate(d-'0')
	}
	if n <= 0 || n > MaxRate {
		return 0, ErrRate
	}
	return n, nil
}

// String is the rate as ParseRate reads it, without zeros at the end.
func (r Rate) String() string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%012d", r/One, r%One), "0"), ".")
}

// MarshalJSON writes the rate as a number with all its decimals.
func (r Rate) MarshalJSON() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalJSON reads a number, or a text that holds one, digit by digit.
func (r *Rate) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(text) > 1 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	parsed, err := ParseRate(text)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Convert is an amount at a rate, to the nearest millionth, and from the middle
// of two to the even one. ok is false where the result is beyond 64 bits.
func Convert(micros int64, r Rate) (converted int64, ok bool) {
	if r == One {
		return micros, true
	}
	return scale(micros, uint64(r), uint64(One))
}

// Divide is an amount in the currency whose rate it is: what Convert makes of it
// is about the amount again. It is rounded as there.
func Divide(micros int64, r Rate) (divided int64, ok bool) {
	if r == One {
		return micros, true
	}
	if r <= 0 {
		return 0, false
	}
	return scale(micros, uint64(One), uint64(r))
}

// scale is micros · by / per, to the nearest integer, and from the middle of two
// to the even one.
func scale(micros int64, by, per uint64) (scaled int64, ok bool) {
	amount := uint64(micros)
	if micros < 0 {
		amount = -amount
	}
	hi, lo := bits.Mul64(amount, by)
	if hi >= per {
		return 0, false
	}
	n, rest := bits.Div64(hi, lo, per)
	if left := per - rest; rest > left || rest == left && n&1 == 1 {
		n++
	}
	if n > 1<<63-1 {
		return 0, false
	}
	if micros < 0 {
		return -int64(n), true
	}
	return int64(n), true
}

package money

import "math"

// ValidNumber checks a JSON number's text strictly: RFC 8259, section 6. The
// parser of documents is lenient and lets "nan" and "1.2.3" pass.
func ValidNumber(s string) (integer, ok bool) {
	i := 0
	if i < len(s) && s[i] == '-' {
		i++
	}
	start := i
	i = digits(s, i)
	if i == start || (s[start] == '0' && i > start+1) {
		return false, false
	}
	integer = true
	if i < len(s) && s[i] == '.' {
		integer = false
		start = i + 1
		if i = digits(s, start); i == start {
			return false, false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		integer = false
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		start = i
		if i = digits(s, start); i == start {
			return false, false
		}
	}
	return integer, i == len(s)
}

func digits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// Micros is a decimal number times 1,000,000, exactly; what is finer than a
// millionth is rounded half away from zero. ok is false where s is no JSON
// number or the result is beyond 64 bits.
func Micros(s string) (v int64, ok bool) {
	if _, ok := ValidNumber(s); !ok {
		return 0, false
	}
	negative := s[0] == '-'
	if negative {
		s = s[1:]
	}
	// The number is the digits, as an integer, times 10^exponent.
	exponent := 6
	mantissa := len(s)
	for i := range len(s) {
		if s[i]|0x20 == 'e' {
			mantissa = i
			e, minus := 0, false
			for _, c := range []byte(s[i+1:]) {
				switch {
				case c == '-':
					minus = true
				case c != '+' && e < 10_000:
					e = e*10 + int(c-'0')
				}
			}
			if minus {
				e = -e
			}
			exponent += e
			break
		}
	}
	places := 0
	point := false
	for i := range mantissa {
		if s[i] == '.' {
			point = true
		} else if point {
			places++
		}
	}
	exponent -= places
	total := mantissa
	if point {
		total--
	}
	// Take the digits that lie before the millionths' end, round by the next.
	keep := total
	if exponent < 0 {
		keep = total + exponent
	}
	var n uint64
	seen, roundUp := 0, false
	for i := range mantissa {
		if s[i] == '.' {
			continue
		}
		d := uint64(s[i] - '0')
		if seen >= keep {
			roundUp = seen == keep && d >= 5
			break
		}
		seen++
		if n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	for ; exponent > 0 && n > 0; exponent-- {
		if n > math.MaxInt64/10 {
			return 0, false
		}
		n *= 10
	}
	if roundUp {
		if n++; n > math.MaxInt64 {
			return 0, false
		}
	}
	if negative {
		return -int64(n), true
	}
	return int64(n), true
}

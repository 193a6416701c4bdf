package processed

import (
	"encoding/binary"
)

// packedLen is how many bytes n values of a width in bits take.
func packedLen(n int, width uint) int { return (n*int(width) + 7) / 8 }

// appendPacked packs the low width bits of each value, least significant bit
// first. Values must fit the width.
func appendPacked[T uint32 | uint64](dst []byte, values []T, width uint) []byte {
	if width == 0 {
		return dst
	}
	var acc uint64
	var used uint
	for _, v := range values {
		acc |= uint64(v) << used
		used += width
		if used >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			used -= 64
			acc = uint64(v) >> (width - used)
		}
	}
	for ; used > 0; used -= min(used, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpack reads len(dst) values of a width from src, which must hold at least
// packedLen bytes.
func unpack[T uint32 | uint64](dst []T, src []byte, width uint) {
	if width == 0 {
		clear(dst)
		return
	}
	mask := ^uint64(0) >> (64 - width)
	i, bit := 0, 0
	if width <= 57 {
		for ; i < len(dst); i++ {
			at := bit >> 3
			if at+8 > len(src) {
				break
			}
			dst[i] = T(binary.LittleEndian.Uint64(src[at:]) >> (bit & 7) & mask)
			bit += int(width)
		}
	}
	for ; i < len(dst); i++ {
		var v uint64
		for got := 0; got < int(width); {
			b := bit + got
			v |= uint64(src[b>>3]>>(b&7)) << got
			got += 8 - b&7
		}
		dst[i] = T(v & mask)
		bit += int(width)
	}
}

// packedAt is the i-th value of a width in src, which must hold at least packedLen
// bytes.
func packedAt(src []byte, i int, width uint) uint64 {
	bit := i * int(width)
	if at := bit >> 3; width <= 57 && at+8 <= len(src) {
		return binary.LittleEndian.Uint64(src[at:]) >> (bit & 7) & (1<<width - 1)
	}
	var v uint64
	for got := 0; got < int(width); {
		b := bit + got
		v |= uint64(src[b>>3]>>(b&7)) << got
		got += 8 - b&7
	}
	if width < 64 {
		v &= 1<<width - 1
	}
	return v
}

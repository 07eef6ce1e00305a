// Package uuid makes the ids of requests and of segments of traces.
package uuid

const hexDigits = "0123456789abcdef"

// Append appends a version 4 UUID of two random numbers.
func Append(dst []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 1<<63
	dst = append(dst, "------------------------------------"...)
	p := dst[len(dst)-36:]
	for i, at := range uuidPlaces {
		if i == 16 {
			hi = lo
		}
		p[at] = hexDigits[hi>>60]
		hi <<= 4
	}
	return dst
}

// uuidPlaces are where the digits of a UUID stand.
var uuidPlaces = [32]uint8{
	0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17,
	19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
}

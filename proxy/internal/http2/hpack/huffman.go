package hpack

import "errors"

// code is one symbol of the Huffman code: its bits, right-aligned, and their number.
type code struct {
	bits uint32
	n    uint8
}

// codes is RFC 7541, appendix B, without EOS (30 ones), which must not occur.
var codes = [256]code{
	{0x1ff8, 13}, {0x7fffd8, 23}, {0xfffffe2, 28}, {0xfffffe3, 28}, {0xfffffe4, 28}, {0xfffffe5, 28}, {0xfffffe6, 28}, {0xfffffe7, 28},
	{0xfffffe8, 28}, {0xffffea, 24}, {0x3ffffffc, 30}, {0xfffffe9, 28}, {0xfffffea, 28}, {0x3ffffffd, 30}, {0xfffffeb, 28}, {0xfffffec, 28},
	{0xfffffed, 28}, {0xfffffee, 28}, {0xfffffef, 28}, {0xffffff0, 28}, {0xffffff1, 28}, {0xffffff2, 28}, {0x3ffffffe, 30}, {0xffffff3, 28},
	{0xffffff4, 28}, {0xffffff5, 28}, {0xffffff6, 28}, {0xffffff7, 28}, {0xffffff8, 28}, {0xffffff9, 28}, {0xffffffa, 28}, {0xffffffb, 28},
	{0x14, 6}, {0x3f8, 10}, {0x3f9, 10}, {0xffa, 12}, {0x1ff9, 13}, {0x15, 6}, {0xf8, 8}, {0x7fa, 11},
	{0x3fa, 10}, {0x3fb, 10}, {0xf9, 8}, {0x7fb, 11}, {0xfa, 8}, {0x16, 6}, {0x17, 6}, {0x18, 6},
	{0x0, 5}, {0x1, 5}, {0x2, 5}, {0x19, 6}, {0x1a, 6}, {0x1b, 6}, {0x1c, 6}, {0x1d, 6},
	{0x1e, 6}, {0x1f, 6}, {0x5c, 7}, {0xfb, 8}, {0x7ffc, 15}, {0x20, 6}, {0xffb, 12}, {0x3fc, 10},
	{0x1ffa, 13}, {0x21, 6}, {0x5d, 7}, {0x5e, 7}, {0x5f, 7}, {0x60, 7}, {0x61, 7}, {0x62, 7},
	{0x63, 7}, {0x64, 7}, {0x65, 7}, {0x66, 7}, {0x67, 7}, {0x68, 7}, {0x69, 7}, {0x6a, 7},
	{0x6b, 7}, {0x6c, 7}, {0x6d, 7}, {0x6e, 7}, {0x6f, 7}, {0x70, 7}, {0x71, 7}, {0x72, 7},
	{0xfc, 8}, {0x73, 7}, {0xfd, 8}, {0x1ffb, 13}, {0x7fff0, 19}, {0x1ffc, 13}, {0x3ffc, 14}, {0x22, 6},
	{0x7ffd, 15}, {0x3, 5}, {0x23, 6}, {0x4, 5}, {0x24, 6}, {0x5, 5}, {0x25, 6}, {0x26, 6},
	{0x27, 6}, {0x6, 5}, {0x74, 7}, {0x75, 7}, {0x28, 6}, {0x29, 6}, {0x2a, 6}, {0x7, 5},
	{0x2b, 6}, {0x76, 7}, {0x2c, 6}, {0x8, 5}, {0x9, 5}, {0x2d, 6}, {0x77, 7}, {0x78, 7},
	{0x79, 7}, {0x7a, 7}, {0x7b, 7}, {0x7ffe, 15}, {0x7fc, 11}, {0x3ffd, 14}, {0x1ffd, 13}, {0xffffffc, 28},
	{0xfffe6, 20}, {0x3fffd2, 22}, {0xfffe7, 20}, {0xfffe8, 20}, {0x3fffd3, 22}, {0x3fffd4, 22}, {0x3fffd5, 22}, {0x7fffd9, 23},
	{0x3fffd6, 22}, {0x7fffda, 23}, {0x7fffdb, 23}, {0x7fffdc, 23}, {0x7fffdd, 23}, {0x7fffde, 23}, {0xffffeb, 24}, {0x7fffdf, 23},
	{0xffffec, 24}, {0xffffed, 24}, {0x3fffd7, 22}, {0x7fffe0, 23}, {0xffffee, 24}, {0x7fffe1, 23}, {0x7fffe2, 23}, {0x7fffe3, 23},
	{0x7fffe4, 23}, {0x1fffdc, 21}, {0x3fffd8, 22}, {0x7fffe5, 23}, {0x3fffd9, 22}, {0x7fffe6, 23}, {0x7fffe7, 23}, {0xffffef, 24},
	{0x3fffda, 22}, {0x1fffdd, 21}, {0xfffe9, 20}, {0x3fffdb, 22}, {0x3fffdc, 22}, {0x7fffe8, 23}, {0x7fffe9, 23}, {0x1fffde, 21},
	{0x7fffea, 23}, {0x3fffdd, 22}, {0x3fffde, 22}, {0xfffff0, 24}, {0x1fffdf, 21}, {0x3fffdf, 22}, {0x7fffeb, 23}, {0x7fffec, 23},
	{0x1fffe0, 21}, {0x1fffe1, 21}, {0x3fffe0, 22}, {0x1fffe2, 21}, {0x7fffed, 23}, {0x3fffe1, 22}, {0x7fffee, 23}, {0x7fffef, 23},
	{0xfffea, 20}, {0x3fffe2, 22}, {0x3fffe3, 22}, {0x3fffe4, 22}, {0x7ffff0, 23}, {0x3fffe5, 22}, {0x3fffe6, 22}, {0x7ffff1, 23},
	{0x3ffffe0, 26}, {0x3ffffe1, 26}, {0xfffeb, 20}, {0x7fff1, 19}, {0x3fffe7, 22}, {0x7ffff2, 23}, {0x3fffe8, 22}, {0x1ffffec, 25},
	{0x3ffffe2, 26}, {0x3ffffe3, 26}, {0x3ffffe4, 26}, {0x7ffffde, 27}, {0x7ffffdf, 27}, {0x3ffffe5, 26}, {0xfffff1, 24}, {0x1ffffed, 25},
	{0x7fff2, 19}, {0x1fffe3, 21}, {0x3ffffe6, 26}, {0x7ffffe0, 27}, {0x7ffffe1, 27}, {0x3ffffe7, 26}, {0x7ffffe2, 27}, {0xfffff2, 24},
	{0x1fffe4, 21}, {0x1fffe5, 21}, {0x3ffffe8, 26}, {0x3ffffe9, 26}, {0xffffffd, 28}, {0x7ffffe3, 27}, {0x7ffffe4, 27}, {0x7ffffe5, 27},
	{0xfffec, 20}, {0xfffff3, 24}, {0xfffed, 20}, {0x1fffe6, 21}, {0x3fffe9, 22}, {0x1fffe7, 21}, {0x1fffe8, 21}, {0x7ffff3, 23},
	{0x3fffea, 22}, {0x3fffeb, 22}, {0x1ffffee, 25}, {0x1ffffef, 25}, {0xfffff4, 24}, {0xfffff5, 24}, {0x3ffffea, 26}, {0x7ffff4, 23},
	{0x3ffffeb, 26}, {0x7ffffe6, 27}, {0x3ffffec, 26}, {0x3ffffed, 26}, {0x7ffffe7, 27}, {0x7ffffe8, 27}, {0x7ffffe9, 27}, {0x7ffffea, 27},
	{0x7ffffeb, 27}, {0xffffffe, 28}, {0x7ffffec, 27}, {0x7ffffed, 27}, {0x7ffffee, 27}, {0x7ffffef, 27}, {0x7fffff0, 27}, {0x3ffffee, 26},
}

// fastBits is how many bits are looked up at once. All of ASCII that headers use has codes of at most eight.
const fastBits = 9

const maxCodeBits = 30

// symbol is a decoded byte and how many bits it took; n is 0 where fastBits do not suffice.
type symbol struct {
	b byte
	n uint8
}

// decodeTables decode the code, which is canonical: codes of one length are consecutive numbers, and those of a longer
// length are larger when both are aligned to the left.
type decodeTables struct {
	fast [1 << fastBits]symbol
	// For lengths beyond fastBits: codes below limit (aligned to the left in 32 bits) are of this length; the code minus
	// first is an index into symbols at base.
	limit, first [maxCodeBits + 1]uint32
	base         [maxCodeBits + 1]int
	symbols      [256]byte
}

var decoding = makeDecodeTables()

func makeDecodeTables() *decodeTables {
	t := &decodeTables{}
	at := 0
	for n := 1; n <= maxCodeBits; n++ {
		t.base[n] = at
		found := false
		for b, c := range codes {
			if int(c.n) != n {
				continue
			}
			if !found {
				t.first[n], found = c.bits, true
			}
			t.symbols[at] = byte(b)
			at++
			t.limit[n] = (c.bits + 1) << (32 - n)
			if n <= fastBits {
				for i := range 1 << (fastBits - n) {
					t.fast[int(c.bits)<<(fastBits-n)|i] = symbol{byte(b), c.n}
				}
			}
		}
		if !found {
			t.limit[n] = t.limit[n-1]
		}
	}
	return t
}

var errHuffman = errors.New("hpack: string is no Huffman code (RFC 7541, 5.2)")

// appendHuffmanDecoded decodes src behind dst.
func appendHuffmanDecoded(dst, src []byte) ([]byte, error) {
	var acc uint64 // unread bits, aligned to the left
	var n uint     // how many
	t := decoding
	for i := 0; ; {
		for n <= 56 && i < len(src) {
			acc |= uint64(src[i]) << (56 - n)
			n += 8
			i++
		}
		s := t.fast[acc>>(64-fastBits)]
		if s.n == 0 {
			s = t.long(uint32(acc >> 32))
		}
		if s.n == 0 || uint(s.n) > n {
			// The end: fewer than eight bits are left, all ones (RFC 7541, 5.2).
			if n > 7 || acc != ^uint64(0)<<(64-n) {
				return dst, errHuffman
			}
			return dst, nil
		}
		dst = append(dst, s.b)
		acc <<= s.n
		n -= uint(s.n)
	}
}

// long finds a code of more than fastBits; EOS is none.
func (t *decodeTables) long(v uint32) symbol {
	for n := fastBits + 1; n <= maxCodeBits; n++ {
		if v < t.limit[n] {
			return symbol{t.symbols[t.base[n]+int(v>>(32-n)-t.first[n])], uint8(n)}
		}
	}
	return symbol{}
}

// huffmanLen is the number of bytes of v encoded.
func huffmanLen(v []byte) int {
	n := 0
	for _, b := range v {
		n += int(codes[b].n)
	}
	return (n + 7) / 8
}

// appendHuffman encodes v behind dst.
func appendHuffman(dst, v []byte) []byte {
	var acc uint64
	var n uint
	for _, b := range v {
		c := codes[b]
		acc = acc<<c.n | uint64(c.bits)
		if n += uint(c.n); n >= 32 {
			n -= 32
			w := uint32(acc >> n)
			dst = append(dst, byte(w>>24), byte(w>>16), byte(w>>8), byte(w))
		}
	}
	for n >= 8 {
		n -= 8
		dst = append(dst, byte(acc>>n))
	}
	if n > 0 {
		dst = append(dst, byte(acc<<(8-n))|byte(1<<(8-n)-1))
	}
	return dst
}

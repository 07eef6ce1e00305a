package http2

import "encoding/binary"

// Classes of bytes.
const (
	charName   = 1 << iota // in a header name: a token without upper case (RFC 9113, 8.2.1)
	charToken              // in a token (RFC 9110, 5.6.2)
	charHost               // in uri-host and port (RFC 3986, 3.2.2)
	charScheme             // in a scheme (RFC 3986, 3.1)
)

var chars = makeChars()

func makeChars() (t [256]uint8) {
	set := func(s string, class uint8) {
		for _, c := range []byte(s) {
			t[c] |= class
		}
	}
	const digits, lower, upper = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	set(digits+lower+"!#$%&'*+-.^_`|~", charName|charToken)
	set(upper, charToken)
	set(digits+lower+upper+"-._~!$&'()*+,;=%:[]", charHost)
	set(digits+lower+upper+"+-.", charScheme)
	return t
}

func all(v []byte, class uint8) bool {
	for _, c := range v {
		if chars[c]&class == 0 {
			return false
		}
	}
	return len(v) > 0
}

func validName(v []byte) bool   { return all(v, charName) }
func validToken(v []byte) bool  { return all(v, charToken) }
func validHost(v []byte) bool   { return all(v, charHost) }
func validScheme(v []byte) bool { return all(v, charScheme) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// validValue reports whether v has only VCHAR, SP, HTAB and obs-text, and no space at its ends (RFC 9113, 8.2.1; as
// strict as our HTTP/1.1). Eight bytes at a time; the slow loop decides about words that have a control character.
func validValue(v []byte) bool {
	if n := len(v); n > 0 && (v[0] == ' ' || v[0] == '\t' || v[n-1] == ' ' || v[n-1] == '\t') {
		return false
	}
	for len(v) >= 8 {
		x := binary.LittleEndian.Uint64(v)
		less := (x - ones*0x20) &^ x & highs
		y := x ^ ones*0x7f
		del := (y - ones) &^ y & highs
		if less|del != 0 && !printable(v[:8]) {
			return false
		}
		v = v[8:]
	}
	return printable(v)
}

func printable(v []byte) bool {
	for _, c := range v {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// equalFold compares hosts: without regard to the case of ASCII letters.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

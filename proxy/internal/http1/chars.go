package http1

import "encoding/binary"

// lower maps a tchar (RFC 9110, 5.6.2) to its lower case and everything else to 0.
var lower = makeLower()

func makeLower() (t [256]byte) {
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] = byte(c)
		t[c-'a'+'A'] = byte(c)
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] = c
	}
	return t
}

// hostChar are the bytes of uri-host and port (RFC 3986, 3.2.2), IP literals included.
var hostChar = makeHostChar()

func makeHostChar() (t [256]bool) {
	for c := 0; c < 256; c++ {
		b := byte(c)
		t[c] = '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
	}
	for _, c := range []byte("-._~!$&'()*+,;=%:[]") {
		t[c] = true
	}
	return t
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// cleanValue reports whether v has only VCHAR, SP, HTAB and obs-text (RFC 9110, 5.5). Eight
// bytes at a time; the slow loop decides about words that have a control character, because
// HTAB is one.
func cleanValue(v []byte) bool {
	for len(v) >= 8 {
		x := binary.LittleEndian.Uint64(v)
		less := (x - ones*0x20) &^ x & highs
		y := x ^ ones*0x7f
		del := (y - ones) &^ y & highs
		if less|del != 0 && !cleanSlow(v[:8]) {
			return false
		}
		v = v[8:]
	}
	return cleanSlow(v)
}

func cleanSlow(v []byte) bool {
	for _, c := range v {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func trimOWS(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// equalFold compares with a lower-case ASCII string.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// NextToken takes the first element off a comma-separated list. ok is false at the end.
func NextToken(list []byte) (token, rest []byte, ok bool) {
	for len(list) > 0 {
		i := 0
		for i < len(list) && list[i] != ',' {
			i++
		}
		token = trimOWS(list[:i])
		if i < len(list) {
			i++
		}
		list = list[i:]
		if len(token) > 0 {
			return token, list, true
		}
	}
	return nil, nil, false
}

// HasToken reports whether a comma-separated list has a token, which is given in lower case.
func HasToken(list []byte, token string) bool {
	for {
		t, rest, ok := NextToken(list)
		if !ok {
			return false
		}
		if equalFold(t, token) {
			return true
		}
		list = rest
	}
}

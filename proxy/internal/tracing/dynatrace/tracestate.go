package dynatrace

import "bytes"

// mostEntries is how many entries a tracestate may have, empty ones counted. One with more is damaged.
// https://www.w3.org/TR/trace-context/#tracestate-header-field-values
const mostEntries = 32

// entries calls each for the entries of a tracestate, until it says no. It reports whether they are all as they should be.
func entries(state []byte, each func(key, value []byte)) bool {
	for n := 0; len(state) > 0; n++ {
		if n == mostEntries {
			return false
		}
		member, rest, _ := bytes.Cut(state, []byte{','})
		state = rest
		if member = bytes.Trim(member, " \t"); len(member) == 0 {
			continue
		}
		key, value, ok := bytes.Cut(member, []byte{'='})
		if !ok || !isKey(key) || !isValue(value) {
			return false
		}
		each(key, value)
	}
	return true
}

// isKey: a name of up to 256 characters, or one of up to 241 and, behind an @, one of up to 14.
func isKey(k []byte) bool {
	name, system, two := bytes.Cut(k, []byte{'@'})
	if two {
		return isName(name, 241) && isName(system, 14)
	}
	return isName(name, 256)
}

func isName(v []byte, most int) bool {
	for i, c := range v {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && (c == '*' || c == '_' || c == '-' || c == '/')) {
			return false
		}
	}
	return len(v) > 0 && len(v) <= most
}

// isValue: printable characters but "," and "=", the last no space.
func isValue(v []byte) bool {
	for _, c := range v {
		if c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return len(v) > 0 && len(v) <= 256 && v[len(v)-1] != ' '
}

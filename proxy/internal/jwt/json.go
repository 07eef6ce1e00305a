package jwt

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a JSON object. A stranger may send tens of kilobytes of it with each request, and a value
// costs far more than its bytes.
const (
	maxDepth  = 100 // as in Envoy
	maxValues = 4096
)

var errJSON = errors.New("not a single JSON object that can be read in one way only, within the bounds")

// parseObject reads one JSON object and nothing behind it. What a token says must not depend on who
// reads it, so it is stricter than encoding/json, which takes the last of two members of a name and
// mends broken text. It is also some ten times as fast, on a path where strangers choose the input;
// a fuzz test holds it to that package's results.
func parseObject(raw []byte) (map[string]any, error) {
	if !utf8.Valid(raw) {
		return nil, errJSON
	}
	r := jsonReader{s: string(raw)}
	if r.next() != '{' {
		return nil, errJSON
	}
	out, ok := r.object(1)
	if !ok || r.next() != 0 || r.i != len(r.s) {
		return nil, errJSON
	}
	return out, nil
}

// jsonReader reads s from i on. Strings that it returns are parts of s where they can be.
type jsonReader struct {
	s      string
	i      int
	values int
}

// next skips white space and returns the byte behind it without taking it; 0 at the end.
func (r *jsonReader) next() byte {
	for ; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take takes the next byte if it is c.
func (r *jsonReader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.i++
	return true
}

// word takes a literal.
func (r *jsonReader) word(w string) bool {
	if len(r.s)-r.i < len(w) || r.s[r.i:r.i+len(w)] != w {
		return false
	}
	r.i += len(w)
	return true
}

func (r *jsonReader) value(depth int) (any, bool) {
	if r.values++; r.values > maxValues {
		return nil, false
	}
	switch c := r.next(); {
	case c == '{':
		return r.object(depth + 1)
	case c == '[':
		return r.list(depth + 1)
	case c == '"':
		return r.text()
	case c == 't':
		return true, r.word("true")
	case c == 'f':
		return false, r.word("false")
	case c == 'n':
		return nil, r.word("null")
	}
	return r.number()
}

func (r *jsonReader) object(depth int) (map[string]any, bool) {
	r.i++ // the brace
	out := map[string]any{}
	if depth > maxDepth {
		return nil, false
	}
	if r.take('}') {
		return out, true
	}
	for {
		if r.next() != '"' {
			return nil, false
		}
		name, ok := r.text()
		if _, twice := out[name]; !ok || twice || !r.take(':') {
			return nil, false
		}
		if out[name], ok = r.value(depth); !ok {
			return nil, false
		}
		if r.take('}') {
			return out, true
		}
		if !r.take(',') {
			return nil, false
		}
	}
}

func (r *jsonReader) list(depth int) ([]any, bool) {
	r.i++ // the bracket
	out := []any{}
	if depth > maxDepth {
		return nil, false
	}
	if r.take(']') {
		return out, true
	}
	for {
		v, ok := r.value(depth)
		if !ok {
			return nil, false
		}
		out = append(out, v)
		if r.take(']') {
			return out, true
		}
		if !r.take(',') {
			return nil, false
		}
	}
}

func (r *jsonReader) text() (string, bool) {
	r.i++ // the quotation mark
	start := r.i
	for ; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; {
		case c == '"':
			r.i++
			return r.s[start : r.i-1], true
		case c == '\\':
			return r.escaped([]byte(r.s[start:r.i]))
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped goes on with a string from its first backslash.
func (r *jsonReader) escaped(out []byte) (string, bool) {
	for r.i < len(r.s) {
		c := r.s[r.i]
		r.i++
		switch {
		case c == '"':
			return string(out), true
		case c < ' ':
			return "", false
		case c != '\\':
			out = append(out, c)
			continue
		}
		if r.i == len(r.s) {
			return "", false
		}
		c = r.s[r.i]
		r.i++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			x, ok := r.hex()
			if utf16.IsSurrogate(x) {
				var low rune
				if ok = ok && r.word(`\u`); ok {
					low, ok = r.hex()
				}
				x = utf16.DecodeRune(x, low)
				ok = ok && x != utf8.RuneError // half of a pair
			}
			if !ok {
				return "", false
			}
			out = utf8.AppendRune(out, x)
		default:
			return "", false
		}
	}
	return "", false
}

// hex takes four hexadecimal digits.
func (r *jsonReader) hex() (rune, bool) {
	if len(r.s)-r.i < 4 {
		return 0, false
	}
	var out rune
	for _, c := range []byte(r.s[r.i : r.i+4]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		out = out<<4 | rune(c)
	}
	r.i += 4
	return out, true
}

// number takes a number in JSON's form, which is narrower than that of strconv.
func (r *jsonReader) number() (any, bool) {
	start := r.i
	if r.i < len(r.s) && r.s[r.i] == '-' {
		r.i++
	}
	whole := r.digits()
	if whole == 0 || whole > 1 && r.s[r.i-whole] == '0' {
		return nil, false
	}
	if r.i < len(r.s) && r.s[r.i] == '.' {
		r.i++
		if r.digits() == 0 {
			return nil, false
		}
	}
	if r.i < len(r.s) && (r.s[r.i] == 'e' || r.s[r.i] == 'E') {
		r.i++
		if r.i < len(r.s) && (r.s[r.i] == '+' || r.s[r.i] == '-') {
			r.i++
		}
		if r.digits() == 0 {
			return nil, false
		}
	}
	f, err := strconv.ParseFloat(r.s[start:r.i], 64)
	return f, err == nil
}

// digits takes digits and returns how many there were.
func (r *jsonReader) digits() int {
	start := r.i
	for r.i < len(r.s) && '0' <= r.s[r.i] && r.s[r.i] <= '9' {
		r.i++
	}
	return r.i - start
}

package cel

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Message is a value that is a protobuf message.
type Message interface {
	ref.Val
	// AppendText appends it in the text format, on one line.
	AppendText(dst []byte) []byte
	// AppendJSON appends it as an object; false: it has no form in JSON.
	AppendJSON(dst []byte, quote func(dst, s []byte) []byte) ([]byte, bool)
}

// Unlisted is a map whose keys cannot be listed.
type Unlisted interface {
	traits.Mapper
	Unlisted()
}

// AppendJSON appends any value as JSON, strings by quote. What is appended means nothing where it reports false.
func AppendJSON(dst []byte, v ref.Val, quote func(dst, s []byte) []byte) ([]byte, bool) {
	return appendJSON(dst, v, quote)
}

// Convert is ConvertToType of values that become nothing else.
func Convert(v ref.Val, t ref.Type) ref.Val {
	switch t {
	case v.Type():
		return v
	case types.TypeType:
		return v.Type().(ref.Val)
	}
	return types.NewErrFromString("no such conversion")
}

// NoNative is the error of ConvertToNative of such values.
func NoNative(v ref.Val, t reflect.Type) error { return fmt.Errorf("a %T cannot become a %v", v, t) }

// AppendText appends the value as %CEL% prints it.
func (v Value) AppendText(dst []byte) []byte {
	switch x := v.v.(type) {
	case types.Bool:
		return strconv.AppendBool(dst, bool(x))
	case types.Int:
		return strconv.AppendInt(dst, int64(x), 10)
	case types.Uint:
		return strconv.AppendUint(dst, uint64(x), 10)
	case types.Double:
		return appendDouble(dst, float64(x))
	case types.String:
		return append(dst, x...)
	case types.Bytes:
		return append(dst, x...)
	case types.Null:
		return append(dst, "NULL"...)
	case types.Duration:
		return appendDuration(dst, x.Duration)
	case types.Timestamp:
		return x.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999999+00:00")
	case Message:
		return x.AppendText(dst)
	case traits.Mapper:
		return append(dst, "CelMap value"...)
	case traits.Lister:
		return append(dst, "CelList value"...)
	}
	return append(dst, "CelType value"...)
}

// Text is the value of a string; false for everything else.
func (v Value) Text() (string, bool) {
	s, ok := v.v.(types.String)
	return string(s), ok
}

// AppendJSON appends the value as %TYPED_CEL% prints it, strings by quote; false, and nothing appended, where it is null or has
// no form in JSON.
func (v Value) AppendJSON(dst []byte, quote func(dst, s []byte) []byte) ([]byte, bool) {
	if v.v == types.NullValue {
		return dst, false
	}
	n := len(dst)
	dst, ok := appendJSON(dst, v.v, quote)
	if !ok {
		dst = dst[:n]
	}
	return dst, ok
}

func appendJSON(dst []byte, v ref.Val, quote func(dst, s []byte) []byte) ([]byte, bool) {
	switch x := v.(type) {
	case types.Bool:
		return strconv.AppendBool(dst, bool(x)), true
	case types.Int:
		return AppendNumber(dst, float64(x)), true
	case types.Uint:
		return AppendNumber(dst, float64(x)), true
	case types.Double:
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return dst, false // JSON has none
		}
		return AppendNumber(dst, float64(x)), true
	case types.String:
		return quote(dst, []byte(x)), true
	case types.Bytes:
		return quote(dst, base64.StdEncoding.AppendEncode(nil, x)), true
	case types.Null:
		return append(dst, "null"...), true
	case types.Duration:
		return quote(dst, appendSeconds(nil, x.Duration)), true
	case types.Timestamp:
		return quote(dst, appendTimestamp(nil, x.Time)), true
	case Message:
		return x.AppendJSON(dst, quote)
	case Unlisted:
		return dst, false
	case traits.Mapper:
		return appendMap(dst, x, quote)
	case traits.Lister:
		dst = append(dst, '[')
		n := x.Size().(types.Int)
		for i := range n {
			if i > 0 {
				dst = append(dst, ',')
			}
			var ok bool
			if dst, ok = appendJSON(dst, x.Get(i), quote); !ok {
				return dst, false
			}
		}
		return append(dst, ']'), true
	}
	return dst, false
}

// appendMap appends an object; its keys may be numbers and strings.
func appendMap(dst []byte, m traits.Mapper, quote func(dst, s []byte) []byte) ([]byte, bool) {
	values := map[string]ref.Val{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		switch k.(type) {
		case types.Int, types.Uint, types.String:
		default:
			return dst, false
		}
		v, _ := m.Find(k)
		values[string(Value{k}.AppendText(nil))] = v
	}
	dst = append(dst, '{')
	for i, k := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(quote(dst, []byte(k)), ':')
		var ok bool
		if dst, ok = appendJSON(dst, values[k], quote); !ok {
			return dst, false
		}
	}
	return append(dst, '}'), true
}

// appendDouble is "%g" of C.
func appendDouble(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "nan"...)
	case math.IsInf(v, 1):
		return append(dst, "inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, v, 'g', 6, 64)
}

// AppendNumber is the shortest form that is read back as the same number, fixed where both forms are as short.
func AppendNumber(dst []byte, v float64) []byte {
	n, digits := len(dst), -1
	if math.Abs(v) < 1e21 && v == math.Trunc(v) {
		digits = 0 // those that are not needed are not zeros
	}
	dst = strconv.AppendFloat(dst, v, 'f', digits, 64)
	var buf [32]byte
	if e := strconv.AppendFloat(buf[:0], v, 'e', -1, 64); len(e) < len(dst)-n {
		dst = append(dst[:n], e...)
	}
	return dst
}

// appendDuration prints hours, minutes and seconds, or the unit in which less than a second is at least one.
func appendDuration(dst []byte, d time.Duration) []byte {
	if d == 0 {
		return append(dst, '0')
	}
	n := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		n = -n
	}
	unit := func(n, of uint64, name string) {
		dst = strconv.AppendUint(dst, n/of, 10)
		if rest := n % of; rest != 0 {
			digits := strconv.FormatUint(of+rest, 10)[1:]
			dst = append(append(dst, '.'), strings.TrimRight(digits, "0")...)
		}
		dst = append(dst, name...)
	}
	switch {
	case n < 1e3:
		unit(n, 1, "ns")
		return dst
	case n < 1e6:
		unit(n, 1e3, "us")
		return dst
	case n < 1e9:
		unit(n, 1e6, "ms")
		return dst
	}
	const minute, hour = 60 * 1e9, 3600 * 1e9
	if h := n / hour; h > 0 {
		unit(h, 1, "h")
	}
	if m := n % hour / minute; m > 0 {
		unit(m, 1, "m")
	}
	if s := n % minute; s > 0 {
		unit(s, 1e9, "s")
	}
	return dst
}

// appendSeconds is the form of a Duration in JSON, with 0, 3, 6 or 9 digits of a fraction.
func appendSeconds(dst []byte, d time.Duration) []byte {
	n := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		n = -n
	}
	dst = strconv.AppendUint(dst, n/1e9, 10)
	return append(appendFraction(dst, n%1e9), 's')
}

// appendTimestamp is the form of a Timestamp in JSON.
func appendTimestamp(dst []byte, t time.Time) []byte {
	t = t.UTC()
	dst = t.AppendFormat(dst, "2006-01-02T15:04:05")
	return append(appendFraction(dst, uint64(t.Nanosecond())), 'Z')
}

func appendFraction(dst []byte, ns uint64) []byte {
	if ns == 0 {
		return dst
	}
	digits := strconv.FormatUint(1e9+ns, 10)[1:]
	for strings.HasSuffix(digits, "000") {
		digits = digits[:len(digits)-3]
	}
	return append(append(dst, '.'), digits...)
}

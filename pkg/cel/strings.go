package cel

import (
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// The functions on strings, which Envoy has where cel_config enables them. The library's package of them links tables of all
// languages for its format(), and bounds nothing. Positions are of characters.

// maxParts bounds what a string is split into.
const maxParts = 1 << 14

func badPosition() ref.Val { return types.NewErrFromString("there is no such position") }

// replace is s.replace(old, new[, n]).
func replace(args ...ref.Val) ref.Val {
	s, ok1 := args[0].(types.String)
	old, ok2 := args[1].(types.String)
	with, ok3 := args[2].(types.String)
	n, ok4 := optionalInt(args, 3, -1)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return noOverload()
	}
	times := strings.Count(string(s), string(old))
	if n >= 0 {
		times = min(times, n)
	}
	if int64(len(s))+int64(times)*int64(len(with)) > maxValue {
		return tooLarge()
	}
	return types.String(strings.Replace(string(s), string(old), string(with), times))
}

// join is list.join([separator]).
func join(args ...ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	var sep types.String
	if ok && len(args) > 1 {
		sep, ok = args[1].(types.String)
	}
	if !ok {
		return noOverload()
	}
	var b strings.Builder
	for i := range list.Size().(types.Int) {
		s, ok := list.Get(i).(types.String)
		if !ok {
			return noOverload()
		}
		if i > 0 {
			b.WriteString(string(sep))
		}
		if b.Len()+len(s) > maxValue {
			return tooLarge()
		}
		b.WriteString(string(s))
	}
	return types.String(b.String())
}

// split is s.split(separator[, n]): into characters without a separator, into n parts at most.
func split(args ...ref.Val) ref.Val {
	s, ok1 := args[0].(types.String)
	sep, ok2 := args[1].(types.String)
	n, ok3 := optionalInt(args, 2, -1)
	switch {
	case !ok1 || !ok2 || !ok3:
		return noOverload()
	case strings.Count(string(s), string(sep)) > maxParts:
		return tooLarge()
	case s == "" && n != 0:
		return types.NewStringList(types.DefaultTypeAdapter, []string{""})
	}
	return types.NewStringList(types.DefaultTypeAdapter, strings.SplitN(string(s), string(sep), n))
}

// substring is s.substring(from[, to]).
func substring(args ...ref.Val) ref.Val {
	s, ok1 := args[0].(types.String)
	from, ok2 := optionalInt(args, 1, 0)
	r := []rune(string(s))
	to, ok3 := optionalInt(args, 2, len(r))
	switch {
	case !ok1 || !ok2 || !ok3:
		return noOverload()
	case from < 0 || from > to || to > len(r):
		return badPosition()
	}
	return types.String(r[from:to])
}

// charAt is s.charAt(position): nothing behind the last.
func charAt(s, position ref.Val) ref.Val {
	text, ok1 := s.(types.String)
	i, ok2 := position.(types.Int)
	r := []rune(string(text))
	switch {
	case !ok1 || !ok2:
		return noOverload()
	case i < 0 || int(i) > len(r):
		return badPosition()
	}
	return types.String(r[i:min(int(i)+1, len(r))])
}

// indexOf is s.indexOf(part[, from]); -1 for none.
func indexOf(args ...ref.Val) ref.Val {
	s, part, from, bad := places(args, 0)
	if bad != nil {
		return bad
	}
	before := len(string(s[:from]))
	i := strings.Index(string(s[from:]), part)
	if i < 0 {
		return types.IntNegOne
	}
	return types.Int(utf8.RuneCountInString(string(s)[:before+i]))
}

// lastIndexOf is s.lastIndexOf(part[, from]): the last that begins at from or before.
func lastIndexOf(args ...ref.Val) ref.Val {
	s, part, from, bad := places(args, -1)
	if bad != nil {
		return bad
	}
	end := min(len(s), from+utf8.RuneCountInString(part))
	i := strings.LastIndex(string(s[:end]), part)
	if i < 0 {
		return types.IntNegOne
	}
	return types.Int(utf8.RuneCountInString(string(s)[:i]))
}

// places reads the arguments of a search; a negative position that is not given is the end.
func places(args []ref.Val, none int) (s []rune, part string, from int, bad ref.Val) {
	text, ok1 := args[0].(types.String)
	p, ok2 := args[1].(types.String)
	s = []rune(string(text))
	if none < 0 {
		none = len(s)
	}
	from, ok3 := optionalInt(args, 2, none)
	switch {
	case !ok1 || !ok2 || !ok3:
		return nil, "", 0, noOverload()
	case from < 0 || from > len(s):
		return nil, "", 0, badPosition()
	}
	return s, string(p), from, nil
}

// optionalInt is an argument that need not be there.
func optionalInt(args []ref.Val, i, none int) (int, bool) {
	if len(args) <= i {
		return none, true
	}
	n, ok := args[i].(types.Int)
	return int(n), ok
}

// mapASCII moves characters of a range by some places.
func mapASCII(s string, from, to byte, by int) string {
	b := []byte(s)
	for i, c := range b {
		if c >= from && c <= to {
			b[i] = byte(int(c) + by)
		}
	}
	return string(b)
}

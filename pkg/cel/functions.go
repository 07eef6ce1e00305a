package cel

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Functions of our own that are called so stand beside those of the library: a checked expression calls them instead. An
// expression's text cannot have such names.
const ownPrefix = "@"

// maxValue bounds the strings that an expression makes, in bytes. Without it, replace() makes gigabytes of two headers.
const maxValue = 1 << 20

func ownFunctions() []celgo.EnvOption {
	dyn := celgo.DynType
	unary := func(name string, f func(ref.Val) ref.Val) celgo.EnvOption {
		return celgo.Function(name, celgo.Overload(name+"_1", []*celgo.Type{dyn}, dyn, celgo.UnaryBinding(f)))
	}
	binary := func(name string, f func(a, b ref.Val) ref.Val) celgo.EnvOption {
		return celgo.Function(name, celgo.Overload(name+"_2", []*celgo.Type{dyn, dyn}, dyn, celgo.BinaryBinding(f)))
	}
	// extra declares a function of the user's, which is found by its name and led to ours.
	extra := func(name string, args ...*celgo.Type) celgo.EnvOption {
		return celgo.Function(name, celgo.Overload(strings.ReplaceAll(name, ".", "_"), args, dyn))
	}
	several := func(name string, f func(args ...ref.Val) ref.Val, counts ...int) celgo.EnvOption {
		var opts []celgo.FunctionOpt
		for _, n := range counts {
			args := make([]*celgo.Type, n)
			for i := range args {
				args[i] = dyn
			}
			opts = append(opts, celgo.Overload(name+"_"+strconv.Itoa(n), args, dyn, celgo.FunctionBinding(f)))
		}
		return celgo.Function(name, opts...)
	}
	ofText := func(name string, f func(string) string) celgo.EnvOption {
		return unary(name, func(v ref.Val) ref.Val {
			if s, ok := v.(types.String); ok {
				return types.String(f(string(s)))
			}
			return noOverload()
		})
	}
	return []celgo.EnvOption{
		binary(ownPrefix+operators.Add, add),
		unary(ownPrefix+operators.Negate, negate),
		unary("@int", toInt),
		several("@getMilliseconds", milliseconds, 1, 2),
		unary("@string", toString),
		several("replace", replace, 3, 4),
		several("join", join, 1, 2),
		several("split", split, 2, 3),
		several("substring", substring, 2, 3),
		several("indexOf", indexOf, 2, 3),
		several("lastIndexOf", lastIndexOf, 2, 3),
		binary("charAt", charAt),
		ofText("lowerAscii", func(s string) string { return mapASCII(s, 'A', 'Z', 'a'-'A') }),
		ofText("upperAscii", func(s string) string { return mapASCII(s, 'a', 'z', 'A'-'a') }),
		ofText("trim", strings.TrimSpace),
		ofText("reverse", func(s string) string {
			r := []rune(s)
			slices.Reverse(r)
			return string(r)
		}),
		binary("@matches", matches),
		extra("re.extract", dyn, dyn, dyn), several("@re.extract", extract, 3),
		extra("re.capture", dyn, dyn), binary("@re.capture", capture),
		extra("re.captureN", dyn, dyn), binary("@re.captureN", captureN),
	}
}

func noOverload() ref.Val { return types.NewErrFromString("no such overload") }

func tooLarge() ref.Val { return types.NewErrFromString("the value is too large") }

// add is + without lists.
func add(a, b ref.Val) ref.Val {
	switch x := a.(type) {
	case types.Int, types.Uint, types.Double, types.Duration, types.Timestamp:
		return a.(traits.Adder).Add(b)
	case types.String:
		y, ok := b.(types.String)
		switch {
		case !ok:
			return noOverload()
		case len(x)+len(y) > maxValue:
			return tooLarge()
		}
		return x + y
	case types.Bytes:
		y, ok := b.(types.Bytes)
		switch {
		case !ok:
			return noOverload()
		case len(x)+len(y) > maxValue:
			return tooLarge()
		}
		return append(append(make(types.Bytes, 0, len(x)+len(y)), x...), y...)
	}
	return noOverload()
}

// negate is - before a number. The library's takes durations as well.
func negate(v ref.Val) ref.Val {
	switch x := v.(type) {
	case types.Int:
		return x.Negate()
	case types.Double:
		return x.Negate()
	}
	return noOverload()
}

// milliseconds is getMilliseconds([zone]). That of a duration is the rest beside its seconds; the library's is all of it.
func milliseconds(args ...ref.Val) ref.Val {
	switch x := args[0].(type) {
	case types.Duration:
		if len(args) > 1 {
			return noOverload()
		}
		return types.Int(x.Duration % time.Second / time.Millisecond)
	case types.Timestamp:
		name := overloads.TimestampToMilliseconds
		if len(args) > 1 {
			name = overloads.TimestampToMillisecondsWithTz
		}
		return x.Receive(overloads.TimeGetMilliseconds, name, args[1:])
	}
	return noOverload()
}

// toInt is int(). Envoy takes booleans, and spaces around a number, but no durations.
func toInt(v ref.Val) ref.Val {
	switch x := v.(type) {
	case types.Bool:
		if x {
			return types.IntOne
		}
		return types.IntZero
	case types.String:
		return types.String(strings.TrimSpace(string(x))).ConvertToType(types.IntType)
	case types.Int, types.Uint, types.Double, types.Timestamp:
		return x.ConvertToType(types.IntType)
	}
	return noOverload()
}

// toString is string().
func toString(v ref.Val) ref.Val {
	switch x := v.(type) {
	case types.String:
		return x
	case types.Bytes:
		if !utf8.Valid(x) {
			return types.NewErrFromString("invalid UTF-8")
		}
		return types.String(x)
	case types.Bool, types.Int, types.Uint:
		return types.String(Value{x}.AppendText(nil))
	case types.Double:
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return types.String(appendDouble(nil, float64(x)))
		}
		return types.String(AppendNumber(nil, float64(x)))
	case types.Duration:
		return types.String(appendSeconds(nil, x.Duration))
	case types.Timestamp:
		return types.String(appendTimestamp(nil, x.Time))
	}
	return noOverload()
}

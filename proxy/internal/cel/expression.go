package cel

import (
	"fmt"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Options is config.core.v3.CelExpressionConfig: functions whose values may be as large as what they are given, and
// which are therefore not there unless asked for.
type Options struct {
	StringConversion bool // string()
	StringConcat     bool // + on strings and bytes
	StringFunctions  bool // replace, split, join, lowerAscii and the like
}

// Stream is what attributes are read from. Without Info there are none but those of xds; other parts may be missing, and so
// are their attributes then.
type Stream struct {
	Request  *header.Map
	Response *header.Map
	Trailers *header.Map // of the response
	Info     *streaminfo.Info
}

// Expression is a compiled expression. It may be evaluated on several workers at a time.
type Expression struct{ program celgo.Program }

// Compile compiles an expression. Errors say what in it Envoy would not take either, unless docs/envoy-differences.md
// has it.
func Compile(text string, o Options) (*Expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("BUG: the environment of CEL: %w", err)
	}
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return nil, parseError(issues)
	}
	return plan(env, parsed.NativeRep(), o)
}

// Value is what an expression comes to.
type Value struct{ v ref.Val }

// Eval evaluates the expression; false: it has no value.
func (e *Expression) Eval(s *Stream) (Value, bool) {
	v, _, err := e.program.Eval(&activation{s})
	if err != nil || v == nil || types.IsUnknown(v) {
		return Value{}, false
	}
	return Value{v}, true
}

// Match reports whether the expression comes to true. What has no value, or is no boolean, does not match.
func (e *Expression) Match(s *Stream) bool {
	v, ok := e.Eval(s)
	return ok && v.v == types.True
}

// activation answers what the names in an expression stand for.
type activation struct{ s *Stream }

// ResolveName implements the library's Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	if g, ok := groups[name]; ok && a.s.Info != nil {
		if name == "upstream_filter_state" && !a.s.Info.UpstreamLocal.IsValid() {
			return nil, false // that of a connection, and there was none
		}
		return &group{a.s, name, g}, true
	}
	if name == "metadata" && a.s.Info != nil {
		return metadataMessage(a.s.Info.Metadata), true
	}
	return nil, false
}

// Parent implements the library's Activation.
func (*activation) Parent() celgo.Activation { return nil }

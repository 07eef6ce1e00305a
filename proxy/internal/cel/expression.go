package cel

import (
	celgo "cel.dev/cel-go/cel"

	"github.com/lateen-mesh/lateen/pkg/cel"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Stream is what attributes are read from. Without Info there are none but those of xds; other parts may be missing, and so
// are their attributes then.
type Stream struct {
	Request  *header.Map
	Response *header.Map
	Trailers *header.Map // of the response
	Info     *streaminfo.Info
}

// Expression is a compiled expression. It may be evaluated on several workers at a time.
type Expression struct{ compiled *cel.Expression }

// Compile compiles an expression. One that Envoy would not take is refused, and so is one with attributes that are not here.
func Compile(text string) (*Expression, error) {
	e, err := xdsresource.CompileExpression(text)
	if err != nil {
		return nil, err
	}
	return &Expression{e}, nil
}

// Of evaluates an expression that was compiled with a configuration.
func Of(e *cel.Expression) *Expression { return &Expression{e} }

// Eval evaluates the expression; false: it has no value.
func (e *Expression) Eval(s *Stream) (cel.Value, bool) {
	v, err := e.compiled.Eval(&activation{s})
	return v, err == nil
}

// Match reports whether the expression comes to true. What has no value, or is no boolean, does not match.
func (e *Expression) Match(s *Stream) bool {
	v, ok := e.Eval(s)
	return ok && v.True()
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

package format

import (
	"errors"

	"github.com/lateen-mesh/lateen/proxy/internal/cel"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// expression is CEL and TYPED_CEL: the value of an expression on the stream, as text or, of a single operator in JSON, as what
// it is.
type expression struct {
	compiled *cel.Expression
	typed    bool
}

func newExpression(arg string, typed bool) (operator, error) {
	if arg == "" {
		return nil, errors.New("needs an expression in parentheses")
	}
	compiled, err := cel.Compile(arg)
	return &expression{compiled, typed}, err
}

// Stream is what expressions read of the context.
func (c *Context) Stream() *cel.Stream {
	return &cel.Stream{Request: c.Request, Response: c.Response, Trailers: c.Trailers, Info: c.Info}
}

// append has control characters percent-encoded: what a value is made of may come from outside, and makes headers and lines.
func (o *expression) append(dst []byte, c *Context) ([]byte, bool) {
	n := len(dst)
	dst, ok := o.appendRaw(dst, c)
	for _, b := range dst[n:] {
		if b < ' ' || b == 0x7f {
			return header.AppendText(dst[:n], string(dst[n:])), ok
		}
	}
	return dst, ok
}

// appendRaw is append for what is put between quotes.
func (o *expression) appendRaw(dst []byte, c *Context) ([]byte, bool) {
	v, ok := o.compiled.Eval(c.Stream())
	if !ok {
		return dst, false
	}
	return v.AppendText(dst), true
}

// appendJSON appends the typed value. limit cuts strings; 0: none.
func (o *expression) appendJSON(dst []byte, c *Context, limit int) ([]byte, bool) {
	v, ok := o.compiled.Eval(c.Stream())
	if !ok {
		return dst, false
	}
	if s, ok := v.Text(); ok && limit > 0 && len(s) > limit {
		return appendQuoted(dst, []byte(s[:limit])), true
	}
	return v.AppendJSON(dst, appendQuoted)
}

package format

import (
	"errors"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// headerOp is REQ, RESP and TRAILER: "X?Y" is Y where X is missing.
type headerOp struct {
	which byte // 'q', 's', 't'
	keys  []header.Key
}

func newHeaderOp(which byte, arg string, hasArg bool) (operator, error) {
	if !hasArg || arg == "" {
		return nil, errors.New("needs a header name in parentheses")
	}
	op := &headerOp{which: which}
	for _, n := range strings.Split(arg, "?") {
		op.keys = append(op.keys, header.KeyOf(n))
	}
	if len(op.keys) > 2 {
		return nil, errors.New("takes two names at most: NAME?ALTERNATIVE")
	}
	return op, nil
}

func (o *headerOp) append(dst []byte, c *Context) ([]byte, bool) {
	m := c.Request
	switch o.which {
	case 's':
		m = c.Response
	case 't':
		m = c.Trailers
	}
	if m == nil {
		return dst, false
	}
	for _, k := range o.keys {
		if v, ok := m.GetKey(k); ok {
			return append(dst, v...), true
		}
	}
	return dst, false
}

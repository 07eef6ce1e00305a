package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// pathOp is PATH and QUERY_PARAMS: the request's target, as it came or as it went on.
type pathOp struct {
	query bool   // keep the query
	only  bool   // nothing but the query
	from  string // "ORIG", "PATH", "ORIG_OR_PATH"
}

var keyOriginalPath = header.KeyOf("x-envoy-original-path")

// newPathOp compiles PATH(QUERY:SOURCE).
func newPathOp(arg string) (operator, error) {
	query, from, _ := strings.Cut(arg, ":")
	o := pathOp{query: true, from: from}
	switch query {
	case "", "WQ":
	case "NQ":
		o.query = false
	default:
		return nil, fmt.Errorf("%q is neither WQ (with the query) nor NQ (without)", query)
	}
	return o.check()
}

// newQueryOp compiles QUERY_PARAMS(SOURCE).
func newQueryOp(arg string) (operator, error) {
	return pathOp{query: true, only: true, from: arg}.check()
}

func (o pathOp) check() (operator, error) {
	switch o.from {
	case "":
		o.from = "ORIG_OR_PATH"
	case "ORIG", "PATH", "ORIG_OR_PATH":
	default:
		return nil, fmt.Errorf("%q is none of ORIG, PATH, ORIG_OR_PATH", o.from)
	}
	return o, nil
}

func (o pathOp) append(dst []byte, c *Context) ([]byte, bool) {
	if c.Request == nil {
		return dst, false
	}
	v, ok := []byte(nil), false
	if o.from != "PATH" {
		v, ok = c.Request.GetKey(keyOriginalPath)
	}
	if !ok && o.from != "ORIG" {
		v, ok = c.Request.Get(header.Path)
	}
	path, query, _ := bytes.Cut(v, []byte("?"))
	switch {
	case o.only:
		return append(dst, query...), len(query) > 0
	case !o.query:
		v = path
	}
	return append(dst, v...), ok && len(v) > 0
}

// newServerName compiles REQUESTED_SERVER_NAME(SOURCE): the name in the ClientHello, the request's
// host, or one of both.
func newServerName(arg string) (operator, error) {
	source, form, _ := strings.Cut(arg, ":")
	switch form {
	case "", "ORIG":
	default:
		return nil, fmt.Errorf("%q is not supported, only ORIG", form)
	}
	host := func(c *Context) string {
		if c.Request == nil {
			return ""
		}
		return string(c.Request.Value(header.Authority))
	}
	either := func(a, b func(*Context) string) operator {
		return text(func(c *Context) string {
			if s := a(c); s != "" {
				return s
			}
			return b(c)
		})
	}
	switch source {
	case "", "SNI_ONLY":
		return text(serverName), nil
	case "SNI_FIRST":
		return either(serverName, host), nil
	case "HOST_FIRST":
		return either(host, serverName), nil
	}
	return nil, fmt.Errorf("%q is none of SNI_ONLY, SNI_FIRST, HOST_FIRST", source)
}

func trailersBytes(dst []byte, c *Context) ([]byte, bool) {
	n := 0
	if c.Trailers != nil {
		n = c.Trailers.Size()
	}
	return strconv.AppendInt(dst, int64(n), 10), true
}

// coalesce is the first of several operators that has a value.
type coalesce []part

// newCoalesce compiles COALESCE({"operators": ["NAME", {"command": "NAME", "param": "ARG",
// "max_length": N}]}).
func newCoalesce(arg string) (operator, error) {
	var cfg struct {
		Operators []json.RawMessage `json:"operators"`
	}
	if err := json.Unmarshal([]byte(arg), &cfg); err != nil {
		return nil, fmt.Errorf("the argument is no JSON object: %w", err)
	}
	if len(cfg.Operators) == 0 {
		return nil, errors.New(`needs at least one of "operators"`)
	}
	var out coalesce
	for _, raw := range cfg.Operators {
		var one struct {
			Command string  `json:"command"`
			Param   *string `json:"param"`
			Max     int     `json:"max_length"`
		}
		if err := json.Unmarshal(raw, &one.Command); err != nil {
			if err := json.Unmarshal(raw, &one); err != nil {
				return nil, err
			}
		}
		p := part{max: one.Max}
		param := ""
		if one.Param != nil {
			param = *one.Param
		}
		var err error
		if p.op, err = newOperator(one.Command, param, one.Param != nil); err != nil {
			return nil, fmt.Errorf("%s: %w", one.Command, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (o coalesce) append(dst []byte, c *Context) ([]byte, bool) {
	for i := range o {
		n := len(dst)
		var ok bool
		if dst, ok = o[i].op.append(dst, c); ok {
			if o[i].max > 0 && len(dst)-n > o[i].max {
				dst = dst[:n+o[i].max]
			}
			return dst, true
		}
	}
	return dst, false
}

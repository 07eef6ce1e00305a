package format

import (
	"encoding/json"
	"fmt"
	"strings"
)

// stateOp prints an object of the filter state: its text, or JSON of that or of what it is made of, or one of its fields.
type stateOp struct {
	key   string
	plain bool
	field string
	none  bool // of the state of a connection upstream, which has none here
}

// newUpstreamStateOp is for the state of the connection upstream: what a filter of Envoy's shares with it is refused where that is
// configured (shared_with_upstream), so there is never any.
func newUpstreamStateOp(arg string) (operator, error) {
	op, err := newStateOp(arg)
	if err != nil {
		return nil, err
	}
	o := op.(stateOp)
	o.none = true
	return o, nil
}

func newStateOp(arg string) (operator, error) {
	key, form, _ := strings.Cut(arg, ":")
	form, field, hasField := strings.Cut(form, ":")
	switch {
	case key == "":
		return nil, fmt.Errorf("needs the key of an object in parentheses")
	case form == "FIELD" && field != "":
	case hasField || form != "" && form != "PLAIN" && form != "TYPED":
		return nil, fmt.Errorf("%q is none of PLAIN, TYPED, FIELD:name", form)
	}
	return stateOp{key: key, plain: form == "PLAIN", field: field}, nil
}

func (o stateOp) append(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || o.none {
		return dst, false
	}
	v := c.Info.FilterState(o.key)
	if v == nil {
		return dst, false
	}
	if o.field != "" {
		f, _ := v.(interface{ Field(string) (string, bool) })
		if f == nil {
			return dst, false
		}
		text, ok := f.Field(o.field)
		return append(dst, text...), ok
	}
	if o.plain {
		return append(dst, v.String()...), true
	}
	text := any(v.String())
	if m, ok := v.(json.Marshaler); ok { // it has a structure
		text = m
	}
	b, err := json.Marshal(text)
	if err != nil {
		return dst, false
	}
	return append(dst, b...), true
}

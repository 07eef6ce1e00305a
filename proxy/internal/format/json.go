package format

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// JSON is a compiled json_format: an object whose leaves are format strings.
type JSON struct {
	root  jsonNode
	typed bool
	omit  bool
}

type jsonNode struct {
	key    []byte // quoted, with colon; of an object's member
	leaf   *Formatter
	fixed  []byte // number, bool or null as written in the configuration
	object []jsonNode
	list   []jsonNode
	kind   byte // 'l'eaf, 'f'ixed, 'o'bject, 'a'rray
}

// CompileJSON compiles a json_format. Members are printed in the order of their keys. With
// typed, a leaf of a single numeric operator is a JSON number and a missing one null; with
// omitEmpty, missing leaves of objects are left out.
func CompileJSON(m map[string]any, typed, omitEmpty bool) (*JSON, error) {
	n, err := compileNode(m)
	if err != nil {
		return nil, err
	}
	return &JSON{root: n, typed: typed, omit: omitEmpty}, nil
}

func compileNode(v any) (jsonNode, error) {
	switch v := v.(type) {
	case string:
		f, err := Compile(v)
		return jsonNode{kind: 'l', leaf: f}, err
	case map[string]any:
		n := jsonNode{kind: 'o'}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			c, err := compileNode(v[k])
			if err != nil {
				return n, fmt.Errorf("%s: %w", k, err)
			}
			c.key = append(appendQuoted(nil, []byte(k)), ':')
			n.object = append(n.object, c)
		}
		return n, nil
	case []any:
		n := jsonNode{kind: 'a'}
		for i, x := range v {
			c, err := compileNode(x)
			if err != nil {
				return n, fmt.Errorf("[%d]: %w", i, err)
			}
			n.list = append(n.list, c)
		}
		return n, nil
	case nil, bool:
		b, err := json.Marshal(v)
		return jsonNode{kind: 'f', fixed: b}, err
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return jsonNode{kind: 'f', fixed: strconv.AppendInt(nil, int64(v), 10)}, nil
		}
		return jsonNode{kind: 'f', fixed: strconv.AppendFloat(nil, v, 'g', -1, 64)}, nil
	}
	return jsonNode{}, fmt.Errorf("a json_format cannot hold a %T", v)
}

// Append prints the object, without a line feed.
func (j *JSON) Append(dst []byte, c *Context) []byte {
	dst, _ = j.node(dst, &j.root, c)
	return dst
}

// node prints a value; false when it is missing and may be left out.
func (j *JSON) node(dst []byte, n *jsonNode, c *Context) ([]byte, bool) {
	switch n.kind {
	case 'f':
		return append(dst, n.fixed...), true
	case 'a':
		dst = append(dst, '[')
		for i := range n.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, _ = j.node(dst, &n.list[i], c)
		}
		return append(dst, ']'), true
	case 'o':
		dst = append(dst, '{')
		first := true
		for i := range n.object {
			start := len(dst)
			if !first {
				dst = append(dst, ',')
			}
			dst = append(dst, n.object[i].key...)
			var ok bool
			if dst, ok = j.node(dst, &n.object[i], c); !ok && j.omit {
				dst = dst[:start]
				continue
			}
			first = false
		}
		return append(dst, '}'), true
	}
	return j.leaf(dst, n.leaf, c)
}

func (j *JSON) leaf(dst []byte, f *Formatter, c *Context) ([]byte, bool) {
	start := len(dst)
	if len(f.parts) == 1 && f.parts[0].op != nil {
		p := &f.parts[0]
		var buf [256]byte
		var v []byte
		var ok bool
		if e, is := p.op.(*expression); !is {
			v, ok = p.op.append(buf[:0], c)
		} else if e.typed && j.typed {
			if dst, ok = e.appendJSON(dst, c, p.max); !ok {
				dst = append(dst, "null"...)
			}
			return dst, ok
		} else {
			v, ok = e.appendRaw(buf[:0], c)
		}
		if !ok {
			if j.typed {
				return append(dst, "null"...), false
			}
			return append(dst, `"-"`...), false
		}
		if p.max > 0 && len(v) > p.max {
			v = v[:p.max]
		}
		if num, isNum := p.op.(*valueOp); j.typed && isNum && num.number {
			return append(dst, v...), true
		}
		return appendQuoted(dst, v), true
	}
	missing := "-"
	if j.omit {
		missing = ""
	}
	v := f.appendOr(nil, c, missing)
	dst = appendQuoted(dst, v)
	return dst, len(dst) > start+2
}

// appendQuoted appends a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendQuoted(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default:
			dst = append(dst, b)
		}
		i++
	}
	return append(dst, '"')
}

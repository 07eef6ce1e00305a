package format

import (
	"fmt"
	"os"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Tag is a compiled custom tag of spans and of log entries that are sent to a service.
type Tag struct {
	Name string
	op   operator
	def  string
}

// NewTags compiles custom tags.
func NewTags(in []xdsresource.CustomTag) ([]Tag, error) {
	var out []Tag
	for _, t := range in {
		op, err := newTag(&t)
		if err != nil {
			return nil, fmt.Errorf("custom tag %q: %w", t.Name, err)
		}
		out = append(out, Tag{Name: t.Name, op: op, def: t.Default})
	}
	return out, nil
}

func newTag(t *xdsresource.CustomTag) (operator, error) {
	switch {
	case t.Environment != "":
		return constant(os.Getenv(t.Environment)), nil
	case t.Header != "":
		return &headerOp{which: 'q', keys: []header.Key{header.KeyOf(t.Header)}}, nil
	case t.MetadataKind != "":
		kind := map[string]string{"REQUEST": "DYNAMIC", "HOST": "UPSTREAM_HOST"}[t.MetadataKind]
		if kind == "" {
			kind = t.MetadataKind
		}
		return newMetadataOp(kind, strings.Join(append([]string{t.MetadataKey}, t.MetadataPath...), ":"))
	case t.Value != "":
		f, err := Compile(t.Value)
		return formatted{f}, err
	}
	return constant(t.Literal), nil
}

// Get returns the tag's value; false where it has none and no default.
func (t *Tag) Get(c *Context) (string, bool) {
	if v, ok := t.op.append(nil, c); ok {
		return string(v), true
	}
	return t.def, t.def != ""
}

// formatted is a whole format string as a value.
type formatted struct{ f *Formatter }

func (o formatted) append(dst []byte, c *Context) ([]byte, bool) {
	n := len(dst)
	dst = o.f.AppendOrEmpty(dst, c)
	return dst, len(dst) > n
}

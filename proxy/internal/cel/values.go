package cel

import (
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/lateen-mesh/lateen/pkg/cel"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// group is a map of attributes that are known by name only: it has no size and cannot be listed.
type group struct {
	s    *Stream
	name string // by which it is known from others of the stream
	find lookup
}

// Unlisted implements cel.Unlisted.
func (*group) Unlisted() {}

// Find implements traits.Mapper.
func (g *group) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok || g.find == nil {
		return nil, false
	}
	v := g.find(g.s, string(name))
	return v, v != nil
}

// Get implements traits.Indexer.
func (g *group) Get(key ref.Val) ref.Val { return get(g, key) }

// Contains implements traits.Container.
func (g *group) Contains(key ref.Val) ref.Val { return contains(g, key) }

// Size implements traits.Sizer; Envoy says the same.
func (g *group) Size() ref.Val { return types.IntZero }

// Iterator implements traits.Iterable.
func (g *group) Iterator() traits.Iterator {
	return types.NewDynamicList(types.DefaultTypeAdapter, []any{}).Iterator()
}

// Type, Value, Equal and the conversions implement ref.Val.
func (g *group) Type() ref.Type                              { return types.MapType }
func (g *group) Value() any                                  { return g }
func (g *group) ConvertToType(t ref.Type) ref.Val            { return cel.Convert(g, t) }
func (g *group) ConvertToNative(t reflect.Type) (any, error) { return nil, cel.NoNative(g, t) }

// Equal implements ref.Val.
func (g *group) Equal(other ref.Val) ref.Val {
	o, ok := other.(*group)
	return types.Bool(ok && o.name == g.name)
}

// headers is a header block as a map of names to values; what a name has several of is joined by commas. m may be nil.
type headers struct{ m *header.Map }

// Find implements traits.Mapper.
func (h *headers) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok || h.m == nil {
		return nil, false
	}
	v, ok := h.m.Join(nil, header.KeyOf(strings.ToLower(string(name))))
	if !ok {
		return nil, false
	}
	return types.String(v), true
}

// Get implements traits.Indexer.
func (h *headers) Get(key ref.Val) ref.Val { return get(h, key) }

// Contains implements traits.Container.
func (h *headers) Contains(key ref.Val) ref.Val { return contains(h, key) }

// Size implements traits.Sizer: the number of different names.
func (h *headers) Size() ref.Val { return types.Int(len(h.names())) }

// Iterator implements traits.Iterable.
func (h *headers) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, h.names()).Iterator()
}

// names are the different names, sorted.
func (h *headers) names() []string {
	if h.m == nil {
		return nil
	}
	out := make([]string, 0, h.m.Len())
	for i := range h.m.Len() {
		_, name, _ := h.m.At(i)
		out = append(out, string(name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Type, Value, Equal and the conversions implement ref.Val.
func (h *headers) Type() ref.Type                              { return types.MapType }
func (h *headers) Value() any                                  { return h }
func (h *headers) ConvertToType(t ref.Type) ref.Val            { return cel.Convert(h, t) }
func (h *headers) ConvertToNative(t reflect.Type) (any, error) { return nil, cel.NoNative(h, t) }

// Equal implements ref.Val.
func (h *headers) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Mapper)
	if !ok || o.Size() != h.Size() {
		return types.False
	}
	for _, name := range h.names() {
		a, _ := h.Find(types.String(name))
		if b, found := o.Find(types.String(name)); !found || a.Equal(b) != types.True {
			return types.False
		}
	}
	return types.True
}

func get(m traits.Mapper, key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.NewErrFromString("no such key")
}

func contains(m traits.Mapper, key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

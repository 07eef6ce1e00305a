package config

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/config/schema"
)

// Set is an immutable collection of objects, at most one per Key. The zero Set and a nil *Set
// are empty.
type Set struct {
	byKey  map[Key]*Object
	byKind map[*schema.Kind][]*Object // sorted by namespace, name
}

// NewSet returns a set of the objects. Of two with the same key the later one stays.
func NewSet(objects ...*Object) *Set {
	s := &Set{byKey: make(map[Key]*Object, len(objects)), byKind: map[*schema.Kind][]*Object{}}
	for _, o := range objects {
		s.byKey[o.Key()] = o
	}
	for _, o := range s.byKey {
		s.byKind[o.Kind] = append(s.byKind[o.Kind], o)
	}
	for _, list := range s.byKind {
		slices.SortFunc(list, byName)
	}
	return s
}

func byName(a, b *Object) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Get returns an object, nil if there is none.
func (s *Set) Get(kind *schema.Kind, namespace, name string) *Object {
	if s == nil {
		return nil
	}
	return s.byKey[Key{kind, namespace, name}]
}

// Lookup returns an object by its key, nil if there is none.
func (s *Set) Lookup(k Key) *Object { return s.Get(k.Kind, k.Namespace, k.Name) }

// List returns the objects of a kind by namespace and name. The slice must not be modified.
func (s *Set) List(kind *schema.Kind) []*Object {
	if s == nil {
		return nil
	}
	return s.byKind[kind]
}

// All returns every object, by kind in the order of schema.All, then namespace and name.
func (s *Set) All() []*Object {
	if s == nil {
		return nil
	}
	out := make([]*Object, 0, len(s.byKey))
	for _, k := range schema.All() {
		out = append(out, s.byKind[k]...)
	}
	return out
}

// Len returns how many objects there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.byKey)
}

// With returns a set in which the objects of other replace or join those of s.
func (s *Set) With(other *Set) *Set {
	return NewSet(append(s.All(), other.All()...)...)
}

// Without returns a set that lacks the given objects.
func (s *Set) Without(keys ...Key) *Set {
	return NewSet(slices.DeleteFunc(s.All(), func(o *Object) bool { return slices.Contains(keys, o.Key()) })...)
}

// IsMeshConfig reports whether the object is the ConfigMap in which Istio keeps the mesh's
// settings (a MeshConfig, under the key mesh): istio-system/istio.
func IsMeshConfig(k Key) bool {
	return k.Kind == schema.ConfigMap && k.Namespace == "istio-system" && k.Name == "istio"
}

// Package matchtree compiles matchers (xds.type.matcher.v3.Matcher): trees that lead from values of a request or a connection to
// leaves. What a value is and what a leaf means are the users' to say.
//
// It reads no protos and knows no request. Importers: route, whose leaves are lists of routes, and rbac, whose leaves are verdicts.
package matchtree

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Compiler says how the inputs of a kind of matchers are read, of an In, and what their leaves are.
type Compiler[In, Leaf any] struct {
	// Value reads an input as text; false where there is none. The bytes are good until the next value is read.
	Value func(input xdsresource.MatcherInput, header string) func(In) ([]byte, bool)
	// Text compares such bytes.
	Text func(m *xdsresource.StringMatch, v []byte) bool
	// Address reads an input that is an IP address; invalid where there is none. nil: no input is one.
	Address func(input xdsresource.MatcherInput) func(In) netip.Addr
	// Leaf makes a leaf of a result without a further matcher.
	Leaf func(r *xdsresource.MatcherResult) (Leaf, error)
}

// Tree is a compiled matcher. It is immutable, but for what its leaves are.
type Tree[In, Leaf any] struct {
	branches []branch[In, Leaf]
	value    func(In) ([]byte, bool) // of a map: what finds the leaf
	exact    map[string]*result[In, Leaf]
	prefix   []prefixed[In, Leaf] // longest first
	none     *result[In, Leaf]    // nil: nothing
}

type branch[In, Leaf any] struct {
	when func(In) bool
	then *result[In, Leaf]
}

type prefixed[In, Leaf any] struct {
	prefix string
	then   *result[In, Leaf]
}

// result is a leaf, or another tree.
type result[In, Leaf any] struct {
	tree *Tree[In, Leaf]
	leaf Leaf
}

// Compile compiles a matcher. The error is a leaf's. Leaves are made in the order of the configuration, those of maps in order of
// their keys.
func (c *Compiler[In, Leaf]) Compile(m *xdsresource.Matcher) (*Tree[In, Leaf], error) {
	t := &Tree[In, Leaf]{}
	for i := range m.Branches {
		then, err := c.result(&m.Branches[i].Then)
		if err != nil {
			return nil, err
		}
		t.branches = append(t.branches, branch[In, Leaf]{c.predicate(&m.Branches[i].When), then})
	}
	if m.Exact != nil || m.Prefix != nil {
		t.value, t.exact = c.Value(m.Input, m.Header), make(map[string]*result[In, Leaf], len(m.Exact))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Exact)) {
		then, err := c.result(m.Exact[k])
		if err != nil {
			return nil, err
		}
		t.exact[k] = then
	}
	for _, k := range slices.Sorted(maps.Keys(m.Prefix)) {
		then, err := c.result(m.Prefix[k])
		if err != nil {
			return nil, err
		}
		t.prefix = append(t.prefix, prefixed[In, Leaf]{k, then})
	}
	slices.SortStableFunc(t.prefix, func(a, b prefixed[In, Leaf]) int { return len(b.prefix) - len(a.prefix) })
	var err error
	if m.NoMatch != nil {
		t.none, err = c.result(m.NoMatch)
	}
	return t, err
}

func (c *Compiler[In, Leaf]) result(r *xdsresource.MatcherResult) (*result[In, Leaf], error) {
	out := &result[In, Leaf]{}
	var err error
	if r.Matcher != nil {
		out.tree, err = c.Compile(r.Matcher)
	} else {
		out.leaf, err = c.Leaf(r)
	}
	return out, err
}

func (c *Compiler[In, Leaf]) predicate(m *xdsresource.MatcherPredicate) func(In) bool {
	switch {
	case m.All != nil:
		all := c.predicates(m.All)
		return func(in In) bool {
			for _, holds := range all {
				if !holds(in) {
					return false
				}
			}
			return true
		}
	case m.Any != nil:
		some := c.predicates(m.Any)
		return func(in In) bool {
			for _, holds := range some {
				if holds(in) {
					return true
				}
			}
			return false
		}
	case m.Not != nil:
		holds := c.predicate(m.Not)
		return func(in In) bool { return !holds(in) }
	case m.Prefixes != nil:
		read, nets := c.Address(m.Input), m.Prefixes
		return func(in In) bool {
			ip := read(in)
			return ip.IsValid() && slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(ip) })
		}
	}
	read, compare, text := c.Value(m.Input, m.Header), c.Text, &m.String
	return func(in In) bool {
		v, ok := read(in)
		return ok && compare(text, v)
	}
}

func (c *Compiler[In, Leaf]) predicates(in []xdsresource.MatcherPredicate) []func(In) bool {
	out := make([]func(In) bool, len(in))
	for i := range in {
		out[i] = c.predicate(&in[i])
	}
	return out
}

// Find returns the leaf that a matcher leads to; false: it leads nowhere. What leads nowhere does not end the search.
func (t *Tree[In, Leaf]) Find(in In) (Leaf, bool) {
	for i := range t.branches {
		if b := &t.branches[i]; b.when(in) {
			if l, ok := b.then.find(in); ok {
				return l, true
			}
		}
	}
	if t.value != nil {
		if l, ok := t.look(in); ok {
			return l, true
		}
	}
	return t.none.find(in)
}

// look follows a map.
func (t *Tree[In, Leaf]) look(in In) (none Leaf, ok bool) {
	v, ok := t.value(in)
	if !ok {
		return none, false
	}
	if l, ok := t.exact[string(v)].find(in); ok {
		return l, true
	}
	for i := range t.prefix {
		// What was tried may have read other values.
		if v, ok = t.value(in); !ok || !strings.HasPrefix(unsafe.String(unsafe.SliceData(v), len(v)), t.prefix[i].prefix) {
			continue
		}
		if l, ok := t.prefix[i].then.find(in); ok {
			return l, true
		}
	}
	return none, false
}

func (r *result[In, Leaf]) find(in In) (none Leaf, ok bool) {
	switch {
	case r == nil:
		return none, false
	case r.tree != nil:
		return r.tree.Find(in)
	}
	return r.leaf, true
}

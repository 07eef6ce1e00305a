package route

import (
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/matchtree"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tree is a compiled matcher of a virtual host: it finds the routes that a request is tried with.
type tree = matchtree.Tree[*treeInput, []*Entry]

// treeInput is what such a matcher looks at, with room for a value that has to be put together. It goes through calls that the compiler
// cannot see, so it lies on the heap; what the rest of a look-up needs does not.
type treeInput struct {
	headers *header.Map
	scratch []byte
}

var treeInputs = sync.Pool{New: func() any { return new(treeInput) }}

// tree compiles a matcher; the entries of its leaves become those of the virtual host, too.
func (c *compiler) tree(v *VirtualHost, m *xdsresource.Matcher) (*tree, error) {
	trees := matchtree.Compiler[*treeInput, []*Entry]{
		Value: func(_ xdsresource.MatcherInput, name string) func(*treeInput) ([]byte, bool) {
			key := header.KeyOf(name) // xdsresource lets no other input stand here
			return func(in *treeInput) ([]byte, bool) { return in.value(key) }
		},
		Text: MatchString,
		Leaf: func(r *xdsresource.MatcherResult) ([]*Entry, error) {
			entries, err := c.entries(v, r.Routes)
			v.Entries = append(v.Entries, entries...)
			return entries, err
		},
	}
	return trees.Compile(m)
}

// value is the value of a header; false: the request has none. Several are joined by commas.
func (in *treeInput) value(k header.Key) ([]byte, bool) {
	i := in.headers.Find(k, 0)
	if i < 0 {
		return nil, false
	}
	if in.headers.Find(k, i+1) < 0 {
		_, _, v := in.headers.At(i)
		return v, true
	}
	v, _ := in.headers.Join(in.scratch[:0], k)
	if cap(v) <= maxScratch {
		in.scratch = v
	}
	return v, true
}

// findIn is the routes that a request with these headers is tried with; nil: the matcher leads nowhere.
func findIn(t *tree, h *header.Map) []*Entry {
	in := treeInputs.Get().(*treeInput)
	in.headers = h
	entries, _ := t.Find(in)
	in.headers = nil
	treeInputs.Put(in)
	return entries
}

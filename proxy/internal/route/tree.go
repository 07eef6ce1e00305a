package route

import (
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tree is a compiled matcher of a virtual host: it finds the routes that a request is tried with.
type tree struct {
	branches []branch
	header   header.Key
	exact    map[string]*leaf
	prefix   []prefixLeaf // longest first
	none     *leaf        // nil: nothing
}

type branch struct {
	when predicate
	then *leaf
}

type prefixLeaf struct {
	prefix string
	leaf   *leaf
}

// leaf is a result: entries, or another tree.
type leaf struct {
	tree    *tree
	entries []*Entry
}

type predicate struct {
	all, any []predicate
	not      *predicate
	header   header.Key
	string   *xdsresource.StringMatch
}

// tree compiles a matcher; the entries of its leaves become those of the virtual host, too.
func (c *compiler) tree(v *VirtualHost, m *xdsresource.Matcher) (*tree, error) {
	t := &tree{header: header.KeyOf(m.Header)}
	var err error
	for i := range m.Branches {
		b := branch{when: newPredicate(&m.Branches[i].When)}
		if b.then, err = c.leaf(v, &m.Branches[i].Then); err != nil {
			return nil, err
		}
		t.branches = append(t.branches, b)
	}
	if m.Exact != nil {
		t.exact = make(map[string]*leaf, len(m.Exact))
	}
	for k, r := range m.Exact {
		if t.exact[k], err = c.leaf(v, r); err != nil {
			return nil, err
		}
	}
	for k, r := range m.Prefix {
		l, err := c.leaf(v, r)
		if err != nil {
			return nil, err
		}
		t.prefix = append(t.prefix, prefixLeaf{k, l})
	}
	slices.SortFunc(t.prefix, func(a, b prefixLeaf) int { return len(b.prefix) - len(a.prefix) })
	if m.NoMatch != nil {
		t.none, err = c.leaf(v, m.NoMatch)
	}
	return t, err
}

func (c *compiler) leaf(v *VirtualHost, r *xdsresource.MatcherResult) (*leaf, error) {
	l := &leaf{}
	var err error
	if r.Matcher != nil {
		l.tree, err = c.tree(v, r.Matcher)
		return l, err
	}
	l.entries, err = c.entries(v, r.Routes)
	v.Entries = append(v.Entries, l.entries...)
	return l, err
}

func newPredicate(m *xdsresource.MatcherPredicate) predicate {
	p := predicate{header: header.KeyOf(m.Header), string: &m.String}
	for i := range m.All {
		p.all = append(p.all, newPredicate(&m.All[i]))
	}
	for i := range m.Any {
		p.any = append(p.any, newPredicate(&m.Any[i]))
	}
	if m.Not != nil {
		not := newPredicate(m.Not)
		p.not = &not
	}
	return p
}

// find returns the routes that a request is tried with; false: nothing matches.
func (t *tree) find(r *Request, p *parts) ([]*Entry, bool) {
	if t.branches != nil {
		for i := range t.branches {
			if !t.branches[i].when.holds(r, p) {
				continue
			}
			if e, ok := t.branches[i].then.take(r, p); ok {
				return e, true
			}
		}
		return t.none.take(r, p)
	}
	v, ok := valueOf(t.header, r, p)
	if !ok {
		return t.none.take(r, p)
	}
	if t.exact != nil {
		if e, ok := t.exact[string(v)].take(r, p); ok {
			return e, true
		}
		return t.none.take(r, p)
	}
	for i := range t.prefix {
		if !hasPrefix(v, t.prefix[i].prefix, false) {
			continue
		}
		if e, ok := t.prefix[i].leaf.take(r, p); ok {
			return e, true
		}
		if v, ok = valueOf(t.header, r, p); !ok { // what was tried may have used its memory
			break
		}
	}
	return t.none.take(r, p)
}

// take follows a leaf; false: it does not match.
func (l *leaf) take(r *Request, p *parts) ([]*Entry, bool) {
	switch {
	case l == nil:
		return nil, false
	case l.tree != nil:
		return l.tree.find(r, p)
	}
	return l.entries, true
}

func (q *predicate) holds(r *Request, p *parts) bool {
	switch {
	case q.all != nil:
		for i := range q.all {
			if !q.all[i].holds(r, p) {
				return false
			}
		}
		return true
	case q.any != nil:
		for i := range q.any {
			if q.any[i].holds(r, p) {
				return true
			}
		}
		return false
	case q.not != nil:
		return !q.not.holds(r, p)
	}
	v, ok := valueOf(q.header, r, p)
	return ok && matchString(q.string, v)
}

// valueOf is the value of a header; false: the request has none. Several are joined by commas.
func valueOf(k header.Key, r *Request, p *parts) ([]byte, bool) {
	i := r.Headers.Find(k, 0)
	if i < 0 {
		return nil, false
	}
	if r.Headers.Find(k, i+1) < 0 {
		_, _, v := r.Headers.At(i)
		return v, true
	}
	v, _ := r.Headers.Join(p.scratch(), k)
	return p.keep(v), true
}

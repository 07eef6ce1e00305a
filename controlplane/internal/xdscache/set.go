package xdscache

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
)

// Set is resources of one type, one for a name, in the order of names. It is immutable and shared by all that need the same; the nil Set
// is empty.
type Set struct {
	res []*Resource

	once    sync.Once
	version string
}

// NewSet returns a set of the resources. Of several with one name the last counts. It keeps the slice.
func NewSet(res []*Resource) *Set {
	slices.SortStableFunc(res, func(a, b *Resource) int { return strings.Compare(a.Name, b.Name) })
	out := res[:0]
	for i, r := range res {
		if i+1 < len(res) && res[i+1].Name == r.Name {
			continue
		}
		out = append(out, r)
	}
	return &Set{res: out}
}

// All returns the resources by name. The caller must not change the slice.
func (s *Set) All() []*Resource {
	if s == nil {
		return nil
	}
	return s.res
}

// Len is the number of resources.
func (s *Set) Len() int { return len(s.All()) }

// Get returns the resource of a name, nil when there is none.
func (s *Set) Get(name string) *Resource {
	res := s.All()
	i, ok := slices.BinarySearchFunc(res, name, func(r *Resource, n string) int { return strings.Compare(r.Name, n) })
	if !ok {
		return nil
	}
	return res[i]
}

// Version is a hash of the names and versions in the set.
func (s *Set) Version() string {
	if s == nil {
		return "empty"
	}
	s.once.Do(func() {
		sum := sha256.New()
		for _, r := range s.res {
			sum.Write([]byte(r.Name))
			sum.Write([]byte{0})
			sum.Write([]byte(r.Version))
			sum.Write([]byte{0})
		}
		s.version = hex.EncodeToString(sum.Sum(nil)[:8])
	})
	return s.version
}

// Select returns the resources with these names, which must be sorted. Names without a resource are left out.
func (s *Set) Select(names []string) *Set {
	out := &Set{res: make([]*Resource, 0, min(len(names), s.Len()))}
	all, i := s.All(), 0
	for _, name := range names {
		for i < len(all) && all[i].Name < name {
			i++
		}
		if i < len(all) && all[i].Name == name {
			out.res = append(out.res, all[i])
		}
	}
	return out
}

// Without returns the set less one name; the same set when it does not have it.
func (s *Set) Without(drop func(name string) bool) *Set {
	if !slices.ContainsFunc(s.All(), func(r *Resource) bool { return drop(r.Name) }) {
		return s
	}
	out := &Set{res: make([]*Resource, 0, s.Len())}
	for _, r := range s.All() {
		if !drop(r.Name) {
			out.res = append(out.res, r)
		}
	}
	return out
}

// Union returns the resources of both; of a name in both, that of s.
func (s *Set) Union(o *Set) *Set {
	a, b := s.All(), o.All()
	if len(b) == 0 {
		return s
	}
	out := &Set{res: make([]*Resource, 0, len(a)+len(b))}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			out.res, a = append(out.res, a[0]), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			out.res, b = append(out.res, b[0]), b[1:]
		default:
			out.res, a, b = append(out.res, a[0]), a[1:], b[1:]
		}
	}
	return out
}

// Diff says what leads from one set to another.
type Diff struct {
	// Changed are the resources of the new set that the old lacks or has in another version.
	Changed []*Resource
	// Removed are the old set's resources whose names the new lacks.
	Removed []*Resource
}

// Compare returns what leads from old to new. Equal pointers cost nothing.
func Compare(old, new *Set) Diff {
	var d Diff
	if old == new {
		return d
	}
	a, b := old.All(), new.All()
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			d.Removed, a = append(d.Removed, a[0]), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			d.Changed, b = append(d.Changed, b[0]), b[1:]
		default:
			if a[0] != b[0] && a[0].Version != b[0].Version {
				d.Changed = append(d.Changed, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return d
}

package xdscache

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"
)

// Set is resources of one type, one for a name, in the order of names. It is immutable and shared by all that need the same; the nil Set
// is empty.
type Set struct {
	res []*Resource

	once    sync.Once
	version string

	indexOnce sync.Once
	index     map[string]int // made when a client first states what it has

	leadsOnce sync.Once
	leads     *Names // see leadsTo

	// whole is the first byte of what Delta returned last, while a stream is sending it.
	mu    sync.Mutex
	whole weak.Pointer[byte]
	size  int

	// last is the comparison that was asked for last, since many proxies go from one set to the next together.
	last atomic.Pointer[comparison]
}

// comparison is what leads from another set to this one.
type comparison struct {
	from weak.Pointer[Set]
	diff Diff
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

// Delta returns all elements of DeltaDiscoveryResponse.resources, one after the other. Proxies that start together share them: they are
// thousands of pieces otherwise, each with a buffer of gRPC's. The caller must not change them.
func (s *Set) Delta() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.whole.Value(); first != nil {
		return unsafe.Slice(first, s.size)
	}
	size := 0
	for _, r := range s.res {
		size += len(r.delta)
	}
	all := make([]byte, 0, size)
	for _, r := range s.res {
		all = append(all, r.delta...)
	}
	if size > 0 {
		s.whole, s.size = weak.Make(unsafe.SliceData(all)), size
	}
	return all
}

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

// Select returns the resources with these names; the same set when they are all. Names without a resource are left out.
func (s *Set) Select(names *Names) *Set {
	if s.dwarfs(names) {
		out := &Set{res: make([]*Resource, 0, names.Len())}
		for _, name := range names.All() {
			if r := s.Get(name); r != nil {
				out.res = append(out.res, r)
			}
		}
		return out
	}
	var out *Set
	all, i := s.All(), 0
	for _, name := range names.All() {
		from := i
		for i < len(all) && all[i].Name < name {
			i++
		}
		if i > from && out == nil {
			out = &Set{res: append(make([]*Resource, 0, min(names.Len(), s.Len())), all[:from]...)}
		}
		if i < len(all) && all[i].Name == name {
			if out != nil {
				out.res = append(out.res, all[i])
			}
			i++
		}
	}
	switch {
	case out != nil:
		return out
	case i < len(all):
		return &Set{res: all[:i:i]}
	}
	return s
}

// dwarfs says that looking each name up is cheaper than going through the set.
func (s *Set) dwarfs(names *Names) bool { return names.Len() < s.Len()/16 }

// Missing returns the names without a resource.
func (s *Set) Missing(names *Names) *Names {
	var out []string
	if s.dwarfs(names) {
		for _, name := range names.All() {
			if s.Get(name) == nil {
				out = append(out, name)
			}
		}
		return NewNames(out)
	}
	all := s.All()
	for _, name := range names.All() {
		for len(all) > 0 && all[0].Name < name {
			all = all[1:]
		}
		if len(all) == 0 || all[0].Name != name {
			out = append(out, name)
		}
	}
	return NewNames(out)
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

// Union returns the resources of both; of a name in both, that of s. It is s itself when o has no other names.
func (s *Set) Union(o *Set) *Set {
	a, b := s.All(), o.All()
	if s == o || !s.lacksNameOf(o) {
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

func (s *Set) lacksNameOf(o *Set) bool {
	all := s.All()
	for _, r := range o.All() {
		for len(all) > 0 && all[0] != r && all[0].Name < r.Name {
			all = all[1:]
		}
		if len(all) == 0 || all[0] != r && all[0].Name != r.Name {
			return true
		}
	}
	return false
}

// Stated is what a client that was here before says that it has.
type Stated struct{ Name, Version string }

// Held returns what a client has that states it, of the names for which wanted is true: resources of s where name and version are
// equal, others of which only that is known. It is s itself when the client has just that. It keeps none of the strings.
func (s *Set) Held(stated []Stated, wanted func(name string) bool) *Set {
	if s.is(stated) {
		return s
	}
	index := s.byName()
	had := make([]*Resource, 0, len(stated))
	for _, x := range stated {
		if !wanted(x.Name) {
			continue
		}
		if i, ok := index[x.Name]; ok && s.res[i].Version == x.Version {
			had = append(had, s.res[i])
			continue
		}
		had = append(had, Known(strings.Clone(x.Name), strings.Clone(x.Version)))
	}
	return NewSet(had)
}

// is says that the stated are the set, each once.
func (s *Set) is(stated []Stated) bool {
	if len(stated) != s.Len() {
		return false
	}
	index, seen := s.byName(), make([]bool, len(stated))
	for _, x := range stated {
		i, ok := index[x.Name]
		if !ok || seen[i] || s.res[i].Version != x.Version {
			return false
		}
		seen[i] = true
	}
	return true
}

// byName returns the place of each name.
func (s *Set) byName() map[string]int {
	if s == nil {
		return nil
	}
	s.indexOnce.Do(func() {
		s.index = make(map[string]int, len(s.res))
		for i, r := range s.res {
			s.index[r.Name] = i
		}
	})
	return s.index
}

// Diff says what leads from one set to another.
type Diff struct {
	// Changed are the resources of the new set that the old lacks or has in another version.
	Changed []*Resource
	// Removed are the old set's resources whose names the new lacks.
	Removed []*Resource
}

// Compare returns what leads from old to new. Equal pointers cost nothing, and neither does what was asked for last. The caller must not
// change the slices.
func Compare(old, new *Set) Diff {
	if old == new || new == nil {
		return compare(old, new)
	}
	if c := new.last.Load(); c != nil && old != nil && c.from.Value() == old {
		return c.diff
	}
	d := compare(old, new)
	if old != nil {
		new.last.Store(&comparison{weak.Make(old), d})
	}
	return d
}

func compare(old, new *Set) Diff {
	var d Diff
	if old == new {
		return d
	}
	a, b := old.All(), new.All()
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(a) > 0 && len(b) > 0 && a[0] == b[0]:
			a, b = a[1:], b[1:]
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			d.Removed, a = append(d.Removed, a[0]), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			d.Changed, b = append(d.Changed, b[0]), b[1:]
		default:
			if a[0].Version != b[0].Version {
				d.Changed = append(d.Changed, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return d
}

package xdscache

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"weak"
)

// Names are the names that a client subscribes to in one type, sorted, each once. They are immutable; nil is none at all. Clients that
// subscribe to the same hold the same Names where they come from one NameTable.
type Names struct{ sorted []string }

// Subscription is what a client wants of one type.
type Subscription struct {
	// All is everything that is meant for the client.
	All bool
	// Names are wanted by name, in addition.
	Names *Names
}

// Everything is the subscription to all there is.
var Everything = Subscription{All: true}

// NewNames returns the names, which need be in no order. It keeps the slice.
func NewNames(names []string) *Names {
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return &Names{slices.Compact(names)}
}

// All returns the names in order. The caller must not change the slice.
func (n *Names) All() []string {
	if n == nil {
		return nil
	}
	return n.sorted
}

// Len is how many there are.
func (n *Names) Len() int { return len(n.All()) }

// Has says whether a name is among them.
func (n *Names) Has(name string) bool {
	_, ok := slices.BinarySearch(n.All(), name)
	return ok
}

// Union returns the names of both; n itself when o adds nothing.
func (n *Names) Union(o *Names) *Names {
	if n.Len() == 0 {
		return o
	}
	added := o.Minus(n)
	if added.Len() == 0 {
		return n
	}
	all := make([]string, 0, n.Len()+added.Len())
	return NewNames(append(append(all, n.sorted...), added.sorted...))
}

// Minus returns the names that o lacks; n itself when that is all of them.
func (n *Names) Minus(o *Names) *Names {
	a, b := n.All(), o.All()
	var out []string
	for i, name := range a {
		for len(b) > 0 && b[0] < name {
			b = b[1:]
		}
		has := len(b) > 0 && b[0] == name
		if has && out == nil {
			out = append(make([]string, 0, len(a)-1), a[:i]...)
		} else if !has && out != nil {
			out = append(out, name)
		}
	}
	switch {
	case out == nil:
		return n
	case len(out) == 0:
		return nil
	}
	return &Names{out}
}

// NameTable makes equal Names one. It keeps none alive. The zero value is ready; its methods may be called from any goroutine.
type NameTable struct {
	seed    sync.Once
	hash    maphash.Seed
	mu      sync.Mutex
	entries map[uint64]weak.Pointer[Names] // by hash; of two with one hash the later is remembered
}

// Of returns the Names equal to n that the table gave out before, or else a copy that it will give out. A nil table returns n.
func (t *NameTable) Of(n *Names) *Names {
	if t == nil || n.Len() == 0 {
		return n
	}
	t.seed.Do(func() { t.hash = maphash.MakeSeed() })
	var h maphash.Hash
	h.SetSeed(t.hash)
	for _, name := range n.sorted {
		h.WriteString(name)
		h.WriteByte(0)
	}
	key := h.Sum64()
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.entries[key].Value(); old != nil && slices.Equal(old.sorted, n.sorted) {
		return old
	}
	if t.entries == nil {
		t.entries = map[uint64]weak.Pointer[Names]{}
	}
	if len(t.entries) >= maxTable {
		for k, e := range t.entries {
			if e.Value() == nil {
				delete(t.entries, k)
			}
		}
		if len(t.entries) >= maxTable {
			clear(t.entries) // nobody shares as much; what is there goes on to be used
		}
	}
	own := &Names{make([]string, len(n.sorted))}
	for i, name := range n.sorted {
		own.sorted[i] = strings.Clone(name) // it may be part of a whole request
	}
	t.entries[key] = weak.Make(own)
	return own
}

// maxTable bounds what a NameTable remembers.
const maxTable = 1 << 14

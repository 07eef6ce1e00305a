package model

import (
	"cmp"
	"slices"
	"sort"
)

// Table is an immutable map that iterates in key order. Changing it yields a new table; the
// old one stays valid for whoever holds it. Lookup is a binary search; a batch of k changes
// to n entries costs k searches and one copy of 24 bytes an entry (BenchmarkTableApply).
type Table[V any] struct {
	keys []string
	vals []V
}

// Get returns the value of key.
func (t Table[V]) Get(key string) (V, bool) {
	i := sort.SearchStrings(t.keys, key)
	if i < len(t.keys) && t.keys[i] == key {
		return t.vals[i], true
	}
	var zero V
	return zero, false
}

// Len is the number of entries.
func (t Table[V]) Len() int { return len(t.keys) }

// Values returns all values in key order. The caller must not change the slice.
func (t Table[V]) Values() []V { return t.vals }

// Keys returns all keys, sorted. The caller must not change the slice.
func (t Table[V]) Keys() []string { return t.keys }

// Prefix returns the values whose keys begin with prefix, in key order.
func (t Table[V]) Prefix(prefix string) []V {
	i := sort.SearchStrings(t.keys, prefix)
	j := i
	for j < len(t.keys) && len(t.keys[j]) >= len(prefix) && t.keys[j][:len(prefix)] == prefix {
		j++
	}
	return t.vals[i:j]
}

// Edit is one change to a table: a new value, or a removal.
type Edit[V any] struct {
	Key    string
	Value  V
	Delete bool
}

// Apply returns a table with the edits made. Of several edits of one key the last counts.
func (t Table[V]) Apply(edits []Edit[V]) Table[V] {
	if len(edits) == 0 {
		return t
	}
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit[V]) int { return cmp.Compare(a.Key, b.Key) })
	out := Table[V]{
		keys: make([]string, 0, len(t.keys)+len(edits)),
		vals: make([]V, 0, len(t.keys)+len(edits)),
	}
	i := 0
	for j := 0; j < len(edits); j++ {
		e := edits[j]
		if j+1 < len(edits) && edits[j+1].Key == e.Key {
			continue
		}
		upTo := i + sort.SearchStrings(t.keys[i:], e.Key)
		out.keys, out.vals = append(out.keys, t.keys[i:upTo]...), append(out.vals, t.vals[i:upTo]...)
		i = upTo
		if i < len(t.keys) && t.keys[i] == e.Key {
			i++
		}
		if !e.Delete {
			out.keys, out.vals = append(out.keys, e.Key), append(out.vals, e.Value)
		}
	}
	out.keys, out.vals = append(out.keys, t.keys[i:]...), append(out.vals, t.vals[i:]...)
	return out
}

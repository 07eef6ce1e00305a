package xdsresource

import (
	"encoding/json"
	"slices"
	"strings"
)

// MetadataMatch selects a subset of a cluster's endpoints: the "envoy.lb" part of a
// metadata_match. It is immutable, and made when the configuration is read, so that the path
// only compares strings.
type MetadataMatch struct {
	// Pairs are the wanted values by key, sorted by key.
	Pairs []MetadataPair
	// Key is all of Pairs as one text: equal for equal pairs.
	Key string
	// Plain are the pairs without "fallback_list", and Fallback what that list makes of them,
	// in order. Plain is nil when there is no list.
	Plain    *MetadataMatch
	Fallback []*MetadataMatch

	overrides []*MetadataMatch // the list's elements
}

// MetadataPair is one wanted value; the value is in the form of CanonicalValue.
type MetadataPair struct{ Key, Value string }

// fallbackListKey is the key whose value lists other metadata to try.
const fallbackListKey = "fallback_list"

// NewMetadataMatch reads the values of a Struct, as plain Go.
func NewMetadataMatch(values map[string]any) *MetadataMatch {
	var pairs []MetadataPair
	var overrides []*MetadataMatch
	for k, v := range values {
		pairs = append(pairs, MetadataPair{k, CanonicalValue(v)})
		if list, ok := v.([]any); ok && k == fallbackListKey {
			for _, o := range list {
				fields, _ := o.(map[string]any)
				overrides = append(overrides, NewMetadataMatch(fields))
			}
		}
	}
	return matchPairs(pairs, overrides)
}

func matchPairs(pairs []MetadataPair, overrides []*MetadataMatch) *MetadataMatch {
	slices.SortFunc(pairs, func(a, b MetadataPair) int { return strings.Compare(a.Key, b.Key) })
	m := &MetadataMatch{Pairs: pairs, Key: pairsKey(pairs), overrides: overrides}
	if m.has(fallbackListKey) {
		m.Plain = matchPairs(slices.DeleteFunc(slices.Clone(pairs), func(p MetadataPair) bool { return p.Key == fallbackListKey }), nil)
		for _, o := range overrides {
			m.Fallback = append(m.Fallback, m.Plain.Merge(o))
		}
	}
	return m
}

// Merge returns m with the values of over, which win. Either may be nil.
func (m *MetadataMatch) Merge(over *MetadataMatch) *MetadataMatch {
	switch {
	case over == nil:
		return m
	case m == nil:
		return over
	}
	pairs := slices.Clone(over.Pairs)
	for _, p := range m.Pairs {
		if !over.has(p.Key) {
			pairs = append(pairs, p)
		}
	}
	overrides := m.overrides
	if over.has(fallbackListKey) {
		overrides = over.overrides
	}
	return matchPairs(pairs, overrides)
}

// Only returns the pairs whose keys are listed.
func (m *MetadataMatch) Only(keys []string) *MetadataMatch {
	var pairs []MetadataPair
	for _, p := range m.Pairs {
		if slices.Contains(keys, p.Key) {
			pairs = append(pairs, p)
		}
	}
	return matchPairs(pairs, m.overrides)
}

// Keys are the keys of the pairs, in order.
func (m *MetadataMatch) Keys() []string {
	out := make([]string, len(m.Pairs))
	for i, p := range m.Pairs {
		out[i] = p.Key
	}
	return out
}

func (m *MetadataMatch) has(key string) bool {
	return slices.ContainsFunc(m.Pairs, func(p MetadataPair) bool { return p.Key == key })
}

func pairsKey(pairs []MetadataPair) string {
	var b strings.Builder
	for _, p := range pairs {
		b.WriteString(p.Key)
		b.WriteByte(0)
		b.WriteString(p.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// Matches reports whether an endpoint's "envoy.lb" metadata has all of the pairs. With
// listAsAny a list has each of its elements.
func (m *MetadataMatch) Matches(have map[string]any, listAsAny bool) bool {
	for _, p := range m.Pairs {
		v, ok := have[p.Key]
		if !ok {
			return false
		}
		if CanonicalValue(v) == p.Value {
			continue
		}
		list, _ := v.([]any)
		if !listAsAny || !slices.ContainsFunc(list, func(x any) bool { return CanonicalValue(x) == p.Value }) {
			return false
		}
	}
	return true
}

// CanonicalValue is a metadata value as text: the same for equal values of the same kind, and
// different for a number and the string of its digits.
func CanonicalValue(v any) string {
	if s, ok := v.(string); ok {
		return `"` + s // the usual case; JSON below would end it
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "" // NaN and infinities, which equal nothing
	}
	return string(raw) + " " // a list's or number's text never looks like a string's
}

package xdsresource

import (
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// ValueKind says what a ValueMatch asks for.
type ValueKind uint8

// Kinds of value matches.
const (
	ValuePresent ValueKind = iota
	ValueNull
	ValueNumber
	ValueString
	ValueBool
	ValueList // one element matches
	ValueOr
)

// ValueMatch is type.matcher.v3.ValueMatcher: a condition on a JSON-like value.
type ValueMatch struct {
	Kind     ValueKind
	Bool     bool       // ValueBool: the value; ValuePresent: whether it must be there
	Number   [2]float64 // ValueNumber: [start, end), or both the same for exactly that
	String   *StringMatch
	Elements []ValueMatch // ValueList: of the one that must match; ValueOr: the alternatives
}

// Match reports whether a value matches; nil is one that is missing.
func (m *ValueMatch) Match(v any, present bool) bool {
	switch m.Kind {
	case ValuePresent:
		return present == m.Bool
	case ValueNull:
		return present && v == nil
	case ValueNumber:
		n, ok := v.(float64)
		if m.Number[0] == m.Number[1] {
			return ok && n == m.Number[0]
		}
		return ok && n >= m.Number[0] && n < m.Number[1]
	case ValueString:
		s, ok := v.(string)
		return ok && m.String.Match(s)
	case ValueBool:
		b, ok := v.(bool)
		return ok && b == m.Bool
	case ValueList:
		l, _ := v.([]any)
		for _, e := range l {
			if m.Elements[0].Match(e, true) {
				return true
			}
		}
	case ValueOr:
		for i := range m.Elements {
			if m.Elements[i].Match(v, present) {
				return true
			}
		}
	}
	return false
}

// MetadataMatcher is type.matcher.v3.MetadataMatcher.
type MetadataMatcher struct {
	Filter string
	Path   []string
	Value  ValueMatch
	Invert bool
}

// Match reports whether metadata matches.
func (m *MetadataMatcher) Match(md map[string]map[string]any) bool {
	v, ok := m.Find(md)
	return m.MatchValue(v, ok)
}

// Find returns the value that Filter and Path lead to, and whether there is one.
func (m *MetadataMatcher) Find(md map[string]map[string]any) (v any, ok bool) {
	f, ok := md[m.Filter]
	v = any(f)
	for i := 0; ok && i < len(m.Path); i++ {
		step, _ := v.(map[string]any)
		v, ok = step[m.Path[i]]
	}
	if !ok {
		return nil, false
	}
	return v, true
}

// MatchValue is Match for what Find has returned.
func (m *MetadataMatcher) MatchValue(v any, ok bool) bool { return m.Value.Match(v, ok) != m.Invert }

func (p *parser) metadataMatcher(path string, m *matcherv3.MetadataMatcher) MetadataMatcher {
	out := MetadataMatcher{Filter: m.GetFilter(), Invert: m.GetInvert()}
	for _, seg := range m.GetPath() {
		out.Path = append(out.Path, seg.GetKey())
	}
	out.Value = p.valueMatch(join(path, "value"), m.GetValue())
	return out
}

func (p *parser) valueMatch(path string, m *matcherv3.ValueMatcher) ValueMatch {
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_PresentMatch:
		return ValueMatch{Kind: ValuePresent, Bool: v.PresentMatch}
	case *matcherv3.ValueMatcher_NullMatch_:
		return ValueMatch{Kind: ValueNull}
	case *matcherv3.ValueMatcher_DoubleMatch:
		out := ValueMatch{Kind: ValueNumber, Number: [2]float64{v.DoubleMatch.GetExact(), v.DoubleMatch.GetExact()}}
		if r := v.DoubleMatch.GetRange(); r != nil {
			out.Number = [2]float64{r.GetStart(), r.GetEnd()}
			if r.GetStart() >= r.GetEnd() {
				p.bad(join(path, "double_match.range"), "start %v is not below end %v", r.GetStart(), r.GetEnd())
			}
		}
		return out
	case *matcherv3.ValueMatcher_StringMatch:
		sm := p.stringMatch(join(path, "string_match"), v.StringMatch)
		return ValueMatch{Kind: ValueString, String: &sm}
	case *matcherv3.ValueMatcher_BoolMatch:
		return ValueMatch{Kind: ValueBool, Bool: v.BoolMatch}
	case *matcherv3.ValueMatcher_ListMatch:
		return ValueMatch{Kind: ValueList, Elements: []ValueMatch{p.valueMatch(join(path, "list_match.one_of"), v.ListMatch.GetOneOf())}}
	case *matcherv3.ValueMatcher_OrMatch:
		out := ValueMatch{Kind: ValueOr}
		for i, e := range v.OrMatch.GetValueMatchers() {
			out.Elements = append(out.Elements, p.valueMatch(at(join(path, "or_match.value_matchers"), i), e))
		}
		return out
	}
	p.bad(path, "a match pattern is required")
	return ValueMatch{}
}

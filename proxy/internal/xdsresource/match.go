package xdsresource

import "strings"

// Match reports whether s matches. It is for places off the request path; compiled tables
// have their own, faster forms.
func (m *StringMatch) Match(s string) bool {
	if m.IgnoreCase {
		s = strings.ToLower(s)
	}
	switch m.Kind {
	case StringExact:
		return s == m.Value
	case StringPrefix:
		return strings.HasPrefix(s, m.Value)
	case StringSuffix:
		return strings.HasSuffix(s, m.Value)
	case StringContains:
		return strings.Contains(s, m.Value)
	case StringRegex:
		return m.Regex.MatchString(s)
	}
	return false
}

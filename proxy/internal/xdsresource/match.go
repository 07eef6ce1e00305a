package xdsresource

import "strings"

// Hit reports whether a random number falls into the share; nil is nobody's.
func (f *FractionalPercent) Hit(random uint64) bool {
	return f != nil && random%uint64(max(f.Denominator, 1)) < uint64(f.Numerator)
}

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

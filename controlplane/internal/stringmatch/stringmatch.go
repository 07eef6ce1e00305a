// Package stringmatch makes Envoy's string matchers. It is the one place that says what a star in a value of Istio's objects stands for. It knows no object of
// Istio's. authorization and translate use it.
package stringmatch

import (
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Exact matches v alone.
func Exact(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v}}
}

// Prefix matches what begins with v.
func Prefix(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: v}}
}

// Suffix matches what ends with v.
func Suffix(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: v}}
}

// Regex matches what a regular expression matches from its beginning to its end.
func Regex(re string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: re}}}
}

// IgnoringCase is m without regard to case. It changes m. Envoy does not let a regular expression ignore case so: it says it itself, by (?i).
func IgnoringCase(m *matcherv3.StringMatcher) *matcherv3.StringMatcher {
	m.IgnoreCase = true
	return m
}

// Star compares as Istio does: "*" is anything but nothing, "*x" ends with x, "x*" begins with x, and all else is equal.
func Star(v string) *matcherv3.StringMatcher { return StarAfter("", v) }

// StarAfter is Star for strings that begin with a text which values leave out. A value that begins with a star says nothing of the beginning.
func StarAfter(text, v string) *matcherv3.StringMatcher {
	switch {
	case v == "*":
		return Regex(".+")
	case strings.HasPrefix(v, "*"):
		return Suffix(v[1:])
	case strings.HasSuffix(v, "*"):
		return Prefix(text + v[:len(v)-1])
	}
	return Exact(text + v)
}

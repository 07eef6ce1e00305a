package gatewayapi

import (
	"cmp"
	"slices"
	"unicode/utf8"

	networking "istio.io/api/networking/v1alpha3"
)

// httpEntry is one match of one rule, with what decides between it and others.
type httpEntry struct {
	route *networking.HTTPRoute
	host  int // how specific the hostname of its route is
	// rank and length are of the path as the user wrote it: exact, prefix, then regular expression.
	rank, length int
	method       bool
	headers      int
	query        int
	age          int // of its route among all
	order        int // in its route
}

// sortEntries puts rules of one host into the order in which they are tried. The specification (HTTPRoute's hostnames, HTTPRouteRule's matches):
// the most specific hostname; an exact path, the
// longest prefix, a method, the most headers, the most query parameters; then the oldest route, by name among equally old ones; then the
// order in the route. Paths by regular expression come last, as in Istio.
func sortEntries(list []httpEntry) {
	slices.SortStableFunc(list, func(a, b httpEntry) int {
		return cmp.Or(
			-cmp.Compare(a.host, b.host),
			-cmp.Compare(a.rank, b.rank), -cmp.Compare(a.length, b.length), -cmp.Compare(number(a.method), number(b.method)),
			-cmp.Compare(a.headers, b.headers), -cmp.Compare(a.query, b.query), cmp.Compare(a.age, b.age), cmp.Compare(a.order, b.order),
		)
	})
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ranked fills in what decides, from the match of a rule.
func ranked(e httpEntry, m *networking.HTTPMatchRequest) httpEntry {
	e.rank, e.length = 1, 1 // a prefix, or none, which is the prefix /
	switch p := m.GetUri().GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		e.rank, e.length = 2, utf8.RuneCountInString(p.Exact)
	case *networking.StringMatch_Prefix:
		e.length = utf8.RuneCountInString(p.Prefix)
	case *networking.StringMatch_Regex:
		e.rank, e.length = 0, utf8.RuneCountInString(p.Regex)
	}
	e.method, e.headers, e.query = m.GetMethod() != nil, len(m.GetHeaders()), len(m.GetQueryParams())
	return e
}

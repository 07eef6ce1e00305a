package xdsresource

import (
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
)

// Matcher is a validated xds.type.matcher.v3.Matcher: a list of branches or a tree of values, whose
// leaves are lists of routes.
type Matcher struct {
	Branches []MatcherBranch // of a list, in order
	// Of a tree: the value of Header finds the leaf, by all of it or by the longest beginning.
	Header        string // lower case
	Exact, Prefix map[string]*MatcherResult
	NoMatch       *MatcherResult // nil: nothing
}

// MatcherBranch is taken where its predicate holds.
type MatcherBranch struct {
	When MatcherPredicate
	Then MatcherResult
}

// MatcherPredicate is one of All, Any, Not and a comparison of Header.
type MatcherPredicate struct {
	All, Any []MatcherPredicate
	Not      *MatcherPredicate
	Header   string // lower case
	String   StringMatch
}

// MatcherResult is where a matcher leads: to another one, or to routes.
type MatcherResult struct {
	Matcher *Matcher
	Routes  []*Route
}

// matcherParser reads the matcher of a virtual host. Routes get numbers of their own places.
type matcherParser struct {
	*parser
	mirrors []MirrorPolicy
	maxBody int
}

func (p *matcherParser) matcher(path string, m *xdsmatcherv3.Matcher) *Matcher {
	out := &Matcher{}
	switch t := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		here := join(path, "matcher_list.matchers")
		for i, f := range t.MatcherList.GetMatchers() {
			out.Branches = append(out.Branches, MatcherBranch{
				When: p.predicate(join(at(here, i), "predicate"), f.GetPredicate()),
				Then: p.result(join(at(here, i), "on_match"), f.GetOnMatch()),
			})
		}
	case *xdsmatcherv3.Matcher_MatcherTree_:
		here := join(path, "matcher_tree")
		out.Header = p.header(join(here, "input"), t.MatcherTree.GetInput())
		switch l := t.MatcherTree.GetTreeType().(type) {
		case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
			out.Exact = p.results(join(here, "exact_match_map.map"), l.ExactMatchMap.GetMap())
		case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
			out.Prefix = p.results(join(here, "prefix_match_map.map"), l.PrefixMatchMap.GetMap())
		case *xdsmatcherv3.Matcher_MatcherTree_CustomMatch:
			p.bad(join(here, "custom_match"), "matcher %q (type %s) is not supported", l.CustomMatch.GetName(), TypeName(l.CustomMatch.GetTypedConfig()))
		}
	}
	if n := m.GetOnNoMatch(); n != nil {
		r := p.result(join(path, "on_no_match"), n)
		out.NoMatch = &r
	}
	return out
}

func (p *matcherParser) results(path string, in map[string]*xdsmatcherv3.Matcher_OnMatch) map[string]*MatcherResult {
	out := make(map[string]*MatcherResult, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		r := p.result(path+`["`+k+`"]`, in[k])
		out[k] = &r
	}
	return out
}

func (p *matcherParser) result(path string, m *xdsmatcherv3.Matcher_OnMatch) MatcherResult {
	var out MatcherResult
	switch r := m.GetOnMatch().(type) {
	case *xdsmatcherv3.Matcher_OnMatch_Matcher:
		out.Matcher = p.matcher(join(path, "matcher"), r.Matcher)
	case *xdsmatcherv3.Matcher_OnMatch_Action:
		out.Routes = p.action(join(path, "action"), r.Action)
	}
	return out
}

// action reads what a leaf does: a route or a list of them.
func (p *matcherParser) action(path string, m *xdscorev3.TypedExtensionConfig) []*Route {
	here, a := join(path, "typed_config"), m.GetTypedConfig()
	switch TypeName(a) {
	case "envoy.config.route.v3.Route":
		var r routev3.Route
		if p.message(here, a, &r) {
			return []*Route{p.route(here, &r, p.mirrors, p.maxBody)}
		}
	case "envoy.config.route.v3.RouteList":
		var l routev3.RouteList
		if !p.message(here, a, &l) {
			return nil
		}
		var out []*Route
		for i, r := range l.GetRoutes() {
			out = append(out, p.route(at(join(here, "routes"), i), r, p.mirrors, p.maxBody))
		}
		return out
	default:
		p.bad(path, "action %q (type %s) is not supported; Route and RouteList of envoy.config.route.v3 are", m.GetName(), TypeName(a))
	}
	return nil
}

func (p *matcherParser) predicate(path string, m *xdsmatcherv3.Matcher_MatcherList_Predicate) MatcherPredicate {
	list := func(path string, in *xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList) []MatcherPredicate {
		var out []MatcherPredicate
		for i, sub := range in.GetPredicate() {
			out = append(out, p.predicate(at(join(path, "predicate"), i), sub))
		}
		return out
	}
	var out MatcherPredicate
	switch t := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		out.All = list(join(path, "and_matcher"), t.AndMatcher)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		out.Any = list(join(path, "or_matcher"), t.OrMatcher)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		not := p.predicate(join(path, "not_matcher"), t.NotMatcher)
		out.Not = &not
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		here, s := join(path, "single_predicate"), t.SinglePredicate
		out.Header = p.header(join(here, "input"), s.GetInput())
		if c := s.GetCustomMatch(); c != nil {
			p.bad(join(here, "custom_match"), "matcher %q (type %s) is not supported", c.GetName(), TypeName(c.GetTypedConfig()))
			break
		}
		out.String = p.xdsString(join(here, "value_match"), s.GetValueMatch())
	}
	return out
}

// header reads an input: the name of a request header.
func (p *matcherParser) header(path string, m *xdscorev3.TypedExtensionConfig) string {
	here, a := join(path, "typed_config"), m.GetTypedConfig()
	switch TypeName(a) {
	case "envoy.type.matcher.v3.HttpRequestHeaderMatchInput":
		var in envoymatcherv3.HttpRequestHeaderMatchInput
		if p.message(here, a, &in) {
			return strings.ToLower(in.GetHeaderName())
		}
	default:
		p.bad(path, "input %q (type %s) is not supported; as in Envoy, request headers are", m.GetName(), TypeName(a))
	}
	return ""
}

// xdsString reads xDS's own form of a string matcher.
func (p *matcherParser) xdsString(path string, m *xdsmatcherv3.StringMatcher) StringMatch {
	out := StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch s := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		out.Kind, out.Value = StringExact, s.Exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = StringPrefix, s.Prefix
	case *xdsmatcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = StringSuffix, s.Suffix
	case *xdsmatcherv3.StringMatcher_Contains:
		out.Kind, out.Value = StringContains, s.Contains
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		out.Kind, out.Value = StringRegex, s.SafeRegex.GetRegex()
		out.Regex = p.fullRegex(join(path, "safe_regex.regex"), s.SafeRegex.GetRegex())
		if out.IgnoreCase {
			p.bad(join(path, "ignore_case"), "has no effect on safe_regex; write (?i) in the expression")
		}
	case *xdsmatcherv3.StringMatcher_Custom:
		p.bad(join(path, "custom"), "matcher %q (type %s) is not supported", s.Custom.GetName(), TypeName(s.Custom.GetTypedConfig()))
	}
	if out.IgnoreCase {
		out.Value = strings.ToLower(out.Value)
	}
	return out
}

package xdsresource

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	networkinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	ipmatcherv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
)

// Matcher is a validated xds.type.matcher.v3.Matcher: a list of branches or a tree of values, whose
// leaves are lists of routes or verdicts of authorization.
type Matcher struct {
	Branches []MatcherBranch // of a list, in order
	// Of a tree: the value of Input finds the leaf, by all of it or by the longest beginning.
	Input         MatcherInput
	Header        string // of InputHeader; lower case
	Exact, Prefix map[string]*MatcherResult
	NoMatch       *MatcherResult // nil: nothing
}

// MatcherBranch is taken where its predicate holds.
type MatcherBranch struct {
	When MatcherPredicate
	Then MatcherResult
}

// MatcherPredicate is one of All, Any, Not and a comparison of Input.
type MatcherPredicate struct {
	All, Any []MatcherPredicate
	Not      *MatcherPredicate
	Input    MatcherInput
	Header   string // of InputHeader; lower case
	String   StringMatch
	Prefixes []netip.Prefix // of an address, instead of String
}

// MatcherInput is what a matcher looks at.
type MatcherInput uint8

// Inputs, by the names of Envoy's messages in extensions.matching.common_inputs. What a request or
// a connection does not have matches nothing.
const (
	InputHeader          MatcherInput = iota // of the request; several values are joined by commas
	InputDestinationIP                       // where the client meant to go
	InputDestinationPort                     // in decimals
	InputSourceIP                            // of the client, as the connection manager judges it
	InputSourcePort                          // in decimals
	InputDirectSourceIP                      // of the peer on the wire
	InputServerName                          // SNI
	InputURISAN                              // of the client's certificate, joined by commas
	InputDNSSAN                              // of the client's certificate, joined by commas
	InputSubject                             // of the client's certificate
)

// Address reports whether the input is an IP address.
func (i MatcherInput) Address() bool {
	return i == InputDestinationIP || i == InputSourceIP || i == InputDirectSourceIP
}

// MatcherResult is where a matcher leads: to another one, to routes, or to a verdict.
type MatcherResult struct {
	Matcher *Matcher
	Routes  []*Route
	Verdict *RBACVerdict
}

// matcherParser reads matchers. What may be looked at and what leaves do is their users' to say.
type matcherParser struct {
	*parser
	inputs []MatcherInput // that may be used
	hint   string         // which these are, for the error
	leaf   func(path string, m *xdscorev3.TypedExtensionConfig) MatcherResult
}

// routeMatcher reads the matcher of a virtual host. Routes get numbers of their own places.
func (p *parser) routeMatcher(path string, m *xdsmatcherv3.Matcher, mirrors []MirrorPolicy, maxBody int) *Matcher {
	mp := matcherParser{parser: p, inputs: []MatcherInput{InputHeader}, hint: "as in Envoy, request headers are"}
	mp.leaf = func(path string, m *xdscorev3.TypedExtensionConfig) MatcherResult {
		return MatcherResult{Routes: p.matchedRoutes(path, m, mirrors, maxBody)}
	}
	return mp.matcher(path, m)
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
		out.Input, out.Header = p.input(join(here, "input"), t.MatcherTree.GetInput())
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
		out = p.leaf(join(path, "action"), r.Action)
	}
	return out
}

// matchedRoutes reads what a leaf does: a route or a list of them.
func (p *parser) matchedRoutes(path string, m *xdscorev3.TypedExtensionConfig, mirrors []MirrorPolicy, maxBody int) []*Route {
	here, a := join(path, "typed_config"), m.GetTypedConfig()
	switch TypeName(a) {
	case "envoy.config.route.v3.Route":
		var r routev3.Route
		if p.message(here, a, &r) {
			return []*Route{p.route(here, &r, mirrors, maxBody)}
		}
	case "envoy.config.route.v3.RouteList":
		var l routev3.RouteList
		if !p.message(here, a, &l) {
			return nil
		}
		var out []*Route
		for i, r := range l.GetRoutes() {
			out = append(out, p.route(at(join(here, "routes"), i), r, mirrors, maxBody))
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
		out.Input, out.Header = p.input(join(here, "input"), s.GetInput())
		if c := s.GetCustomMatch(); c != nil {
			out.Prefixes = p.addressMatch(join(here, "custom_match"), c, out.Input)
			break
		}
		out.String = p.xdsString(join(here, "value_match"), s.GetValueMatch())
	}
	return out
}

// input reads what is looked at.
func (p *matcherParser) input(path string, m *xdscorev3.TypedExtensionConfig) (MatcherInput, string) {
	here, a := join(path, "typed_config"), m.GetTypedConfig()
	kind, msg := matcherInput(TypeName(a))
	if msg == nil || !slices.Contains(p.inputs, kind) {
		p.bad(path, "input %q (type %s) is not supported; %s", m.GetName(), TypeName(a), p.hint)
		return 0, ""
	}
	p.message(here, a, msg)
	if h, ok := msg.(*envoymatcherv3.HttpRequestHeaderMatchInput); ok {
		return kind, strings.ToLower(h.GetHeaderName())
	}
	return kind, ""
}

// matcherInput is the input of a message's name, with an empty message; nil for another one.
func matcherInput(name string) (MatcherInput, proto.Message) {
	switch name {
	case "envoy.type.matcher.v3.HttpRequestHeaderMatchInput":
		return InputHeader, &envoymatcherv3.HttpRequestHeaderMatchInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput":
		return InputDestinationIP, &networkinputsv3.DestinationIPInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput":
		return InputDestinationPort, &networkinputsv3.DestinationPortInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput":
		return InputSourceIP, &networkinputsv3.SourceIPInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput":
		return InputSourcePort, &networkinputsv3.SourcePortInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput":
		return InputDirectSourceIP, &networkinputsv3.DirectSourceIPInput{}
	case "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput":
		return InputServerName, &networkinputsv3.ServerNameInput{}
	case "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput":
		return InputURISAN, &sslinputsv3.UriSanInput{}
	case "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput":
		return InputDNSSAN, &sslinputsv3.DnsSanInput{}
	case "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput":
		return InputSubject, &sslinputsv3.SubjectInput{}
	}
	return 0, nil
}

// addressMatch reads the matcher of addresses. Its statistic counts texts that are no address, which
// inputs that are addresses never give: others are refused rather than left uncounted.
func (p *matcherParser) addressMatch(path string, m *xdscorev3.TypedExtensionConfig, in MatcherInput) []netip.Prefix {
	a := m.GetTypedConfig()
	if TypeName(a) != "envoy.extensions.matching.input_matchers.ip.v3.Ip" {
		p.bad(path, "matcher %q (type %s) is not supported", m.GetName(), TypeName(a))
		return nil
	}
	var ip ipmatcherv3.Ip
	p.message(join(path, "typed_config"), a, &ip)
	if !in.Address() {
		p.bad(path, "matcher %q takes addresses of connections only", m.GetName())
	}
	return p.cidrs(join(path, "typed_config.cidr_ranges"), ip.GetCidrRanges())
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

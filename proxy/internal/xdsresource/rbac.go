package xdsresource

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/lateen-mesh/lateen/pkg/cel"
	"github.com/lateen-mesh/lateen/proxy/internal/pathtemplate"
)

// RBACAction is rbac.v3.RBAC.Action.
type RBACAction uint8

// What it means that a policy matches.
const (
	RBACAllow RBACAction = iota
	RBACDeny
	RBACLog
)

// RBAC is a validated rbac.v3.RBAC, or a matcher in its place.
type RBAC struct {
	Action   RBACAction
	Policies []RBACPolicy // in order of name, which is the order of evaluation
	Matcher  *Matcher     // instead of Action and Policies; its leaves have a Verdict
}

// RBACVerdict is rbac.v3.Action: what a matcher says of a request.
type RBACVerdict struct {
	Name   string
	Action RBACAction
}

// RBACPolicy matches when one of its permissions and one of its principals do, and its condition is true.
type RBACPolicy struct {
	Name                    string
	Permissions, Principals []RBACRule
	Condition               *cel.Expression // nil: none
}

// RBACKind says what a rule looks at.
type RBACKind uint8

// Kinds of permissions and principals.
const (
	RBACAny RBACKind = iota
	RBACAnd
	RBACOr
	RBACNot
	RBACHeader
	RBACPath
	RBACPathTemplate
	RBACDestinationIP
	RBACDestinationPorts // Ports: from, to, both inclusive
	RBACServerName
	RBACMetadata
	RBACRouteMetadata
	RBACFilterState
	RBACAuthenticated
	RBACSourceIP       // of the connection
	RBACDirectRemoteIP // of the peer on the wire
	RBACRemoteIP       // of the client as judged
)

// RBACRule is a permission or a principal.
type RBACRule struct {
	Kind     RBACKind
	Rules    []RBACRule // RBACAnd, RBACOr; RBACNot has one
	Header   *HeaderMatcher
	String   *StringMatch // nil with RBACAuthenticated: whoever it is
	Prefix   netip.Prefix
	Ports    [2]uint16
	Template *pathtemplate.Pattern
	Metadata *MetadataMatcher
	Key      string         // RBACFilterState
	Prefixes []netip.Prefix // RBACFilterState with address_match, instead of String
	Invert   bool           // of Prefixes
}

// rbac converts authorization rules; nil stays nil.
func (r *FilterReader) rbac(path string, m *rbacv3.RBAC) *RBAC {
	if m == nil {
		return nil
	}
	p := &r.p
	out := &RBAC{Action: p.rbacAction(join(path, "action"), m.GetAction())}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		here := fmt.Sprintf("%s[%q]", join(path, "policies"), name)
		src := m.GetPolicies()[name]
		pol := RBACPolicy{Name: name}
		for i, x := range src.GetPermissions() {
			pol.Permissions = append(pol.Permissions, p.permission(at(join(here, "permissions"), i), x))
		}
		for i, x := range src.GetPrincipals() {
			pol.Principals = append(pol.Principals, p.principal(at(join(here, "principals"), i), x))
		}
		if c := src.GetCondition(); c != nil {
			var err error
			if pol.Condition, err = cel.CompileProto(c, refuseAttribute); err != nil {
				p.bad(join(here, "condition"), "%v", err)
			}
		}
		out.Policies = append(out.Policies, pol)
	}
	return out
}

// RBACOrMatcher converts rules, or the matcher in their place, whose actions are verdicts; nil where
// there is neither. http says whether there are requests to look at.
func (r *FilterReader) RBACOrMatcher(path string, rules *rbacv3.RBAC, matcherPath string, m *xdsmatcherv3.Matcher, http bool) *RBAC {
	if m == nil {
		return r.rbac(path, rules)
	}
	p := &r.p
	if rules != nil {
		p.bad(path, "stands beside %s, which would have it ignored; only one of them may be set", matcherPath)
	}
	mp := matcherParser{
		parser: p, hint: "addresses, ports, the server name and names of the client's certificate are",
		inputs: []MatcherInput{
			InputDestinationIP, InputDestinationPort, InputSourceIP, InputSourcePort, InputDirectSourceIP, InputServerName,
			InputURISAN, InputDNSSAN, InputSubject,
		},
	}
	if http {
		mp.inputs, mp.hint = append(mp.inputs, InputHeader), mp.hint+", and request headers"
	}
	mp.leaf = func(path string, m *xdscorev3.TypedExtensionConfig) MatcherResult {
		here, a := join(path, "typed_config"), m.GetTypedConfig()
		if TypeName(a) != "envoy.config.rbac.v3.Action" {
			p.bad(path, "action %q (type %s) is not supported; envoy.config.rbac.v3.Action is", m.GetName(), TypeName(a))
			return MatcherResult{}
		}
		var act rbacv3.Action
		p.message(here, a, &act)
		return MatcherResult{Verdict: &RBACVerdict{Name: act.GetName(), Action: p.rbacAction(join(here, "action"), act.GetAction())}}
	}
	return &RBAC{Matcher: mp.matcher(matcherPath, m)}
}

func (p *parser) rbacAction(path string, a rbacv3.RBAC_Action) RBACAction {
	switch a {
	case rbacv3.RBAC_ALLOW:
	case rbacv3.RBAC_DENY:
		return RBACDeny
	case rbacv3.RBAC_LOG:
		return RBACLog
	default:
		p.bad(path, "%v is not known", a)
	}
	return RBACAllow
}

// rulesOf reads the members of a conjunction or disjunction.
func rulesOf[M any](kind RBACKind, path string, in []M, read func(string, M) RBACRule) RBACRule {
	out := RBACRule{Kind: kind}
	for i, m := range in {
		out.Rules = append(out.Rules, read(at(path, i), m))
	}
	return out
}

// What permissions and principals have in common is read by the next four.

func (p *parser) headerRule(path string, m *routev3.HeaderMatcher) RBACRule {
	h := p.headerMatcher(path, m)
	return RBACRule{Kind: RBACHeader, Header: &h}
}

func (p *parser) pathRule(path string, m *matcherv3.PathMatcher) RBACRule {
	return p.stringRule(RBACPath, join(path, "path"), m.GetPath())
}

func (p *parser) stringRule(kind RBACKind, path string, m *matcherv3.StringMatcher) RBACRule {
	sm := p.stringMatch(path, m)
	return RBACRule{Kind: kind, String: &sm}
}

func (p *parser) metadataRule(path string, m *matcherv3.MetadataMatcher, of rbacv3.MetadataSource) RBACRule {
	mm := p.metadataMatcher(path, m)
	if of == rbacv3.MetadataSource_ROUTE {
		return RBACRule{Kind: RBACRouteMetadata, Metadata: &mm}
	}
	return RBACRule{Kind: RBACMetadata, Metadata: &mm}
}

func (p *parser) permission(path string, m *rbacv3.Permission) RBACRule {
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_Any:
		return RBACRule{Kind: RBACAny}
	case *rbacv3.Permission_AndRules:
		return rulesOf(RBACAnd, join(path, "and_rules.rules"), r.AndRules.GetRules(), p.permission)
	case *rbacv3.Permission_OrRules:
		return rulesOf(RBACOr, join(path, "or_rules.rules"), r.OrRules.GetRules(), p.permission)
	case *rbacv3.Permission_NotRule:
		return RBACRule{Kind: RBACNot, Rules: []RBACRule{p.permission(join(path, "not_rule"), r.NotRule)}}
	case *rbacv3.Permission_Header:
		return p.headerRule(join(path, "header"), r.Header)
	case *rbacv3.Permission_UrlPath:
		return p.pathRule(join(path, "url_path"), r.UrlPath)
	case *rbacv3.Permission_UriTemplate:
		return RBACRule{Kind: RBACPathTemplate, Template: p.pathTemplate(join(path, "uri_template"), r.UriTemplate)}
	case *rbacv3.Permission_DestinationIp:
		return RBACRule{Kind: RBACDestinationIP, Prefix: p.cidr(join(path, "destination_ip"), r.DestinationIp)}
	case *rbacv3.Permission_DestinationPort:
		return RBACRule{Kind: RBACDestinationPorts, Ports: [2]uint16{uint16(r.DestinationPort), uint16(r.DestinationPort)}}
	case *rbacv3.Permission_DestinationPortRange:
		from, to := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if from < 0 || to > 65536 || from >= to {
			p.bad(join(path, "destination_port_range"), "[%d, %d) is no range of ports", from, to)
		}
		return RBACRule{Kind: RBACDestinationPorts, Ports: [2]uint16{uint16(from), uint16(to - 1)}}
	case *rbacv3.Permission_RequestedServerName:
		return p.stringRule(RBACServerName, join(path, "requested_server_name"), r.RequestedServerName)
	case *rbacv3.Permission_Metadata:
		return p.metadataRule(join(path, "metadata"), r.Metadata, rbacv3.MetadataSource_DYNAMIC)
	case *rbacv3.Permission_SourcedMetadata:
		return p.metadataRule(join(path, "sourced_metadata.metadata_matcher"), r.SourcedMetadata.GetMetadataMatcher(), r.SourcedMetadata.GetMetadataSource())
	}
	p.bad(path, "a rule is required")
	return RBACRule{}
}

func (p *parser) principal(path string, m *rbacv3.Principal) RBACRule {
	switch r := m.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		return RBACRule{Kind: RBACAny}
	case *rbacv3.Principal_AndIds:
		return rulesOf(RBACAnd, join(path, "and_ids.ids"), r.AndIds.GetIds(), p.principal)
	case *rbacv3.Principal_OrIds:
		return rulesOf(RBACOr, join(path, "or_ids.ids"), r.OrIds.GetIds(), p.principal)
	case *rbacv3.Principal_NotId:
		return RBACRule{Kind: RBACNot, Rules: []RBACRule{p.principal(join(path, "not_id"), r.NotId)}}
	case *rbacv3.Principal_Authenticated_:
		if n := r.Authenticated.GetPrincipalName(); n != nil {
			return p.stringRule(RBACAuthenticated, join(path, "authenticated.principal_name"), n)
		}
		return RBACRule{Kind: RBACAuthenticated}
	case *rbacv3.Principal_SourceIp:
		return RBACRule{Kind: RBACSourceIP, Prefix: p.cidr(join(path, "source_ip"), r.SourceIp)}
	case *rbacv3.Principal_DirectRemoteIp:
		return RBACRule{Kind: RBACDirectRemoteIP, Prefix: p.cidr(join(path, "direct_remote_ip"), r.DirectRemoteIp)}
	case *rbacv3.Principal_RemoteIp:
		return RBACRule{Kind: RBACRemoteIP, Prefix: p.cidr(join(path, "remote_ip"), r.RemoteIp)}
	case *rbacv3.Principal_Header:
		return p.headerRule(join(path, "header"), r.Header)
	case *rbacv3.Principal_UrlPath:
		return p.pathRule(join(path, "url_path"), r.UrlPath)
	case *rbacv3.Principal_Metadata:
		return p.metadataRule(join(path, "metadata"), r.Metadata, rbacv3.MetadataSource_DYNAMIC)
	case *rbacv3.Principal_SourcedMetadata:
		return p.metadataRule(join(path, "sourced_metadata.metadata_matcher"), r.SourcedMetadata.GetMetadataMatcher(), r.SourcedMetadata.GetMetadataSource())
	case *rbacv3.Principal_FilterState:
		m := p.filterStateMatcher(join(path, "filter_state"), r.FilterState)
		return RBACRule{Kind: RBACFilterState, Key: m.Key, String: m.String, Prefixes: m.Prefixes, Invert: m.Invert}
	}
	p.bad(path, "an identifier is required")
	return RBACRule{}
}

func (p *parser) cidr(path string, c *corev3.CidrRange) netip.Prefix {
	if out := p.cidrs(path, []*corev3.CidrRange{c}); len(out) == 1 {
		return out[0]
	}
	return netip.Prefix{}
}

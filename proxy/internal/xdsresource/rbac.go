package xdsresource

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
)

// RBACAction is rbac.v3.RBAC.Action.
type RBACAction uint8

// What it means that a policy matches.
const (
	RBACAllow RBACAction = iota
	RBACDeny
	RBACLog
)

// RBAC is a validated rbac.v3.RBAC.
type RBAC struct {
	Action   RBACAction
	Policies []RBACPolicy // in order of name, which is the order of evaluation
}

// RBACPolicy matches when one of its permissions and one of its principals do.
type RBACPolicy struct {
	Name                    string
	Permissions, Principals []RBACRule
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
	Metadata *MetadataMatcher
	Key      string         // RBACFilterState
	Prefixes []netip.Prefix // RBACFilterState with address_match, instead of String
	Invert   bool           // of Prefixes
}

// RBAC converts authorization rules; nil stays nil.
func (r *FilterReader) RBAC(path string, m *rbacv3.RBAC) *RBAC {
	if m == nil {
		return nil
	}
	p := &r.p
	out := &RBAC{}
	switch m.GetAction() {
	case rbacv3.RBAC_ALLOW:
	case rbacv3.RBAC_DENY:
		out.Action = RBACDeny
	case rbacv3.RBAC_LOG:
		out.Action = RBACLog
	default:
		p.bad(join(path, "action"), "%v is not known", m.GetAction())
	}
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
		out.Policies = append(out.Policies, pol)
	}
	return out
}

func (p *parser) permission(path string, m *rbacv3.Permission) RBACRule {
	set := func(k RBACKind, field string, s *rbacv3.Permission_Set) RBACRule {
		out := RBACRule{Kind: k}
		for i, x := range s.GetRules() {
			out.Rules = append(out.Rules, p.permission(at(join(path, field+".rules"), i), x))
		}
		return out
	}
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_Any:
		return RBACRule{Kind: RBACAny}
	case *rbacv3.Permission_AndRules:
		return set(RBACAnd, "and_rules", r.AndRules)
	case *rbacv3.Permission_OrRules:
		return set(RBACOr, "or_rules", r.OrRules)
	case *rbacv3.Permission_NotRule:
		return RBACRule{Kind: RBACNot, Rules: []RBACRule{p.permission(join(path, "not_rule"), r.NotRule)}}
	case *rbacv3.Permission_Header:
		h := p.headerMatcher(join(path, "header"), r.Header)
		return RBACRule{Kind: RBACHeader, Header: &h}
	case *rbacv3.Permission_UrlPath:
		sm := p.stringMatch(join(path, "url_path.path"), r.UrlPath.GetPath())
		return RBACRule{Kind: RBACPath, String: &sm}
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
		sm := p.stringMatch(join(path, "requested_server_name"), r.RequestedServerName)
		return RBACRule{Kind: RBACServerName, String: &sm}
	case *rbacv3.Permission_Metadata:
		mm := p.metadataMatcher(join(path, "metadata"), r.Metadata)
		return RBACRule{Kind: RBACMetadata, Metadata: &mm}
	case *rbacv3.Permission_SourcedMetadata:
		return p.sourcedMetadata(join(path, "sourced_metadata"), r.SourcedMetadata)
	}
	p.bad(path, "a rule is required")
	return RBACRule{}
}

func (p *parser) principal(path string, m *rbacv3.Principal) RBACRule {
	set := func(k RBACKind, field string, s *rbacv3.Principal_Set) RBACRule {
		out := RBACRule{Kind: k}
		for i, x := range s.GetIds() {
			out.Rules = append(out.Rules, p.principal(at(join(path, field+".ids"), i), x))
		}
		return out
	}
	switch r := m.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		return RBACRule{Kind: RBACAny}
	case *rbacv3.Principal_AndIds:
		return set(RBACAnd, "and_ids", r.AndIds)
	case *rbacv3.Principal_OrIds:
		return set(RBACOr, "or_ids", r.OrIds)
	case *rbacv3.Principal_NotId:
		return RBACRule{Kind: RBACNot, Rules: []RBACRule{p.principal(join(path, "not_id"), r.NotId)}}
	case *rbacv3.Principal_Authenticated_:
		out := RBACRule{Kind: RBACAuthenticated}
		if n := r.Authenticated.GetPrincipalName(); n != nil {
			sm := p.stringMatch(join(path, "authenticated.principal_name"), n)
			out.String = &sm
		}
		return out
	case *rbacv3.Principal_SourceIp:
		return RBACRule{Kind: RBACSourceIP, Prefix: p.cidr(join(path, "source_ip"), r.SourceIp)}
	case *rbacv3.Principal_DirectRemoteIp:
		return RBACRule{Kind: RBACDirectRemoteIP, Prefix: p.cidr(join(path, "direct_remote_ip"), r.DirectRemoteIp)}
	case *rbacv3.Principal_RemoteIp:
		return RBACRule{Kind: RBACRemoteIP, Prefix: p.cidr(join(path, "remote_ip"), r.RemoteIp)}
	case *rbacv3.Principal_Header:
		h := p.headerMatcher(join(path, "header"), r.Header)
		return RBACRule{Kind: RBACHeader, Header: &h}
	case *rbacv3.Principal_UrlPath:
		sm := p.stringMatch(join(path, "url_path.path"), r.UrlPath.GetPath())
		return RBACRule{Kind: RBACPath, String: &sm}
	case *rbacv3.Principal_Metadata:
		mm := p.metadataMatcher(join(path, "metadata"), r.Metadata)
		return RBACRule{Kind: RBACMetadata, Metadata: &mm}
	case *rbacv3.Principal_SourcedMetadata:
		return p.sourcedMetadata(join(path, "sourced_metadata"), r.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		m := p.filterStateMatcher(join(path, "filter_state"), r.FilterState)
		return RBACRule{Kind: RBACFilterState, Key: m.Key, String: m.String, Prefixes: m.Prefixes, Invert: m.Invert}
	}
	p.bad(path, "an identifier is required")
	return RBACRule{}
}

func (p *parser) sourcedMetadata(path string, m *rbacv3.SourcedMetadata) RBACRule {
	mm := p.metadataMatcher(join(path, "metadata_matcher"), m.GetMetadataMatcher())
	out := RBACRule{Kind: RBACMetadata, Metadata: &mm}
	if m.GetMetadataSource() == rbacv3.MetadataSource_ROUTE {
		out.Kind = RBACRouteMetadata
	}
	return out
}

func (p *parser) cidr(path string, c *corev3.CidrRange) netip.Prefix {
	if out := p.cidrs(path, []*corev3.CidrRange{c}); len(out) == 1 {
		return out[0]
	}
	return netip.Prefix{}
}

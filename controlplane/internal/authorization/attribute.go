package authorization

//lint:file-ignore SA1019 Istio sends metadata, not sourced_metadata, which Envoys before 1.33 do not know.

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

// spiffe begins the identities that certificates hold.
const spiffe = "spiffe://"

// jwtMetadata is where the JWT filter leaves what a token says, below the key payload.
const jwtMetadata = "envoy.filters.http.jwt_authn"

// attribute is something that a rule compares with values. One of principal and permission is set; each makes the alternatives for one value, none for
// a value that the attribute cannot have.
type attribute struct {
	principal  func(v string) []*rbacv3.Principal
	permission func(v string) []*rbacv3.Permission
	request    bool // of HTTP requests alone
	token      bool // of a request's token, or of what else filters leave with a request
}

// inGRPC reports whether gRPC's RBAC can compare the attribute with values.
func (a attribute) inGRPC(values, not []string) bool {
	return !a.token && !slices.ContainsFunc(slices.Concat(values, not), isTemplate)
}

// isTemplate reports whether a path holds {*} (one segment) or {**} (any number).
func isTemplate(v string) bool { return strings.Contains(v, "{*}") || strings.Contains(v, "{**}") }

// attribute finds what a condition's key stands for
// (https://istio.io/latest/docs/reference/config/security/conditions/), or one of host, method, path and source.trustDomain, which are fields of rules.
func (g *generator) attribute(key string) (attribute, bool) {
	switch key {
	case "source.ip":
		return attribute{principal: cidrPrincipal(func(c *corev3.CidrRange) *rbacv3.Principal {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: c}}
		})}, true
	case "remote.ip":
		return attribute{principal: cidrPrincipal(func(c *corev3.CidrRange) *rbacv3.Principal {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: c}}
		})}, true
	case "source.principal":
		return identity(func(v string) (out []*matcherv3.StringMatcher) {
			for _, id := range g.aliases(v) {
				out = append(out, stringmatch.StarAfter(spiffe, id))
			}
			return out
		}), true
	case "source.namespace":
		return identity(func(v string) []*matcherv3.StringMatcher {
			return []*matcherv3.StringMatcher{stringmatch.Regex(spiffe + "[^/]+/ns/" + segment(v) + "/.*")}
		}), true
	case "source.serviceAccount":
		return identity(func(v string) []*matcherv3.StringMatcher {
			ns, account, ok := strings.Cut(v, "/")
			if !ok {
				ns, account = g.namespace, v
			}
			return []*matcherv3.StringMatcher{stringmatch.Regex(spiffe + "[^/]+/ns/" + segment(ns) + "/sa/" + segment(account))}
		}), true
	case "source.trustDomain":
		return identity(func(v string) (out []*matcherv3.StringMatcher) {
			for _, domain := range g.sameDomains(v) {
				out = append(out, stringmatch.Regex(spiffe+segment(domain)+"/.*"))
			}
			return out
		}), true
	case "request.auth.principal":
		return attribute{principal: requestPrincipal, request: true, token: true}, true
	case "request.auth.audiences":
		return claim("aud"), true
	case "request.auth.presenter":
		return claim("azp"), true
	case "destination.ip":
		return attribute{permission: func(v string) []*rbacv3.Permission {
			c := network(v)
			if c == nil {
				return nil
			}
			return []*rbacv3.Permission{{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: c}}}
		}}, true
	case "destination.port":
		return attribute{permission: func(v string) []*rbacv3.Permission {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				return nil
			}
			return []*rbacv3.Permission{{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: uint32(n)}}}
		}}, true
	case "connection.sni":
		return attribute{permission: func(v string) []*rbacv3.Permission {
			return []*rbacv3.Permission{{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: stringmatch.Star(v)}}}
		}}, true
	case "host":
		return attribute{permission: func(v string) []*rbacv3.Permission {
			var out []*rbacv3.Permission
			for _, m := range hostText(v) {
				out = append(out, &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: header(":authority", m)}})
			}
			return out
		}, request: true}, true
	case "method":
		return attribute{permission: func(v string) []*rbacv3.Permission {
			return []*rbacv3.Permission{{Rule: &rbacv3.Permission_Header{Header: header(":method", stringmatch.Star(v))}}}
		}, request: true}, true
	case "path":
		return attribute{permission: path, request: true}, true
	}
	if name, ok := bracketed(key, "request.headers"); ok && len(name) == 1 {
		return attribute{principal: func(v string) []*rbacv3.Principal {
			return []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Header{Header: header(strings.ToLower(name[0]), stringmatch.Star(v))}}}
		}, request: true}, true
	}
	if names, ok := bracketed(key, "request.auth.claims"); ok {
		return claim(names...), true
	}
	if filter, ok := strings.CutPrefix(key, "experimental."); ok {
		if i := strings.IndexByte(filter, '['); i > 0 {
			if names, ok := bracketed(filter, filter[:i]); ok && len(names) == 1 {
				return metadata(filter[:i], names[0]), true
			}
		}
	}
	return attribute{}, false
}

// bracketed takes "prefix[a][b]" apart.
func bracketed(key, prefix string) ([]string, bool) {
	rest, ok := strings.CutPrefix(key, prefix+"[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return nil, false
	}
	names := strings.Split(rest[:len(rest)-1], "][")
	for _, n := range names {
		if n == "" {
			return nil, false
		}
	}
	return names, true
}

func cidrPrincipal(of func(*corev3.CidrRange) *rbacv3.Principal) func(string) []*rbacv3.Principal {
	return func(v string) []*rbacv3.Principal {
		c := network(v)
		if c == nil {
			return nil
		}
		return []*rbacv3.Principal{of(c)}
	}
}

// identity compares the URI in the client's certificate.
func identity(match func(v string) []*matcherv3.StringMatcher) attribute {
	return attribute{principal: func(v string) (out []*rbacv3.Principal) {
		for _, m := range match(v) {
			out = append(out, &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: m}}})
		}
		return out
	}}
}

func header(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
}

// path compares the path without its query.
func path(v string) []*rbacv3.Permission {
	if isTemplate(v) {
		template := strings.NewReplacer("{**}", "**", "{*}", "*").Replace(v)
		cfg, err := anypb.New(&uritemplatev3.UriTemplateMatchConfig{PathTemplate: template})
		if err != nil {
			return nil // not for a message that is well formed
		}
		return []*rbacv3.Permission{{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: &corev3.TypedExtensionConfig{Name: "uri-template", TypedConfig: cfg}}}}
	}
	return []*rbacv3.Permission{{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: stringmatch.Star(v)}}}}}
}

// claim compares a claim of the request's token, which is a string or a list of them.
func claim(names ...string) attribute {
	return attribute{principal: func(v string) []*rbacv3.Principal { return []*rbacv3.Principal{claimIs(stringmatch.Star(v), names...)} }, request: true, token: true}
}

func claimIs(m *matcherv3.StringMatcher, names ...string) *rbacv3.Principal {
	is := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
	has := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: is},
	}}}
	either := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: []*matcherv3.ValueMatcher{is, has}}}}
	return metadataIs(either, jwtMetadata, append([]string{"payload"}, names...)...)
}

func metadataIs(v *matcherv3.ValueMatcher, filter string, path ...string) *rbacv3.Principal {
	m := &matcherv3.MetadataMatcher{Filter: filter, Value: v}
	for _, key := range path {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}})
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
}

// requestPrincipal compares "issuer/subject" of the request's token. Both may hold slashes, so each slash of the value may be the one between them.
func requestPrincipal(v string) []*rbacv3.Principal {
	both := func(iss, sub *matcherv3.StringMatcher) *rbacv3.Principal {
		is := func(claim string, m *matcherv3.StringMatcher) *rbacv3.Principal {
			return metadataIs(&matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}, jwtMetadata, "payload", claim)
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: []*rbacv3.Principal{is("iss", iss), is("sub", sub)}}}}
	}
	if v == "*" {
		return []*rbacv3.Principal{both(stringmatch.Star("*"), stringmatch.Star("*"))}
	}
	var out []*rbacv3.Principal
	body, first := strings.CutPrefix(v, "*")
	last := false
	if !first {
		body, last = strings.CutSuffix(v, "*")
	}
	for i := range len(body) {
		if body[i] != '/' {
			continue
		}
		iss, sub := body[:i], body[i+1:]
		if first {
			iss = "*" + iss
		}
		if last {
			sub += "*"
		}
		if iss != "" && sub != "" {
			out = append(out, both(stringmatch.Star(iss), stringmatch.Star(sub)))
		}
	}
	// The slash may also be in what the star stands for.
	switch {
	case first:
		out = append(out, both(stringmatch.Star("*"), stringmatch.Regex(".*"+regexp.QuoteMeta(body))))
	case last:
		out = append(out, both(stringmatch.Regex(regexp.QuoteMeta(body)+".*"), stringmatch.Star("*")))
	}
	return out
}

// metadata compares what a filter has left with the request or the connection.
func metadata(filter, key string) attribute {
	return attribute{permission: func(v string) []*rbacv3.Permission {
		m := &matcherv3.ValueMatcher{}
		if inner, ok := strings.CutPrefix(v, "["); ok && strings.HasSuffix(inner, "]") {
			is := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: stringmatch.Star(strings.TrimSuffix(inner, "]"))}}
			m.MatchPattern = &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: is}}}
		} else {
			m.MatchPattern = &matcherv3.ValueMatcher_StringMatch{StringMatch: stringmatch.Star(v)}
		}
		return []*rbacv3.Permission{{Rule: &rbacv3.Permission_Metadata{Metadata: &matcherv3.MetadataMatcher{
			Filter: filter, Value: m, Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}}},
		}}}}
	}, token: true}
}

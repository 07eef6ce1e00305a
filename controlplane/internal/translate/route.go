package translate

import (
	"sort"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

// routeContext is for whom rules are translated.
type routeContext struct {
	snap  *model.Snapshot
	proxy *model.Proxy
	// gateway is model.MeshGateway or "namespace/name".
	gateway string
	// port is the port that requests are addressed to: the service's, or the gateway
	// server's as written.
	port uint32
	// tls: the gateway's server terminates TLS, so requests are https.
	tls bool
}

// httpRoutes translates the rules of a virtual service in order. Rules behind one that
// matches everything cannot be reached and are left out, as in Istio.
func (rc *routeContext) httpRoutes(vs *model.VirtualService) []*routev3.Route {
	var out []*routev3.Route
	for i := range vs.HTTP {
		rule := &vs.HTTP[i]
		if len(rule.Matches) == 0 {
			if r := rc.httpRoute(vs, rule, nil); r != nil {
				return append(out, r)
			}
			continue
		}
		for j := range rule.Matches {
			m := &rule.Matches[j]
			if !rc.applies(m) {
				continue
			}
			r := rc.httpRoute(vs, rule, m)
			if r == nil {
				continue
			}
			out = append(out, r)
			if catchAll(r) {
				return out
			}
		}
	}
	return out
}

// applies decides what is known when the configuration is made: the gateway, the port, and
// who the client is. A match that names gateways asks for nothing else of the client, as in
// Istio; one that does not compares the labels and namespace of the proxy, a gateway's too.
func (rc *routeContext) applies(m *model.HTTPMatch) bool {
	if m.Port != 0 && m.Port != rc.port {
		return false
	}
	if len(m.Gateways) > 0 {
		return contains(m.Gateways, rc.gateway)
	}
	return rc.isClient(m.SourceLabels, m.SourceNamespace)
}

func (rc *routeContext) isClient(labels map[string]string, ns string) bool {
	return model.LabelsMatch(labels, rc.proxy.Labels) && (ns == "" || ns == rc.proxy.Namespace)
}

// catchAll reports whether a route matches every request.
func catchAll(r *routev3.Route) bool {
	m := r.Match
	if len(m.Headers)+len(m.QueryParameters)+len(m.DynamicMetadata) > 0 {
		return false
	}
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix == "/"
	case *routev3.RouteMatch_SafeRegex:
		return p.SafeRegex.GetRegex() == ".*"
	}
	return false
}

func (rc *routeContext) httpRoute(vs *model.VirtualService, rule *model.HTTPRoute, m *model.HTTPMatch) *routev3.Route {
	origin := rule.Origin
	out := &routev3.Route{Name: rule.Name, Match: routeMatch(m)}
	if m != nil {
		if m.Name != "" {
			out.Name = rule.Name + "." + m.Name
		}
		out.StatPrefix = m.StatPrefix
		origin = m.Origin
	}
	out.Metadata = metadata(map[string]any{"config": vs.Origin.IstioPath()}, origin)
	// A destination's changes of headers are made after the route's.
	authority := setHeaders(out, rule.Headers)
	switch {
	case rule.Redirect != nil:
		out.Action = rc.redirect(rule.Redirect)
	case rule.Direct != nil:
		out.Action = directResponse(rule.Direct)
	default:
		forward := rc.forward(rule, out, authority)
		if forward == nil {
			return nil
		}
		out.Action = forward
	}
	perFilter := map[string]*anypb.Any{}
	if f := faultConfig(rule.Fault); f != nil {
		perFilter[faultFilter] = toAny(f)
	}
	if c := corsConfig(rule.CORS); c != nil {
		perFilter[corsFilter] = toAny(c)
	}
	if len(perFilter) > 0 {
		out.TypedPerFilterConfig = perFilter
	}
	out.Decorator = &routev3.Decorator{Operation: operation(out, vs.Name, rc.port)}
	return out
}

// operation names the span of a route: "catalog.shop.svc.cluster.local:80/*" where there is
// one destination, else the virtual service's name.
func operation(r *routev3.Route, vs string, port uint32) string {
	path := "/*"
	switch p := r.Match.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		path = p.Prefix + "*"
	case *routev3.RouteMatch_PathSeparatedPrefix:
		path = p.PathSeparatedPrefix + "/*"
	case *routev3.RouteMatch_Path:
		path = p.Path
	case *routev3.RouteMatch_SafeRegex:
		path = p.SafeRegex.GetRegex()
	}
	if n, _, host, ok := ParseClusterName(r.GetRoute().GetCluster()); ok {
		return hostPort(host, n) + path
	}
	return vs + ":" + strconv.FormatUint(uint64(port), 10) + path
}

// routeMatch translates conditions. Without a match clause there is no caseSensitive, as in
// Istio's output (D15).
func routeMatch(m *model.HTTPMatch) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if m == nil {
		return out
	}
	out.CaseSensitive = boolean(!m.IgnoreURICase)
	switch m.URI.Kind {
	case model.MatchExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.URI.Value}
	case model.MatchPrefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.URI.Value}
	case model.MatchPathPrefix:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.URI.Value}
	case model.MatchRegex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.URI.Value)}
		out.CaseSensitive = nil // has no effect on a regex
	}
	for _, h := range m.Headers {
		if claim := claimMatch(h); claim != nil {
			out.DynamicMetadata = append(out.DynamicMetadata, claim)
			continue
		}
		out.Headers = append(out.Headers, headerMatch(h.Name, h.Match))
	}
	for _, h := range m.WithoutHeaders {
		if claim := claimMatch(h); claim != nil {
			claim.Invert = true
			out.DynamicMetadata = append(out.DynamicMetadata, claim)
			continue
		}
		hm := headerMatch(h.Name, h.Match)
		hm.InvertMatch = true
		if !hm.GetPresentMatch() {
			// A request that lacks the header is without the value.
			hm.TreatMissingHeaderAsEmpty = true
		}
		out.Headers = append(out.Headers, hm)
	}
	sort.SliceStable(out.Headers, func(i, j int) bool { return out.Headers[i].Name < out.Headers[j].Name })
	for _, pseudo := range []struct {
		name string
		m    model.StringMatch
	}{{":method", m.Method}, {":authority", m.Authority}, {":scheme", m.Scheme}} {
		if pseudo.m.Kind != model.MatchNone {
			out.Headers = append(out.Headers, headerMatch(pseudo.name, pseudo.m))
		}
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, queryMatch(q))
	}
	return out
}

func regex(v string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: v} }

func stringMatcher(m model.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case model.MatchPrefix:
		return stringmatch.Prefix(m.Value)
	case model.MatchRegex:
		return stringmatch.Regex(m.Value)
	}
	return stringmatch.Exact(m.Value)
}

// anything reports whether a match asks for presence only. The regular expression "*", which
// is none, is Istio's way to write that.
func anything(m model.StringMatch) bool {
	return m.Kind == model.MatchNone || m.Kind == model.MatchPrefix && m.Value == "" || m.Kind == model.MatchRegex && m.Value == "*"
}

func headerMatch(name string, m model.StringMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: name}
	if anything(m) {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatcher(m)}
	}
	return out
}

func queryMatch(q model.NamedMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: q.Name}
	if anything(q.Match) {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatcher(q.Match)}
	}
	return out
}

// setHeaders puts header changes on a route and returns the authority that they set.
func setHeaders(r *routev3.Route, h model.Headers) (authority string) {
	add, remove, authority := headerOptions(h.Request)
	r.RequestHeadersToAdd = append(r.RequestHeadersToAdd, add...)
	r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, remove...)
	add, remove, _ = headerOptions(h.Response)
	r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, add...)
	r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, remove...)
	return authority
}

// headerOptions translates the changes of one direction. Setting host or :authority rewrites
// the authority; other pseudo-headers are the proxy's own business.
func headerOptions(c model.HeaderChanges) (add []*corev3.HeaderValueOption, remove []string, authority string) {
	put := func(list []model.HeaderValue, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, v := range list {
			if isAuthority(v.Name) && authority == "" {
				authority = v.Value
			}
			if isInternal(v.Name) {
				continue
			}
			add = append(add, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: v.Name, Value: v.Value},
				AppendAction: action,
			})
		}
	}
	put(c.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	put(c.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	for _, name := range c.Remove {
		if !isInternal(name) {
			remove = append(remove, name)
		}
	}
	return add, remove, authority
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

func isInternal(name string) bool {
	return strings.HasPrefix(name, ":") || strings.EqualFold(name, "host")
}

// sortGatewayRoutes puts routes that match everything behind the others: virtual services of
// one host are merged at gateways, and none may hide another's.
func sortGatewayRoutes(routes []*routev3.Route) []*routev3.Route {
	sort.SliceStable(routes, func(i, j int) bool { return !catchAll(routes[i]) && catchAll(routes[j]) })
	return routes
}

package xdsresource

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// RouteConfig validates a route configuration. The error is an *Error with every problem.
func (d *Decoder) RouteConfig(m *routev3.RouteConfiguration) (*RouteConfig, error) {
	p := &parser{dec: d}
	p.check("", m)
	rc := p.routeConfig("", m)
	rc.VHDS, rc.VHDSFetchTimeout = p.vhds(m)
	if err := p.finish("route", m.GetName()); err != nil {
		return nil, err
	}
	return rc, nil
}

// defaultDirectBody is how long the body of a direct response may be, in bytes.
const defaultDirectBody = 4096

func (p *parser) routeConfig(path string, m *routev3.RouteConfiguration) *RouteConfig {
	rc := &RouteConfig{
		Name:                            m.GetName(),
		RequestHeaders:                  p.headerOps(path, "request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()),
		ResponseHeaders:                 p.headerOps(path, "response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove()),
		MostSpecificHeaderMutationsWins: m.GetMostSpecificHeaderMutationsWins(),
		IgnorePortInHostMatching:        m.GetIgnorePortInHostMatching(),
		IgnorePathParameters:            m.GetIgnorePathParametersInPathMatching(),
		InternalOnlyHeaders:             lower(m.GetInternalOnlyHeaders()),
		MaxDirectResponseBodySize:       uint32Or(m.GetMaxDirectResponseBodySizeBytes(), defaultDirectBody),
		FilterConfigs:                   p.filterConfigs(join(path, "typed_per_filter_config"), m.GetTypedPerFilterConfig()),
		Metadata:                        metadata(m.GetMetadata()),
		Mirrors:                         p.mirrors(join(path, "request_mirror_policies"), m.GetRequestMirrorPolicies()),
	}
	if name := m.GetVhostHeader(); name != "" {
		rc.HostHeader = header.KeyOf(strings.ToLower(name))
	}
	if v := m.GetValidateClusters(); v != nil {
		rc.ValidateClusters = &v.Value
	}
	domains := map[string]string{} // domain to the virtual host that has it
	names := map[string]bool{}
	for i, vh := range m.GetVirtualHosts() {
		here := at(join(path, "virtual_hosts"), i)
		if names[vh.GetName()] {
			p.bad(join(here, "name"), "virtual host %q stands twice", vh.GetName())
		}
		names[vh.GetName()] = true
		out := p.virtualHost(here, vh, int(rc.MaxDirectResponseBodySize))
		for j, dom := range out.Domains {
			if other, dup := domains[dom]; dup {
				p.bad(at(join(here, "domains"), j), "domain %q belongs to virtual host %q already; a domain may stand once in a route configuration", dom, other)
			}
			domains[dom] = out.Name
		}
		rc.VirtualHosts = append(rc.VirtualHosts, out)
	}
	return rc
}

func (p *parser) virtualHost(path string, m *routev3.VirtualHost, maxBody int) *VirtualHost {
	vh := &VirtualHost{
		Name:                          m.GetName(),
		RequireTLS:                    TLSRequirement(m.GetRequireTls()),
		RequestHeaders:                p.headerOps(path, "request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()),
		ResponseHeaders:               p.headerOps(path, "response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove()),
		FilterConfigs:                 p.filterConfigs(join(path, "typed_per_filter_config"), m.GetTypedPerFilterConfig()),
		IncludeRequestAttemptCount:    m.GetIncludeRequestAttemptCount(),
		IncludeAttemptCountInResponse: m.GetIncludeAttemptCountInResponse(),
		IncludeIsTimeoutRetry:         m.GetIncludeIsTimeoutRetryHeader(),
		Hedge:                         p.hedge(join(path, "hedge_policy"), m.GetHedgePolicy()),
		Metadata:                      metadata(m.GetMetadata()),
		RateLimits:                    p.rateLimits(join(path, "rate_limits"), m.GetRateLimits()),
	}
	vh.BodyLimit, vh.OldBodyLimit = p.bodyLimits(path, m)
	if c := m.GetCors(); c != nil { //nolint:staticcheck // still sent
		vh.CORS = p.cors(join(path, "cors"), c)
	}
	if m.GetRetryPolicy() != nil {
		vh.Retry = p.retryPolicy(join(path, "retry_policy"), m.GetRetryPolicy())
	}
	mirrors := p.mirrors(join(path, "request_mirror_policies"), m.GetRequestMirrorPolicies())
	for i, dom := range m.GetDomains() {
		if n := strings.Count(dom, "*"); n > 1 || n == 1 && !strings.HasPrefix(dom, "*") && !strings.HasSuffix(dom, "*") {
			p.bad(at(join(path, "domains"), i), "%q: a wildcard may stand once, at the beginning or the end", dom)
		}
		vh.Domains = append(vh.Domains, strings.ToLower(dom))
	}
	if m.GetMatcher() != nil {
		if len(m.GetRoutes()) > 0 {
			p.bad(join(path, "matcher"), "stands beside routes; only one of them may be set")
		}
		vh.Matcher = p.routeMatcher(join(path, "matcher"), m.GetMatcher(), mirrors, maxBody)
	}
	for i, c := range m.GetVirtualClusters() {
		vh.VirtualClusters = append(vh.VirtualClusters, p.virtualCluster(at(join(path, "virtual_clusters"), i), c))
	}
	for i, r := range m.GetRoutes() {
		vh.Routes = append(vh.Routes, p.route(at(join(path, "routes"), i), r, mirrors, maxBody))
	}
	return vh
}

func (p *parser) virtualCluster(path string, m *routev3.VirtualCluster) VirtualCluster {
	if m.GetName() == "" {
		p.bad(join(path, "name"), "is required")
	}
	if len(m.GetHeaders()) == 0 {
		p.bad(join(path, "headers"), "is required: a virtual cluster is told by headers")
	}
	return VirtualCluster{Name: m.GetName(), Headers: p.headerMatchers(join(path, "headers"), m.GetHeaders())}
}

func (p *parser) route(path string, m *routev3.Route, mirrors []MirrorPolicy, maxBody int) *Route {
	r := &Route{
		Name:               m.GetName(),
		Match:              p.routeMatch(join(path, "match"), m.GetMatch()),
		Decorator:          m.GetDecorator().GetOperation(),
		DecoratorPropagate: boolOr(m.GetDecorator().GetPropagate(), true),
		RequestHeaders:     p.headerOps(path, "request_headers", m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()),
		ResponseHeaders:    p.headerOps(path, "response_headers", m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove()),
		FilterConfigs:      p.filterConfigs(join(path, "typed_per_filter_config"), m.GetTypedPerFilterConfig()),
		Metadata:           metadata(m.GetMetadata()),
		StatPrefix:         m.GetStatPrefix(),
	}
	r.BodyLimit, r.OldBodyLimit = p.bodyLimits(path, m)
	r.Tracing = p.routeTracing(join(path, "tracing"), m.GetTracing())
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		r.Forward = p.routeAction(join(path, "route"), a.Route, mirrors)
		p.templateRewrite(join(path, "route"), a.Route, r)
	case *routev3.Route_Redirect:
		r.Redirect = p.redirect(join(path, "redirect"), a.Redirect)
		if r.Redirect.HasPrefixRewrite && r.Match.Kind == PathTemplate {
			p.bad(join(path, "redirect.prefix_rewrite"), "a path template has no prefix that could be replaced")
		}
	case *routev3.Route_DirectResponse:
		r.Direct = &DirectResponse{
			Status: int(a.DirectResponse.GetStatus()),
			Body:   p.dataSource(join(path, "direct_response.body"), a.DirectResponse.GetBody()),
			Format: p.bodyFormat(join(path, "direct_response.body_format"), a.DirectResponse.GetBodyFormat()),
		}
		if len(r.Direct.Body) > maxBody {
			p.bad(join(path, "direct_response.body"), "body of %d bytes is longer than max_direct_response_body_size_bytes, %d", len(r.Direct.Body), maxBody)
		}
	}
	return r
}

// bodyLimits reads the limit of a route or virtual host, and the older form of it.
func (p *parser) bodyLimits(path string, m interface {
	GetPerRequestBufferLimitBytes() *wrapperspb.UInt32Value
	GetRequestBodyBufferLimit() *wrapperspb.UInt64Value
}) (limit, old *uint64) {
	if v := m.GetRequestBodyBufferLimit(); v != nil {
		limit = &v.Value
	}
	if v := m.GetPerRequestBufferLimitBytes(); v != nil {
		n := uint64(v.GetValue())
		old = &n
	}
	if limit != nil && old != nil {
		p.bad(join(path, "per_request_buffer_limit_bytes"), "stands beside request_body_buffer_limit; only one of them may be set")
	}
	return limit, old
}

func (p *parser) routeMatch(path string, m *routev3.RouteMatch) RouteMatch {
	out := RouteMatch{
		CaseInsensitive: !boolOr(m.GetCaseSensitive(), true),
		GRPC:            m.GetGrpc() != nil,
		Fraction:        p.runtimeFraction(join(path, "runtime_fraction"), m.GetRuntimeFraction()),
		Headers:         p.headerMatchers(join(path, "headers"), m.GetHeaders()),
	}
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Path = PathPrefix, s.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Path = PathExact, s.Path
	case *routev3.RouteMatch_SafeRegex:
		out.Kind, out.Path = PathRegex, s.SafeRegex.GetRegex()
		out.Regex = p.regexMatcher(join(path, "safe_regex"), s.SafeRegex)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Path = PathSeparatedPrefix, s.PathSeparatedPrefix
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = PathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		out.Kind = PathTemplate
		out.Template = p.pathTemplate(join(path, "path_match_policy"), s.PathMatchPolicy)
	}
	out.Query = p.queryMatchers(join(path, "query_parameters"), m.GetQueryParameters())
	for i, c := range m.GetCookies() {
		out.Cookies = append(out.Cookies, CookieMatcher{
			Name:   c.GetName(),
			String: p.stringMatch(join(at(join(path, "cookies"), i), "string_match"), c.GetStringMatch()),
			Invert: c.GetInvertMatch(),
		})
	}
	if t := m.GetTlsContext(); t != nil {
		if t.GetPresented() != nil {
			v := t.GetPresented().GetValue()
			out.TLSPresented = &v
		}
		if t.GetValidated() != nil {
			v := t.GetValidated().GetValue()
			out.TLSValidated = &v
		}
	}
	for i, fs := range m.GetFilterState() {
		out.FilterState = append(out.FilterState, p.filterStateMatcher(at(join(path, "filter_state"), i), fs))
	}
	for i, dm := range m.GetDynamicMetadata() {
		out.FilterMetadata = append(out.FilterMetadata, p.metadataMatcher(at(join(path, "dynamic_metadata"), i), dm))
	}
	return out
}

func (p *parser) queryMatchers(path string, in []*routev3.QueryParameterMatcher) []QueryMatcher {
	var out []QueryMatcher
	for i, q := range in {
		here := at(path, i)
		qm := QueryMatcher{Name: q.GetName()}
		switch s := q.GetQueryParameterMatchSpecifier().(type) {
		case *routev3.QueryParameterMatcher_StringMatch:
			sm := p.stringMatch(join(here, "string_match"), s.StringMatch)
			qm.String = &sm
		case *routev3.QueryParameterMatcher_PresentMatch:
			v := s.PresentMatch
			qm.Present = &v
		default:
			v := true
			qm.Present = &v
		}
		out = append(out, qm)
	}
	return out
}

func (p *parser) headerMatchers(path string, in []*routev3.HeaderMatcher) []HeaderMatcher {
	var out []HeaderMatcher
	for i, h := range in {
		out = append(out, p.headerMatcher(at(path, i), h))
	}
	return out
}

// headerMatcher takes today's string_match and the six forms that it replaced.
//
//nolint:staticcheck // the deprecated fields are what older control planes and the posts' files use
func (p *parser) headerMatcher(path string, m *routev3.HeaderMatcher) HeaderMatcher {
	out := HeaderMatcher{
		Name:                strings.ToLower(m.GetName()),
		Invert:              m.GetInvertMatch(),
		TreatMissingAsEmpty: m.GetTreatMissingHeaderAsEmpty(),
	}
	str := func(kind StringKind, value string) { out.String = &StringMatch{Kind: kind, Value: value} }
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_ExactMatch:
		str(StringExact, s.ExactMatch)
	case *routev3.HeaderMatcher_PrefixMatch:
		str(StringPrefix, s.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		str(StringSuffix, s.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		str(StringContains, s.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		str(StringRegex, s.SafeRegexMatch.GetRegex())
		out.String.Regex = p.regexMatcher(join(path, "safe_regex_match"), s.SafeRegexMatch)
	case *routev3.HeaderMatcher_StringMatch:
		sm := p.stringMatch(join(path, "string_match"), s.StringMatch)
		out.String = &sm
	case *routev3.HeaderMatcher_RangeMatch:
		out.Range = &[2]int64{s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()}
	case *routev3.HeaderMatcher_PresentMatch:
		v := s.PresentMatch
		out.Present = &v
	default: // a name alone asks for presence
		v := true
		out.Present = &v
	}
	return out
}

func (p *parser) routeAction(path string, m *routev3.RouteAction, mirrors []MirrorPolicy) *RouteAction {
	a := &RouteAction{
		Cluster:              m.GetCluster(),
		ClusterHeader:        strings.ToLower(m.GetClusterHeader()),
		ClusterNotFoundCode:  503,
		MetadataMatch:        p.metadataMatch(join(path, "metadata_match"), m.GetMetadataMatch()),
		PrefixRewrite:        m.GetPrefixRewrite(),
		RegexRewrite:         p.regexRewrite(join(path, "regex_rewrite"), m.GetRegexRewrite()),
		PathFormat:           m.GetPathRewrite(),
		AppendXForwardedHost: m.GetAppendXForwardedHost(),
		Timeout:              p.duration(join(path, "timeout"), m.GetTimeout(), 15*time.Second),
		IdleTimeout:          p.optDuration(join(path, "idle_timeout"), m.GetIdleTimeout()),
		Mirrors:              mirrors,
		PriorityHigh:         m.GetPriority() == 1,
		RateLimits:           p.rateLimits(join(path, "rate_limits"), m.GetRateLimits()),
		VHostRateLimits:      m.GetIncludeVhRateLimits().GetValue(), //nolint:staticcheck // still sent
		Upgrades:             p.upgrades(join(path, "upgrade_configs"), m.GetUpgradeConfigs()),
		Terminate:            p.terminate(join(path, "upgrade_configs"), m.GetUpgradeConfigs()),
		Hash:                 p.hashPolicies(join(path, "hash_policy"), m.GetHashPolicy()),
		InternalRedirect:     p.internalRedirect(path, m),
	}
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		a.ClusterNotFoundCode = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		a.ClusterNotFoundCode = 500
	}
	if m.GetPrefixRewrite() != "" && m.GetRegexRewrite() != nil {
		p.bad(join(path, "regex_rewrite"), "stands beside prefix_rewrite; only one of them may be set")
	}
	if m.GetPathRewrite() != "" && (m.GetPrefixRewrite() != "" || m.GetRegexRewrite() != nil || m.GetPathRewritePolicy() != nil) {
		p.bad(join(path, "path_rewrite"), "stands beside another rewrite of the path; only one of them may be set")
	}
	if w := m.GetWeightedClusters(); w != nil {
		a.Weighted, a.TotalWeight = p.weighted(join(path, "weighted_clusters"), w)
		a.WeightBy.Hash = w.GetUseHashPolicy().GetValue()
		if name := w.GetHeaderName(); name != "" {
			a.WeightBy.Header = header.KeyOf(name)
		}
	}
	switch h := m.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		a.HostRewrite.Literal = h.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		a.HostRewrite.Auto = h.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		a.HostRewrite.Header = strings.ToLower(h.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		a.HostRewrite.PathRegex = p.regexRewrite(join(path, "host_rewrite_path_regex"), h.HostRewritePathRegex)
	case *routev3.RouteAction_HostRewrite:
		a.HostRewrite.Format = h.HostRewrite
	}
	if msd := m.GetMaxStreamDuration(); msd != nil {
		here := join(path, "max_stream_duration")
		a.OwnClock = true
		a.MaxStreamDuration = p.optDuration(join(here, "max_stream_duration"), msd.GetMaxStreamDuration())
		a.GRPCTimeoutHeaderMax = p.optDuration(join(here, "grpc_timeout_header_max"), msd.GetGrpcTimeoutHeaderMax())
		a.GRPCTimeoutHeaderOffset = p.duration(join(here, "grpc_timeout_header_offset"), msd.GetGrpcTimeoutHeaderOffset(), 0)
	}
	if m.GetMaxGrpcTimeout() != nil { //nolint:staticcheck // older control planes send it
		a.GRPCTimeoutHeaderMax = p.optDuration(join(path, "max_grpc_timeout"), m.GetMaxGrpcTimeout())          //nolint:staticcheck // as above
		a.GRPCTimeoutHeaderOffset = p.duration(join(path, "grpc_timeout_offset"), m.GetGrpcTimeoutOffset(), 0) //nolint:staticcheck // as above
	}
	if m.GetRetryPolicy() != nil {
		a.Retry = p.retryPolicy(join(path, "retry_policy"), m.GetRetryPolicy())
	}
	if m.GetHedgePolicy() != nil {
		hedge := p.hedge(join(path, "hedge_policy"), m.GetHedgePolicy())
		a.Hedge = &hedge
	}
	if own := p.mirrors(join(path, "request_mirror_policies"), m.GetRequestMirrorPolicies()); own != nil {
		a.Mirrors = own
	}
	if c := m.GetCors(); c != nil { //nolint:staticcheck // still sent
		a.CORS = p.cors(join(path, "cors"), c)
	}
	return a
}

func (p *parser) upgrades(path string, in []*routev3.RouteAction_UpgradeConfig) map[string]bool {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]bool, len(in))
	for i, u := range in {
		kind := strings.ToLower(u.GetUpgradeType())
		if kind == "" {
			p.bad(join(at(path, i), "upgrade_type"), "is required")
		}
		if _, twice := out[kind]; twice {
			p.bad(join(at(path, i), "upgrade_type"), "%q stands twice", u.GetUpgradeType())
		}
		out[kind] = boolOr(u.GetEnabled(), true)
	}
	return out
}

// terminate reads connect_config; nil without one.
func (p *parser) terminate(path string, in []*routev3.RouteAction_UpgradeConfig) *Terminate {
	var out *Terminate
	for i, u := range in {
		c := u.GetConnectConfig()
		if c == nil {
			continue
		}
		here := join(at(path, i), "connect_config")
		if !strings.EqualFold(u.GetUpgradeType(), "connect") {
			p.bad(here, "goes with upgrade_type CONNECT, not %q", u.GetUpgradeType())
		}
		out = &Terminate{Post: c.GetAllowPost()}
		if h := c.GetProxyProtocolConfig(); h != nil {
			out.ProxyHeader = 1
			if h.GetVersion() == corev3.ProxyProtocolConfig_V2 {
				out.ProxyHeader = 2
			}
			if h.GetPassThroughTlvs() != nil {
				p.bad(join(here, "proxy_protocol_config.pass_through_tlvs"), "is not supported here, as in Envoy")
			}
			if len(h.GetAddedTlvs()) > 0 {
				p.bad(join(here, "proxy_protocol_config.added_tlvs"), "is not supported here, as in Envoy")
			}
		}
	}
	return out
}

func (p *parser) weighted(path string, w *routev3.WeightedCluster) ([]WeightedCluster, uint32) {
	var out []WeightedCluster
	var total uint64
	for i, c := range w.GetClusters() {
		here := at(join(path, "clusters"), i)
		if (c.GetName() == "") == (c.GetClusterHeader() == "") {
			p.bad(here, "exactly one of name and cluster_header must be set")
		}
		weight := uint32Or(c.GetWeight(), 0)
		var key *runtimekey.Key
		if prefix := w.GetRuntimeKeyPrefix(); prefix != "" {
			key = p.dec.keys.Key(prefix + "." + c.GetName())
		}
		total += uint64(weight)
		out = append(out, WeightedCluster{
			Name:            c.GetName(),
			ClusterHeader:   strings.ToLower(c.GetClusterHeader()),
			Weight:          weight,
			WeightKey:       key,
			RequestHeaders:  p.headerOps(here, "request_headers", c.GetRequestHeadersToAdd(), c.GetRequestHeadersToRemove()),
			ResponseHeaders: p.headerOps(here, "response_headers", c.GetResponseHeadersToAdd(), c.GetResponseHeadersToRemove()),
			FilterConfigs:   p.filterConfigs(join(here, "typed_per_filter_config"), c.GetTypedPerFilterConfig()),
			MetadataMatch:   p.metadataMatch(join(here, "metadata_match"), c.GetMetadataMatch()),
			HostRewrite:     c.GetHostRewriteLiteral(),
		})
	}
	// total_weight is what older versions divided by; it had to be the sum, and is ignored since.
	if t := w.GetTotalWeight(); t != nil && uint64(t.GetValue()) != total { //nolint:staticcheck // Istio 1.17 sends it
		p.bad(join(path, "total_weight"), "is %d, but the weights add up to %d", t.GetValue(), total)
	}
	switch {
	case total == 0:
		p.bad(path, "the weights add up to 0; at least one must be greater")
	case total > 1<<32-1:
		p.bad(path, "the weights add up to %d, more than fits 32 bits", total)
	}
	return out, uint32(total)
}

func (p *parser) mirrors(path string, in []*routev3.RouteAction_RequestMirrorPolicy) []MirrorPolicy {
	var out []MirrorPolicy
	for i, m := range in {
		if (m.GetCluster() == "") == (m.GetClusterHeader() == "") {
			p.bad(at(path, i), "exactly one of cluster and cluster_header must be set")
		}
		mp := MirrorPolicy{
			Cluster:                 m.GetCluster(),
			ClusterHeader:           strings.ToLower(m.GetClusterHeader()),
			Fraction:                p.runtimeFraction(join(at(path, i), "runtime_fraction"), m.GetRuntimeFraction()),
			DisableShadowHostSuffix: m.GetDisableShadowHostSuffixAppend(),
			Host:                    m.GetHostRewriteLiteral(),
			RequestHeaders:          p.headerMutations(join(at(path, i), "request_headers_mutations"), m.GetRequestHeadersMutations()),
		}
		for j, c := range mp.RequestHeaders {
			for _, op := range c.Change.Add {
				if strings.HasPrefix(op.Name, ":") || op.Name == "host" {
					p.bad(at(join(at(path, i), "request_headers_mutations"), j), "%q cannot be changed here; host_rewrite_literal changes the host", op.Name)
				}
			}
		}
		if m.GetTraceSampled() != nil {
			v := m.GetTraceSampled().GetValue()
			mp.TraceSampled = &v
		}
		out = append(out, mp)
	}
	return out
}

func (p *parser) hashPolicies(path string, in []*routev3.RouteAction_HashPolicy) []HashPolicy {
	var out []HashPolicy
	for i, m := range in {
		here := at(path, i)
		h := HashPolicy{Terminal: m.GetTerminal()}
		switch s := m.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			h.Header = header.KeyOf(s.Header.GetHeaderName())
			h.Rewrite = p.regexRewrite(join(here, "header.regex_rewrite"), s.Header.GetRegexRewrite())
		case *routev3.RouteAction_HashPolicy_Cookie_:
			h.Cookie = &HashCookie{
				Name: s.Cookie.GetName(),
				TTL:  p.optDuration(join(here, "cookie.ttl"), s.Cookie.GetTtl()),
				Path: s.Cookie.GetPath(),
			}
			for _, a := range s.Cookie.GetAttributes() {
				h.Cookie.Attributes = append(h.Cookie.Attributes, HashCookieAttribute{Name: a.GetName(), Value: a.GetValue()})
			}
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			h.SourceIP = s.ConnectionProperties.GetSourceIp()
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			h.Query = s.QueryParameter.GetName()
		case *routev3.RouteAction_HashPolicy_FilterState_:
			h.State = s.FilterState.GetKey()
		}
		out = append(out, h)
	}
	return out
}

func (p *parser) redirect(path string, m *routev3.RedirectAction) *RedirectAction {
	r := &RedirectAction{
		HTTPS:      m.GetHttpsRedirect(),
		Scheme:     m.GetSchemeRedirect(),
		Host:       m.GetHostRedirect(),
		Port:       m.GetPortRedirect(),
		StripQuery: m.GetStripQuery(),
	}
	switch s := m.GetPathRewriteSpecifier().(type) {
	case *routev3.RedirectAction_PathRedirect:
		r.Path = s.PathRedirect
	case *routev3.RedirectAction_PrefixRewrite:
		r.PrefixRewrite, r.HasPrefixRewrite = s.PrefixRewrite, true
	case *routev3.RedirectAction_PathRewrite:
		r.PathFormat = s.PathRewrite
	case *routev3.RedirectAction_RegexRewrite:
		r.RegexRewrite = p.regexRewrite(join(path, "regex_rewrite"), s.RegexRewrite)
	}
	switch m.GetResponseCode() {
	case routev3.RedirectAction_FOUND:
		r.Code = 302
	case routev3.RedirectAction_SEE_OTHER:
		r.Code = 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		r.Code = 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		r.Code = 308
	default:
		r.Code = 301
	}
	return r
}

// filterConfigs reads typed_per_filter_config: filter name to what the filter's parser made
// of it. The parser is found by the message's type, as in Envoy; the name only keys the map.
func (p *parser) filterConfigs(path string, in map[string]*anypb.Any) map[string]any {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]any, len(in))
	for name, a := range in {
		here := fmt.Sprintf("%s[%q]", path, name)
		if string(a.MessageName()) == "envoy.config.route.v3.FilterConfig" {
			var fc routev3.FilterConfig
			if !p.message(here, a, &fc) {
				continue
			}
			if fc.GetDisabled() {
				out[name] = FilterOff
				continue
			}
			if fc.GetConfig() == nil {
				p.bad(here, "has neither config nor disabled")
				continue
			}
			if fc.GetConfig().GetTypeUrl() == "" {
				out[name] = FilterOn
				continue
			}
			a, here = fc.GetConfig(), join(here, "config")
		}
		ft, ok := p.dec.routeFilterType(TypeName(a))
		if !ok {
			p.bad(here, "filter type %s is not supported", TypeName(a))
			continue
		}
		if ft.ParseRoute == nil {
			p.bad(here, "this filter takes no configuration per route")
			continue
		}
		a, err := fromTypedStruct(a)
		if err != nil {
			p.bad(here, "%v", err)
			continue
		}
		cfg, err := ft.ParseRoute(p.dec, a)
		if err != nil {
			p.badErr(here, err)
			continue
		}
		out[name] = cfg
	}
	return out
}

// routeFilterType finds the HTTP filter whose per-route configuration has a message name.
func (d *Decoder) routeFilterType(message string) (HTTPFilterType, bool) {
	if ft, ok := d.ext.HTTP[message]; ok {
		return ft, true
	}
	for _, ft := range d.ext.HTTP {
		for _, rt := range ft.RouteTypes {
			if rt == message {
				return ft, true
			}
		}
	}
	return HTTPFilterType{}, false
}

// lower returns names of headers as they are compared.
func lower(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

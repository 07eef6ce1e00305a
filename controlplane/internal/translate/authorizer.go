package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/authorization"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

// Filters that ask external authorizers, and how long they wait where nothing is said, as in Istio.
const (
	extAuthzFilter     = "envoy.filters.http.ext_authz"
	tcpExtAuthzFilter  = "envoy.filters.network.ext_authz"
	authorizerPatience = 600 // s
)

// asks are the filters of policies of action CUSTOM for requests: for each authorizer one that marks what it is to be asked about, and one that asks. What cannot be
// asked, since there is no such authorizer, is refused.
func asks(s *model.Snapshot, p *model.Proxy, d direction) []*hcmv3.HttpFilter {
	if !authorizes(d) {
		return nil
	}
	var out []*hcmv3.HttpFilter
	add := func(name string, cfg *hcmv3.HttpFilter_TypedConfig) {
		out = append(out, &hcmv3.HttpFilter{Name: name, ConfigType: cfg})
	}
	for _, a := range authorization.Asks(s.AuthorizationsFor(p.Namespace, p.Labels), authorization.Requests, s.Mesh.TrustDomains()) {
		pr, to, ok := authorizerOf(s, p, a.Provider)
		if !ok {
			add(rbacFilter, &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(&rbacv3.RBAC{Rules: a.Rules, TrackPerRuleStats: true})})
			continue
		}
		add(rbacFilter, &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(&rbacv3.RBAC{ShadowRules: a.Rules, ShadowRulesStatPrefix: a.Prefix, TrackPerRuleStats: true})})
		add(extAuthzFilter, &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(authorizerConfig(pr, to, marked(rbacFilter, a)))})
	}
	return out
}

// connectionAsks are asks for opaque bytes. An authorizer that speaks HTTP cannot be asked about them.
func connectionAsks(s *model.Snapshot, p *model.Proxy, d direction) []namedConfig {
	if !authorizes(d) {
		return nil
	}
	var out []namedConfig
	for _, a := range authorization.Asks(s.AuthorizationsFor(p.Namespace, p.Labels), authorization.Connections, s.Mesh.TrustDomains()) {
		pr, to, ok := authorizerOf(s, p, a.Provider)
		if !ok || !pr.GRPC {
			out = append(out, namedConfig{tcpRBACFilter, toAny(&networkrbacv3.RBAC{Rules: a.Rules, StatPrefix: "tcp."})})
			continue
		}
		out = append(out,
			namedConfig{tcpRBACFilter, toAny(&networkrbacv3.RBAC{ShadowRules: a.Rules, ShadowRulesStatPrefix: a.Prefix, StatPrefix: "tcp."})},
			namedConfig{tcpExtAuthzFilter, toAny(&networkauthzv3.ExtAuthz{
				StatPrefix: "tcp.", GrpcService: to.grpcWithin(patience(pr)), FailureModeAllow: pr.FailOpen, IncludePeerCertificate: true,
				TransportApiVersion: corev3.ApiVersion_V3, FilterEnabledMetadata: marked(tcpRBACFilter, a),
			})})
	}
	return out
}

// authorizerOf finds an authorizer and the cluster by which the proxy reaches it.
func authorizerOf(s *model.Snapshot, p *model.Proxy, name string) (*model.Authorizer, collector, bool) {
	pr := s.Mesh.Provider(name)
	if pr == nil || pr.Authorizer == nil {
		return nil, collector{}, false
	}
	to, ok := collectorOf(s, p, pr)
	return pr.Authorizer, to, ok
}

// marked matches what the rules of an RBAC filter have marked.
func marked(filter string, a authorization.Ask) *matcherv3.MetadataMatcher {
	return &matcherv3.MetadataMatcher{
		Filter: filter, Path: []*matcherv3.MetadataMatcher_PathSegment{pathSegment(a.Prefix + authorization.ShadowPolicy)},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: stringmatch.Prefix(a.Marked)}},
	}
}

func patience(a *model.Authorizer) *durationpb.Duration {
	if a.Timeout > 0 {
		return durationpb.New(a.Timeout)
	}
	return &durationpb.Duration{Seconds: authorizerPatience}
}

func (c collector) grpcWithin(timeout *durationpb.Duration) *corev3.GrpcService {
	g := c.grpc()
	g.Timeout = timeout
	return g
}

func authorizerConfig(a *model.Authorizer, to collector, enabled *matcherv3.MetadataMatcher) *authzv3.ExtAuthz {
	out := &authzv3.ExtAuthz{
		FailureModeAllow: a.FailOpen, ClearRouteCache: a.Reroute, TransportApiVersion: corev3.ApiVersion_V3, FilterEnabledMetadata: enabled,
	}
	if a.OnError != 0 {
		out.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(a.OnError)}
	}
	if b := a.Body; b != nil {
		out.WithRequestBody = &authzv3.BufferSettings{MaxRequestBytes: b.MaxBytes, AllowPartialMessage: b.Partial, PackAsBytes: b.Bytes}
	}
	if a.GRPC {
		out.IncludePeerCertificate = true
		out.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: to.grpcWithin(patience(a))}
		return out
	}
	h := &authzv3.HttpService{
		ServerUri:  &corev3.HttpUri{Uri: "http://" + to.host, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: to.cluster}, Timeout: patience(a)},
		PathPrefix: a.PathPrefix,
	}
	out.AllowedHeaders = headerNames(a.Headers)
	if len(a.ExtraHeaders) > 0 {
		h.AuthorizationRequest = &authzv3.AuthorizationRequest{}
		for _, kv := range a.ExtraHeaders {
			h.AuthorizationRequest.HeadersToAdd = append(h.AuthorizationRequest.HeadersToAdd, &corev3.HeaderValue{Key: kv[0], Value: kv[1]})
		}
	}
	if len(a.ToUpstream)+len(a.ToClientOnDeny)+len(a.ToClientOnAllow) > 0 {
		h.AuthorizationResponse = &authzv3.AuthorizationResponse{
			AllowedUpstreamHeaders: headerNames(a.ToUpstream), AllowedClientHeaders: headerNames(a.ToClientOnDeny), AllowedClientHeadersOnSuccess: headerNames(a.ToClientOnAllow),
		}
	}
	out.Services = &authzv3.ExtAuthz_HttpService{HttpService: h}
	return out
}

// headerNames matches names as Istio writes them: whole, or with a star at their beginning or end. Nil for none.
func headerNames(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, n := range names {
		m := stringmatch.IgnoringCase(stringmatch.Star(n))
		if n == "*" {
			// Not :status and its like: Envoy would answer with two of them.
			m = stringmatch.Regex("[^:].*")
		}
		out.Patterns = append(out.Patterns, m)
	}
	return out
}

package translate

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/authorization"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Filters that decide who may do what.
const (
	rbacFilter    = "envoy.filters.http.rbac"
	tcpRBACFilter = "envoy.filters.network.rbac"
)

// authorizes reports whether policies are carried out in a direction: by the server's sidecar and by gateways, never by the client's sidecar, which the
// client may go around.
func authorizes(d direction) bool { return d != outbound }

// requestRules are the filters of the proxy's policies for requests.
func requestRules(s *model.Snapshot, p *model.Proxy, d direction) []*hcmv3.HttpFilter {
	if !authorizes(d) {
		return nil
	}
	var out []*hcmv3.HttpFilter
	for _, r := range authorization.For(s.AuthorizationsFor(p.Namespace, p.Labels), authorization.Requests, s.Mesh.TrustDomains()) {
		out = append(out, &hcmv3.HttpFilter{Name: rbacFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(&rbacv3.RBAC{
			Rules: r.Enforced, ShadowRules: r.Shadow, ShadowRulesStatPrefix: shadowPrefix(r), TrackPerRuleStats: true,
		})}})
	}
	return out
}

// connectionRules are the filters of the proxy's policies for opaque bytes.
func connectionRules(s *model.Snapshot, p *model.Proxy, d direction) []namedConfig {
	if !authorizes(d) {
		return nil
	}
	var out []namedConfig
	for _, r := range authorization.For(s.AuthorizationsFor(p.Namespace, p.Labels), authorization.Connections, s.Mesh.TrustDomains()) {
		out = append(out, namedConfig{tcpRBACFilter, toAny(&networkrbacv3.RBAC{
			Rules: r.Enforced, ShadowRules: r.Shadow, ShadowRulesStatPrefix: shadowPrefix(r), StatPrefix: "tcp.",
		})})
	}
	return out
}

func shadowPrefix(r authorization.Rules) string {
	if r.Shadow == nil {
		return ""
	}
	return r.ShadowPrefix
}

// policyKey adds to a key what the policies about requests are.
func policyKey(k *keyHash, s *model.Snapshot, p *model.Proxy) {
	for _, a := range s.RequestAuthenticationsFor(p.Namespace, p.Labels) {
		k.num(a.Rev)
		for _, r := range a.Rules {
			k.str(keyServerOf(s, p, r.GetJwksUri()).cluster)
		}
	}
	for _, a := range s.AuthorizationsFor(p.Namespace, p.Labels) {
		k.num(a.Rev)
		if _, to, ok := authorizerOf(s, p, a.Provider); ok && a.Provider != "" {
			k.str(to.cluster)
		}
	}
}

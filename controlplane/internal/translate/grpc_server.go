package translate

//lint:file-ignore SA1019 Istio still sends these fields, and servers read them.

import (
	"net"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/authorization"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// grpcServerPrefix begins the listeners that gRPC's servers ask for, before HOST:PORT: Istio's server_listener_resource_name_template.
const grpcServerPrefix = "xds.istio.io/grpc/lds/inbound/"

// tlsModeLabel says that a workload takes the mesh's TLS, so that clients speak it without being told to.
const tlsModeLabel = "security.istio.io/tlsMode"

// grpcServers is the listener of a server at host:port; none when no service is served there, which the server takes for a reason not to serve.
// https://github.com/grpc/proposal/blob/master/A36-xds-for-servers.md
func grpcServers(s *model.Snapshot, p *model.Proxy, name, at string) []Resource {
	host, text, err := net.SplitHostPort(at)
	if err != nil {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil
	}
	for _, sp := range servedPorts(s, p) {
		if sp.target != uint32(port) {
			continue
		}
		mtls := grpcTakesMTLS(p, sp.mode)
		k := (&keyHash{}).str("grpc server").num(s.Mesh.Rev).flag(mtls)
		policyKey(k, s, p)
		return []Resource{{Name: name, Key: k.String(), build: func() proto.Message {
			return &listenerv3.Listener{Name: name, Address: socketAddress(host, uint32(port)), FilterChains: []*listenerv3.FilterChain{grpcServerChain(s, p, mtls)}}
		}}}
	}
	return nil
}

// grpcTakesMTLS reports whether a server takes the mesh's TLS alone. gRPC has it or not: of a permissive server clients are told by its label what to speak.
func grpcTakesMTLS(p *model.Proxy, mode model.MTLSMode) bool {
	return mode == model.MTLSStrict || mode == model.MTLSPermissive && p.Labels[tlsModeLabel] == "istio"
}

func grpcServerChain(s *model.Snapshot, p *model.Proxy, mtls bool) *listenerv3.FilterChain {
	filter := func(name string, cfg proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(cfg)}}
	}
	var filters []*hcmv3.HttpFilter
	rules := func(r *rbacpolicyv3.RBAC) {
		// Names of filters are unique to gRPC. It audits nothing.
		if r != nil && r.Action != rbacpolicyv3.RBAC_LOG {
			filters = append(filters, filter(rbacFilter+"."+strconv.Itoa(len(filters)), &rbacv3.RBAC{Rules: r}))
		}
	}
	policies := s.AuthorizationsFor(p.Namespace, p.Labels)
	for _, a := range authorization.Asks(policies, authorization.GRPC, s.Mesh.TrustDomains()) {
		rules(a.Rules) // nobody can be asked: what would be is refused
	}
	for _, r := range authorization.For(policies, authorization.GRPC, s.Mesh.TrustDomains()) {
		rules(r.Enforced)
	}
	chain := &listenerv3.FilterChain{
		Name: "inbound",
		Filters: []*listenerv3.Filter{networkFilter(hcmFilter, toAny(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
				Name: "inbound",
				VirtualHosts: []*routev3.VirtualHost{{
					Name: "inbound", Domains: []string{"*"},
					Routes: []*routev3.Route{{Match: routeMatch(nil), Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}}}},
				}},
			}},
			HttpFilters: append(filters, filter(routerFilter, &routerv3.Router{})),
		}))},
	}
	if mtls {
		// gRPC's servers do not look at names in certificates; the roots are the mesh's.
		chain.TransportSocket = downstreamTLS(&tlsv3.DownstreamTlsContext{CommonTlsContext: grpcIdentity(nil), RequireClientCertificate: boolean(true)})
	}
	return chain
}

package translate

//lint:file-ignore SA1019 Istio still sends these fields, and clients read them.

import (
	"net"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Applications that are their own proxies by gRPC's xDS client (model.Proxy.GRPC) ask by name from the listener on: "xds:///catalog.shop:9000" is
// the listener catalog.shop:9000, whose routes are those of the service's cluster, "outbound|9000||catalog.shop.svc.cluster.local". A name that
// is not among what the workload sees has no resource, which the client takes for a service that does not exist. What gRPC reads of each type:
// https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md and what names it. Its servers
// ask for listeners as well (grpc_server.go).

// GRPCListeners returns the listeners of names like "catalog.shop:9000".
func GRPCListeners(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	var out []Resource
	for _, name := range names {
		if at, ok := strings.CutPrefix(name, grpcServerPrefix); ok {
			out = append(out, grpcServers(s, p, name, at)...)
			continue
		}
		svc, port := grpcService(s, p, name)
		if svc == nil {
			continue
		}
		route := ClusterName(port, "", svc.Host)
		out = append(out, Resource{
			Name: name, Key: (&keyHash{}).str("grpc", route).String(),
			build: func() proto.Message { return grpcListener(p, name, route, port) },
		})
	}
	return out
}

// grpcService finds the service and port that a client means by host:port. Short names are those of the client's namespace, as for DNS.
func grpcService(s *model.Snapshot, p *model.Proxy, name string) (*model.Service, uint32) {
	host, text, err := net.SplitHostPort(name)
	if err != nil {
		return nil, 0
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, 0
	}
	root := p.Domain
	if _, after, ok := strings.Cut(root, ".svc."); ok {
		root = after
	}
	for _, full := range []string{host, host + "." + p.Namespace + ".svc." + root, host + ".svc." + root, host + "." + root} {
		if svc := s.ServiceFor(p, full); svc != nil {
			_, ok := svc.Port(uint32(port))
			if !ok {
				return nil, 0
			}
			return svc, uint32(port)
		}
	}
	return nil, 0
}

func grpcListener(p *model.Proxy, name, route string, port uint32) *listenerv3.Listener {
	filter := func(name string, cfg proto.Message) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(cfg)}}
	}
	return &listenerv3.Listener{
		Name: name, Address: socketAddress(p.Wildcards()[0], port),
		ApiListener: &listenerv3.ApiListener{ApiListener: toAny(&hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: route}},
			HttpFilters:    []*hcmv3.HttpFilter{filter(faultFilter, &faultv3.HTTPFault{}), filter(routerFilter, &routerv3.Router{})},
		})},
	}
}

// GRPCRoutes returns the route configurations of names like "outbound|9000||catalog.shop.svc.cluster.local".
func GRPCRoutes(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	var out []Resource
	for _, name := range names {
		port, subset, host, ok := ParseClusterName(name)
		if !ok || subset != "" {
			continue
		}
		svc, egress := s.ServiceFor(p, host), s.ScopeOf(p).EgressFor(port, "")
		if svc == nil || egress == nil {
			continue
		}
		if _, ok := svc.Port(port); !ok {
			continue
		}
		rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: port}
		vh := virtualHost{host: host, port: port, svc: svc, rules: rc.inForce(egress.RulesFor(host)), domains: []string{"*"}}
		k := (&keyHash{}).str("grpc", s.Scope(p)).num(s.Mesh.Rev)
		vh.key(k, s, p)
		out = append(out, Resource{Name: name, Key: k.String(), build: func() proto.Message {
			c := (&routed{egress: egress, hosts: []virtualHost{vh}}).build(s, p, name)
			for _, h := range c.VirtualHosts {
				h.Routes = slices.DeleteFunc(h.Routes, unknownToGRPC)
				for _, r := range h.Routes {
					fitGRPC(r)
				}
			}
			return c
		}})
	}
	return out
}

// unknownToGRPC reports whether a route has a condition that gRPC would not look at, so that it would take too many requests.
func unknownToGRPC(r *routev3.Route) bool {
	return len(r.Match.DynamicMetadata)+len(r.Match.QueryParameters) > 0
}

// fitGRPC changes a route to what gRPC reads, and takes away what it refuses: settings of filters that its listener has not, and retries of
// which there is none. It reads the time-out in another field (A31).
func fitGRPC(r *routev3.Route) {
	for name := range r.TypedPerFilterConfig {
		if name != faultFilter {
			delete(r.TypedPerFilterConfig, name)
		}
	}
	a := r.GetRoute()
	if a == nil {
		return
	}
	if a.Timeout.AsDuration() > 0 {
		a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: a.Timeout}
	}
	if a.RetryPolicy.GetNumRetries().GetValue() == 0 {
		a.RetryPolicy = nil
	}
}

// GRPCClusters returns the clusters of those names. gRPC connects to endpoints that are given; a service that is found by DNS or by where a
// connection was going has none, and neither has one whose rule asks for TLS that is not the mesh's, for which a client has no
// certificates.
func GRPCClusters(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	var out []Resource
	for _, name := range names {
		port, subset, host, ok := ParseClusterName(name)
		if !ok {
			continue
		}
		svc := s.ServiceFor(p, host)
		if svc == nil {
			continue
		}
		for _, in := range clusterInputs(s, p, svc) {
			if in.port.Number != port || in.subsetName() != subset || in.passthrough || in.kind != kindEDS || !in.grpcTLS() {
				continue
			}
			out = append(out, Resource{Name: name, Key: (&keyHash{}).str("grpc", in.key()).String(), build: func() proto.Message { return in.grpcCluster() }})
			break
		}
	}
	return out
}

// grpcTLS reports whether gRPC's client can speak to the cluster: in clear text, or by the mesh's TLS.
func (in *clusterInput) grpcTLS() bool {
	return in.policy == nil || in.policy.TLS == nil || in.policy.TLS.Mode == model.TLSDisable || in.policy.TLS.Mode == model.TLSIstioMutual
}

// grpcCluster is the part of a cluster that gRPC reads. As in Istio it speaks mutual TLS only where a rule says ISTIO_MUTUAL: a client whose
// channel was not made with xDS credentials would not, and nothing tells those apart. Of balancers it has round robin and the ring.
// Istio's outlier detection counts errors in a row, which gRPC does not.
func (in *clusterInput) grpcCluster() *clusterv3.Cluster {
	full := in.build()
	c := &clusterv3.Cluster{
		Name: full.Name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: full.Name, EdsConfig: adsSource()},
		LbPolicy:         clusterv3.Cluster_ROUND_ROBIN, CircuitBreakers: full.CircuitBreakers, Metadata: full.Metadata,
	}
	if full.LbPolicy == clusterv3.Cluster_RING_HASH && full.GetRingHashLbConfig().GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_XX_HASH {
		c.LbPolicy, c.LbConfig = full.LbPolicy, full.LbConfig
	}
	if in.policy != nil && in.policy.TLS != nil && in.policy.TLS.Mode == model.TLSIstioMutual {
		sans := in.mutual(nil, "").CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext
		c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: grpcIdentity(sans.MatchSubjectAltNames)})
	}
	return c
}

// grpcIdentity is the certificate of the application and the roots of the mesh, as gRPC finds them: by the certificate provider "default" of its bootstrap, which is Istio's.
func grpcIdentity(sans []*matcherv3.StringMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: "default", CertificateName: "default"},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: &tlsv3.CertificateValidationContext{
				CaCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: "default", CertificateName: "ROOTCA"},
				MatchSubjectAltNames:          sans,
			},
		}},
	}
}

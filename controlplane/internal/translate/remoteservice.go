package translate

import (
	"net/netip"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// accessLogCluster is the cluster of defaultConfig.envoyAccessLogService, by Istio's name, which EnvoyFilters know.
const accessLogCluster = "envoy_accesslog_service"

// accessLogClusters is that cluster. It is there with an address, as in Istio's bootstrap, whether a logger of the mesh's uses it or one of an EnvoyFilter.
func accessLogClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	to := s.Mesh.AccessLogService
	if to == nil {
		return nil
	}
	system := systemRoots(p)
	return []Resource{{Name: accessLogCluster, Key: (&keyHash{}).num(s.Mesh.Rev).str(system).String(), build: func() proto.Message {
		return remoteCluster(s.Mesh, accessLogCluster, to, system)
	}}}
}

// metricsCluster is the cluster of defaultConfig.envoyMetricsService, by Istio's name.
const metricsCluster = "envoy_metrics_service"

// metricsService adds the sink of defaultConfig.envoyMetricsService to a bootstrap, with its cluster: Envoy wants that of a sink to be there from the start.
func metricsService(s *model.Snapshot, p *model.Proxy, out *bootstrapv3.Bootstrap) {
	to := s.Mesh.MetricsService
	if to == nil {
		return
	}
	out.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{remoteCluster(s.Mesh, metricsCluster, to, systemRoots(p))}}
	out.StatsSinks = append(out.StatsSinks, &metricsv3.StatsSink{Name: "envoy.stat_sinks.metrics_service", ConfigType: &metricsv3.StatsSink_TypedConfig{
		TypedConfig: toAny(&metricsv3.MetricsServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService:         &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: metricsCluster}}},
		}),
	}})
}

// remoteCluster is a gRPC service that proxies know by its address. system is the file with the authorities of a proxy's host. With TLS of the service's own it must show a certificate for
// its host, unless the settings name others; Istio looks at no name then.
func remoteCluster(mesh *model.Mesh, name string, to *model.RemoteService, system string) *clusterv3.Cluster {
	c := hostCluster(mesh, name, to.Host, to.Port)
	o := &httpv3.HttpProtocolOptions{}
	explicitHTTP2(o, &corev3.Http2ProtocolOptions{})
	setHTTPOptions(c, o)
	if to.Keepalive != nil {
		c.UpstreamConnectionOptions = tcpKeepalive(to.Keepalive)
	}
	t := to.TLS
	if t == nil || t.Mode == model.TLSDisable {
		return c
	}
	if t.Mode == model.TLSIstioMutual {
		sni := t.SNI
		if sni == "" {
			sni = name
		}
		c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: meshIdentity(alpnMeshHTTP2, exactMatchers(t.SANs)), Sni: sni})
		return c
	}
	sni, sans := t.SNI, t.SANs
	if len(sans) == 0 {
		sans = []string{to.Host}
	}
	if _, err := netip.ParseAddr(to.Host); err != nil && sni == "" {
		sni = to.Host
	}
	common := &tlsv3.CommonTlsContext{TlsParams: ownParams(mesh), AlpnProtocols: []string{"h2"}}
	files(common, t, sans, system)
	c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni})
	return c
}

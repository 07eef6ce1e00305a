package agent

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gzippb "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	compressorpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	routerpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httppb "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherpb "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Names of the bootstrap's clusters, Istio's.
const (
	adsCluster   = "xds-grpc"
	sdsCluster   = "sds-grpc"
	adminCluster = "prometheus_stats"
)

// Bootstrap returns the Envoy bootstrap of the agent's proxy in JSON, as Istio renders it: aggregated delta xDS from the control plane
// over mutual TLS with the secrets of the agent's own socket, and listeners for health (/healthz/ready) and metrics
// (/stats/prometheus).
func Bootstrap(cfg Config, sdsSocket string) ([]byte, error) {
	cfg = cfg.withDefaults().withPorts()
	node, err := cfg.node()
	if err != nil {
		return nil, err
	}
	b := &builder{cfg: cfg, socket: sdsSocket}
	doc := &bootstrappb.Bootstrap{
		Node:  node,
		Admin: &bootstrappb.Admin{Address: address(cfg.AdminIP, cfg.AdminPort)},
		DynamicResources: &bootstrappb.Bootstrap_DynamicResources{
			LdsConfig: ads(), CdsConfig: ads(),
			AdsConfig: &corepb.ApiConfigSource{
				ApiType: corepb.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corepb.ApiVersion_V3,
				SetNodeOnFirstMessageOnly: true, GrpcServices: []*corepb.GrpcService{grpcService(adsCluster)},
			},
		},
		StaticResources: &bootstrappb.Bootstrap_StaticResources{
			Clusters:  []*clusterpb.Cluster{b.admin(), b.sds(), b.ads()},
			Listeners: []*listenerpb.Listener{b.stats(), b.health()},
		},
	}
	if b.err != nil {
		return nil, fmt.Errorf("bootstrap: %w", b.err)
	}
	if cfg.patch != nil {
		proto.Merge(doc, cfg.patch)
	}
	if err := doc.ValidateAll(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return out, nil
}

// bootstrap returns the bootstrap with what EnvoyFilters merge into it, or without when the proxy could not start with that: a patch must not take down what works without it.
// A custom bootstrap goes before both.
func (c Config) bootstrap(sdsSocket string) ([]byte, error) {
	if c.BootstrapFile != "" {
		return c.customBootstrap()
	}
	if c.patch == nil {
		return Bootstrap(c, sdsSocket)
	}
	patched, err := Bootstrap(c, sdsSocket)
	if err == nil && c.CheckBootstrap != nil {
		err = c.CheckBootstrap(patched)
	}
	if err == nil {
		return patched, nil
	}
	c.Logger.Error("patches of the bootstrap (EnvoyFilter, applyTo BOOTSTRAP) have no effect: the proxy could not start with them", "error", err)
	c.patch = nil
	return Bootstrap(c, sdsSocket)
}

// node is how the proxy and its agent name themselves to the control plane.
func (c Config) node() (*corepb.Node, error) {
	meta, err := nodeMetadata(c)
	if err != nil {
		return nil, err
	}
	return &corepb.Node{Id: c.NodeID(), Cluster: c.nodeCluster(meta), Locality: locality(c.Locality), Metadata: meta}, nil
}

// locality reads "region/zone/subzone".
func locality(s string) *corepb.Locality {
	region, rest, _ := strings.Cut(s, "/")
	zone, subZone, _ := strings.Cut(rest, "/")
	return &corepb.Locality{Region: region, Zone: zone, SubZone: subZone}
}

// builder makes the parts; err is the first failure, so that the parts read as what they are.
type builder struct {
	cfg    Config
	socket string
	err    error
}

func (b *builder) any(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return out
}

func (b *builder) ads() *clusterpb.Cluster {
	host, portText, err := net.SplitHostPort(b.cfg.Discovery)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("control plane's address: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("control plane's address %s: %w", b.cfg.Discovery, err)
	}
	kind := clusterpb.Cluster_STRICT_DNS
	if _, err := netip.ParseAddr(host); err == nil {
		kind = clusterpb.Cluster_STATIC
	}
	c := b.cluster(adsCluster, kind, socketAddress(host, uint32(port)))
	c.TypedExtensionProtocolOptions = b.http2()
	c.TransportSocket = &corepb.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corepb.TransportSocket_TypedConfig{TypedConfig: b.any(&tlspb.UpstreamTlsContext{
			Sni: b.cfg.ServerName,
			CommonTlsContext: &tlspb.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tlspb.SdsSecretConfig{agentSecret(workloadSecret)},
				ValidationContextType: &tlspb.CommonTlsContext_CombinedValidationContext{
					CombinedValidationContext: &tlspb.CommonTlsContext_CombinedCertificateValidationContext{
						DefaultValidationContext: &tlspb.CertificateValidationContext{
							MatchTypedSubjectAltNames: []*tlspb.SubjectAltNameMatcher{{
								SanType: tlspb.SubjectAltNameMatcher_DNS,
								Matcher: &matcherpb.StringMatcher{MatchPattern: &matcherpb.StringMatcher_Exact{Exact: b.cfg.ServerName}},
							}},
						},
						ValidationContextSdsSecretConfig: agentSecret(controlPlaneSecret),
					},
				},
			},
		})},
	}
	return c
}

func (b *builder) sds() *clusterpb.Cluster {
	c := b.cluster(sdsCluster, clusterpb.Cluster_STATIC, &corepb.Address{
		Address: &corepb.Address_Pipe{Pipe: &corepb.Pipe{Path: b.socket}},
	})
	c.TypedExtensionProtocolOptions = b.http2()
	return c
}

func (b *builder) admin() *clusterpb.Cluster {
	return b.cluster(adminCluster, clusterpb.Cluster_STATIC, address(b.cfg.AdminIP, b.cfg.AdminPort))
}

func (b *builder) cluster(name string, kind clusterpb.Cluster_DiscoveryType, at *corepb.Address) *clusterpb.Cluster {
	return &clusterpb.Cluster{
		Name: name, ClusterDiscoveryType: &clusterpb.Cluster_Type{Type: kind}, ConnectTimeout: durationpb.New(time.Second),
		LoadAssignment: &endpointpb.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointpb.LocalityLbEndpoints{{LbEndpoints: []*endpointpb.LbEndpoint{{
				HostIdentifier: &endpointpb.LbEndpoint_Endpoint{Endpoint: &endpointpb.Endpoint{Address: at}},
			}}}},
		},
	}
}

func (b *builder) http2() map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.any(&httppb.HttpProtocolOptions{
		UpstreamProtocolOptions: &httppb.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httppb.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httppb.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corepb.Http2ProtocolOptions{},
				},
			},
		},
	})}
}

// stats serves the proxy's metrics to scrapers and nothing else of the admin API, compressed for those who take that, as in Istio.
func (b *builder) stats() *listenerpb.Listener {
	var filters []*hcmpb.HttpFilter
	if b.cfg.compresses() {
		filters = append(filters, b.filter("envoy.filters.http.compressor", &compressorpb.Compressor{
			CompressorLibrary: &corepb.TypedExtensionConfig{Name: "text_optimized", TypedConfig: b.any(&gzippb.Gzip{})},
			ResponseDirectionConfig: &compressorpb.Compressor_ResponseDirectionConfig{
				RemoveAcceptEncodingHeader: true,
			},
		}))
	}
	return b.listener("stats", b.cfg.StatsPort, &routepb.Route{
		Match:  &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_Prefix{Prefix: "/stats/prometheus"}},
		Action: toAdmin(""),
	}, filters...)
}

func (b *builder) filter(name string, config proto.Message) *hcmpb.HttpFilter {
	return &hcmpb.HttpFilter{Name: name, ConfigType: &hcmpb.HttpFilter_TypedConfig{TypedConfig: b.any(config)}}
}

// health answers 200 at /healthz/ready when the proxy is ready to serve.
func (b *builder) health() *listenerpb.Listener {
	return b.listener("health", b.cfg.HealthPort, &routepb.Route{
		Match:  &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_Path{Path: "/healthz/ready"}},
		Action: toAdmin("/ready"),
	})
}

func toAdmin(rewrite string) *routepb.Route_Route {
	return &routepb.Route_Route{Route: &routepb.RouteAction{
		ClusterSpecifier: &routepb.RouteAction_Cluster{Cluster: adminCluster}, PrefixRewrite: rewrite,
	}}
}

func (b *builder) listener(name string, port uint16, route *routepb.Route, filters ...*hcmpb.HttpFilter) *listenerpb.Listener {
	manager := &hcmpb.HttpConnectionManager{
		StatPrefix: name, CodecType: hcmpb.HttpConnectionManager_AUTO,
		RouteSpecifier: &hcmpb.HttpConnectionManager_RouteConfig{RouteConfig: &routepb.RouteConfiguration{
			Name:         name,
			VirtualHosts: []*routepb.VirtualHost{{Name: "backend", Domains: []string{"*"}, Routes: []*routepb.Route{route}}},
		}},
		HttpFilters: append(filters, b.filter("envoy.filters.http.router", &routerpb.Router{})),
	}
	return &listenerpb.Listener{
		Name: name, Address: address(b.cfg.IP, port),
		FilterChains: []*listenerpb.FilterChain{{Filters: []*listenerpb.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerpb.Filter_TypedConfig{TypedConfig: b.any(manager)},
		}}}},
	}
}

func agentSecret(name string) *tlspb.SdsSecretConfig {
	return &tlspb.SdsSecretConfig{Name: name, SdsConfig: &corepb.ConfigSource{
		InitialFetchTimeout: durationpb.New(0), ResourceApiVersion: corepb.ApiVersion_V3,
		ConfigSourceSpecifier: &corepb.ConfigSource_ApiConfigSource{ApiConfigSource: &corepb.ApiConfigSource{
			ApiType: corepb.ApiConfigSource_GRPC, TransportApiVersion: corepb.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corepb.GrpcService{grpcService(sdsCluster)},
		}},
	}}
}

func ads() *corepb.ConfigSource {
	return &corepb.ConfigSource{
		ConfigSourceSpecifier: &corepb.ConfigSource_Ads{Ads: &corepb.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0), ResourceApiVersion: corepb.ApiVersion_V3,
	}
}

func grpcService(cluster string) *corepb.GrpcService {
	return &corepb.GrpcService{TargetSpecifier: &corepb.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corepb.GrpcService_EnvoyGrpc{ClusterName: cluster}}}
}

func address(ip netip.Addr, port uint16) *corepb.Address {
	return socketAddress(ip.String(), uint32(port))
}

func socketAddress(host string, port uint32) *corepb.Address {
	return &corepb.Address{Address: &corepb.Address_SocketAddress{SocketAddress: &corepb.SocketAddress{
		Address: host, PortSpecifier: &corepb.SocketAddress_PortValue{PortValue: port},
	}}}
}

package translate

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Filter names.
const (
	metadataExchangeFilter = "istio.metadata_exchange"
	statsFilter            = "istio.stats"
	faultFilter            = "envoy.filters.http.fault"
	corsFilter             = "envoy.filters.http.cors"
	jwtFilter              = "envoy.filters.http.jwt_authn"
	routerFilter           = "envoy.filters.http.router"
	hcmFilter              = "envoy.filters.network.http_connection_manager"
	tcpProxyFilter         = "envoy.filters.network.tcp_proxy"
	tlsInspector           = "envoy.filters.listener.tls_inspector"
	httpInspector          = "envoy.filters.listener.http_inspector"
	originalDstFilter      = "envoy.filters.listener.original_dst"
	proxyProtocolFilter    = "envoy.filters.listener.proxy_protocol"
	onDemandFilter         = "envoy.filters.http.on_demand"
	grpcWebFilter          = "envoy.filters.http.grpc_web"
)

// direction is whose traffic a listener carries.
type direction uint8

const (
	inbound direction = iota
	outbound
	gateway
)

// filters makes the network filters of a proxy's listeners of one direction. What all of their filter chains have alike is made once: what policies become costs
// more than all else.
type filters struct {
	s    *model.Snapshot
	p    *model.Proxy
	d    direction
	logs loggers
	// Nil until a chain needs them.
	requests    []*hcmv3.HttpFilter
	connections []namedConfig
}

// namedConfig is a network filter that any number of chains have. Each has an entry of its own for it, since an EnvoyFilter may change one.
type namedConfig struct {
	name string
	cfg  *anypb.Any
}

func newFilters(s *model.Snapshot, p *model.Proxy, d direction) *filters {
	f := &filters{s: s, p: p, d: d}
	f.logs = accessLogs(s, p, d)
	return f
}

// finish puts what all listeners have alike on one.
func (f *filters) finish(l *listenerv3.Listener) *listenerv3.Listener {
	l.AccessLog = f.logs.listener
	l.PerConnectionBufferLimitBytes = uint32Of(f.s.ConnectionsOf(f.p).GetListenerPerConnectionBufferLimitBytes())
	return l
}

// http is the chain of every connection manager: who the peer is, what it may do, faults, CORS,
// statistics, the router. One whose virtual hosts come on demand waits for them before all else.
func (f *filters) http() []*hcmv3.HttpFilter {
	if f.requests == nil {
		f.requests = httpFilters(f.s, f.p, f.d)
	}
	return f.requests
}

func httpFilters(s *model.Snapshot, p *model.Proxy, d direction) []*hcmv3.HttpFilter {
	filter := func(name string, cfg *anypb.Any) *hcmv3.HttpFilter {
		return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: cfg}}
	}
	var chain []*hcmv3.HttpFilter
	if d == outbound && p.OnDemand {
		chain = append(chain, filter(onDemandFilter, toAny(&ondemandv3.OnDemand{})))
	}
	if !p.Lacks.Has(model.PeerMetadata) {
		chain = append(chain, filter(metadataExchangeFilter, peerMetadata(d)))
	}
	chain = append(chain, tokens(s, p, d)...)
	chain = append(chain, asks(s, p, d)...)
	chain = append(chain, requestRules(s, p, d)...)
	chain = append(chain, filter(faultFilter, toAny(&faultv3.HTTPFault{})), filter(corsFilter, toAny(&corsv3.Cors{})))
	if keepsStandardMetrics(s, p) {
		chain = append(chain, filter(statsFilter, stats(d)))
	}
	router := &routerv3.Router{SuppressEnvoyHeaders: s.HeadersOf(p).GetEnvoyDebugHeaders().GetDisabled().GetValue()}
	return append(chain, filter(routerFilter, toAny(router)))
}

// tcp is what a chain for opaque bytes has before its TCP proxy: who the peer is, what it may do, and statistics.
func (f *filters) tcp() []*listenerv3.Filter {
	if f.connections == nil {
		f.connections = connectionFilters(f.s, f.p, f.d)
	}
	out := make([]*listenerv3.Filter, len(f.connections), len(f.connections)+1)
	for i, c := range f.connections {
		out[i] = networkFilter(c.name, c.cfg)
	}
	return out
}

func connectionFilters(s *model.Snapshot, p *model.Proxy, d direction) []namedConfig {
	out := []namedConfig{}
	if d == inbound && !p.Lacks.Has(model.MetadataExchange) {
		out = append(out, namedConfig{metadataExchangeFilter, tcpMetadataExchange()})
	}
	out = append(out, connectionAsks(s, p, d)...)
	out = append(out, connectionRules(s, p, d)...)
	if keepsStandardMetrics(s, p) {
		out = append(out, namedConfig{statsFilter, stats(d)})
	}
	return out
}

func keepsStandardMetrics(s *model.Snapshot, p *model.Proxy) bool {
	return !s.Mesh.NoStandardMetrics && !p.Lacks.Has(model.IstioStats)
}

// grpcWebFilters turn gRPC-Web of browsers into gRPC.
func grpcWebFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{{Name: grpcWebFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(&grpcwebv3.GrpcWeb{})}}}
}

// peerMetadata exchanges who the peers are, by headers (B1, B6): on the way in from clients,
// on the way out from servers. Each side tells the other; the app behind a sidecar is told
// nothing in responses to its own requests.
func peerMetadata(d direction) *anypb.Any {
	headers := []any{map[string]any{"istio_headers": map[string]any{}}}
	value := map[string]any{
		"upstream_discovery": headers,
		// Who we are is nothing to hosts outside of the mesh.
		"upstream_propagation": []any{map[string]any{"istio_headers": map[string]any{"skip_external_clusters": true}}},
	}
	if d == inbound {
		value = map[string]any{"downstream_discovery": headers, "downstream_propagation": headers}
	}
	return typedStruct("type.googleapis.com/io.istio.http.peer_metadata.Config", value)
}

// stats is Istio's metrics. A server knows what it serves: it need not guess by the host
// header. Nor may a gateway, which anybody may call by any name.
func stats(d direction) *anypb.Any {
	value := map[string]any{}
	if d != outbound {
		value["disable_host_header_fallback"] = true
	}
	return typedStruct("type.googleapis.com/stats.PluginConfig", value)
}

// tcpMetadataExchange exchanges who the peers are at the head of a TCP stream, when both have
// agreed to by ALPN.
func tcpMetadataExchange() *anypb.Any {
	return typedStruct("type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
		map[string]any{"protocol": "istio-peer-exchange"})
}

func networkFilter(name string, cfg *anypb.Any) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: cfg}}
}

func listenerFilter(name string, cfg proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: toAny(cfg)}}
}

func inspectTLS() *listenerv3.ListenerFilter {
	return listenerFilter(tlsInspector, &tlsinspectorv3.TlsInspector{})
}

func inspectHTTP() *listenerv3.ListenerFilter {
	return listenerFilter(httpInspector, &httpinspectorv3.HttpInspector{})
}

func restoreOriginalDst() *listenerv3.ListenerFilter {
	return listenerFilter(originalDstFilter, &originaldstv3.OriginalDst{})
}

// readProxyProtocol takes the client's address from the head of the connection.
func readProxyProtocol() *listenerv3.ListenerFilter {
	return listenerFilter(proxyProtocolFilter, &proxyprotocolv3.ProxyProtocol{})
}

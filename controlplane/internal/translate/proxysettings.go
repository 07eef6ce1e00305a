package translate

import (
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// applyHeaders says which headers a connection manager adds, as proxyHeaders has it. What concerns the certificates of clients is for the server's sidecar alone: gateways have
// their topology for that.
func applyHeaders(m *hcmv3.HttpConnectionManager, d direction, h *meshconfig.ProxyConfig_ProxyHeaders) {
	if d == inbound {
		c := h.GetSetCurrentClientCertDetails()
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD
		if f := h.GetForwardedClientCert(); f != meshconfig.ForwardClientCertDetails_UNDEFINED {
			m.ForwardClientCertDetails = forwardClientCert[model.ForwardClientCert(f)]
		}
		m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
			Subject: boolean(!isFalse(c.GetSubject())), Dns: !isFalse(c.GetDns()), Uri: !isFalse(c.GetUri()),
			Cert: c.GetCert().GetValue(), Chain: c.GetChain().GetValue(),
		}
	}
	switch s := h.GetServer(); {
	case s.GetDisabled().GetValue():
		m.ServerName, m.ServerHeaderTransformation = "", hcmv3.HttpConnectionManager_PASS_THROUGH
	case s.GetValue() != "":
		m.ServerName = s.GetValue()
	}
	if h.GetRequestId().GetDisabled().GetValue() {
		m.GenerateRequestId = boolean(false)
	}
	m.AppendXForwardedPort = h.GetXForwardedPort().GetEnabled().GetValue()
	if h.GetPreserveHttp1HeaderCase().GetValue() {
		m.HttpProtocolOptions = keepingCase()
	}
}

// keepingCase has the names of headers go on as they came, in HTTP/1.
func keepingCase() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{HeaderKeyFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat{
		HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{StatefulFormatter: &corev3.TypedExtensionConfig{
			Name: "preserve_case", TypedConfig: toAny(&preservev3.PreserveCaseFormatterConfig{}),
		}},
	}}
}

func isFalse(b *wrapperspb.BoolValue) bool { return b != nil && !b.Value }

// countsAttempts reports whether servers are told how often a request was tried.
func countsAttempts(s *model.Snapshot, p *model.Proxy) bool {
	return !s.HeadersOf(p).GetAttemptCount().GetDisabled().GetValue()
}

// applyConnections says how a connection manager treats its connections, as connectionSettings has it.
func applyConnections(m *hcmv3.HttpConnectionManager, c *meshconfig.ProxyConfig_ConnectionSettings) {
	if c == nil {
		return
	}
	common := &corev3.HttpProtocolOptions{
		IdleTimeout: c.HttpIdleTimeout, MaxConnectionDuration: c.HttpMaxConnectionDuration, MaxStreamDuration: c.HttpMaxStreamDuration,
		HeadersWithUnderscoresAction: underscores[c.HttpHeadersWithUnderscoresAction],
	}
	if proto.Size(common) > 0 {
		m.CommonHttpProtocolOptions = common
	}
	h2 := &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams: uint32Of(c.HttpMaxConcurrentStreams), InitialStreamWindowSize: uint32Of(c.Http2InitialStreamWindowSize),
		InitialConnectionWindowSize: uint32Of(c.Http2InitialConnectionWindowSize),
	}
	if proto.Size(h2) > 0 {
		m.Http2ProtocolOptions = h2
	}
	if c.HttpStreamIdleTimeout != nil {
		m.StreamIdleTimeout = c.HttpStreamIdleTimeout
	}
	m.RequestTimeout, m.RequestHeadersTimeout, m.DrainTimeout = c.HttpRequestTimeout, c.HttpRequestHeadersTimeout, c.HttpDrainTimeout
	if c.HttpMergeSlashes != nil {
		m.MergeSlashes = c.HttpMergeSlashes.Value
	}
	if a, said := escapedSlashes[c.HttpPathWithEscapedSlashesAction]; said {
		m.PathWithEscapedSlashesAction = a
	}
}

// Envoy's values for Istio's.
var (
	underscores = map[meshconfig.ProxyConfig_ConnectionSettings_HeadersWithUnderscoresAction]corev3.HttpProtocolOptions_HeadersWithUnderscoresAction{
		meshconfig.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_REJECT_REQUEST: corev3.HttpProtocolOptions_REJECT_REQUEST,
		meshconfig.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_DROP_HEADER:    corev3.HttpProtocolOptions_DROP_HEADER,
	}
	escapedSlashes = map[meshconfig.ProxyConfig_ConnectionSettings_PathWithEscapedSlashesAction]hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction{
		meshconfig.ProxyConfig_ConnectionSettings_KEEP_UNCHANGED:        hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
		meshconfig.ProxyConfig_ConnectionSettings_REJECT_REQUEST:        hcmv3.HttpConnectionManager_REJECT_REQUEST,
		meshconfig.ProxyConfig_ConnectionSettings_UNESCAPE_AND_REDIRECT: hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT,
		meshconfig.ProxyConfig_ConnectionSettings_UNESCAPE_AND_FORWARD:  hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD,
	}
)

// uint32Of is nil for what is not given and for what Envoy would not take.
func uint32Of(v *wrapperspb.Int32Value) *wrapperspb.UInt32Value {
	if v == nil || v.Value < 0 {
		return nil
	}
	return u32(uint32(v.Value))
}

// settingsBootstrap is what the mesh's ProxyConfig says of a proxy's bootstrap.
func settingsBootstrap(s *model.Snapshot, p *model.Proxy) *bootstrapv3.Bootstrap {
	out := &bootstrapv3.Bootstrap{}
	if at := s.Mesh.StatsdAddress; at.IsValid() {
		out.StatsSinks = []*metricsv3.StatsSink{{Name: "envoy.stat_sinks.statsd", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: toAny(&metricsv3.StatsdSink{
			StatsdSpecifier: &metricsv3.StatsdSink_Address{Address: socketAddress(at.Addr().String(), uint32(at.Port()))},
		})}}}
	}
	metricsService(s, p, out)
	var layers []*bootstrapv3.RuntimeLayer
	if s.ConnectionsOf(p).GetListenerConnectionLimit().GetValue() > 0 {
		layers = append(layers, &bootstrapv3.RuntimeLayer{Name: listenerLimits, LayerSpecifier: &bootstrapv3.RuntimeLayer_RtdsLayer_{
			RtdsLayer: &bootstrapv3.RuntimeLayer_RtdsLayer{Name: listenerLimits, RtdsConfig: adsSource()},
		}})
	}
	if values := s.Mesh.Runtime; len(values) > 0 {
		layer := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for k, v := range values {
			layer.Fields[k] = structpb.NewStringValue(v) // which proxies read as what it looks like
		}
		layers = append(layers, &bootstrapv3.RuntimeLayer{Name: "mesh", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: layer}})
	}
	if len(layers) > 0 {
		out.LayeredRuntime = &bootstrapv3.LayeredRuntime{Layers: append(layers,
			&bootstrapv3.RuntimeLayer{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}})}
	}
	if n := s.ConnectionsOf(p).GetGlobalDownstreamConnectionLimit().GetValue(); n > 0 {
		out.OverloadManager = &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name:       "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: toAny(&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: int64(n)})},
		}}}
	}
	return out
}

// settledClusters are clusters as a proxy's own settings have them: how much is buffered for their connections, and whether names of headers keep their case.
func settledClusters(s *model.Snapshot, p *model.Proxy, list []Resource) []Resource {
	limit := uint32Of(s.ConnectionsOf(p).GetClusterPerConnectionBufferLimitBytes())
	keepCase := s.HeadersOf(p).GetPreserveHttp1HeaderCase().GetValue()
	key := ""
	if limit != nil {
		key += "|buffers=" + strconv.FormatUint(uint64(limit.Value), 10)
	}
	if keepCase {
		key += "|case"
	}
	if key == "" {
		return list
	}
	for i := range list {
		build := list[i].build
		list[i].Key += key
		list[i].build = func() proto.Message {
			c := build().(*clusterv3.Cluster)
			if limit != nil {
				c.PerConnectionBufferLimitBytes = limit
			}
			if keepCase {
				keepCaseUpstream(c)
			}
			return c
		}
	}
	return list
}

// keepCaseUpstream has answers' names of headers keep their case where a cluster may speak HTTP/1.
func keepCaseUpstream(c *clusterv3.Cluster) {
	o := &httpv3.HttpProtocolOptions{}
	if a := c.TypedExtensionProtocolOptions[httpOptionsName]; a != nil {
		if err := a.UnmarshalTo(o); err != nil {
			panic("BUG: translate: options of a cluster that was just built: " + err.Error())
		}
	}
	switch u := o.UpstreamProtocolOptions.(type) {
	case nil:
		explicitHTTP1(o)
		o.GetExplicitHttpConfig().GetHttpProtocolOptions().HeaderKeyFormat = keepingCase().HeaderKeyFormat
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		if h1 := u.ExplicitHttpConfig.GetHttpProtocolOptions(); h1 != nil {
			h1.HeaderKeyFormat = keepingCase().HeaderKeyFormat
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		u.UseDownstreamProtocolConfig.HttpProtocolOptions = keepingCase()
	}
	setHTTPOptions(c, o)
}

// listenerLimits is the layer of the runtime that bounds the connections of each listener, and its resource.
const listenerLimits = "listener-limits"

// ListenerLimits is the layer of the runtime that says how many connections each of a proxy's listeners, which are given by name, has at most
// (connectionSettings.listenerConnectionLimit). A proxy whose bootstrap has no such layer, since there was no limit when its agent started, does not
// ask for it. Where the limit has been taken out it is empty.
func ListenerLimits(s *model.Snapshot, p *model.Proxy, listeners []string) []Resource {
	n := s.ConnectionsOf(p).GetListenerConnectionLimit().GetValue()
	return []Resource{{Name: listenerLimits, build: func() proto.Message {
		layer := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		if n > 0 {
			for _, name := range listeners {
				layer.Fields["envoy.resource_limits.listener."+name+".connection_limit"] = structpb.NewNumberValue(float64(n))
			}
		}
		return &runtimev3.Runtime{Name: listenerLimits, Layer: layer}
	}}}
}

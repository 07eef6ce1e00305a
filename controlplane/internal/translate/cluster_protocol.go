package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// httpOptionsName is the key of HttpProtocolOptions in a cluster.
const httpOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func u64(v uint64) *wrapperspb.UInt64Value { return wrapperspb.UInt64(v) }

func percent(v float64) *typev3.Percent { return &typev3.Percent{Value: min(max(v, 0), 100)} }

func setHTTPOptions(c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions) {
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsName: toAny(o)}
}

func explicitHTTP1(o *httpv3.HttpProtocolOptions) {
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}}
}

func explicitHTTP2(o *httpv3.HttpProtocolOptions, maxStreams int32) {
	h2 := &corev3.Http2ProtocolOptions{}
	if maxStreams > 0 {
		h2.MaxConcurrentStreams = u32(uint32(maxStreams))
	}
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
	}}
}

func downstreamProtocol(o *httpv3.HttpProtocolOptions) {
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
		HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
	}}
}

func useDownstreamProtocol(c *clusterv3.Cluster) {
	o := &httpv3.HttpProtocolOptions{}
	downstreamProtocol(o)
	setHTTPOptions(c, o)
}

// protocolOptions says which HTTP version the endpoints are spoken to. A plain HTTP/1.1 port
// with no settings needs none.
func (in *clusterInput) protocolOptions(c *clusterv3.Cluster) {
	cp := &model.ConnectionPool{}
	if in.policy != nil && in.policy.ConnectionPool != nil {
		cp = in.policy.ConnectionPool
	}
	o := &httpv3.HttpProtocolOptions{}
	common := &corev3.HttpProtocolOptions{IdleTimeout: idle(cp.IdleTimeout), MaxConnectionDuration: idle(cp.MaxConnectionDuration)}
	if cp.MaxRequestsPerConn > 0 {
		common.MaxRequestsPerConnection = u32(uint32(cp.MaxRequestsPerConn))
	}
	settings := common.IdleTimeout != nil || common.MaxConnectionDuration != nil || common.MaxRequestsPerConnection != nil
	if settings {
		o.CommonHttpProtocolOptions = common
	}
	switch {
	case in.port.Protocol.IsHTTP2(), cp.H2Upgrade && in.port.Protocol == model.ProtocolHTTP:
		explicitHTTP2(o, cp.MaxConcurrentStreams)
	case cp.UseClientProtocol, in.port.Protocol == model.ProtocolAuto:
		downstreamProtocol(o)
	case settings:
		explicitHTTP1(o)
	default:
		return
	}
	setHTTPOptions(c, o)
}

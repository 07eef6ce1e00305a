package translate

import (
	"cmp"

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

func explicitHTTP2(o *httpv3.HttpProtocolOptions, h2 *corev3.Http2ProtocolOptions) {
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
	}}
}

func downstreamProtocol(o *httpv3.HttpProtocolOptions, h2 *corev3.Http2ProtocolOptions) {
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: h2,
	}}
}

func useDownstreamProtocol(c *clusterv3.Cluster) {
	o := &httpv3.HttpProtocolOptions{}
	downstreamProtocol(o, &corev3.Http2ProtocolOptions{})
	setHTTPOptions(c, o)
}

// upstreamHTTP is the version of HTTP that endpoints are spoken to in.
type upstreamHTTP uint8

const (
	upstreamHTTP1 upstreamHTTP = iota
	upstreamHTTP2
	upstreamAsClient
)

// version chooses it: the client's where the policy says so, HTTP/2 where the port or an
// upgrade says so, and the client's where a sidecar has to detect the protocol. A gateway
// offers HTTP/2 to everyone, which says nothing about the service: there it is HTTP/1.1.
func (in *clusterInput) version() upstreamHTTP {
	cp := in.connectionPool()
	upgrade := cp.H2Upgrade == model.H2UpgradeYes ||
		cp.H2Upgrade == model.H2UpgradeDefault && in.mesh.H2Upgrade && in.port.Protocol.IsHTTP()
	switch {
	case cp.UseClientProtocol:
		return upstreamAsClient
	case in.port.Protocol.IsHTTP2(), upgrade:
		return upstreamHTTP2
	case in.port.Protocol == model.ProtocolAuto && !in.router():
		return upstreamAsClient
	}
	return upstreamHTTP1
}

// connectionLife is how long connections of a pool live; nil when nothing is said.
func connectionLife(cp *model.ConnectionPool) *corev3.HttpProtocolOptions {
	out := &corev3.HttpProtocolOptions{IdleTimeout: optional(cmp.Or(cp.IdleTimeout, cp.TCPIdleTimeout)), MaxConnectionDuration: optional(cp.MaxConnectionDuration)}
	if cp.MaxRequestsPerConn > 0 {
		out.MaxRequestsPerConnection = u32(uint32(cp.MaxRequestsPerConn))
	}
	if out.IdleTimeout == nil && out.MaxConnectionDuration == nil && out.MaxRequestsPerConnection == nil {
		return nil
	}
	return out
}

// keepPinging makes a pool's HTTP/2 connections prove that they live.
func keepPinging(h2 *corev3.Http2ProtocolOptions, cp *model.ConnectionPool) {
	if k := cp.HTTP2Keepalive; k != nil && k.Timeout != nil && *k.Timeout > 0 {
		h2.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: optional(k.Interval), Timeout: seconds(*k.Timeout)}
	}
}

// protocolOptions says which HTTP version the endpoints are spoken to, and how long
// connections live. A plain HTTP/1.1 port with no settings needs none.
func (in *clusterInput) protocolOptions(c *clusterv3.Cluster) {
	cp := in.connectionPool()
	o := &httpv3.HttpProtocolOptions{UpstreamHttpProtocolOptions: in.serverName()}
	settings := o.UpstreamHttpProtocolOptions != nil
	if common := connectionLife(cp); common != nil {
		o.CommonHttpProtocolOptions, settings = common, true
	}
	if out := in.outlier(); out != nil && speaksHTTP(in.port) {
		o.OutlierDetection = errorStatuses(out.HTTPErrorCodes)
		settings = settings || o.OutlierDetection != nil
	}
	h2 := &corev3.Http2ProtocolOptions{}
	keepPinging(h2, cp)
	switch in.version() {
	case upstreamHTTP2:
		if cp.MaxConcurrentStreams > 0 {
			h2.MaxConcurrentStreams = u32(uint32(cp.MaxConcurrentStreams))
		}
		explicitHTTP2(o, h2)
	case upstreamAsClient:
		downstreamProtocol(o, h2)
	default:
		if !settings {
			return
		}
		explicitHTTP1(o)
	}
	setHTTPOptions(c, o)
}

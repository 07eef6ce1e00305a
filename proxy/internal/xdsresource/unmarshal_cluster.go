package xdsresource

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Cluster validates a cluster. The error is an *Error with every problem.
func (d *Decoder) Cluster(m *clusterv3.Cluster) (*Cluster, error) {
	p := &parser{dec: d}
	p.check("", m)
	c := p.cluster(m)
	if err := p.finish("cluster", m.GetName()); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *parser) cluster(m *clusterv3.Cluster) *Cluster {
	c := &Cluster{
		Name:              m.GetName(),
		AltStatName:       m.GetAltStatName(),
		ObservabilityName: m.GetAltStatName(),
		ConnectTimeout:    p.duration("connect_timeout", m.GetConnectTimeout(), 5*time.Second),
		BufferLimit:       uint32Or(m.GetPerConnectionBufferLimitBytes(), 0),
		DNS: DNS{
			Family:     DNSFamily(m.GetDnsLookupFamily()),
			Refresh:    p.duration("dns_refresh_rate", m.GetDnsRefreshRate(), 5*time.Second), //nolint:staticcheck // what Istio sends
			RespectTTL: m.GetRespectDnsTtl(),                                                 //nolint:staticcheck // as above
		},
		MaxRequestsPerConnection: uint32Or(m.GetMaxRequestsPerConnection(), 0), //nolint:staticcheck // as above
		Metadata:                 metadata(m.GetMetadata()),
	}
	c.CleanupInterval = p.duration("cleanup_interval", m.GetCleanupInterval(), 5*time.Second)
	c.DNS.Jitter = p.duration("dns_jitter", m.GetDnsJitter(), 0)                                                  //nolint:staticcheck // the form that is in use
	c.DNS.FailureBase, c.DNS.FailureMax = p.refreshRate("dns_failure_refresh_rate", m.GetDnsFailureRefreshRate()) //nolint:staticcheck // as above
	if c.ObservabilityName == "" {
		c.ObservabilityName = c.Name
	}
	p.clusterType(m, c)
	if r := p.clusterResolver(m); r != nil {
		c.DNS.Resolver = r
	}
	c.DNS.WarmAtOnce = !boolOr(m.GetWaitForWarmOnInit(), true)
	p.clusterLB(m, c)
	p.clusterHTTP(m, c)
	p.dynamicTLS(m, c)
	p.breakers(m.GetCircuitBreakers(), c)
	p.hostBreakers(m.GetCircuitBreakers(), c)
	if r := m.GetPreconnectPolicy().GetPerUpstreamPreconnectRatio(); r != nil {
		c.PreconnectRatio = r.GetValue()
	}
	if r := m.GetPreconnectPolicy().GetPredictivePreconnectRatio(); r != nil {
		c.PredictiveRatio = r.GetValue()
	}
	if m.GetOutlierDetection() != nil {
		c.Outlier = p.outlier("outlier_detection", m.GetOutlierDetection())
		c.Outlier.Errors = c.HTTP.OutlierErrors
	}
	c.HealthChecks = p.healthChecks("health_checks", m.GetHealthChecks())
	c.PoolPerDownstream = m.GetConnectionPoolPerDownstreamConnection()
	c.CloseOnHealthFailure = m.GetCloseConnectionsOnHostHealthFailure()
	c.TrackBudgets = m.GetTrackTimeoutBudgets() || m.GetTrackClusterStats().GetTimeoutBudgets() //nolint:staticcheck // the older form
	c.TrackSizes = m.GetTrackClusterStats().GetRequestResponseSizes()
	c.RemoveHealthyHosts = m.GetIgnoreHealthOnHostRemoval()
	c.Transport = p.upstreamTransport("transport_socket", m.GetTransportSocket())
	for i, ts := range m.GetTransportSocketMatches() {
		here := at("transport_socket_matches", i)
		match := map[string]string{}
		p.stringStruct(join(here, "match"), ts.GetMatch(), match)
		c.TransportMatches = append(c.TransportMatches, TransportSocketMatch{
			Name:      ts.GetName(),
			Match:     match,
			Transport: p.upstreamTransport(join(here, "transport_socket"), ts.GetTransportSocket()),
		})
	}
	c.Bind = p.bind("upstream_bind_config", m.GetUpstreamBindConfig())
	c.TCPKeepalive = keepalive(m.GetUpstreamConnectionOptions().GetTcpKeepalive())
	if h := m.GetUpstreamConnectionOptions().GetHappyEyeballsConfig(); h != nil {
		c.Eyeballs = Eyeballs{Family: IPFamily(h.GetFirstAddressFamilyVersion()), Count: uint32Or(h.GetFirstAddressFamilyCount(), 1)}
	}
	for i, f := range m.GetFilters() {
		here := at("filters", i)
		cfg := p.networkExtension(here, f.GetName(), f.GetTypedConfig(), false)
		c.Filters = append(c.Filters, NetworkFilter{Name: f.GetName(), Config: cfg})
	}
	return c
}

func (p *parser) clusterType(m *clusterv3.Cluster, c *Cluster) {
	if ct := m.GetClusterType(); ct != nil {
		p.customType("cluster_type", ct, c)
	} else {
		p.builtInType(m, c)
	}
	p.loadAssignment(m, c)
}

func (p *parser) builtInType(m *clusterv3.Cluster, c *Cluster) {
	switch m.GetType() {
	case clusterv3.Cluster_STATIC:
		c.Type = ClusterStatic
	case clusterv3.Cluster_STRICT_DNS:
		c.Type = ClusterStrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		c.Type = ClusterLogicalDNS
	case clusterv3.Cluster_EDS:
		c.Type = ClusterEDS
		c.EDSServiceName = m.GetEdsClusterConfig().GetServiceName()
		if c.EDSServiceName == "" {
			c.EDSServiceName = c.Name
		}
		if m.GetEdsClusterConfig() == nil {
			p.bad("eds_cluster_config", "is required for a cluster of type EDS")
		}
		c.EDSSource, c.EDSFetchTimeout = p.source("eds_cluster_config.eds_config", m.GetEdsClusterConfig().GetEdsConfig())
	case clusterv3.Cluster_ORIGINAL_DST:
		c.Type = ClusterOriginalDst
		if o := m.GetOriginalDstLbConfig(); o != nil {
			if o.GetUseHttpHeader() {
				c.OriginalDstHeader = cmp.Or(strings.ToLower(o.GetHttpHeaderName()), "x-envoy-original-dst-host")
			}
			if k := o.GetMetadataKey(); k != nil {
				c.OriginalDstMetadata = metadataKey(k)
			}
			if v := o.GetUpstreamPortOverride(); v != nil {
				c.OriginalDstPort = uint16(v.GetValue())
				if v.GetValue() > 65535 || v.GetValue() == 0 {
					p.bad("original_dst_lb_config.upstream_port_override", "%d is not a port", v.GetValue())
				}
			}
		}
	default:
		p.bad("type", "%v is not supported", m.GetType())
	}
}

// loadAssignment reads the endpoints of clusters that have them in their configuration.
func (p *parser) loadAssignment(m *clusterv3.Cluster, c *Cluster) {
	names := c.Type == ClusterStrictDNS || c.Type == ClusterLogicalDNS
	if la := m.GetLoadAssignment(); la != nil {
		if c.Type == ClusterEDS || c.Type == ClusterOriginalDst || c.Type == ClusterAggregate || c.Type == ClusterDynamic {
			p.bad("load_assignment", "has no place in a cluster of this type")
			return
		}
		c.Endpoints = p.endpoints("load_assignment", la, names)
		if c.Type == ClusterLogicalDNS {
			n := 0
			for _, l := range c.Endpoints.Localities {
				n += len(l.Endpoints)
			}
			if n != 1 {
				p.bad("load_assignment", "LOGICAL_DNS clusters have exactly one endpoint, this has %d", n)
			}
		}
	} else if names {
		p.bad("load_assignment", "is required for a cluster that resolves names")
	}
	if c.Endpoints == nil && c.Type == ClusterStatic {
		c.Endpoints = &Endpoints{ClusterName: c.Name, OverprovisioningFactor: 140}
	}
}

// protocolOptionsKey is the key of HttpProtocolOptions in typed_extension_protocol_options.
const protocolOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

//nolint:staticcheck // the cluster's own protocol fields are deprecated and in wide use
func (p *parser) clusterHTTP(m *clusterv3.Cluster, c *Cluster) {
	c.HTTP = UpstreamHTTP{IdleTimeout: time.Hour, MaxResponseHeaders: 100}
	p.upstreamCommon("common_http_protocol_options", m.GetCommonHttpProtocolOptions(), &c.HTTP)
	upstreamAuto(m.GetUpstreamHttpProtocolOptions(), &c.HTTP)
	if o := m.GetHttpProtocolOptions(); o != nil {
		c.HTTP.HTTP1, _, _ = p.http1("http_protocol_options", o)
	}
	if o := m.GetHttp2ProtocolOptions(); o != nil {
		c.HTTP.Protocol, c.HTTP.HTTP2 = UpstreamHTTP2, p.http2("http2_protocol_options", o, nil)
	}
	if m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL {
		c.HTTP.Protocol = UpstreamAsDownstream
	}
	for key, a := range m.GetTypedExtensionProtocolOptions() {
		here := fmt.Sprintf("typed_extension_protocol_options[%q]", key)
		if key != protocolOptionsKey {
			p.bad(here, "only %s is supported", protocolOptionsKey)
			continue
		}
		var o httpv3.HttpProtocolOptions
		if !p.message(here, a, &o) {
			continue
		}
		p.upstreamCommon(join(here, "common_http_protocol_options"), o.GetCommonHttpProtocolOptions(), &c.HTTP)
		upstreamAuto(o.GetUpstreamHttpProtocolOptions(), &c.HTTP)
		if o.GetRetryPolicy() != nil {
			c.HTTP.Retry = p.retryPolicy(join(here, "retry_policy"), o.GetRetryPolicy())
		}
		c.HTTP.Hash = p.hashPolicies(join(here, "hash_policy"), o.GetHashPolicy())
		if e := o.GetOutlierDetection().GetErrorMatcher(); e != nil {
			c.HTTP.OutlierErrors = p.errorStatuses(join(here, "outlier_detection.error_matcher"), e)
		}
		h1, h2 := upstreamVersion(&o, c)
		if c.HTTP.Protocol == UpstreamAuto && m.GetTransportSocket() == nil && len(m.GetTransportSocketMatches()) == 0 {
			p.bad(join(here, "auto_config"), "needs a transport_socket of TLS, whose handshake agrees on the version")
		}
		if h1 != nil {
			c.HTTP.HTTP1, _, _ = p.http1(here, h1)
		}
		c.HTTP.HTTP2 = p.http2(join(here, "http2_protocol_options"), h2, nil)
	}
}

// upstreamVersion sets which version of HTTP is spoken, and returns the options of each.
func upstreamVersion(o *httpv3.HttpProtocolOptions, c *Cluster) (h1 *corev3.Http1ProtocolOptions, h2 *corev3.Http2ProtocolOptions) {
	switch u := o.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		c.HTTP.Protocol = UpstreamHTTP1
		if h2 = u.ExplicitHttpConfig.GetHttp2ProtocolOptions(); h2 != nil {
			c.HTTP.Protocol = UpstreamHTTP2
		}
		return u.ExplicitHttpConfig.GetHttpProtocolOptions(), h2
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		c.HTTP.Protocol = UpstreamAsDownstream
		return u.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), u.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
	case *httpv3.HttpProtocolOptions_AutoConfig:
		c.HTTP.Protocol = UpstreamAuto
		return u.AutoConfig.GetHttpProtocolOptions(), u.AutoConfig.GetHttp2ProtocolOptions()
	}
	return nil, nil
}

func (p *parser) upstreamCommon(path string, o *corev3.HttpProtocolOptions, out *UpstreamHTTP) {
	if o == nil {
		return
	}
	out.IdleTimeout = p.duration(join(path, "idle_timeout"), o.GetIdleTimeout(), out.IdleTimeout)
	out.MaxConnectionDuration = p.duration(join(path, "max_connection_duration"), o.GetMaxConnectionDuration(), 0)
	out.MaxStreamDuration = p.duration(join(path, "max_stream_duration"), o.GetMaxStreamDuration(), 0)
	out.MaxRequestsPerConnection = uint32Or(o.GetMaxRequestsPerConnection(), 0)
	out.MaxResponseHeadersKB = uint32Or(o.GetMaxResponseHeadersKb(), 0)
	out.MaxResponseHeaders = uint32Or(o.GetMaxHeadersCount(), 100)
}

func upstreamAuto(o *corev3.UpstreamHttpProtocolOptions, out *UpstreamHTTP) {
	if o != nil {
		out.AutoSNI, out.AutoSANValidation = o.GetAutoSni(), o.GetAutoSanValidation()
		if name := o.GetOverrideAutoSniHeader(); name != "" {
			out.SNIHeader = header.KeyOf(strings.ToLower(name))
		}
	}
}

func (p *parser) breakers(cb *clusterv3.CircuitBreakers, c *Cluster) {
	for i := range c.Breakers {
		c.Breakers[i] = Breakers{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3}
	}
	for i, t := range cb.GetThresholds() {
		here := at("circuit_breakers.thresholds", i)
		prio := 0
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			prio = 1
		}
		b := &c.Breakers[prio]
		b.MaxConnections = uint32Or(t.GetMaxConnections(), b.MaxConnections)
		b.MaxPendingRequests = uint32Or(t.GetMaxPendingRequests(), b.MaxPendingRequests)
		b.MaxRequests = uint32Or(t.GetMaxRequests(), b.MaxRequests)
		b.MaxRetries = uint32Or(t.GetMaxRetries(), b.MaxRetries)
		b.TrackRemaining = t.GetTrackRemaining()
		if rb := t.GetRetryBudget(); rb != nil {
			b.RetryBudgetPercent = p.percent(rb.GetBudgetPercent(), 20)
			b.RetryBudgetMin = uint32Or(rb.GetMinRetryConcurrency(), 3)
			b.RetryBudgetInterval = p.duration(join(here, "retry_budget.budget_interval"), rb.GetBudgetInterval(), 0)
			if b.RetryBudgetPercent == 0 {
				p.bad(join(here, "retry_budget.budget_percent"), "0 would forbid every retry; use max_retries: 0 for that")
			}
		}
	}
}

// hostBreakers reads per_host_thresholds, where Envoy knows connections only.
func (p *parser) hostBreakers(cb *clusterv3.CircuitBreakers, c *Cluster) {
	for i, t := range cb.GetPerHostThresholds() {
		here := at("circuit_breakers.per_host_thresholds", i)
		if t.GetMaxPendingRequests() != nil || t.GetMaxRequests() != nil || t.GetMaxRetries() != nil || t.GetRetryBudget() != nil || t.GetTrackRemaining() {
			p.bad(here, "only max_connections can be limited per host")
		}
		prio := 0
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			prio = 1
		}
		if v := t.GetMaxConnections(); v != nil {
			c.Breakers[prio].MaxConnectionsPerHost = v.GetValue()
			if v.GetValue() == 0 {
				p.bad(join(here, "max_connections"), "0 would leave a host without connections")
			}
		}
	}
}

// Unlimited is the threshold of a breaker that never opens, as Istio sets it.
const Unlimited = math.MaxUint32

package xdsresource

import (
	"strings"
	"time"

	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

func (p *parser) tcpProxy(path string, a *anypb.Any) *TCPProxy {
	var m tcpproxyv3.TcpProxy
	if !p.message(path, a, &m) {
		return nil
	}
	t := &TCPProxy{
		StatPrefix:                      m.GetStatPrefix(),
		Cluster:                         m.GetCluster(),
		IdleTimeout:                     p.duration(join(path, "idle_timeout"), m.GetIdleTimeout(), time.Hour),
		MaxConnectAttempts:              max(uint32Or(m.GetMaxConnectAttempts(), 1), 1),
		MaxDownstreamConnectionDuration: p.duration(join(path, "max_downstream_connection_duration"), m.GetMaxDownstreamConnectionDuration(), 0),
		AccessLogs:                      p.accessLogs(join(path, "access_log"), m.GetAccessLog()),
		MetadataMatch:                   p.metadataMatch(join(path, "metadata_match"), m.GetMetadataMatch()),
	}
	t.DurationJitter = p.jitter(join(path, "max_downstream_connection_duration_jitter_percentage"), m.GetMaxDownstreamConnectionDurationJitterPercentage())
	t.CheckDrain = boolOr(m.GetCheckDrainClose(), false)
	t.TLVs, t.TLVMerge = p.addedTLVs(join(path, "proxy_protocol_tlvs"), m.GetProxyProtocolTlvs()), TLVMerge(m.GetProxyProtocolTlvMergePolicy())
	p.tcpLogOptions(path, &m, t)
	p.tcpConnectMode(path, &m, t)
	if od := m.GetOnDemand(); od.GetOdcdsConfig() != nil {
		t.OnDemand = p.tcpOnDemand(join(path, "on_demand"), od)
	}
	if tc := m.GetTunnelingConfig(); tc != nil {
		t.Tunnel = p.tcpTunnel(join(path, "tunneling_config"), tc)
	}
	for i, h := range m.GetHashPolicy() {
		// Envoy lets one stand here; its proto says so.
		switch {
		case h.GetSourceIp() != nil:
			t.Hash = append(t.Hash, HashPolicy{SourceIP: true})
		case h.GetFilterState() != nil:
			t.Hash = append(t.Hash, HashPolicy{State: h.GetFilterState().GetKey()})
		default:
			p.bad(at(join(path, "hash_policy"), i), "names nothing to hash")
		}
	}
	if b := m.GetBackoffOptions(); b != nil {
		t.BackOffBase, t.BackOffMax = p.refreshRate(join(path, "backoff_options"), b)
	}
	var total uint64
	for i, c := range m.GetWeightedClusters().GetClusters() {
		here := at(join(path, "weighted_clusters.clusters"), i)
		total += uint64(c.GetWeight())
		t.WeightedClusters = append(t.WeightedClusters, WeightedCluster{
			Name: c.GetName(), Weight: c.GetWeight(),
			MetadataMatch: p.metadataMatch(join(here, "metadata_match"), c.GetMetadataMatch()),
		})
	}
	if total > 1<<32-1 {
		p.bad(join(path, "weighted_clusters"), "the weights add up to %d, more than fits 32 bits", total)
	}
	t.TotalWeight = uint32(total)
	return t
}

// tcpLogOptions reads when access logs have further entries. As in Envoy, the older fields may not stand beside the newer message.
func (p *parser) tcpLogOptions(path string, m *tcpproxyv3.TcpProxy, t *TCPProxy) {
	o := m.GetAccessLogOptions()
	here, interval := join(path, "access_log_options.access_log_flush_interval"), o.GetAccessLogFlushInterval()
	t.LogOnStart, t.LogOnConnected = o.GetFlushAccessLogOnStart(), o.GetFlushAccessLogOnConnected()
	if o == nil {
		here, interval = join(path, "access_log_flush_interval"), m.GetAccessLogFlushInterval()
		t.LogOnConnected = m.GetFlushAccessLogOnConnected()
	} else if m.GetAccessLogFlushInterval() != nil {
		p.bad(join(path, "access_log_flush_interval"), "stands beside access_log_options; only one of them may be set")
	} else if m.GetFlushAccessLogOnConnected() {
		p.bad(join(path, "flush_access_log_on_connected"), "stands beside access_log_options; only one of them may be set")
	}
	t.LogInterval = p.duration(here, interval, 0)
	if interval != nil && t.LogInterval < time.Millisecond {
		p.bad(here, "%v is less than 1 ms", t.LogInterval)
	}
}

// tcpConnectMode reads when a host is connected to. Here a connection's filters begin once its TLS handshake is done, so that to wait for
// that takes nothing.
func (p *parser) tcpConnectMode(path string, m *tcpproxyv3.TcpProxy, t *TCPProxy) {
	if b := m.GetMaxEarlyDataBytes(); b != nil {
		t.EarlyData, t.EarlyDataMax = true, b.GetValue()
	} else if m.GetUpstreamConnectMode() != tcpproxyv3.UpstreamConnectMode_IMMEDIATE {
		p.bad(join(path, "max_early_data_bytes"), "is required by upstream_connect_mode %v", m.GetUpstreamConnectMode())
	}
	t.ConnectOnData = m.GetUpstreamConnectMode() == tcpproxyv3.UpstreamConnectMode_ON_DOWNSTREAM_DATA
}

func (p *parser) tcpOnDemand(path string, m *tcpproxyv3.TcpProxy_OnDemand) *OnDemandClusters {
	out := &OnDemandClusters{
		Source:  p.configSource(join(path, "odcds_config"), m.GetOdcdsConfig()),
		Timeout: p.duration(join(path, "timeout"), m.GetTimeout(), 5*time.Second), // Envoy's default for HTTP
	}
	if out.Source.Path != "" {
		p.bad(join(path, "odcds_config"), "a file cannot be asked for a cluster; use ads or api_config_source")
	}
	return out
}

func (p *parser) tcpTunnel(path string, m *tcpproxyv3.TcpProxy_TunnelingConfig) *TCPTunnel {
	t := &TCPTunnel{
		Host: m.GetHostname(), Post: m.GetUsePost(), PostPath: m.GetPostPath(),
		Headers: p.headerOps(path, "headers", m.GetHeadersToAdd(), nil).Add,
	}
	if x := m.GetRequestIdExtension(); x != nil {
		var u uuidv3.UuidRequestIdConfig
		p.message(join(path, "request_id_extension.typed_config"), x.GetTypedConfig(), &u)
		t.RequestIDHeader, t.RequestIDKey = strings.ToLower(m.GetRequestIdHeader()), m.GetRequestIdMetadataKey()
		if t.RequestIDHeader == "" {
			t.RequestIDHeader = "x-request-id"
		}
		if t.RequestIDKey == "" {
			t.RequestIDKey = "tunnel_request_id"
		}
	}
	for i, h := range t.Headers {
		if h.Name == "host" || strings.HasPrefix(h.Name, ":") {
			p.bad(at(join(path, "headers_to_add"), i), "%q is made of hostname and post_path", h.Name)
		}
	}
	switch {
	case !t.Post && t.PostPath != "":
		p.bad(join(path, "post_path"), "stands without use_post, which alone has a path")
	case t.PostPath == "":
		t.PostPath = "/"
	case t.PostPath[0] != '/':
		p.bad(join(path, "post_path"), "%q does not begin with a slash", t.PostPath)
	}
	return t
}

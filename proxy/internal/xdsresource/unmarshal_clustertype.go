package xdsresource

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	dynamicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// refreshRate reads the interval after a failure, and what it grows to: ten times as much
// unless it is given.
func (p *parser) refreshRate(path string, r interface {
	GetBaseInterval() *durationpb.Duration
	GetMaxInterval() *durationpb.Duration
}) (base, most time.Duration) {
	base = p.duration(join(path, "base_interval"), r.GetBaseInterval(), 0)
	most = p.duration(join(path, "max_interval"), r.GetMaxInterval(), 10*base)
	if most < base {
		p.bad(join(path, "max_interval"), "%v is shorter than base_interval, %v", most, base)
	}
	return base, most
}

// customType reads cluster_type: kinds of clusters that are extensions in Envoy.
func (p *parser) customType(path string, ct *clusterv3.Cluster_CustomClusterType, c *Cluster) {
	here := join(path, "typed_config")
	a := ct.GetTypedConfig()
	if a == nil {
		p.bad(here, "is required")
		return
	}
	switch TypeName(a) {
	case "envoy.extensions.clusters.aggregate.v3.ClusterConfig":
		var m aggregatev3.ClusterConfig
		if !p.message(here, a, &m) {
			return
		}
		c.Type, c.Members = ClusterAggregate, m.GetClusters()
		seen := map[string]bool{c.Name: true}
		for i, name := range c.Members {
			if seen[name] {
				p.bad(at(join(here, "clusters"), i), "%q is named twice, or is the cluster itself", name)
			}
			seen[name] = true
		}
	case "envoy.extensions.clusters.dns.v3.DnsCluster":
		var m dnsv3.DnsCluster
		if !p.message(here, a, &m) {
			return
		}
		c.Type = ClusterStrictDNS
		if m.GetAllAddressesInSingleEndpoint() {
			c.Type = ClusterLogicalDNS
		}
		c.DNS = DNS{
			Family:     DNSFamily(max(int32(m.GetDnsLookupFamily())-1, 0)), // UNSPECIFIED is AUTO; the others count from there
			Refresh:    p.duration(join(here, "dns_refresh_rate"), m.GetDnsRefreshRate(), 5*time.Second),
			Jitter:     p.duration(join(here, "dns_jitter"), m.GetDnsJitter(), 0),
			RespectTTL: m.GetRespectDnsTtl(),
			MinRefresh: p.duration(join(here, "dns_min_refresh_rate"), m.GetDnsMinRefreshRate(), 0),
			Resolver:   p.typedResolver(join(here, "typed_dns_resolver_config"), m.GetTypedDnsResolverConfig()),
		}
		c.DNS.FailureBase, c.DNS.FailureMax = p.refreshRate(join(here, "dns_failure_refresh_rate"), m.GetDnsFailureRefreshRate())
	case dynamicConfig:
		var m dynamicv3.ClusterConfig
		if !p.message(here, a, &m) {
			return
		}
		c.Type, c.Names = ClusterDynamic, p.dnsCache(join(here, "dns_cache_config"), m.GetDnsCacheConfig())
	default:
		p.bad(here, "cluster type %s is not supported", TypeName(a))
	}
}

// dynamicConfig is the type of a dynamic forward proxy cluster's configuration.
const dynamicConfig = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"

// dynamicTLS judges how a cluster whose hosts are what clients ask for speaks TLS: a certificate must be for the host of the request, or
// anybody could stand in for it. As in Envoy both options are on where the cluster has no HttpProtocolOptions and says nothing about
// them, and must be on unless allow_insecure_cluster_options is set.
func (p *parser) dynamicTLS(m *clusterv3.Cluster, c *Cluster) {
	var cfg dynamicv3.ClusterConfig
	if c.Type != ClusterDynamic || m.GetClusterType().GetTypedConfig().UnmarshalTo(&cfg) != nil {
		return
	}
	//nolint:staticcheck // the older form is in use
	if m.GetUpstreamHttpProtocolOptions() == nil && m.GetTypedExtensionProtocolOptions()[protocolOptionsKey] == nil {
		c.HTTP.AutoSNI, c.HTTP.AutoSANValidation = true, true
	}
	if !cfg.GetAllowInsecureClusterOptions() && !(c.HTTP.AutoSNI && c.HTTP.AutoSANValidation) {
		p.bad("cluster_type.typed_config", "upstream_http_protocol_options must have auto_sni and auto_san_validation, unless allow_insecure_cluster_options is set")
	}
}

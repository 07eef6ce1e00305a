package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dynamicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// This file is services whose names are resolved for each request (ServiceEntry, resolution DYNAMIC_DNS). The cluster resolves the host of
// a request itself, and needs no HTTP filter before it; of a connection the network filter has the name resolved that its client asks for.

const (
	dynamicClusterType = "envoy.clusters.dynamic_forward_proxy"
	sniDynamicFilter   = "envoy.filters.network.sni_dynamic_forward_proxy"
)

// dnsCache is the cache of a service's names, called as in Istio. All that name it must say the same of it.
func dnsCache(host string, p *model.Proxy) *cachev3.DnsCacheConfig {
	c := &cachev3.DnsCacheConfig{Name: host + "_dfp_dns_cache", DnsLookupFamily: clusterv3.Cluster_V4_ONLY}
	if p.IPv6Only() {
		c.DnsLookupFamily = clusterv3.Cluster_V6_ONLY
	}
	return c
}

// dynamicNames makes a cluster one whose hosts are the names that its clients ask for. insecure: what says whose certificate a host
// must have is missing, which is as the user wants it.
func dynamicNames(c *clusterv3.Cluster, cache *cachev3.DnsCacheConfig, insecure bool) {
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	c.CommonLbConfig = nil
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: dynamicClusterType,
		TypedConfig: toAny(&dynamicv3.ClusterConfig{
			ClusterImplementationSpecifier: &dynamicv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: cache},
			AllowInsecureClusterOptions:    insecure,
		}),
	}}
}

// dynamicServerName is serverName for hosts that are not known here: whatever the rule does not say goes by the host of the request.
func dynamicServerName(t *model.ClientTLS) *corev3.UpstreamHttpProtocolOptions {
	o := &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: true}
	if t != nil {
		o.AutoSni, o.AutoSanValidation = t.SNI == "", len(t.SANs) == 0 && !t.InsecureSkipVerify
	}
	return o
}

// anyHost is the cluster of requests to hosts that nobody knows, where the mesh has them resolved.
func anyHost(mesh *model.Mesh, p *model.Proxy) *clusterv3.Cluster {
	t := mesh.OutboundTLS
	c := &clusterv3.Cluster{
		Name:            AnyHostCluster,
		ConnectTimeout:  seconds(mesh.ConnectTimeout),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{unlimited()}},
	}
	o := &httpv3.HttpProtocolOptions{UpstreamHttpProtocolOptions: dynamicServerName(t)}
	named := o.UpstreamHttpProtocolOptions
	dynamicNames(c, dnsCache(AnyHostCluster, p), !(named.AutoSni && named.AutoSanValidation))
	downstreamProtocol(o, &corev3.Http2ProtocolOptions{})
	setHTTPOptions(c, o)
	if t == nil || t.Mode == model.TLSDisable {
		return c
	}
	common := &tlsv3.CommonTlsContext{TlsParams: ownParams(mesh)}
	if t.Mode == model.TLSIstioMutual {
		common = meshIdentity(alpnMeshHTTP, exactMatchers(mesh.WithAliases(t.SANs)))
	} else {
		files(common, t, t.SANs, systemRoots(p))
	}
	c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: t.SNI})
	return c
}

// sniNames is what has the names of connections to a service resolved; nil: its names are resolved otherwise.
type sniNames struct {
	cache *cachev3.DnsCacheConfig
	port  uint32
}

// sniNames finds it for a destination.
func (rc *routeContext) sniNames(svc *model.Service, port uint32) *sniNames {
	if svc == nil || svc.Resolution != model.ResolutionDynamic {
		return nil
	}
	return &sniNames{dnsCache(svc.Host, rc.proxy), port}
}

func (n *sniNames) filter() *listenerv3.Filter {
	return networkFilter(sniDynamicFilter, toAny(&sniv3.FilterConfig{
		DnsCacheConfig: n.cache, PortSpecifier: &sniv3.FilterConfig_PortValue{PortValue: n.port},
	}))
}

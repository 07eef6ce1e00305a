package xdsresource

import (
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
)

// Resolver reads how the names of clusters are resolved that do not say it themselves; nil: as
// the system does.
func (d *Decoder) Resolver(m *bootstrapv3.Bootstrap) (*DNSResolver, error) {
	p := &parser{dec: d}
	r := p.typedResolver("typed_dns_resolver_config", m.GetTypedDnsResolverConfig())
	if r == nil {
		r = p.dnsResolution("dns_resolution_config", m.GetDnsResolutionConfig()) //nolint:staticcheck // in use
	}
	if r == nil && m.GetUseTcpForDnsLookups() { //nolint:staticcheck // in use
		r = &DNSResolver{TCP: true}
	}
	return r, p.finish("bootstrap", m.GetNode().GetId())
}

// clusterResolver reads the same of a cluster, the newest form first.
//
//nolint:staticcheck // all forms are in use
func (p *parser) clusterResolver(m *clusterv3.Cluster) *DNSResolver {
	if r := p.typedResolver("typed_dns_resolver_config", m.GetTypedDnsResolverConfig()); r != nil {
		return r
	}
	if r := p.dnsResolution("dns_resolution_config", m.GetDnsResolutionConfig()); r != nil {
		return r
	}
	if len(m.GetDnsResolvers()) == 0 && !m.GetUseTcpForDnsLookups() {
		return nil
	}
	return &DNSResolver{Servers: p.nameServers("dns_resolvers", m.GetDnsResolvers()), TCP: m.GetUseTcpForDnsLookups()}
}

// typedResolver reads a DNS resolver of Envoy's. Both are the same resolver here; what c-ares is
// told beyond servers and options is refused.
func (p *parser) typedResolver(path string, m *corev3.TypedExtensionConfig) *DNSResolver {
	if m == nil {
		return nil
	}
	here := join(path, "typed_config")
	switch a := m.GetTypedConfig(); TypeName(a) {
	case "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig":
		var c caresv3.CaresDnsResolverConfig
		if !p.message(here, a, &c) {
			return nil
		}
		return &DNSResolver{
			Servers: p.nameServers(join(here, "resolvers"), c.GetResolvers()), Fallback: c.GetUseResolversAsFallback(),
			TCP: c.GetDnsResolverOptions().GetUseTcpForDnsLookups(), NoSearch: c.GetDnsResolverOptions().GetNoDefaultSearchDomain(),
			Timeout: time.Duration(c.GetQueryTimeoutSeconds().GetValue()) * time.Second, Tries: int(min(c.GetQueryTries().GetValue(), 100)),
		}
	case "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig":
		p.message(here, a, &getaddrinfov3.GetAddrInfoDnsResolverConfig{})
		return &DNSResolver{}
	default:
		p.bad(here, "DNS resolver %q (type %s) is not supported", m.GetName(), TypeName(a))
	}
	return nil
}

func (p *parser) dnsResolution(path string, m *corev3.DnsResolutionConfig) *DNSResolver {
	if m == nil {
		return nil
	}
	return &DNSResolver{
		Servers: p.nameServers(join(path, "resolvers"), m.GetResolvers()),
		TCP:     m.GetDnsResolverOptions().GetUseTcpForDnsLookups(), NoSearch: m.GetDnsResolverOptions().GetNoDefaultSearchDomain(),
	}
}

func (p *parser) nameServers(path string, in []*corev3.Address) []netip.AddrPort {
	var out []netip.AddrPort
	for i, a := range in {
		s := a.GetSocketAddress()
		ip, err := netip.ParseAddr(s.GetAddress())
		if err != nil || s.GetPortValue() > 65535 {
			p.bad(join(at(path, i), "socket_address"), "the IP address of a name server is wanted, not %q", s.GetAddress())
			continue
		}
		port := uint16(s.GetPortValue())
		if port == 0 {
			port = 53
		}
		out = append(out, netip.AddrPortFrom(ip, port))
	}
	return out
}

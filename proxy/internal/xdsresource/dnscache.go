package xdsresource

import (
	"net/netip"
	"time"

	cachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
)

// DNSCache is a validated common.dynamic_forward_proxy.v3.DnsCacheConfig: names that are resolved when requests ask for them, under
// a name by which filters and clusters share them.
type DNSCache struct {
	Name string
	// DNS is how names are resolved and when again: Refresh (default 60s) where an answer does not say how long it is good and where
	// there was none, MinRefresh (default 5s) at least. RespectTTL is always set.
	DNS
	// RetryOnDemand (disable_dns_refresh_on_failure): a name that could not be resolved is asked for by the next request for it, and
	// not before.
	RetryOnDemand bool
	// HostTTL is how long a name may go unused; default 5m. It is looked at when the name is due to be resolved again.
	HostTTL time.Duration
	// MaxHosts bounds the names; default 1024. MaxPending bounds the requests that wait; default 1024.
	MaxHosts, MaxPending uint32
	QueryTimeout         time.Duration  // default 5s; 0: the resolver's own
	Preresolve           []Address      // names with ports, which are resolved at once
	Rejected             *AddressRanges // addresses that no name may have; nil: none
}

// AddressRanges is a type.matcher.v3.AddressMatcher.
type AddressRanges struct {
	Prefixes []netip.Prefix
	Invert   bool
}

// Match reports whether an address is in the ranges, or, inverted, in none of them. nil matches nothing.
func (r *AddressRanges) Match(a netip.Addr) bool {
	if r == nil {
		return false
	}
	for _, p := range r.Prefixes {
		if p.Contains(a.Unmap()) {
			return !r.Invert
		}
	}
	return r.Invert
}

// dnsCache reads the configuration of a cache; nil when there is none or no part of it may be used.
//
//nolint:staticcheck // older forms of the resolver's configuration are in use
func (p *parser) dnsCache(path string, m *cachev3.DnsCacheConfig) *DNSCache {
	if m == nil {
		p.bad(path, "is required")
		return nil
	}
	c := &DNSCache{
		Name: m.GetName(),
		DNS: DNS{
			Family: DNSFamily(m.GetDnsLookupFamily()), RespectTTL: true,
			Refresh:    p.duration(join(path, "dns_refresh_rate"), m.GetDnsRefreshRate(), time.Minute),
			MinRefresh: p.duration(join(path, "dns_min_refresh_rate"), m.GetDnsMinRefreshRate(), 5*time.Second),
			Resolver:   p.typedResolver(join(path, "typed_dns_resolver_config"), m.GetTypedDnsResolverConfig()),
		},
		RetryOnDemand: m.GetDisableDnsRefreshOnFailure(),
		HostTTL:       p.duration(join(path, "host_ttl"), m.GetHostTtl(), 5*time.Minute),
		MaxHosts:      uint32Or(m.GetMaxHosts(), 1024), MaxPending: uint32Or(m.GetDnsCacheCircuitBreaker().GetMaxPendingRequests(), 1024),
		QueryTimeout: p.duration(join(path, "dns_query_timeout"), m.GetDnsQueryTimeout(), 5*time.Second),
	}
	c.FailureBase, c.FailureMax = p.refreshRate(join(path, "dns_failure_refresh_rate"), m.GetDnsFailureRefreshRate())
	if c.Resolver == nil {
		c.Resolver = p.dnsResolution(join(path, "dns_resolution_config"), m.GetDnsResolutionConfig())
	}
	if c.Resolver == nil && m.GetUseTcpForDnsLookups() {
		c.Resolver = &DNSResolver{TCP: true}
	}
	for i, a := range m.GetPreresolveHostnames() {
		here := at(join(path, "preresolve_hostnames"), i)
		if a.GetPortValue() == 0 || a.GetPortValue() > 65535 {
			p.bad(join(here, "port_value"), "%d is not a port", a.GetPortValue())
			continue
		}
		c.Preresolve = append(c.Preresolve, Address{Host: a.GetAddress(), Port: uint16(a.GetPortValue())})
	}
	if n := len(c.Preresolve); n > int(c.MaxHosts) {
		p.bad(join(path, "preresolve_hostnames"), "%d names are more than max_hosts allows, %d", n, c.MaxHosts)
	}
	if f := m.GetResolvedAddressFilter(); f != nil {
		here := join(path, "resolved_address_filter")
		c.Rejected = &AddressRanges{Prefixes: p.addressRanges(here, f), Invert: f.GetInvertMatch()}
	}
	return c
}

// DNSCache reads the configuration of a DNS cache within a filter's.
func (r *FilterReader) DNSCache(path string, m *cachev3.DnsCacheConfig) *DNSCache {
	return r.p.dnsCache(path, m)
}

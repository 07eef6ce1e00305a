package dynamicforward

import (
	"strings"

	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated dynamic_forward_proxy.v3.FilterConfig.
type Config struct {
	Cache *xdsresource.DNSCache
	// SaveAddress leaves the address in the filter state (save_upstream_address).
	SaveAddress bool
	// FromState: what filters before this one have left of a host or a port comes before the request's own.
	FromState bool
}

// RouteConfig is a validated PerRouteConfig: the request's host becomes Literal, or else the first value of Header, if there is one.
type RouteConfig struct {
	Literal string
	Header  string // lower case
}

// ParseConfig reads the filter's configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &filterv3.FilterConfig{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{SaveAddress: m.GetSaveUpstreamAddress(), FromState: m.GetAllowDynamicHostFromFilterState()}
	if m.GetSubClusterConfig() == nil { // which is refused by name
		c.Cache = r.DNSCache("dns_cache_config", m.GetDnsCacheConfig())
	}
	return c, r.Err()
}

// ParseRouteConfig reads a route's configuration. It returns a *RouteConfig.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &filterv3.PerRouteConfig{}
	r := d.ReadFilter(Name, a, m)
	return &RouteConfig{Literal: m.GetHostRewriteLiteral(), Header: strings.ToLower(m.GetHostRewriteHeader())}, r.Err()
}

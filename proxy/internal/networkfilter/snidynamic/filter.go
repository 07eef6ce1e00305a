// Package snidynamic is the network filter envoy.filters.network.sni_dynamic_forward_proxy: a connection waits until the name that its
// client asks for by SNI has been resolved, and the TCP proxy behind it finds the host of that name in a dynamic forward proxy cluster.
//
// Whether the name has an address is the TCP proxy's matter, which closes the connection where it has none; a connection that finds the
// cache full is closed here. The cache and its bounds are package dnscache. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/sni_dynamic_forward_proxy_filter
package snidynamic

import (
	"strconv"

	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.sni_dynamic_forward_proxy"

// Config is a validated sni_dynamic_forward_proxy.v3.FilterConfig.
type Config struct {
	Cache       *xdsresource.DNSCache
	Port        uint16 // where connections go, unless a filter before this one has left another
	SaveAddress bool   // leave the address in the filter state (save_upstream_address)
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &sniv3.FilterConfig{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{
		Cache: r.DNSCache("dns_cache_config", m.GetDnsCacheConfig()), Port: uint16(m.GetPortValue()), SaveAddress: m.GetSaveUpstreamAddress(),
	}
	if p := m.GetPortValue(); p == 0 || p > 65535 {
		r.Bad("port_value", "%d is not a port", p)
	}
	return c, r.Err()
}

type filter struct {
	cfg   *Config
	cache *dnscache.Cache
}

// New makes the filter.
func New(cfg any, c *dnscache.Cache) networkfilter.Filter { return &filter{cfg.(*Config), c} }

// OnNewConnection implements networkfilter.Filter; a Holder's is not called.
func (*filter) OnNewConnection(*conn.Conn, *listener.Context) bool { return true }

// HoldConnection implements networkfilter.Holder.
func (f *filter) HoldConnection(c *conn.Conn, _ *listener.Context, proceed func()) {
	info := c.Info()
	host := info.SNI
	if o := info.State.Get(filterstate.UpstreamDynamicHost); o != nil {
		host = o.String()
	}
	if host == "" {
		proceed()
		return
	}
	port := filterstate.Port(info.State.Get(filterstate.UpstreamDynamicPort))
	if port == 0 {
		port = f.cfg.Port
		info.State.Put(filterstate.UpstreamDynamicPort, filterstate.Text(strconv.Itoa(int(port))))
	}
	h := &held{f: f}
	a, cancel := f.cache.Local(c.Loop().ID()).Load([]byte(host), port, h.answered)
	if cancel == nil {
		if f.admit(c, a) {
			proceed()
		}
		return
	}
	h.Hold(c, proceed, func() {})
	h.Await(cancel)
}

// held is a connection that waits.
type held struct {
	networkfilter.Held
	f *filter
}

func (h *held) answered(a dnscache.Answer) {
	h.Answered()
	if h.f.admit(h.Conn(), a) {
		h.Proceed()
	}
}

// admit closes the connection where the cache could not be asked, as Envoy does.
func (f *filter) admit(c *conn.Conn, a dnscache.Answer) bool {
	switch a.Outcome {
	case dnscache.Full, dnscache.Busy:
		networkfilter.Refuse(c, 0)
		return false
	case dnscache.Resolved:
		if f.cfg.SaveAddress {
			c.Info().State.Put(filterstate.UpstreamAddress, filterstate.Text(a.Address.String()))
		}
	}
	return true
}

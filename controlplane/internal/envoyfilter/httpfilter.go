package envoyfilter

import (
	"slices"

	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networking "istio.io/api/networking/v1alpha3"
)

const managerFilter = "envoy.filters.network.http_connection_manager"

// manager changes what is in a connection manager: its HTTP filters, and the routes of a sidecar's inbound listener.
func (ps *Patches) manager(c Context, l *listenerpb.Listener, fc *listenerpb.FilterChain, f *listenerpb.Filter, ports Ports) {
	ours := func(e *patch) bool { return e.forChain(c, l, fc) && e.forFilter(f) }
	filters := slices.ContainsFunc(ps.by[networking.EnvoyFilter_HTTP_FILTER], ours)
	routes := ps.patchRoutes(c)
	if !filters && !routes || f.GetTypedConfig() == nil {
		return
	}
	m := &hcmpb.HttpConnectionManager{}
	if f.GetTypedConfig().UnmarshalTo(m) != nil {
		return // a patch has put something else under the name
	}
	if inline := m.GetRouteConfig(); inline != nil && routes {
		ps.routeConfiguration(c, inline, ports)
	}
	for _, e := range ps.by[networking.EnvoyFilter_HTTP_FILTER] {
		if e.merges() || !ours(e) {
			continue
		}
		var applied bool
		if m.HttpFilters, applied = edit(m.HttpFilters, e, e.filter().GetSubFilter() != nil, e.forHTTPFilter); applied {
			ps.note(e, l.GetName())
		}
	}
	for _, h := range m.HttpFilters {
		for _, e := range ps.by[networking.EnvoyFilter_HTTP_FILTER] {
			if e.merges() && ours(e) && e.forHTTPFilter(h) && mergeHTTPFilter(h, e) {
				ps.note(e, l.GetName())
			}
		}
	}
	f.ConfigType = &listenerpb.Filter_TypedConfig{TypedConfig: pack(f.GetTypedConfig().GetTypeUrl(), m)}
}

// forHTTPFilter reports whether a patch is for an HTTP filter; its connection manager is known to be meant.
func (e *patch) forHTTPFilter(h *hcmpb.HttpFilter) bool {
	m := e.filter().GetSubFilter()
	return m == nil || m.GetName() == h.GetName()
}

// mergeHTTPFilter merges the configurations of two filters. It reports false when they are of different types, and the filter stays as it is.
func mergeHTTPFilter(h *hcmpb.HttpFilter, e *patch) bool {
	if h.GetTypedConfig() == nil {
		return false
	}
	value := e.Value.(*hcmpb.HttpFilter)
	if value.GetTypedConfig() != nil {
		merged, ok := mergeAny(h.GetTypedConfig(), value.GetTypedConfig())
		if !ok {
			return false
		}
		h.ConfigType = &hcmpb.HttpFilter_TypedConfig{TypedConfig: merged}
	}
	if value.GetName() != "" {
		h.Name = value.GetName()
	}
	return true
}

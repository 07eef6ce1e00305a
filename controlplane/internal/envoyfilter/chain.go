package envoyfilter

import (
	"slices"
	"strings"

	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// chains changes the filter chains of a listener and what is in them.
func (ps *Patches) chains(c Context, l *listenerpb.Listener, ports Ports) {
	l.FilterChains = slices.DeleteFunc(l.FilterChains, func(fc *listenerpb.FilterChain) bool { return !ps.chain(c, l, fc, ports) })
	if fc := l.GetDefaultFilterChain(); fc != nil && !ps.chain(c, l, fc, ports) {
		l.DefaultFilterChain = nil
	}
	for _, e := range ps.by[networking.EnvoyFilter_FILTER_CHAIN] {
		if e.Operation == opAdd && e.forListener(c, l) {
			ps.note(e, l.GetName())
			l.FilterChains = append(l.FilterChains, cloned[*listenerpb.FilterChain](e))
		}
	}
}

// chain changes one filter chain; false when it is removed.
func (ps *Patches) chain(c Context, l *listenerpb.Listener, fc *listenerpb.FilterChain, ports Ports) bool {
	for _, e := range ps.by[networking.EnvoyFilter_FILTER_CHAIN] {
		if e.Operation == opAdd || !e.forChain(c, l, fc) {
			continue
		}
		if e.Operation == opRemove {
			ps.note(e, l.GetName())
			return false
		}
		if mergeChain(fc, e) {
			ps.note(e, l.GetName())
		}
	}
	for _, e := range ps.by[networking.EnvoyFilter_NETWORK_FILTER] {
		if e.merges() || !e.forChain(c, l, fc) {
			continue
		}
		var applied bool
		if fc.Filters, applied = edit(fc.Filters, e, e.filter() != nil, e.forFilter); applied {
			ps.note(e, l.GetName())
		}
	}
	for _, f := range fc.Filters {
		ps.filter(c, l, fc, f, ports)
	}
	return true
}

// mergeChain merges a patch's value into a chain. Where both have a transport socket of one name, the patch is for its settings alone, as in
// Istio. It reports false when those settings are of another type, and the chain stays as it is.
func mergeChain(fc *listenerpb.FilterChain, e *patch) bool {
	value := e.Value.(*listenerpb.FilterChain)
	if value.GetTransportSocket() == nil || fc.GetTransportSocket() == nil || fc.TransportSocket.GetName() != value.TransportSocket.GetName() {
		mergeInto(fc, e)
		return true
	}
	return mergeSocket(fc.TransportSocket, value.TransportSocket)
}

// forChain reports whether a patch is for a filter chain or something in it.
func (e *patch) forChain(c Context, l *listenerpb.Listener, fc *listenerpb.FilterChain) bool {
	if !e.forListener(c, l) {
		return false
	}
	m, of := e.Match.GetListener(), fc.GetFilterChainMatch()
	if port := m.GetPortNumber(); port != 0 && virtual(l) && of.GetDestinationPort().GetValue() != port {
		return false
	}
	want := m.GetFilterChain()
	switch {
	case want.GetName() != "" && want.GetName() != fc.GetName():
		return false
	case want.GetSni() != "" && !slices.Contains(of.GetServerNames(), want.GetSni()):
		return false
	case want.GetTransportProtocol() != "" && want.GetTransportProtocol() != of.GetTransportProtocol():
		return false
	case want.GetDestinationPort() != 0 && want.GetDestinationPort() != of.GetDestinationPort().GetValue():
		return false
	}
	if all := want.GetApplicationProtocols(); all != "" {
		for _, name := range strings.Split(all, ",") {
			if !slices.Contains(of.GetApplicationProtocols(), name) {
				return false
			}
		}
	}
	return true
}

// filter is what a patch says of the network filter; nil for nothing.
func (e *patch) filter() *networking.EnvoyFilter_ListenerMatch_FilterMatch {
	return e.Match.GetListener().GetFilterChain().GetFilter()
}

// forFilter reports whether a patch is for a network filter or something in it; its chain is known to be meant.
func (e *patch) forFilter(f *listenerpb.Filter) bool {
	m := e.filter()
	return m == nil || m.GetName() == f.GetName()
}

// filter changes one network filter.
func (ps *Patches) filter(c Context, l *listenerpb.Listener, fc *listenerpb.FilterChain, f *listenerpb.Filter, ports Ports) {
	for _, e := range ps.by[networking.EnvoyFilter_NETWORK_FILTER] {
		if !e.merges() || !e.forChain(c, l, fc) || !e.forFilter(f) || f.GetTypedConfig() == nil {
			continue
		}
		value := e.Value.(*listenerpb.Filter)
		if value.GetTypedConfig() != nil {
			merged, ok := mergeAny(f.GetTypedConfig(), value.GetTypedConfig())
			if !ok {
				continue
			}
			f.ConfigType = &listenerpb.Filter_TypedConfig{TypedConfig: merged}
		}
		if value.GetName() != "" {
			f.Name = value.GetName()
		}
		ps.note(e, l.GetName())
	}
	if f.GetName() == managerFilter {
		ps.manager(c, l, fc, f, ports)
	}
}

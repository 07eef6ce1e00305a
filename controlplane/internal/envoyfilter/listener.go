package envoyfilter

import (
	"slices"
	"strings"

	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// The listeners that take what others are for. Ports are told apart by their filter chains.
const (
	virtualInbound  = "virtualInbound"
	virtualOutbound = "virtualOutbound"
)

func virtual(l *listenerpb.Listener) bool {
	return l.GetName() == virtualInbound || l.GetName() == virtualOutbound
}

// Listeners applies the patches to the listeners of one context. ports returns the Service ports behind a gateway's port.
func (ps *Patches) Listeners(c Context, in []*listenerpb.Listener, ports Ports) []*listenerpb.Listener {
	if ps == nil {
		return in
	}
	out := make([]*listenerpb.Listener, 0, len(in))
	for _, l := range in {
		if ps.concernListener(c, l) {
			if l = ps.listener(c, proto.Clone(l).(*listenerpb.Listener), ports); l == nil {
				continue
			}
		}
		out = append(out, l)
	}
	for _, e := range ps.by[networking.EnvoyFilter_LISTENER] {
		if !e.adds(c) {
			continue
		}
		l := cloned[*listenerpb.Listener](e)
		ps.note(e, l.GetName())
		out = append(out, l)
	}
	return out
}

// listenerKinds are what stands in a listener, from the outside in.
var listenerKinds = []networking.EnvoyFilter_ApplyTo{
	networking.EnvoyFilter_LISTENER, networking.EnvoyFilter_LISTENER_FILTER, networking.EnvoyFilter_FILTER_CHAIN,
	networking.EnvoyFilter_NETWORK_FILTER, networking.EnvoyFilter_HTTP_FILTER,
}

// ListenerKey names the patches that may change listeners of a context, by revision: "" for none, and then Listeners returns what it is given.
func (ps *Patches) ListenerKey(c Context) string {
	if ps == nil {
		return ""
	}
	kinds := listenerKinds
	if c == Inbound {
		kinds = slices.Concat(listenerKinds, routeKinds) // they stand in the listener
	}
	var key strings.Builder
	for _, kind := range kinds {
		for _, e := range ps.by[kind] {
			if e.in(c) {
				e.writeKey(&key)
			}
		}
	}
	return key.String()
}

// concernListener reports whether a patch may change a listener.
func (ps *Patches) concernListener(c Context, l *listenerpb.Listener) bool {
	for _, kind := range listenerKinds {
		if slices.ContainsFunc(ps.by[kind], func(e *patch) bool { return e.forListener(c, l) }) {
			return true
		}
	}
	return c == Inbound && ps.patchRoutes(c) // they stand in the listener
}

// forListener reports whether a patch is for a listener or something in it.
func (e *patch) forListener(c Context, l *listenerpb.Listener) bool {
	if !e.in(c) {
		return false
	}
	m := e.Match.GetListener()
	if m.GetName() != "" && m.GetName() != l.GetName() {
		return false
	}
	if m.GetPortNumber() == 0 || e.ApplyTo != networking.EnvoyFilter_LISTENER && virtual(l) {
		return true
	}
	return l.GetAddress().GetSocketAddress().GetPortValue() == m.GetPortNumber()
}

// listener changes a listener; nil when it is removed.
func (ps *Patches) listener(c Context, l *listenerpb.Listener, ports Ports) *listenerpb.Listener {
	for _, e := range ps.by[networking.EnvoyFilter_LISTENER] {
		if e.Operation == opAdd || !e.forListener(c, l) {
			continue
		}
		ps.note(e, l.GetName())
		if e.Operation == opRemove {
			return nil
		}
		mergeInto(l, e)
	}
	for _, e := range ps.by[networking.EnvoyFilter_LISTENER_FILTER] {
		if !e.forListener(c, l) {
			continue
		}
		name := e.Match.GetListener().GetListenerFilter()
		var applied bool
		if l.ListenerFilters, applied = edit(l.ListenerFilters, e, name != "", func(f *listenerpb.ListenerFilter) bool { return f.GetName() == name }); applied {
			ps.note(e, l.GetName())
		}
	}
	ps.chains(c, l, ports)
	return l
}

package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func outboundListeners(s *model.Snapshot, p *model.Proxy) []*listenerv3.Listener {
	f := newFilters(s, p, outbound)
	var out []*listenerv3.Listener
	if p.Interception != model.InterceptNone {
		out = append(out, f.finish(catchAllListener(f)))
	}
	for _, o := range sidecarOutbound(s, p) {
		if l := o.build(f); l != nil {
			out = append(out, f.finish(l))
		}
	}
	return out
}

// build makes a listener; nil when no connection would have a place to go.
func (o *outboundListener) build(f *filters) *listenerv3.Listener {
	s, p := f.s, f.p
	l := &listenerv3.Listener{
		Name: listenerName(o.ip, o.port), Address: o.address(), TrafficDirection: trafficDirection(outbound),
	}
	if o.egress.Listener() == nil || o.egress.Listener().Bind == "" { // else the object says where it is
		for _, list := range [][]string{p.Wildcards(), p.Loopbacks()} {
			l.AdditionalAddresses = append(l.AdditionalAddresses, additional(others(o.ip, list), o.port)...)
		}
	}
	if !o.bind {
		l.BindToPort = boolean(false)
	}
	if len(o.bytes) > 0 && o.route == "" {
		l.Metadata = metadata(nil, o.first.Origin)
	}
	var all *listenerv3.FilterChain // for what no match is for
	claims := chainClaims{}
	for _, b := range o.bytes {
		for _, c := range o.bytesChains(f, b) {
			if !claims.admit(c) {
				continue
			}
			if c.FilterChainMatch == nil {
				all = c
			} else {
				l.FilterChains = append(l.FilterChains, c)
			}
		}
	}
	if o.route != "" {
		requests := &listenerv3.FilterChain{Filters: f.toHTTP("outbound_"+l.Name, o.route, nil)}
		if o.bind && len(o.bytes) == 0 {
			all = requests // whatever it is, it cannot be passed on
		} else {
			requests.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer", ApplicationProtocols: httpALPN}
			l.FilterChains = append(l.FilterChains, requests)
		}
	}
	switch {
	case len(l.FilterChains) == 0 && all == nil:
		return nil
	case len(l.FilterChains) == 0:
		l.FilterChains = []*listenerv3.FilterChain{all}
	case all != nil:
		// As the default chain it has all that begins to fit another and does not in the end.
		l.DefaultFilterChain = all
	case o.bind && len(o.bytes) > 0:
		// Whoever calls the port means its service, whatever server name it asks for.
		b := o.bytes[0]
		rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: b.sp.Number}
		l.DefaultFilterChain = &listenerv3.FilterChain{Filters: rc.serviceFilters(f, b)}
	case !o.bind:
		// What is for nobody goes where it was going.
		l.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: unknownConnection(f)}
	}
	l.ListenerFilters = inspectors(l.FilterChains)
	l.ContinueOnListenerFiltersTimeout = true
	l.ListenerFiltersTimeout = zeroDuration()
	if o.sniffs() {
		l.ListenerFiltersTimeout = seconds(s.Mesh.Detection(len(o.bytes) > 0))
	}
	return l
}

// address is the listener's: of IP, or of a Unix socket.
func (o *outboundListener) address() *corev3.Address {
	if path, ok := socketPath(o.ip); ok {
		return pipeAddress(path)
	}
	return socketAddress(o.ip, o.port)
}

// sniffs reports whether the listener finds out if what comes is a request.
func (o *outboundListener) sniffs() bool { return o.route != "" && (!o.bind || len(o.bytes) > 0) }

// unknownConnection takes a connection that is to no known service.
func unknownConnection(f *filters) []*listenerv3.Filter {
	return f.toOne(unknownCluster(f.s, f.p, f.s.ScopeOf(f.p)))
}

// catchAllListener is where redirected connections arrive; it hands them to the listener of
// their original destination, and keeps those that have none.
func catchAllListener(f *filters) *listenerv3.Listener {
	any := f.p.Wildcards()
	outboundPort, _ := f.s.CapturePorts(f.p)
	return &listenerv3.Listener{
		Name: virtualOutbound, Address: socketAddress(any[0], outboundPort), TrafficDirection: trafficDirection(outbound),
		AdditionalAddresses: additional(any[1:], outboundPort), UseOriginalDst: boolean(true),
		FilterChains: []*listenerv3.FilterChain{
			{
				Name:             "virtualOutbound-trafficloop",
				FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: u32(outboundPort)},
				Filters:          f.toOne(BlackHoleCluster),
			},
			{Name: "virtualOutbound-catchall-tcp", Filters: unknownConnection(f)},
		},
	}
}

package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// outboundListener is one outbound listener of a sidecar: a route configuration, services of
// opaque bytes, or both, which are told apart by what the client says first.
type outboundListener struct {
	ip    string
	port  uint32
	bind  bool   // its own socket; otherwise connections are handed over by original destination
	route string // RDS name; "" for bytes alone
	bytes []outboundBytes
	// first is the service that the listener was made for.
	first    *model.Service
	protocol model.Protocol // of first
	egress   *model.EgressScope
}

// outboundBytes is a service that may have opaque connections.
type outboundBytes struct {
	svc  *model.Service
	sp   model.Port
	only []netip.Prefix // nil: of whatever comes to the listener
}

// isAny reports whether the address is that of listeners for connections to wherever they were going.
func isAny(ip string) bool { return ip == "0.0.0.0" || ip == "::" }

// outboundPlan gathers listeners, service by service, oldest first: where two claim the same
// connections the older has them.
type outboundPlan struct {
	s        *model.Snapshot
	p        *model.Proxy
	explicit bool
	taken    map[uint32]bool              // ports that are not to be had
	found    map[string]*outboundListener // by name
	list     []*outboundListener

	egress *model.EgressScope // whose services are gathered
	bind   bool               // its listeners have sockets of their own
}

// sidecarOutbound lists a sidecar's outbound listeners, by port and address.
//
// A Sidecar says for which services; without one it is all that the namespace sees. Listeners of
// a port that it names come first, and nothing else is added to them.
//
// Without interception these are the explicit HTTP proxy and, for ports that need no
// privilege, one socket a port on the proxy's own address. With interception there is one for a
// port on 0.0.0.0 for HTTP, one for each address and port of other services, and one for each
// pod of a headless service, whose clients call pods.
func sidecarOutbound(s *model.Snapshot, p *model.Proxy) []*outboundListener {
	scope := s.ScopeOf(p)
	plan := &outboundPlan{s: s, p: p, explicit: p.Interception == model.InterceptNone, taken: map[uint32]bool{}, found: map[string]*outboundListener{}}
	proxy := explicitProxy(s, p)
	if all := scope.EgressFor(0, ""); proxy.IsValid() && all != nil {
		plan.list = append(plan.list, &outboundListener{ip: proxy.Addr().String(), port: uint32(proxy.Port()), route: httpProxyRoute, bind: true, egress: all})
	}
	if plan.explicit {
		for _, sp := range servedPorts(s, p) {
			plan.taken[sp.target] = true
		}
		if proxy.IsValid() && proxy.Addr().String() == p.IP {
			plan.taken[uint32(proxy.Port())] = true
		}
	}
	for _, egress := range scope.Egress() {
		plan.gather(egress)
	}
	slices.SortStableFunc(plan.list, func(a, b *outboundListener) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.ip, b.ip))
	})
	return plan.list
}

// explicitProxy is where a sidecar takes requests that its workload addresses to a proxy: what its node says, else the mesh's proxyHttpPort; invalid for nowhere. The port is on
// loopback, as in a pod, but for workloads without interception: they share the machine's, and each has an address of its own.
func explicitProxy(s *model.Snapshot, p *model.Proxy) netip.AddrPort {
	port := s.Mesh.HTTPProxyPort
	if p.HTTPProxy.IsValid() || port == 0 || p.Type != model.Sidecar {
		return p.HTTPProxy
	}
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	switch {
	case p.Interception == model.InterceptNone:
		ip, _ = netip.ParseAddr(p.IP) // ParseProxy has seen to it
	case p.IPv6Only():
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, port)
}

// gather adds the listeners of one egress listener.
func (o *outboundPlan) gather(egress *model.EgressScope) {
	l := egress.Listener()
	o.egress, o.bind = egress, o.explicit
	if l != nil {
		o.bind = l.BindsPort(o.p)
	}
	if o.explicit && !o.bind {
		return // nothing redirects connections to it
	}
	services := slices.Clone(egress.Services())
	slices.SortStableFunc(services, func(a, b *model.Service) int { return a.Created.Compare(b.Created) })
	for _, svc := range services {
		if o.s.Concrete(svc, o.p.Namespace) != nil {
			continue // clients are led to where that one is
		}
		for _, sp := range svc.Ports {
			if l != nil && l.Port != nil {
				o.addPort(svc, sp, l)
			} else if o.free(sp.Number) {
				o.add(svc, sp)
			}
		}
	}
}

// free reports whether a listener may have the port.
func (o *outboundPlan) free(port uint32) bool {
	privileged := port < 1024 && (o.explicit || o.p.Unprivileged)
	return !o.bind || !privileged && !o.taken[port] && !reserved(o.s, o.p, port)
}

// addPort puts a service's port behind a listener with a port of its own, which says what comes: requests, to whatever service
// they name, or bytes.
func (o *outboundPlan) addPort(svc *model.Service, sp model.Port, l *model.EgressListener) {
	if l.Port.Number != 0 && l.Bind == "" && !o.free(l.Port.Number) {
		return
	}
	sp.Protocol = l.Port.Protocol
	ip := l.Bind
	if ip == "" {
		ip = o.defaultBind()
	}
	o.placeAt(ip, l.Port.Number, svc, sp, nil)
}

// defaultBind is where listeners are whose object does not say it. Proxies that share a host each have an address of their own.
func (o *outboundPlan) defaultBind() string {
	switch {
	case o.explicit:
		return o.p.IP
	case o.bind:
		return o.p.Loopbacks()[0]
	}
	return o.any()
}

// any is the address of listeners for connections to wherever they were going. They are at that of the other family too.
func (o *outboundPlan) any() string { return o.p.Wildcards()[0] }

// add puts a service's port where its connections arrive.
func (o *outboundPlan) add(svc *model.Service, sp model.Port) {
	addresses, ranges := []string{o.any()}, []netip.Prefix(nil)
	switch l := o.egress.Listener(); {
	case l != nil && l.Bind != "":
		addresses = []string{l.Bind}
	case o.bind:
		addresses = []string{o.defaultBind()}
	case !sp.Protocol.IsHTTP():
		addresses, ranges = o.addresses(svc, sp)
	}
	if len(ranges) > 0 {
		o.place(o.any(), svc, sp, ranges)
	}
	for _, ip := range addresses {
		if a, err := netip.ParseAddr(ip); err == nil && (a.Is4() || o.p.HasIPv6()) {
			o.place(ip, svc, sp, nil)
		}
	}
}

// addresses are where connections to a service go that are not told apart by a Host header.
func (o *outboundPlan) addresses(svc *model.Service, sp model.Port) ([]string, []netip.Prefix) {
	if list := svc.AddressesFor(o.p); len(list)+len(svc.Ranges) > 0 {
		return list, svc.Ranges
	}
	if !svc.CalledByPod() {
		return []string{o.any()}, nil
	}
	// Clients have found the pods by DNS, and call one.
	var pods []string
	set, _ := o.s.Endpoints.Get(svc.Key())
	if set != nil {
		for i := range set.Instances {
			// A workload's own address is not called through this listener.
			if in := &set.Instances[i]; in.ServicePort == sp.Number && in.Address != "" && !slices.Contains(o.p.IPs, in.Address) && !slices.Contains(pods, in.Address) {
				pods = append(pods, in.Address)
			}
		}
	}
	if len(pods) == 0 && !svc.Headless && svc.Selector == nil {
		return []string{o.any()}, nil // a ServiceEntry without resolution: whatever address
	}
	return pods, nil
}

// place adds a service's port to the listener of an address, as Istio does: requests share one,
// bytes are added as long as they can be told apart, and where both may come the client's first
// bytes decide.
func (o *outboundPlan) place(ip string, svc *model.Service, sp model.Port, only []netip.Prefix) {
	o.placeAt(ip, sp.Number, svc, sp, only)
}

// placeAt is place with a listener's port that may be another than the service's.
func (o *outboundPlan) placeAt(ip string, port uint32, svc *model.Service, sp model.Port, only []netip.Prefix) {
	key := listenerName(ip, port)
	l := o.found[key]
	if l == nil {
		l = &outboundListener{ip: ip, port: port, bind: o.bind, first: svc, protocol: sp.Protocol, egress: o.egress}
		o.found[key], o.list = l, append(o.list, l)
	}
	if l.egress != o.egress {
		return // a Sidecar's own port is for the services that it names there
	}
	if l.protocol != sp.Protocol && (l.protocol.ServerFirst() || sp.Protocol.ServerFirst()) {
		return // neither may be made to wait for the client's first bytes
	}
	requests := only == nil && speaksHTTP(sp)
	shared := l.route != "" && isAny(ip) // requests, and what else comes passes
	if requests && l.route == "" {
		l.route = o.routeName(ip, port, svc, sp)
	}
	if sp.Protocol.IsHTTP() || sp.Protocol == model.ProtocolAuto && shared {
		return
	}
	l.bytes = append(l.bytes, outboundBytes{svc, sp, only})
}

// routeName is the name of a listener's route configuration. A service whose protocol is
// detected, at an address of its own, has its own: whatever host a request names is meant for it.
func (o *outboundPlan) routeName(ip string, port uint32, svc *model.Service, sp model.Port) string {
	switch {
	case isSocket(ip):
		return ip
	case sp.Protocol == model.ProtocolAuto && !isAny(ip) && !o.bind:
		return hostPort(svc.Host, sp.Number)
	}
	return strconv.FormatUint(uint64(port), 10)
}

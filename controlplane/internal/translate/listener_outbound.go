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
}

// outboundBytes is a service that may have opaque connections.
type outboundBytes struct {
	svc  *model.Service
	sp   model.Port
	only []netip.Prefix // nil: of whatever comes to the listener
}

// anyAddress is the address of listeners for connections to wherever they were going.
const anyAddress = "0.0.0.0"

// outboundPlan gathers listeners, service by service, oldest first: where two claim the same
// connections the older has them.
type outboundPlan struct {
	s        *model.Snapshot
	p        *model.Proxy
	explicit bool
	taken    map[uint32]bool // ports that are not to be had
	found    map[netip.AddrPort]*outboundListener
	list     []*outboundListener
}

// sidecarOutbound lists a sidecar's outbound listeners, by port and address.
//
// Without interception these are the explicit HTTP proxy and, for ports that need no
// privilege, one socket a port on the proxy's own address. With interception there is one for a
// port on 0.0.0.0 for HTTP, one for each address and port of other services, and one for each
// pod of a headless service, whose clients call pods.
func sidecarOutbound(s *model.Snapshot, p *model.Proxy) []*outboundListener {
	plan := &outboundPlan{s: s, p: p, explicit: p.Interception == model.InterceptNone, taken: map[uint32]bool{}, found: map[netip.AddrPort]*outboundListener{}}
	if p.HTTPProxy.IsValid() {
		plan.list = append(plan.list, &outboundListener{ip: p.HTTPProxy.Addr().String(), port: uint32(p.HTTPProxy.Port()), route: httpProxyRoute, bind: true})
	}
	if plan.explicit {
		for _, sp := range servedPorts(s, p) {
			plan.taken[sp.target] = true
		}
		if p.HTTPProxy.IsValid() && p.HTTPProxy.Addr().String() == p.IP {
			plan.taken[uint32(p.HTTPProxy.Port())] = true
		}
	}
	services := slices.Clone(s.VisibleServices(p.Namespace))
	slices.SortStableFunc(services, func(a, b *model.Service) int { return a.Created.Compare(b.Created) })
	for _, svc := range services {
		if s.Concrete(svc, p.Namespace) != nil {
			continue // clients are led to where that one is
		}
		for _, sp := range svc.Ports {
			if plan.explicit && (sp.Number < 1024 || plan.taken[sp.Number] || reservedPorts[sp.Number]) {
				continue
			}
			plan.add(svc, sp)
		}
	}
	slices.SortStableFunc(plan.list, func(a, b *outboundListener) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.ip, b.ip))
	})
	return plan.list
}

// add puts a service's port where its connections arrive.
func (o *outboundPlan) add(svc *model.Service, sp model.Port) {
	addresses, ranges := []string{anyAddress}, []netip.Prefix(nil)
	switch {
	case o.explicit:
		addresses = []string{o.p.IP}
	case !sp.Protocol.IsHTTP():
		addresses, ranges = o.addresses(svc, sp)
	}
	if len(ranges) > 0 {
		o.place(anyAddress, svc, sp, ranges)
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
		return []string{anyAddress}, nil
	}
	// Clients have found the pods by DNS, and call one.
	var pods []string
	set, _ := o.s.Endpoints.Get(svc.Key())
	if set != nil {
		for i := range set.Instances {
			// A workload's own address is not called through this listener.
			if in := &set.Instances[i]; in.ServicePort == sp.Number && in.Address != o.p.IP && !slices.Contains(pods, in.Address) {
				pods = append(pods, in.Address)
			}
		}
	}
	if len(pods) == 0 && !svc.Headless && svc.Selector == nil {
		return []string{anyAddress}, nil // a ServiceEntry without resolution: whatever address
	}
	return pods, nil
}

// place adds a service's port to the listener of an address, as Istio does: requests share one,
// bytes are added as long as they can be told apart, and where both may come the client's first
// bytes decide.
func (o *outboundPlan) place(ip string, svc *model.Service, sp model.Port, only []netip.Prefix) {
	key := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(sp.Number))
	l := o.found[key]
	isNew := l == nil
	if isNew {
		l = &outboundListener{ip: ip, port: sp.Number, bind: o.explicit, first: svc, protocol: sp.Protocol}
		o.found[key], o.list = l, append(o.list, l)
	}
	if l.protocol != sp.Protocol && (l.protocol.ServerFirst() || sp.Protocol.ServerFirst()) {
		return // neither may be made to wait for the client's first bytes
	}
	requests := only == nil && speaksHTTP(sp)
	shared := l.route != "" && ip == anyAddress // requests, and what else comes passes
	if requests && l.route == "" {
		l.route = o.routeName(ip, svc, sp)
	}
	if sp.Protocol.IsHTTP() || sp.Protocol == model.ProtocolAuto && shared {
		return
	}
	l.bytes = append(l.bytes, outboundBytes{svc, sp, only})
}

// routeName is the name of a listener's route configuration. A service whose protocol is
// detected, at an address of its own, has its own: whatever host a request names is meant for it.
func (o *outboundPlan) routeName(ip string, svc *model.Service, sp model.Port) string {
	if sp.Protocol == model.ProtocolAuto && ip != anyAddress && !o.explicit {
		return hostPort(svc.Host, sp.Number)
	}
	return strconv.FormatUint(uint64(sp.Number), 10)
}

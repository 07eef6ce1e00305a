package translate

import (
	"net/netip"
	"slices"
	"sort"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// outboundListener is what one outbound listener of a sidecar is made of: a route
// configuration, or a service of opaque bytes.
type outboundListener struct {
	ip    string
	port  uint32
	route string         // RDS name; "" for bytes
	svc   *model.Service // for bytes, and for the origin
	sp    model.Port
	bind  bool // its own socket; otherwise connections are handed over by original destination
	// ranges are services of bytes on subnets: what is going there is theirs, whatever else the
	// listener serves. With nothing but these svc is nil.
	ranges []outboundRange
}

// outboundRange is a service that has a whole subnet.
type outboundRange struct {
	subnet netip.Prefix
	svc    *model.Service
	sp     model.Port
}

// anyAddress is the address of listeners for connections to wherever they were going.
const anyAddress = "0.0.0.0"

// sidecarOutbound lists a sidecar's outbound listeners, by port and address.
//
// Without interception these are the explicit HTTP proxy and, for ports that need no
// privilege, one socket a port on the proxy's own address; with interception one a port on
// 0.0.0.0 for HTTP and one for each address and port of other services.
func sidecarOutbound(s *model.Snapshot, p *model.Proxy) []outboundListener {
	explicit := p.Interception == model.InterceptNone
	var out []outboundListener
	if p.HTTPProxy.IsValid() {
		out = append(out, outboundListener{ip: p.HTTPProxy.Addr().String(), port: uint32(p.HTTPProxy.Port()), route: httpProxyRoute, bind: true})
	}
	taken := map[uint32]bool{}
	if explicit {
		for _, sp := range servedPorts(s, p) {
			taken[sp.target] = true
		}
		if p.HTTPProxy.IsValid() && p.HTTPProxy.Addr().String() == p.IP {
			taken[uint32(p.HTTPProxy.Port())] = true
		}
	}
	type slot struct {
		ip   string
		port uint32
	}
	found := map[slot]int{}
	for _, svc := range s.VisibleServices(p.Namespace) {
		for _, sp := range svc.Ports {
			if explicit && (sp.Number < 1024 || taken[sp.Number] || reservedPorts[sp.Number]) {
				continue
			}
			l := outboundListener{port: sp.Number, svc: svc, sp: sp, bind: explicit}
			if speaksHTTP(sp) {
				l.route = strconv.FormatUint(uint64(sp.Number), 10)
			}
			addresses := []string{anyAddress}
			switch {
			case explicit:
				addresses = []string{p.IP}
			case l.route == "":
				if list := svc.AddressesFor(p); len(list)+len(svc.Ranges) > 0 {
					addresses = list
				}
				for _, subnet := range svc.Ranges {
					k := slot{anyAddress, sp.Number}
					i, shared := found[k]
					if !shared {
						i = len(out)
						found[k] = i
						out = append(out, outboundListener{ip: anyAddress, port: sp.Number})
					}
					out[i].addRange(outboundRange{subnet, svc, sp})
				}
			}
			for _, ip := range addresses {
				if a, err := netip.ParseAddr(ip); err != nil || a.Is6() && !p.HasIPv6() {
					continue
				}
				l.ip = ip
				k := slot{ip, sp.Number}
				if i, dup := found[k]; dup {
					// Several services on one socket: requests are told apart by host;
					// bytes cannot be, so they yield to requests, else the first by name
					// has the socket.
					if out[i].svc == nil || out[i].route == "" && l.route != "" {
						l.ranges = out[i].ranges
						out[i] = l
					}
					continue
				}
				found[k] = len(out)
				out = append(out, l)
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].port != out[j].port {
			return out[i].port < out[j].port
		}
		return out[i].ip < out[j].ip
	})
	return out
}

// addRange adds a subnet; of two services with the same one the first by name has it.
func (o *outboundListener) addRange(r outboundRange) {
	if !slices.ContainsFunc(o.ranges, func(have outboundRange) bool { return have.subnet == r.subnet }) {
		o.ranges = append(o.ranges, r)
	}
}

func outboundListeners(s *model.Snapshot, p *model.Proxy) []*listenerv3.Listener {
	logs, noRoute := accessLogs(s, p, outbound)
	var out []*listenerv3.Listener
	if p.Interception != model.InterceptNone {
		out = append(out, listenerLogs(catchAllListener(s, logs), noRoute))
	}
	for _, o := range sidecarOutbound(s, p) {
		l := &listenerv3.Listener{
			Name: listenerName(o.ip, o.port), Address: socketAddress(o.ip, o.port), TrafficDirection: trafficDirection(outbound),
		}
		if !o.bind {
			l.BindToPort = boolean(false)
		}
		switch {
		case o.route != "" && o.bind:
			l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
				connectionManager(s, p, outbound, "outbound_"+l.Name, o.route, nil, logs)}}}
		case o.route != "":
			// What turns out not to be HTTP goes where it was going.
			l.FilterChains = []*listenerv3.FilterChain{{
				FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer", ApplicationProtocols: httpALPN},
				Filters:          []*listenerv3.Filter{connectionManager(s, p, outbound, "outbound_"+l.Name, o.route, nil, logs)},
			}}
			l.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: unknownConnection(s.Mesh, logs)}
			l.ListenerFilters = []*listenerv3.ListenerFilter{inspectTLS(), inspectHTTP()}
			detect(l, s.Mesh)
		case o.svc == nil:
			l.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: unknownConnection(s.Mesh, logs)}
			l.Metadata = metadata(nil, o.ranges[0].svc.Origin)
		default:
			l.FilterChains = tcpChains(s, p, o, logs)
			l.Metadata = metadata(nil, o.svc.Origin)
		}
		l.FilterChains = append(rangeChains(s, p, o, logs), l.FilterChains...)
		if o.route == "" {
			if l.ListenerFilters = inspectors(l.FilterChains); len(l.ListenerFilters) > 0 {
				detect(l, s.Mesh)
			}
		}
		out = append(out, listenerLogs(l, noRoute))
	}
	return out
}

// rangeChains are the filter chains of services that have subnets.
func rangeChains(s *model.Snapshot, p *model.Proxy, o outboundListener, logs []*accesslogv3.AccessLog) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, r := range o.ranges {
		for _, c := range tcpChains(s, p, outboundListener{port: o.port, svc: r.svc, sp: r.sp}, logs) {
			if c.FilterChainMatch == nil {
				c.FilterChainMatch = &listenerv3.FilterChainMatch{}
			}
			c.FilterChainMatch.PrefixRanges = []*corev3.CidrRange{{AddressPrefix: r.subnet.Addr().String(), PrefixLen: u32(uint32(r.subnet.Bits()))}}
			out = append(out, c)
		}
	}
	return out
}

// unknownConnection takes a connection that is to no known service: on to where it was going,
// or nowhere (D20, D21).
func unknownConnection(mesh *model.Mesh, logs []*accesslogv3.AccessLog) []*listenerv3.Filter {
	cluster := PassthroughCluster
	if mesh.RegistryOnly {
		cluster = BlackHoleCluster
	}
	return tcpFilters(outbound, cluster, toCluster(cluster), logs)
}

// catchAllListener is where redirected connections arrive; it hands them to the listener of
// their original destination, and keeps those that have none.
func catchAllListener(s *model.Snapshot, logs []*accesslogv3.AccessLog) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: virtualOutbound, Address: socketAddress("0.0.0.0", outboundPort), TrafficDirection: trafficDirection(outbound),
		UseOriginalDst: boolean(true),
		FilterChains: []*listenerv3.FilterChain{
			{
				Name:             "virtualOutbound-trafficloop",
				FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: u32(outboundPort)},
				Filters:          tcpFilters(outbound, BlackHoleCluster, toCluster(BlackHoleCluster), logs),
			},
			{Name: "virtualOutbound-catchall-tcp", Filters: unknownConnection(s.Mesh, logs)},
		},
	}
}

// tcpChains are the filter chains for a service of opaque bytes: by server name where a
// virtual service has tls rules, then its first tcp rule that concerns the client, then the
// service itself.
func tcpChains(s *model.Snapshot, p *model.Proxy, o outboundListener, logs []*accesslogv3.AccessLog) []*listenerv3.FilterChain {
	rc := &routeContext{snap: s, proxy: p, gateway: model.MeshGateway, port: o.sp.Number}
	var rules *model.VirtualService
	if all := s.MeshRulesFor(o.svc.Host, p.Namespace); len(all) > 0 {
		rules = all[0]
	}
	var out []*listenerv3.FilterChain
	if rules != nil && o.sp.Protocol.IsTLS() {
		out = append(out, rc.tlsChains(outbound, rules, nil, logs)...)
	}
	dest := model.Destination{Host: o.svc.Host, Port: o.sp.Number}
	to := toCluster(ClusterName(o.sp.Number, "", o.svc.Host))
	if rules != nil {
		if t := rc.tcpRule(rules); t != nil {
			if w := rc.shares(t.Destinations); len(w) > 0 {
				to, dest = w, t.Destinations[0].Destination
			}
		}
	}
	return append(out, &listenerv3.FilterChain{Filters: tcpFiltersWith(outbound, to[0].name, to, rc.tcpPolicy(dest), logs)})
}

// tcpRule is the first tcp rule that concerns the client and the port.
func (rc *routeContext) tcpRule(vs *model.VirtualService) *model.TCPRoute {
	for i := range vs.TCP {
		t := &vs.TCP[i]
		if len(t.Matches) == 0 {
			return t
		}
		for j := range t.Matches {
			if rc.appliesL4(&t.Matches[j]) {
				return t
			}
		}
	}
	return nil
}

// appliesL4 decides what is known when the configuration is made. A gateway's clients are
// unknown, so that it does not ask who they are.
func (rc *routeContext) appliesL4(m *model.L4Match) bool {
	if m.Port != 0 && m.Port != rc.port || len(m.Gateways) > 0 && !contains(m.Gateways, rc.gateway) || len(m.Subnets) > 0 {
		return false
	}
	return rc.gateway != model.MeshGateway || rc.isClient(m.SourceLabels, m.SourceNamespace)
}

// tlsChains are chains by server name, for the tls rules that concern the client. admit (may
// be nil) says which names a gateway server takes.
func (rc *routeContext) tlsChains(d direction, vs *model.VirtualService, admit func(string) bool, logs []*accesslogv3.AccessLog) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for i := range vs.TLS {
		t := &vs.TLS[i]
		var names []string
		for j := range t.Matches {
			if rc.appliesL4(&t.Matches[j]) {
				for _, n := range t.Matches[j].SNIHosts {
					if admit == nil || admit(n) {
						names = append(names, n)
					}
				}
			}
		}
		to := rc.shares(t.Destinations)
		if len(names) == 0 || len(to) == 0 {
			continue
		}
		m := &listenerv3.FilterChainMatch{ServerNames: names}
		if contains(names, "*") {
			m = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
		}
		out = append(out, &listenerv3.FilterChain{
			FilterChainMatch: m, Filters: tcpFiltersWith(d, to[0].name, to, rc.tcpPolicy(t.Destinations[0].Destination), logs),
			Metadata: metadata(map[string]any{"config": vs.Origin.IstioPath()}, t.Origin),
		})
	}
	return out
}

// shares are the clusters of destinations; a lone destination needs no weight.
func (rc *routeContext) shares(list []model.L4Destination) []weightedCluster {
	if len(list) == 1 {
		return toCluster(rc.cluster(list[0].Destination))
	}
	var out []weightedCluster
	for _, d := range list {
		if d.Weight > 0 {
			out = append(out, weightedCluster{rc.cluster(d.Destination), d.Weight})
		}
	}
	return out
}

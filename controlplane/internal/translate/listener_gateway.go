package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// buildGatewayListeners makes a listener for each socket of a gateway.
func buildGatewayListeners(s *model.Snapshot, p *model.Proxy) []*listenerv3.Listener {
	f := newFilters(s, p, gateway)
	topology, secrets := s.TopologyOf(p), secretServersOf(s, p)
	var out []*listenerv3.Listener
	names := map[string]bool{}
	for _, g := range gatewayListeners(s, p) {
		// The name is that of the wildcard address wherever LATEEN_BIND puts it, as tools
		// expect; a server with a bind of its own has its own name.
		ip := p.Wildcards()[0]
		if g.bind != p.Bind {
			ip = g.bind
		}
		l := &listenerv3.Listener{
			Name: listenerName(ip, g.port), Address: socketAddress(g.bind, g.port), TrafficDirection: trafficDirection(gateway),
			AdditionalAddresses: additional(others(g.bind, p.Wildcards()), g.port), Metadata: metadata(nil, g.servers[0].srv.Origin),
		}
		if names[l.Name] {
			continue
		}
		c := &gatewayChains{filters: f, listener: l.Name, topology: topology, secrets: secrets, names: map[string]bool{}}
		if g.plain() {
			l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{c.serve(g.servers[0], "")}}}
		} else {
			for _, gs := range g.servers {
				c.add(gs)
			}
			if l.FilterChains = c.out; len(l.FilterChains) == 0 {
				continue // no rule gives the connections a place to go
			}
		}
		if topology.ProxyProtocol {
			l.ListenerFilters = append(l.ListenerFilters, readProxyProtocol())
		}
		if inspect := inspectors(l.FilterChains); len(inspect) > 0 {
			l.ListenerFilters = append(l.ListenerFilters, inspect...)
			l.ListenerFiltersTimeout = zeroDuration() // who comes to a server with TLS speaks first
		}
		names[l.Name] = true
		out = append(out, f.finish(l))
	}
	return out
}

// gatewayChains makes the filter chains of one socket.
type gatewayChains struct {
	*filters
	listener string // name
	topology model.Topology
	secrets  secretServers
	out      []*listenerv3.FilterChain
	names    map[string]bool // server names that have a chain; "" stands for all others
}

// put adds a chain for the server names that no chain has yet: Envoy refuses a listener in which two
// chains have one. Hosts of different namespaces may come to the same name here.
func (c *gatewayChains) put(chain *listenerv3.FilterChain) {
	m := chain.FilterChainMatch
	free := func(n string) bool { taken := c.names[n]; c.names[n] = true; return !taken }
	if len(m.GetServerNames()) == 0 {
		if free("") {
			c.out = append(c.out, chain)
		}
		return
	}
	if m.ServerNames = slices.DeleteFunc(m.ServerNames, func(n string) bool { return !free(n) }); len(m.ServerNames) > 0 {
		c.out = append(c.out, chain)
	}
}

// add makes the chains of one server with TLS, or of one for opaque bytes.
func (c *gatewayChains) add(gs gatewayServer) {
	switch {
	case gs.srv.TerminatesHTTP():
		c.put(&listenerv3.FilterChain{
			FilterChainMatch: serverNameMatch(gs.srv.Names()), TransportSocket: serverSocket(c.s.Mesh, c.p, gs.srv, c.secrets),
			Filters:  []*listenerv3.Filter{c.serve(gs, gs.srv.Name)},
			Metadata: metadata(nil, gs.srv.Origin),
		})
	case gs.srv.TerminatesTCP():
		if chain := c.tcpChain(gs); chain != nil {
			chain.FilterChainMatch, chain.TransportSocket = serverNameMatch(gs.srv.Names()), serverSocket(c.s.Mesh, c.p, gs.srv, c.secrets)
			if gs.srv.TLS.Mode == model.ServerIstioMutual && !c.p.Lacks.Has(model.MetadataExchange) {
				chain.Filters = append([]*listenerv3.Filter{networkFilter(metadataExchangeFilter, tcpMetadataExchange())}, chain.Filters...)
			}
			c.put(chain)
		}
	case gs.srv.TLS == nil:
		if chain := c.tcpChain(gs); chain != nil {
			c.put(chain)
		}
	case gs.srv.TLS.Mode == model.ServerAutoPassthrough:
		c.passthroughChains(gs)
	case gs.srv.TLS.Mode == model.ServerPassthrough:
		for _, vs := range c.rules(gs) {
			rc := &routeContext{snap: c.s, proxy: c.p, gateway: gs.gw.Key(), port: gs.srv.Port}
			admit := func(name string) bool { return gs.admitsName(vs.Namespace, name) }
			for _, chain := range rc.tlsChains(c.filters, vs, admit) {
				c.put(chain)
			}
		}
	}
}

// rules are the virtual services of a server, oldest first.
func (c *gatewayChains) rules(gs gatewayServer) []*model.VirtualService {
	return slices.DeleteFunc(c.s.RulesForGateway(gs.gw.Key(), c.p.Namespace), func(vs *model.VirtualService) bool { return !gs.serves(vs) })
}

// tcpChain is where a server's bytes go: as the first tcp rule of its virtual services says; nil
// when there is none.
func (c *gatewayChains) tcpChain(gs gatewayServer) *listenerv3.FilterChain {
	for _, vs := range c.rules(gs) {
		rc := &routeContext{snap: c.s, proxy: c.p, gateway: gs.gw.Key(), port: gs.srv.Port}
		t := rc.tcpRule(vs)
		if t == nil {
			continue
		}
		if filters := rc.ruleFilters(c.filters, vs, t.Destinations); filters != nil {
			return &listenerv3.FilterChain{Filters: filters, Metadata: ruleMetadata(vs, t.Origin)}
		}
	}
	return nil
}

// serve is the connection manager of a server. An empty prefix of statistics is that of the listener.
func (c *gatewayChains) serve(gs gatewayServer, prefix string) *listenerv3.Filter {
	if prefix == "" {
		prefix = "outbound_" + c.listener
	}
	m := c.manager(prefix, gs.routeName(), nil)
	applyTopology(m, c.topology)
	if gs.srv.Protocol == model.ProtocolGRPCWeb {
		m.HttpFilters = append(grpcWebFilters(), m.HttpFilters...)
	}
	return networkFilter(hcmFilter, toAny(m))
}

// serverNameMatch matches TLS connections by server name; "*" matches those without one as well.
func serverNameMatch(hosts []string) *listenerv3.FilterChainMatch {
	if slices.Contains(hosts, "*") {
		return &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
	}
	return &listenerv3.FilterChainMatch{ServerNames: hosts}
}

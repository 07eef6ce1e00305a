package translate

import (
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// bytesChains are the filter chains for a service of opaque bytes: by server name where the
// port carries TLS, else by destination, as virtual services say, and for the service itself.
// A chain without a match takes all that comes to the listener.
func (o *outboundListener) bytesChains(f *filters, b outboundBytes) []*listenerv3.FilterChain {
	rc := &routeContext{snap: f.s, proxy: f.p, gateway: model.MeshGateway, port: b.sp.Number}
	rules := o.egress.OpaqueRulesFor(b.svc.Host)
	if !b.sp.Protocol.IsTLS() {
		return rc.tcpChains(f, b, rules)
	}
	if chains := rc.sniChains(f, b, rules); len(chains) > 0 {
		return chains
	}
	// Nobody but the server name tells services apart that have no address of their own.
	var names []string
	if b.only != nil || isAny(o.ip) || o.bind && len(o.bytes) > 1 {
		names = []string{b.svc.Host}
	}
	return []*listenerv3.FilterChain{{FilterChainMatch: bytesMatch(names, b.only), Filters: rc.serviceFilters(f, b)}}
}

// serviceFilters go to the service itself.
func (rc *routeContext) serviceFilters(f *filters, b outboundBytes) []*listenerv3.Filter {
	d := model.Destination{Host: b.svc.Host, Port: b.sp.Number}
	name := ClusterName(b.sp.Number, "", b.svc.Host)
	return f.toTCP(name, toCluster(name), rc.tcpPolicy(d))
}

// ruleFilters go to a rule's destinations; nil when none has a share. Of several the virtual
// service names the statistics, as in Istio.
func (rc *routeContext) ruleFilters(f *filters, vs *model.VirtualService, list []model.L4Destination) []*listenerv3.Filter {
	to := rc.shares(list)
	if len(to) == 0 {
		return nil
	}
	prefix := to[0].name
	if len(list) > 1 {
		prefix = vs.Name + "." + vs.Namespace
	}
	return f.toTCP(prefix, to, rc.tcpPolicy(list[0].Destination))
}

// sniChains are the chains of the tls rules that concern the client, one for each match.
func (rc *routeContext) sniChains(f *filters, b outboundBytes, rules []*model.VirtualService) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, vs := range rules {
		for i := range vs.TLS {
			t := &vs.TLS[i]
			for j := range t.Matches {
				m := &t.Matches[j]
				filters := rc.ruleFilters(f, vs, t.Destinations)
				if filters == nil || !rc.appliesL4(m) {
					continue
				}
				names := slices.Clone(m.SNIHosts)
				if slices.Contains(names, "*") {
					names = nil
				}
				subnets := m.Subnets
				if len(subnets) == 0 {
					subnets = b.only
				}
				out = append(out, &listenerv3.FilterChain{FilterChainMatch: bytesMatch(names, subnets), Filters: filters, Metadata: ruleMetadata(vs, t.Origin)})
			}
		}
	}
	return out
}

// tcpChains are the chains of the tcp rules that concern the client: each rule for the subnets
// that it names, up to the first that names none, else the service itself behind them.
func (rc *routeContext) tcpChains(f *filters, b outboundBytes, rules []*model.VirtualService) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, vs := range rules {
		for i := range vs.TCP {
			t := &vs.TCP[i]
			filters := rc.ruleFilters(f, vs, t.Destinations)
			if filters == nil {
				continue
			}
			subnets, everything := rc.subnets(t)
			if everything {
				return append(out, &listenerv3.FilterChain{FilterChainMatch: bytesMatch(nil, b.only), Filters: filters, Metadata: ruleMetadata(vs, t.Origin)})
			}
			if len(subnets) > 0 {
				out = append(out, &listenerv3.FilterChain{FilterChainMatch: bytesMatch(nil, subnets), Filters: filters, Metadata: ruleMetadata(vs, t.Origin)})
			}
		}
	}
	return append(out, &listenerv3.FilterChain{FilterChainMatch: bytesMatch(nil, b.only), Filters: rc.serviceFilters(f, b)})
}

// subnets are the destinations of a rule's matches that concern the client; everything when one
// of them names none.
func (rc *routeContext) subnets(t *model.TCPRoute) (list []netip.Prefix, everything bool) {
	if len(t.Matches) == 0 {
		return nil, true
	}
	for i := range t.Matches {
		m := &t.Matches[i]
		if !rc.appliesL4(m) {
			continue
		}
		if len(m.Subnets) == 0 {
			return nil, true
		}
		list = append(list, m.Subnets...)
	}
	return list, false
}

// tcpRule is the first tcp rule of a gateway's virtual service that is for the server.
func (rc *routeContext) tcpRule(vs *model.VirtualService) *model.TCPRoute {
	for i := range vs.TCP {
		t := &vs.TCP[i]
		if len(t.Matches) == 0 || slices.ContainsFunc(t.Matches, func(m model.L4Match) bool { return rc.appliesL4(&m) }) {
			return t
		}
	}
	return nil
}

// appliesL4 decides what is known when the configuration is made. A gateway does not ask who its
// clients are and where they were going: they come to it.
func (rc *routeContext) appliesL4(m *model.L4Match) bool {
	if m.Port != 0 && m.Port != rc.port || len(m.Gateways) > 0 && !contains(m.Gateways, rc.gateway) {
		return false
	}
	return rc.gateway != model.MeshGateway || rc.isClient(m.SourceLabels, m.SourceNamespace)
}

// tlsChains are a gateway's chains by server name. admit says which names its server takes.
func (rc *routeContext) tlsChains(f *filters, vs *model.VirtualService, admit func(string) bool) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for i := range vs.TLS {
		t := &vs.TLS[i]
		var names []string
		for j := range t.Matches {
			if rc.appliesL4(&t.Matches[j]) {
				for _, n := range t.Matches[j].SNIHosts {
					if admit(n) {
						names = append(names, n)
					}
				}
			}
		}
		filters := rc.ruleFilters(f, vs, t.Destinations)
		if len(names) == 0 || filters == nil {
			continue
		}
		out = append(out, &listenerv3.FilterChain{FilterChainMatch: serverNameMatch(names), Filters: filters, Metadata: ruleMetadata(vs, t.Origin)})
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

func ruleMetadata(vs *model.VirtualService, origin model.Origin) *corev3.Metadata {
	return metadata(map[string]any{"config": vs.Origin.IstioPath()}, origin)
}

// bytesMatch matches connections by server name and destination; nil for all.
func bytesMatch(names []string, subnets []netip.Prefix) *listenerv3.FilterChainMatch {
	if len(names)+len(subnets) == 0 {
		return nil
	}
	m := &listenerv3.FilterChainMatch{ServerNames: names}
	for _, s := range subnets {
		m.PrefixRanges = append(m.PrefixRanges, &corev3.CidrRange{AddressPrefix: s.Addr().String(), PrefixLen: u32(uint32(s.Bits()))})
	}
	return m
}

// chainClaims are the server names and subnets that chains of a listener have. Envoy refuses a
// listener in which two chains match the same; the first, of the older service and rule, has it.
type chainClaims map[string]bool

// admit takes from a chain what is claimed already. False: nothing is left.
func (c chainClaims) admit(chain *listenerv3.FilterChain) bool {
	m := chain.FilterChainMatch
	names, subnets := m.GetServerNames(), m.GetPrefixRanges()
	if len(names) == 0 {
		names = []string{""}
	}
	if len(subnets) == 0 {
		subnets = []*corev3.CidrRange{nil}
	}
	key := func(name string, subnet *corev3.CidrRange) string { return name + "|" + subnet.String() }
	claimed := func(name string) bool {
		return slices.ContainsFunc(subnets, func(s *corev3.CidrRange) bool { return c[key(name, s)] })
	}
	if len(m.GetServerNames()) > 0 {
		names = slices.DeleteFunc(slices.Clone(names), claimed)
		m.ServerNames = names
	} else if subnets = slices.DeleteFunc(slices.Clone(subnets), func(s *corev3.CidrRange) bool { return c[key("", s)] }); m != nil {
		m.PrefixRanges = subnets
	}
	for _, n := range names {
		for _, s := range subnets {
			c[key(n, s)] = true
		}
	}
	return len(names) > 0 && len(subnets) > 0
}

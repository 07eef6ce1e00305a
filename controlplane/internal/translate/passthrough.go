package translate

import (
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// A server of mode AUTO_PASSTHROUGH passes the mesh's own TLS on to where its server name says: the name is that of a cluster,
// "outbound_.80_.v1_.catalog.shop.svc.cluster.local". For each there is a cluster of that name, whose connections carry the client's
// TLS as it is, to endpoints that take it.

// passthroughHosts are the hosts of the proxy's servers of that mode.
func passthroughHosts(s *model.Snapshot, p *model.Proxy) []string {
	if !s.AutoPassthrough || p.Type != model.Router {
		return nil
	}
	var out []string
	for _, l := range gatewayListeners(s, p) {
		for _, g := range l.servers {
			if t := g.srv.TLS; t != nil && t.Mode == model.ServerAutoPassthrough {
				out = append(out, g.srv.Names()...)
			}
		}
	}
	return out
}

// passthroughInputs are what the clusters of a service for such servers are made of.
func passthroughInputs(s *model.Snapshot, p *model.Proxy, svc *model.Service, inputs []clusterInput) []clusterInput {
	if svc.External || !slices.ContainsFunc(passthroughHosts(s, p), func(h string) bool { return covers(h, svc.Host) }) {
		return nil
	}
	var out []clusterInput
	for _, in := range inputs {
		if in.kind == kindEDS && in.port.Protocol != model.ProtocolUDP {
			in.passthrough = true
			out = append(out, in)
		}
	}
	return out
}

// passthroughChains makes the chains of a server of that mode, one for each cluster. Only clients that offer the mesh's own protocols get
// in: what reaches an endpoint is TLS that it will ask for an identity.
func (c *gatewayChains) passthroughChains(gs gatewayServer) {
	for _, svc := range c.s.VisibleServices(c.p.Namespace) {
		if svc.External || !slices.ContainsFunc(gs.srv.Names(), func(h string) bool { return covers(h, svc.Host) }) {
			continue
		}
		for _, in := range clusterInputs(c.s, c.p, svc) {
			if !in.passthrough {
				continue
			}
			name := in.name()
			c.put(&listenerv3.FilterChain{
				FilterChainMatch: &listenerv3.FilterChainMatch{ServerNames: []string{name}, ApplicationProtocols: slices.Clone(alpnInboundMTLS)},
				Filters:          c.toOne(name), Metadata: metadata(nil, gs.srv.Origin),
			})
		}
	}
}

// parseSNIName takes "outbound_.80_.v1_.catalog.shop.svc.cluster.local" apart.
func parseSNIName(name string) (port uint32, subset, host string, ok bool) {
	parts := strings.SplitN(name, "_.", 4)
	if len(parts) != 4 || parts[0] != "outbound" {
		return 0, "", "", false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	return uint32(n), parts[2], parts[3], err == nil
}

// ClusterHost is the host in the name of an outbound cluster of either form; "" for other names.
func ClusterHost(name string) string {
	if strings.Count(name, "|") == 3 {
		return name[strings.LastIndexByte(name, '|')+1:]
	}
	_, _, host, _ := parseSNIName(name)
	return host
}

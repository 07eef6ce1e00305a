package snapshot

import (
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// tlsRoute converts a rule for connections whose TLS is passed through.
func (b *Builder) tlsRoute(o object, r *networking.TLSRoute, field string) model.TLSRoute {
	out := model.TLSRoute{Destinations: b.l4Destinations(o, r.Route), Origin: o.at(field)}
	for j, m := range r.Match {
		if m == nil {
			m = &networking.TLSMatchAttributes{}
		}
		out.Matches = append(out.Matches, model.L4Match{
			SNIHosts: lower(m.SniHosts), Subnets: subnets(m.DestinationSubnets), Port: m.Port, SourceLabels: cloneMap(m.SourceLabels),
			SourceNamespace: m.SourceNamespace, Gateways: gatewayNames(m.Gateways, o.Namespace), Origin: o.at(indexed(field+".match", j)),
		})
	}
	return out
}

// tcpRoute converts a rule for opaque connections.
func (b *Builder) tcpRoute(o object, r *networking.TCPRoute, field string, p *problems) model.TCPRoute {
	out := model.TCPRoute{Destinations: b.l4Destinations(o, r.Route), Origin: o.at(field)}
	for j, m := range r.Match {
		if m == nil {
			m = &networking.L4MatchAttributes{}
		}
		at := indexed(field+".match", j)
		if m.SourceSubnet != "" {
			p.add(at+".sourceSubnet", "has no effect, as in Istio, whose proxies do not compare it: connections from everywhere match")
		}
		out.Matches = append(out.Matches, model.L4Match{
			Subnets: subnets(m.DestinationSubnets), Port: m.Port, SourceLabels: cloneMap(m.SourceLabels),
			SourceNamespace: m.SourceNamespace, Gateways: gatewayNames(m.Gateways, o.Namespace), Origin: o.at(at),
		})
	}
	return out
}

func (b *Builder) l4Destinations(o object, list []*networking.RouteDestination) []model.L4Destination {
	var out []model.L4Destination
	for _, d := range list {
		if d != nil {
			out = append(out, model.L4Destination{Destination: b.destination(d.Destination, o.Namespace), Weight: uint32(max(d.Weight, 0))})
		}
	}
	return out
}

// subnets reads addresses and ranges; an address is a range of one. What is neither was
// refused by validation.
func subnets(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		} else if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, func(a, c netip.Prefix) int { return strings.Compare(a.String(), c.String()) })
	return slices.Compact(out)
}

func lower(in []string) []string {
	var out []string
	for _, s := range in {
		out = append(out, strings.ToLower(s))
	}
	return out
}

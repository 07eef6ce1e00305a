package validate

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func (c *checker) tlsRoute(p *field.Path, r *networking.TLSRoute, hosts []string) {
	if len(r.Match) == 0 {
		c.add(p.Child("match"), "missing; a TLS route needs sniHosts to match")
	}
	for i, m := range r.Match {
		at := p.Child("match").Index(i)
		if len(m.SniHosts) == 0 {
			c.add(at.Child("sniHosts"), "missing; name the host names that clients ask for")
		}
		for j, h := range m.SniHosts {
			hat := at.Child("sniHosts").Index(j)
			c.host(hat, h, anyHost)
			if !coveredByAny(hosts, h) {
				c.add(hat, "%q is not one of spec.hosts, nor covered by a wildcard of it", h)
			}
		}
		c.subnets(at.Child("destinationSubnets"), m.DestinationSubnets)
		c.port(at.Child("port"), int64(m.Port), true)
		c.labels(at.Child("sourceLabels"), m.SourceLabels)
		c.gatewayNames(at.Child("gateways"), m.Gateways)
		c.sourceNamespace(at, m.SourceNamespace)
	}
	c.l4Destinations(p.Child("route"), r.Route)
}

func (c *checker) tcpRoute(p *field.Path, r *networking.TCPRoute) {
	for i, m := range r.Match {
		at := p.Child("match").Index(i)
		c.subnets(at.Child("destinationSubnets"), m.DestinationSubnets)
		if m.SourceSubnet != "" {
			c.cidr(at.Child("sourceSubnet"), m.SourceSubnet)
		}
		c.port(at.Child("port"), int64(m.Port), true)
		c.labels(at.Child("sourceLabels"), m.SourceLabels)
		c.gatewayNames(at.Child("gateways"), m.Gateways)
		c.sourceNamespace(at, m.SourceNamespace)
	}
	c.l4Destinations(p.Child("route"), r.Route)
}

func (c *checker) subnets(p *field.Path, list []string) {
	for i, s := range list {
		c.cidr(p.Index(i), s)
	}
}

func (c *checker) l4Destinations(p *field.Path, list []*networking.RouteDestination) {
	if len(list) == 0 {
		c.add(p, "missing; name the service that connections go to")
	}
	var sum int64
	for i, d := range list {
		c.destination(p.Index(i).Child("destination"), d.Destination)
		if d.Weight < 0 {
			c.add(p.Index(i).Child("weight"), "%d is negative; weights are parts of a whole, such as 90 and 10", d.Weight)
		}
		sum += int64(d.Weight)
	}
	if len(list) > 1 && sum == 0 {
		c.add(p, "the weights add up to 0; give each destination a weight, such as 90 and 10")
	}
}

// coveredByAny reports whether one of the host patterns covers the host pattern.
func coveredByAny(patterns []string, host string) bool {
	for _, p := range patterns {
		if strings.EqualFold(p, host) || p == "*" {
			return true
		}
		if suffix, ok := strings.CutPrefix(p, "*."); ok && strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(suffix)) {
			return true
		}
	}
	return false
}

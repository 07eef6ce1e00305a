package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// Endpoints validates a load assignment from EDS, whose addresses are IPs.
func (d *Decoder) Endpoints(m *endpointv3.ClusterLoadAssignment) (*Endpoints, error) {
	p := &parser{dec: d}
	p.check("", m)
	e := p.endpoints("", m, false)
	if err := p.finish("endpoints", m.GetClusterName()); err != nil {
		return nil, err
	}
	return e, nil
}

func (p *parser) endpoints(path string, m *endpointv3.ClusterLoadAssignment, names bool) *Endpoints {
	out := &Endpoints{
		ClusterName:            m.GetClusterName(),
		OverprovisioningFactor: uint32Or(m.GetPolicy().GetOverprovisioningFactor(), 140),
		WeightedPriorityHealth: m.GetPolicy().GetWeightedPriorityHealth(),
	}
	policy := join(path, "policy")
	out.StaleAfter = p.duration(join(policy, "endpoint_stale_after"), m.GetPolicy().GetEndpointStaleAfter(), 0)
	switch drops := m.GetPolicy().GetDropOverloads(); len(drops) {
	case 0:
	case 1:
		out.Drop = p.fraction(join(policy, "drop_overloads[0].drop_percentage"), drops[0].GetDropPercentage())
	default:
		p.bad(join(policy, "drop_overloads"), "one category is possible, not %d", len(drops))
	}
	var maxPriority uint32
	seen := map[uint32]bool{}
	for i, l := range m.GetEndpoints() {
		here := at(join(path, "endpoints"), i)
		loc := LocalityEndpoints{
			Region:   l.GetLocality().GetRegion(),
			Zone:     l.GetLocality().GetZone(),
			SubZone:  l.GetLocality().GetSubZone(),
			Weight:   uint32Or(l.GetLoadBalancingWeight(), 0),
			Priority: l.GetPriority(),
			// Thousands of lists live long: none has room left.
			Endpoints: make([]Endpoint, 0, len(l.GetLbEndpoints())),
		}
		own := metadata(l.GetMetadata())
		seen[loc.Priority] = true
		maxPriority = max(maxPriority, loc.Priority)
		for j, e := range l.GetLbEndpoints() {
			ep := at(join(here, "lb_endpoints"), j)
			if e.GetEndpoint() == nil {
				p.bad(join(ep, "endpoint"), "is required")
				continue
			}
			loc.Endpoints = append(loc.Endpoints, Endpoint{
				Address:  p.address(join(ep, "endpoint.address"), e.GetEndpoint().GetAddress(), names),
				More:     p.moreAddresses(join(ep, "endpoint"), e.GetEndpoint(), names),
				Hostname: e.GetEndpoint().GetHostname(),
				Health:   health(e.GetHealthStatus()),
				Weight:   max(uint32Or(e.GetLoadBalancingWeight(), 1), 1),
				Metadata: metadata(e.GetMetadata()), LocalityMetadata: own,
				Check: p.endpointCheck(join(ep, "endpoint.health_check_config"), e.GetEndpoint().GetHealthCheckConfig()),
				TLVs:  p.hostTLVs(join(ep, "metadata"), e.GetMetadata()),
			})
		}
		out.Localities = append(out.Localities, loc)
	}
	for prio := range maxPriority {
		if !seen[prio] {
			p.bad(join(path, "endpoints"), "priority %d is used but %d is not; priorities must count from 0 without a gap", maxPriority, prio)
			break
		}
	}
	return out
}

// moreAddresses are further ones of a host, which are for names to have, not for endpoints that
// are names.
func (p *parser) moreAddresses(path string, m *endpointv3.Endpoint, names bool) []Address {
	var out []Address
	for i, a := range m.GetAdditionalAddresses() {
		here := at(join(path, "additional_addresses"), i)
		if names {
			p.bad(here, "has no place where names are resolved")
		}
		x := p.address(join(here, "address"), a.GetAddress(), false)
		if x.Pipe != "" || m.GetAddress().GetPipe() != nil {
			p.bad(here, "only IP addresses can be several")
		}
		out = append(out, x)
	}
	return out
}

func (p *parser) endpointCheck(path string, m *endpointv3.Endpoint_HealthCheckConfig) *EndpointCheck {
	if m == nil {
		return nil
	}
	c := &EndpointCheck{Port: uint16(m.GetPortValue()), Hostname: m.GetHostname(), Disabled: m.GetDisableActiveHealthCheck()}
	if m.GetPortValue() > 65535 {
		p.bad(join(path, "port_value"), "%d is not a port", m.GetPortValue())
	}
	if m.GetAddress() != nil {
		c.Address = p.address(join(path, "address"), m.GetAddress(), false)
	}
	return c
}

func health(s corev3.HealthStatus) HealthStatus {
	switch s {
	case corev3.HealthStatus_HEALTHY:
		return HealthHealthy
	case corev3.HealthStatus_UNHEALTHY:
		return HealthUnhealthy
	case corev3.HealthStatus_DRAINING:
		return HealthDraining
	case corev3.HealthStatus_TIMEOUT:
		return HealthTimeout
	case corev3.HealthStatus_DEGRADED:
		return HealthDegraded
	}
	return HealthUnknown
}

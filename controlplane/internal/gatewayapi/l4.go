package gatewayapi

import (
	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// l4Backends shares connections among the backends that exist. A share of one that does not is the others'; without any, connections are
// closed.
func (c *conversion) l4Backends(r *route, refs []gatewayv1.BackendRef) []*networking.RouteDestination {
	var out []*networking.RouteDestination
	for i := range refs {
		to, err := c.backend(r.object, &refs[i].BackendObjectReference)
		if err != nil {
			r.unresolved = first(r.unresolved, err)
			continue
		}
		if weight := value(refs[i].Weight, 1); weight > 0 {
			out = append(out, &networking.RouteDestination{Destination: to, Weight: weight})
		}
	}
	return out
}

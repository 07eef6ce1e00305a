package validate

import (
	"maps"
	"net/netip"
	"slices"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// MeshNetworks returns the broken rules of the mesh's networks, with fields from its root.
func MeshNetworks(in *mesh.MeshNetworks) []Problem {
	c := &checker{}
	root := (*field.Path)(nil)
	for _, name := range slices.Sorted(maps.Keys(in.GetNetworks())) {
		at := root.Child("networks", name)
		n := in.Networks[name]
		for i, e := range n.GetEndpoints() {
			e, at := e.GetNe(), at.Child("endpoints").Index(i)
			switch ne := e.(type) {
			case nil:
				c.add(at, "says nothing; set fromCidr or fromRegistry")
			case *mesh.Network_NetworkEndpoints_FromCidr:
				if _, err := netip.ParsePrefix(ne.FromCidr); err != nil {
					c.add(at.Child("fromCidr"), "%q is not a subnet such as 10.0.0.0/8", ne.FromCidr)
				}
			case *mesh.Network_NetworkEndpoints_FromRegistry:
				if ne.FromRegistry == "" {
					c.add(at.Child("fromRegistry"), "missing; name a registry such as Kubernetes")
				}
			}
		}
		for i, g := range n.GetGateways() {
			at := at.Child("gateways").Index(i)
			c.port(at.Child("port"), int64(g.GetPort()), false)
			switch gw := g.GetGw().(type) {
			case nil:
				c.add(at, "leads nowhere; set address or registryServiceName")
			case *mesh.Network_IstioNetworkGateway_Address:
				c.host(at.Child("address"), gw.Address, plainHost)
			case *mesh.Network_IstioNetworkGateway_RegistryServiceName:
				if gw.RegistryServiceName == "" {
					c.add(at.Child("registryServiceName"), "missing; name a service by its whole host")
				}
			}
		}
	}
	return c.problems
}

package translate

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// acrossNetworks replaces endpoints that the client does not reach by the gateways of their networks, as Istio's split-horizon EDS does. A gateway has the weight of the
// endpoints behind it, and weights are multiplied so that they can be divided among gateways. What cannot be passed on is left out: gateways know the way by the server's name
// of the mesh's own TLS.
func (in *clusterInput) acrossNetworks(groups []*group) []*group {
	if in.nets == nil {
		return groups
	}
	var out []*group
	for _, g := range groups {
		n := &group{locality: g.locality}
		behind := map[model.NetworkGateway]uint64{}
		network := map[model.NetworkGateway]string{}
		for _, e := range g.endpoints {
			of := in.nets.Of(e.Network, e.Address)
			if in.client.NetworkView != nil && !in.client.NetworkView[of] {
				continue
			}
			through, direct := in.nets.Reaches(in.network, of)
			total := min(uint64(weight(e))*uint64(max(in.nets.Scale, 1)), maxWeight)
			switch {
			case direct && e.Address != "":
				own := *e
				own.Weight, own.Network = uint32(total), of
				n.endpoints = append(n.endpoints, &own)
			case !direct && e.TLS == model.TLSModeIstio && in.meshTLS():
				for _, gw := range through {
					behind[gw] += total / uint64(len(through))
					network[gw] = of
				}
			}
		}
		for _, gw := range sortedGateways(behind) {
			n.endpoints = append(n.endpoints, &model.Instance{
				Address: gw.Address, Port: gw.Port, Network: network[gw], TLS: model.TLSModeIstio,
				Weight: uint32(min(max(behind[gw], 1), maxWeight)),
			})
		}
		if len(n.endpoints) > 0 {
			out = append(out, n)
		}
	}
	return out
}

// meshTLS reports whether a client speaks the mesh's TLS to endpoints that take it: unless a rule wants something else.
func (in *clusterInput) meshTLS() bool {
	if t := in.tls(); t != nil {
		return t.Mode == model.TLSIstioMutual
	}
	return in.passthrough || in.mesh.AutoMTLS && !in.svc.External
}

func sortedGateways(of map[model.NetworkGateway]uint64) []model.NetworkGateway {
	out := make([]model.NetworkGateway, 0, len(of))
	for gw := range of {
		out = append(out, gw)
	}
	slices.SortFunc(out, func(a, b model.NetworkGateway) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return out
}

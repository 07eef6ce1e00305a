package snapshot

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// ownRegistry is how MeshNetworks calls the registry of this control plane: by its cluster, as proxies do by default.
const ownRegistry = "Kubernetes"

// meshNetworks reads the networks of the mesh's ConfigMap; nil when it says nothing of any.
func meshNetworks(cm *corev1.ConfigMap, p *problems) *model.NetworkConfig {
	in, err := config.ParseMeshNetworks(config.File{Data: []byte(cm.Data[config.MeshNetworksKey])})
	if err != nil || len(in.GetNetworks()) == 0 {
		return nil // objects with mistakes do not get here
	}
	out := &model.NetworkConfig{}
	for _, name := range slices.Sorted(maps.Keys(in.GetNetworks())) {
		out.Networks = append(out.Networks, networkEntry(name, in.Networks[name], "data."+config.MeshNetworksKey+".networks."+name, p))
	}
	return out
}

func networkEntry(name string, in *meshconfig.Network, field string, p *problems) model.NetworkEntry {
	out := model.NetworkEntry{Name: name}
	for i, e := range in.GetEndpoints() {
		at := indexed(field+".endpoints", i)
		switch ne := e.GetNe().(type) {
		case *meshconfig.Network_NetworkEndpoints_FromCidr:
			if subnet, err := netip.ParsePrefix(ne.FromCidr); err == nil {
				out.Subnets = append(out.Subnets, subnet.Masked())
			}
		case *meshconfig.Network_NetworkEndpoints_FromRegistry:
			if out.Default = ne.FromRegistry == ownRegistry; !out.Default {
				p.add(at+".fromRegistry", "%q has no effect: there is one registry here, %s; say fromCidr, or WorkloadEntry.network", ne.FromRegistry, ownRegistry)
			}
		}
	}
	for i, g := range in.GetGateways() {
		at := indexed(field+".gateways", i)
		if g.GetLocality() != "" {
			p.add(at+".locality", "has no effect, as in Istio")
		}
		switch gw := g.GetGw().(type) {
		case *meshconfig.Network_IstioNetworkGateway_RegistryServiceName:
			out.Services = append(out.Services, model.NetworkService{Host: gw.RegistryServiceName, Port: g.GetPort()})
		case *meshconfig.Network_IstioNetworkGateway_Address:
			if _, err := netip.ParseAddr(gw.Address); err != nil {
				out.Names = append(out.Names, model.NetworkName{Name: gw.Address, Port: g.GetPort()})
				continue
			}
			out.Gateways = append(out.Gateways, model.NetworkGateway{Address: gw.Address, Port: g.GetPort()})
		}
	}
	return out
}

// deriveNetworks finds the gateways of all networks in the new snapshot: those that the configuration gives the addresses of, and those of services. The networks
// stay the same object while nothing of them differs.
func (b *Builder) deriveNetworks(s, old *model.Snapshot) {
	cfg := b.networks
	b.gatewayNames = map[string]bool{}
	if cfg == nil && len(b.networkGateways) == 0 {
		s.Networks = nil
		return
	}
	n := &model.Networks{Gateways: map[string][]model.NetworkGateway{}, Scale: 1, Own: b.namespaces[b.mesh.RootNamespace][model.NetworkLabel]}
	add := func(network string, gws ...model.NetworkGateway) {
		for _, gw := range gws {
			if !slices.Contains(n.Gateways[network], gw) {
				n.Gateways[network] = append(n.Gateways[network], gw)
			}
		}
	}
	if cfg != nil {
		for _, e := range cfg.Networks {
			for _, subnet := range e.Subnets {
				n.Ranges = append(n.Ranges, model.NetworkRange{Subnet: subnet, Network: e.Name})
			}
			if e.Default {
				n.Default = e.Name
			}
			add(e.Name, e.Gateways...)
			for _, to := range e.Names {
				add(e.Name, b.named(to.Name, to.Port)...)
			}
			for _, to := range e.Services {
				for _, svc := range s.Services.Prefix(to.Host + "/") {
					add(e.Name, b.serviceGateways(s, svc, to.Port)...)
				}
			}
		}
	}
	for _, key := range sortedKeys(b.networkGateways) {
		if svc, ok := s.Services.Get(key); ok {
			add(svc.Gateway, b.serviceGateways(s, svc, svc.GatewayPort)...)
		}
	}
	for network, gws := range n.Gateways {
		slices.SortFunc(gws, func(a, c model.NetworkGateway) int {
			return cmp.Or(cmp.Compare(a.Address, c.Address), cmp.Compare(a.Port, c.Port))
		})
		n.Gateways[network] = gws
		n.Scale = leastCommonMultiple(n.Scale, uint32(len(gws)))
	}
	slices.SortStableFunc(n.Ranges, func(a, c model.NetworkRange) int {
		return cmp.Or(cmp.Compare(c.Subnet.Bits(), a.Subnet.Bits()), a.Subnet.Addr().Compare(c.Subnet.Addr()))
	})
	if was := old.Networks; was != nil {
		n.Rev = was.Rev
		if reflect.DeepEqual(n, was) {
			s.Networks = was
			return
		}
	}
	n.Rev = b.next()
	s.Networks = n
}

// named are the gateways that a name stands for, as far as DNS has said it, and notes that it is to be asked for.
func (b *Builder) named(name string, port uint32) []model.NetworkGateway {
	b.gatewayNames[name] = true
	var out []model.NetworkGateway
	for _, a := range b.addressesOf[name] {
		out = append(out, model.NetworkGateway{Address: a, Port: port})
	}
	return out
}

// GatewayNames are the names of networks' gateways that DNS has to be asked for, sorted.
func (b *Builder) GatewayNames() []string { return sortedKeys(b.gatewayNames) }

// SetNames replaces what is known of gateways' names (GatewayNames): the addresses of each.
func (b *Builder) SetNames(names map[string][]string) (*model.Snapshot, *model.Change) {
	ch := &model.Change{From: b.snap.Version}
	b.addressesOf = names
	return b.flush(ch)
}

// serviceGateways are the gateways behind a port of a service: at its external addresses and names, else, as where no load balancer stands before it, at those of its workloads.
func (b *Builder) serviceGateways(s *model.Snapshot, svc *model.Service, port uint32) []model.NetworkGateway {
	var out []model.NetworkGateway
	for _, a := range svc.ExternalAddresses {
		out = append(out, model.NetworkGateway{Address: a, Port: port})
	}
	for _, name := range svc.ExternalNames {
		out = append(out, b.named(name, port)...)
	}
	if len(out) > 0 {
		return out
	}
	set, ok := s.Endpoints.Get(svc.Key())
	if !ok {
		return nil
	}
	for i := range set.Instances {
		in := &set.Instances[i]
		if _, err := netip.ParseAddr(in.Address); err == nil && in.ServicePort == port && !in.Unhealthy {
			out = append(out, model.NetworkGateway{Address: in.Address, Port: in.Port})
		}
	}
	return out
}

// mostScale bounds what weights are multiplied by: with more gateways they are divided less exactly.
const mostScale = 1 << 16

func leastCommonMultiple(a, b uint32) uint32 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	if lcm := uint64(a) / uint64(max(x, 1)) * uint64(b); lcm <= mostScale {
		return max(uint32(lcm), 1)
	}
	return a
}

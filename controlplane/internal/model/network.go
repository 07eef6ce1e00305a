package model

import (
	"net/netip"
	"strings"
)

// GatewayPortLabel says at which port a gateway's Service, which has NetworkLabel, takes connections of other networks.
const GatewayPortLabel = "networking.istio.io/gatewayPort"

// GatewayPort is that port where nothing is said: Istio's, for servers of mode AUTO_PASSTHROUGH.
const GatewayPort = 15443

// Networks are the mesh's networks. Endpoints of one network do not reach those of another but through its gateways, which pass the mesh's TLS on by
// the server's name. Nil stands for one network, in which all reach all.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshNetworks
type Networks struct {
	// Gateways of each network, by address and port.
	Gateways map[string][]NetworkGateway
	// Ranges say which network an address is in, the smallest first.
	Ranges []NetworkRange
	// Own is the network of what none is named for (NetworkLabel of the root namespace); "" for none.
	Own string
	// Default is the network of what nothing else is said of (endpoints[].fromRegistry); "" for none.
	Default string
	// Scale is what weights are multiplied by, so that an endpoint's can be divided among the gateways of its network.
	Scale uint32
	Rev   uint64
}

// NetworkGateway is where a network is entered.
type NetworkGateway struct {
	Address string // an IP address
	Port    uint32
}

// NetworkRange is a subnet that belongs to a network.
type NetworkRange struct {
	Subnet  netip.Prefix
	Network string
}

// Of is the network of something with an address and, perhaps, a network that was named for it; "" when nobody knows.
func (n *Networks) Of(named, address string) string {
	if n == nil || named != "" {
		return named
	}
	if n.Own != "" {
		return n.Own
	}
	if ip, err := netip.ParseAddr(address); err == nil {
		for _, r := range n.Ranges {
			if r.Subnet.Contains(ip.Unmap()) {
				return r.Network
			}
		}
	}
	return n.Default
}

// NetworkOf is the network of a proxy: what its node says (NETWORK, else its label), what its WorkloadEntry says, else what its address is in.
func (s *Snapshot) NetworkOf(p *Proxy) string {
	if p.Network != "" || s.Networks == nil {
		return p.Network
	}
	named := p.Labels[NetworkLabel]
	if w := s.WorkloadOf(p); named == "" && w != nil {
		named = w.Network
	}
	return s.Networks.Of(named, p.IP)
}

// NetworkConfig is what a mesh says of its networks. Gateways that are named by their services are found in a snapshot.
type NetworkConfig struct {
	Networks []NetworkEntry // by name
}

// NetworkEntry is one network of a NetworkConfig.
type NetworkEntry struct {
	Name     string
	Subnets  []netip.Prefix
	Default  bool // what this control plane's own registry has is in it
	Gateways []NetworkGateway
	// Services of gateways.
	Services []NetworkService
	// Names are gateways that DNS knows.
	Names []NetworkName
}

// NetworkName is a gateway given by a name.
type NetworkName struct {
	Name string
	Port uint32
}

// NetworkService is a service of a network's gateways.
type NetworkService struct {
	Host string
	Port uint32
}

// sameNetwork reports whether two are in one network. What nobody knows the network of is reached directly.
func sameNetwork(a, b string) bool { return a == "" || b == "" || a == b }

// Reaches returns the gateways by which a client reaches something in a network; direct: it needs none.
func (n *Networks) Reaches(client, network string) (through []NetworkGateway, direct bool) {
	if n == nil || sameNetwork(client, network) {
		return nil, true
	}
	through = n.Gateways[network]
	return through, len(through) == 0
}

// parseNetworkView reads REQUESTED_NETWORK_VIEW: the networks whose endpoints a gateway is told of, besides those of no network; nil for all.
func parseNetworkView(text string) map[string]bool {
	var out map[string]bool
	for n := range strings.SplitSeq(text, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if out == nil {
			out = map[string]bool{"": true}
		}
		out[n] = true
	}
	return out
}

package capture

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Where captured connections and queries arrive, as in a pod of Istio's; connections where the mesh does not say otherwise.
const (
	OutboundPort = 15001
	InboundPort  = 15006
	DNSPort      = 15053 // of loopback
)

// Rules say which connections are captured. Where several rules speak, the exclusion counts.
type Rules struct {
	// Name of the nftables table that holds the rules; what is in it belongs to this package.
	Name string
	// User is the one whose outbound connections are captured; nil: everybody's, as in a pod, but for those of ExceptUsers and ExceptGroups, which are the proxy's.
	User                      *uint32
	ExceptUsers, ExceptGroups []uint32
	// Outbound is what is captured of where connections go. Those to 127.0.0.0/8 and ::1 never are.
	Outbound Outbound
	// IPv6 says that the proxy takes connections of IPv6; else they are left alone. Queries are redirected all the same.
	IPv6 bool
	// OutboundPort and InboundPort are where the proxy takes captured connections; 0 for those above.
	OutboundPort, InboundPort uint16
	// DNS says that queries, UDP and TCP to port 53 of whatever address, go to the agent's name server; not if Outbound leaves the port out.
	DNS bool
	// Inbound is what is captured of what comes from other machines.
	Inbound Inbound
}

// Outbound are destinations, in the terms of Istio's annotations traffic.sidecar.istio.io/includeOutboundIPRanges, excludeOutboundIPRanges, includeOutboundPorts and
// excludeOutboundPorts (https://istio.io/latest/docs/reference/config/annotations/).
type Outbound struct {
	Ranges       []netip.Prefix // none: nothing by its address
	ExceptRanges []netip.Prefix
	Ports        []uint16 // captured whatever their address
	ExceptPorts  []uint16
}

// Inbound are ports of the workload, in the terms of Istio's annotations includeInboundPorts and excludeInboundPorts.
type Inbound struct {
	All         bool // every port
	Ports       []uint16
	ExceptPorts []uint16
}

// AllRanges is every address.
func AllRanges() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// ParseRanges reads a list of ranges in CIDR form separated by commas, "*" for all, as Istio's annotations have it; "" is none.
func ParseRanges(text string) ([]netip.Prefix, error) {
	if strings.TrimSpace(text) == "*" {
		return AllRanges(), nil
	}
	var out []netip.Prefix
	for _, item := range list(text) {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("range %q: want ADDRESS/BITS, such as 10.0.0.0/8, or * for all", item)
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("range %q: write it as IPv4", item)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// ParsePorts reads a list of ports separated by commas; "" is none.
func ParsePorts(text string) ([]uint16, error) {
	var out []uint16
	for _, item := range list(text) {
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("port %q: want a number from 1 to 65535", item)
		}
		out = append(out, uint16(n))
	}
	return out, nil
}

// ParseInbound reads ports as ParsePorts does, and "*" for all.
func ParseInbound(text string) (Inbound, error) {
	if strings.TrimSpace(text) == "*" {
		return Inbound{All: true}, nil
	}
	ports, err := ParsePorts(text)
	return Inbound{Ports: ports}, err
}

func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// ports are where the proxy takes captured connections.
func (r *Rules) ports() (outbound, inbound uint16) {
	return cmp.Or(r.OutboundPort, OutboundPort), cmp.Or(r.InboundPort, InboundPort)
}

// ParseCapturePorts reads the two ports of LATEEN_CAPTURE_PORTS in a node's metadata, "OUTBOUND,INBOUND"; zeros for "".
func ParseCapturePorts(text string) (outbound, inbound uint16, err error) {
	if text == "" {
		return 0, 0, nil
	}
	both, err := ParsePorts(text)
	if err == nil && len(both) != 2 {
		err = fmt.Errorf("ports %q: want OUTBOUND,INBOUND", text)
	}
	if err != nil {
		return 0, 0, err
	}
	return both[0], both[1], nil
}

// Validate says what is wrong with the rules.
func (r *Rules) Validate() error {
	if r.Name == "" {
		return errors.New("capture: BUG: rules without a name")
	}
	if r.User == nil && len(r.ExceptUsers)+len(r.ExceptGroups) == 0 && (r.DNS || len(r.Outbound.Ranges)+len(r.Outbound.Ports) > 0) {
		return errors.New("capture: everybody's connections would be, the proxy's among them; say which user or group is the proxy's")
	}
	return nil
}

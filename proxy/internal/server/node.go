package server

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
)

// nodeInfo is who this proxy is, in the forms that filters need.
type nodeInfo struct {
	id      string
	encoded string // x-envoy-peer-metadata; "" without node metadata
	own     *peermetadata.Peer
	// preamble is the same at the head of a TCP stream; nil without node metadata.
	preamble []byte
	// address is this workload's, from the node id ("sidecar~IP~name~domain"), else the
	// machine's; invalid when it has none but the loopback's.
	address netip.Addr
}

// readNode takes the bootstrap's node apart. A proxy without metadata is a plain Envoy: it
// has an id at most.
func readNode(n *corev3.Node) (nodeInfo, error) {
	out := nodeInfo{id: n.GetId()}
	if parts := strings.Split(n.GetId(), "~"); len(parts) == 4 {
		if ip, err := netip.ParseAddr(parts[1]); err == nil {
			out.address = ip
		}
	}
	if !out.address.IsValid() {
		out.address = machineAddress()
	}
	md := n.GetMetadata().AsMap()
	out.own = peermetadata.FromNode(n.GetId(), md)
	if len(md) == 0 {
		return out, nil
	}
	var err error
	if out.encoded, err = peermetadata.Encode(md); err != nil {
		return out, fmt.Errorf("node.metadata: %w", err)
	}
	if out.preamble, err = peermetadata.Preamble(out.id, out.encoded); err != nil {
		return out, fmt.Errorf("node.metadata: %w", err)
	}
	text := func(key string) string { s, _ := md[key].(string); return s }
	if ns, sa := text("NAMESPACE"), text("SERVICE_ACCOUNT"); ns != "" && sa != "" {
		own := *out.own
		own.Principal = fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", cmp.Or(text("TRUST_DOMAIN"), "cluster.local"), ns, sa)
		out.own = &own
	}
	return out, nil
}

// machineAddress is the first IPv4 address of the machine's interfaces that is not the loopback's,
// which is what Envoy takes for its own.
func machineAddress() netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

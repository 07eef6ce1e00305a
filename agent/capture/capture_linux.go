package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Install puts the rules into force and returns what takes them out again. It needs CAP_NET_ADMIN. Rules that a former run has left under the same name go.
func Install(r Rules) (remove func() error, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: r.Name} // of IPv4 and IPv6
	c.AddTable(table)                                                        // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	add := func(chain *nftables.Chain, rules [][]expr.Any) {
		chain.Table = table
		c.AddChain(chain)
		for _, exprs := range rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
	nat := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return &nftables.Chain{Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest}
	}
	if r.DNS {
		add(&nftables.Chain{Name: "zones", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw}, r.zones())
	}
	add(nat("output", nftables.ChainHookOutput), r.output())
	add(nat("prerouting", nftables.ChainHookPrerouting), r.prerouting())
	if err := c.Flush(); err != nil {
		return nil, explain(err)
	}
	if r.IPv6 {
		if err := addSource6(); err != nil {
			return nil, errors.Join(err, uninstall(table))
		}
	}
	removeRoutes, err := r.addRoutes()
	if err != nil {
		return nil, errors.Join(err, uninstall(table))
	}
	return func() error { return errors.Join(uninstall(table), removeRoutes()) }, nil
}

// addSource6 gives loopback the address from which the proxy calls the workload by IPv6, as Istio's does: unlike 127.0.0.6 it is nobody's else. It stays.
func addSource6() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("capture: lo: %w", err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("::6"), Mask: net.CIDRMask(128, 128)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(lo, address); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("capture: address ::6 of lo: %w", err)
	}
	return nil
}

func uninstall(table *nftables.Table) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("end the capture: %w", err)
	}
	c.DelTable(table)
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end the capture: %w; `nft delete table inet %s` does it", err, table.Name)
	}
	return nil
}

func explain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("capture: %w; it needs root, or the capability NET_ADMIN", err)
	}
	return fmt.Errorf("capture: %w", err)
}

// zones put the application's DNS into a part of their own of what the kernel remembers of connections. Else a query that the agent passes on, from a port that the
// application has had a moment ago, would be taken for the application's and come back to the agent.
func (r *Rules) zones() [][]expr.Any {
	var out [][]expr.Any
	add := func(parts ...[]expr.Any) { out = append(out, slices.Concat(parts...)) }
	add(protocol(unix.IPPROTO_UDP), fromPort(DNSPort), zone())
	add(protocol(unix.IPPROTO_TCP), fromPort(DNSPort), zone())
	r.othersLeave(add)
	r.dns(add, zone)
	return out
}

// dnsZone is any but 0, which all others are in.
const dnsZone = 15053

// output are the rules for what leaves this machine's programs; the first that matches counts.
func (r *Rules) output() [][]expr.Any {
	var out [][]expr.Any
	add := func(parts ...[]expr.Any) { out = append(out, slices.Concat(parts...)) }
	outboundPort, _ := r.ports()
	r.othersLeave(add)
	if r.DNS {
		r.dns(add, func() []expr.Any { return redirect(DNSPort) })
	}
	if !r.IPv6 {
		add(family(unix.NFPROTO_IPV6), leave())
	}
	// What the application says to its own machine is its own business.
	add(to(netip.MustParsePrefix("127.0.0.0/8")), leave())
	add(to(netip.MustParsePrefix("::1/128")), leave())
	for _, port := range r.Outbound.ExceptPorts {
		add(tcp(), toPort(port), leave())
	}
	for _, port := range r.Outbound.Ports {
		add(tcp(), toPort(port), redirect(outboundPort))
	}
	for _, p := range r.Outbound.ExceptRanges {
		add(to(p), leave())
	}
	for _, p := range r.Outbound.Ranges {
		add(tcp(), to(p), redirect(outboundPort))
	}
	return out
}

// othersLeave adds the rules for those who are not captured.
func (r *Rules) othersLeave(add func(...[]expr.Any)) {
	for _, id := range r.ExceptUsers {
		add(owner(expr.MetaKeySKUID, id, expr.CmpOpEq), leave())
	}
	for _, id := range r.ExceptGroups {
		add(owner(expr.MetaKeySKGID, id, expr.CmpOpEq), leave())
	}
	if r.User != nil {
		add(owner(expr.MetaKeySKUID, *r.User, expr.CmpOpNeq), leave())
	}
}

// dns adds the rules for queries, over UDP and TCP, to whatever name server: the system's own may be on this machine, and may change.
func (r *Rules) dns(add func(...[]expr.Any), then func() []expr.Any) {
	if slices.Contains(r.Outbound.ExceptPorts, dnsService) {
		return
	}
	add(protocol(unix.IPPROTO_UDP), toPort(dnsService), then())
	add(protocol(unix.IPPROTO_TCP), toPort(dnsService), then())
}

// dnsService is the port of name servers.
const dnsService = 53

// prerouting are the rules for what comes from other machines.
func (r *Rules) prerouting() [][]expr.Any {
	var out [][]expr.Any
	add := func(parts ...[]expr.Any) { out = append(out, slices.Concat(parts...)) }
	_, inboundPort := r.ports()
	if !r.IPv6 {
		add(family(unix.NFPROTO_IPV6), leave())
	}
	for _, port := range r.Inbound.ExceptPorts {
		add(tcp(), toPort(port), leave())
	}
	if r.Inbound.All {
		add(tcp(), redirect(inboundPort))
		return out
	}
	for _, port := range r.Inbound.Ports {
		add(tcp(), toPort(port), redirect(inboundPort))
	}
	return out
}

func leave() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

func owner(key expr.MetaKey, id uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, id)},
	}
}

// to is the destination's address, at offset 16 of IPv4's header (RFC 791, section 3.1), 24 of IPv6's (RFC 8200, section 3).
func to(p netip.Prefix) []expr.Any {
	of, offset, bits := family(unix.NFPROTO_IPV4), uint32(16), 32
	if p.Addr().Is6() {
		of, offset, bits = family(unix.NFPROTO_IPV6), 24, 128
	}
	if p.Bits() == 0 {
		return of
	}
	size := uint32(bits / 8)
	return append(of,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), bits), Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	)
}

func family(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

// toPort is the destination's port, at offset 2 of the headers of TCP and UDP (RFC 9293, section 3.1; RFC 768), fromPort the source's.
func toPort(port uint16) []expr.Any   { return portAt(2, port) }
func fromPort(port uint16) []expr.Any { return portAt(0, port) }

func portAt(offset uint32, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

func tcp() []expr.Any { return protocol(unix.IPPROTO_TCP) }

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

// zone has the kernel remember the packet's connection in the zone for DNS.
func zone() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint16(nil, dnsZone)},
		&expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true},
	}
}

func redirect(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Redir{RegisterProtoMin: 1},
	}
}

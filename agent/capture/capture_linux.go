package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: r.Name}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	add := func(name string, hook *nftables.ChainHook, rules [][]expr.Any) {
		chain := c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest})
		for _, exprs := range rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
		}
	}
	add("output", nftables.ChainHookOutput, r.output())
	add("prerouting", nftables.ChainHookPrerouting, r.prerouting())
	if err := c.Flush(); err != nil {
		return nil, explain(err)
	}
	return func() error {
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("end the capture: %w", err)
		}
		c.DelTable(table)
		if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("end the capture: %w; `nft delete table ip %s` does it", err, r.Name)
		}
		return nil
	}, nil
}

func explain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("capture: %w; it needs root, or the capability NET_ADMIN", err)
	}
	return fmt.Errorf("capture: %w", err)
}

// output are the rules for what leaves this machine's programs; the first that matches counts.
func (r *Rules) output() [][]expr.Any {
	var out [][]expr.Any
	add := func(parts ...[]expr.Any) {
		var rule []expr.Any
		for _, p := range parts {
			rule = append(rule, p...)
		}
		out = append(out, rule)
	}
	// What the application says to its own machine is its own business.
	add(to(netip.MustParsePrefix("127.0.0.0/8")), leave())
	for _, id := range r.ExceptUsers {
		add(owner(expr.MetaKeySKUID, id, expr.CmpOpEq), leave())
	}
	for _, id := range r.ExceptGroups {
		add(owner(expr.MetaKeySKGID, id, expr.CmpOpEq), leave())
	}
	if r.User != nil {
		add(owner(expr.MetaKeySKUID, *r.User, expr.CmpOpNeq), leave())
	}
	for _, port := range r.Outbound.ExceptPorts {
		add(tcp(), toPort(port), leave())
	}
	for _, port := range r.Outbound.Ports {
		add(tcp(), toPort(port), redirect(OutboundPort))
	}
	for _, p := range r.Outbound.ExceptRanges {
		add(to(p), leave())
	}
	for _, p := range r.Outbound.Ranges {
		add(tcp(), to(p), redirect(OutboundPort))
	}
	return out
}

// prerouting are the rules for what comes from other machines.
func (r *Rules) prerouting() [][]expr.Any {
	var out [][]expr.Any
	for _, port := range r.Inbound.ExceptPorts {
		out = append(out, append(append(tcp(), toPort(port)...), leave()...))
	}
	if r.Inbound.All {
		return append(out, append(tcp(), redirect(InboundPort)...))
	}
	for _, port := range r.Inbound.Ports {
		out = append(out, append(append(tcp(), toPort(port)...), redirect(InboundPort)...))
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

// to is the destination's address, at offset 16 of IPv4's header (RFC 791, section 3.1).
func to(p netip.Prefix) []expr.Any {
	if p.Bits() == 0 {
		return nil
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// toPort is the destination's port, at offset 2 of TCP's header (RFC 9293, section 3.1).
func toPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

func tcp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}

func redirect(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Redir{RegisterProtoMin: 1},
	}
}

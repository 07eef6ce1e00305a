package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Install puts the rules into force and returns what takes them out again. It needs CAP_NET_ADMIN. Rules that a former run has left under the same name go.
func Install(r Rules) (remove func() error, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: r.Name}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	out := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	// What the application says to its own machine is its own business.
	c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(toLoopback(), &expr.Verdict{Kind: expr.VerdictReturn})})
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, r.UID)},
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(append(exprs, tcp()...), redirect(OutboundPort)...)})
	in := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	for _, port := range r.Inbound {
		exprs := append(tcp(),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // the destination port
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)})
		c.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: append(exprs, redirect(InboundPort)...)})
	}
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

func toLoopback() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1}, // first byte of the destination
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}},
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

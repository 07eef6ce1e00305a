package testnet

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Capture redirects, at either end of the pair of devices, what comes from the other end for some ports to InboundPort; and on the other machine
// what carries a mark, as here. It all ends with the machines.
func (h *Host) Capture(ports ...uint16) error {
	err := captureFrom(h.link, ports)
	if err != nil {
		return err
	}
	h.Do(func() {
		if err = capture(); err == nil {
			err = captureFrom(h.link+"-p", ports)
		}
	})
	return err
}

// captureFrom captures what comes to ports by a device.
func captureFrom(device string, ports []uint16) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "capture-" + device})
	in := c.AddChain(&nftables.Chain{Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting,
		Priority: nftables.ChainPriorityNATDest})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	for _, port := range ports {
		c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, // the destination port
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
			&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, InboundPort)},
			&expr.Redir{RegisterProtoMin: 1},
		}})
	}
	return c.Flush()
}

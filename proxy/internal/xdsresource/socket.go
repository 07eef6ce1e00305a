package xdsresource

import (
	"encoding/binary"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// ListenerSocket is how the sockets of a listener are set up.
type ListenerSocket struct {
	// Shared makes all workers accept from one socket (enable_reuse_port: false); else each has
	// its own.
	Shared bool
	// ExactBalance hands accepted connections to the worker that has the fewest.
	ExactBalance bool
	// Backlog is tcp_backlog_size; 0: as much as the system allows.
	Backlog uint32
	// MaxAccepts is how many connections one readiness event accepts; 0: the proxy's choice.
	MaxAccepts uint32
	Freebind   bool
	// Transparent sets IP_TRANSPARENT.
	Transparent bool
	MPTCP       bool
	// FastOpen is the queue length of TCP fast open; nil: as the system has it, 0: off.
	FastOpen  *uint32
	Keepalive *TCPKeepalive
	Options   []SocketOption
}

// SocketState says when a SocketOption is set.
type SocketState uint8

// States of a socket.
const (
	BeforeBind SocketState = iota
	AfterBind
	AfterListen
)

// SocketOption is an option by number.
type SocketOption struct {
	Level, Name int
	Value       []byte // as setsockopt takes it
	State       SocketState
	Description string
}

//nolint:staticcheck // reuse_port is what older control planes send
func (p *parser) listenerSocket(m *listenerv3.Listener) ListenerSocket {
	s := ListenerSocket{
		Shared:  !boolOr(m.GetEnableReusePort(), true) && !m.GetReusePort(),
		Backlog: uint32Or(m.GetTcpBacklogSize(), 0), MaxAccepts: uint32Or(m.GetMaxConnectionsToAcceptPerSocketEvent(), 0),
		Freebind: boolOr(m.GetFreebind(), false), Transparent: boolOr(m.GetTransparent(), false), MPTCP: m.GetEnableMptcp(),
		Keepalive: keepalive(m.GetTcpKeepalive()), Options: p.socketOptions("socket_options", m.GetSocketOptions()),
	}
	if b := m.GetConnectionBalanceConfig(); b != nil {
		s.ExactBalance = b.GetExactBalance() != nil
	}
	if q := m.GetTcpFastOpenQueueLength(); q != nil {
		v := q.GetValue()
		s.FastOpen = &v
	}
	if m.GetAddress().GetPipe() != nil && s.MPTCP {
		p.bad("enable_mptcp", "MPTCP needs an IP address, this is a Unix socket")
	}
	return s
}

func (p *parser) socketOptions(path string, in []*corev3.SocketOption) []SocketOption {
	var out []SocketOption
	for i, m := range in {
		here := at(path, i)
		o := SocketOption{Level: int(m.GetLevel()), Name: int(m.GetName()), Description: m.GetDescription()}
		switch v := m.GetValue().(type) {
		case *corev3.SocketOption_IntValue:
			if int64(int32(v.IntValue)) != v.IntValue {
				p.bad(join(here, "int_value"), "%d does not fit 32 bits", v.IntValue)
			}
			o.Value = binary.NativeEndian.AppendUint32(nil, uint32(v.IntValue))
		case *corev3.SocketOption_BufValue:
			o.Value = v.BufValue
		}
		switch m.GetState() {
		case corev3.SocketOption_STATE_PREBIND:
			o.State = BeforeBind
		case corev3.SocketOption_STATE_BOUND:
			o.State = AfterBind
		case corev3.SocketOption_STATE_LISTENING:
			o.State = AfterListen
		default:
			p.bad(join(here, "state"), "%v is not known", m.GetState())
		}
		if t := m.GetType(); t != nil && t.GetStream() == nil {
			continue // for datagram sockets only, of which there are none
		}
		out = append(out, o)
	}
	return out
}

// keepalive reads TCP keep-alive; nil: off.
func keepalive(m *corev3.TcpKeepalive) *TCPKeepalive {
	if m == nil {
		return nil
	}
	return &TCPKeepalive{
		Probes:   uint32Or(m.GetKeepaliveProbes(), 0),
		Time:     time.Duration(uint32Or(m.GetKeepaliveTime(), 0)) * time.Second,
		Interval: time.Duration(uint32Or(m.GetKeepaliveInterval(), 0)) * time.Second,
	}
}

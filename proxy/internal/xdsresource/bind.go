package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Bind is upstream_bind_config: where connections to hosts come from.
type Bind struct {
	Sources  []Source // at least one; the others are for the other family
	Freebind bool
}

// Source is an address to connect from, and options of the socket that does.
type Source struct {
	Address Address // zero: the system's choice; port 0 likewise
	Options []SocketOption
}

// For returns the source for a destination of a family. Where there is none of that family it is
// the first, as in Envoy, and binding fails.
func (b *Bind) For(v6 bool) *Source {
	for i := range b.Sources {
		if ip := b.Sources[i].Address.IP.Unmap(); ip.IsValid() && ip.Is6() == v6 {
			return &b.Sources[i]
		}
	}
	return &b.Sources[0]
}

// Bind reads where connections of clusters come from that do not say it themselves.
func (d *Decoder) Bind(m *corev3.BindConfig) (*Bind, error) {
	p := &parser{dec: d}
	b := p.bind("", m)
	return b, p.finish("bootstrap", "")
}

func (p *parser) bind(path string, m *corev3.BindConfig) *Bind {
	if m == nil {
		return nil
	}
	common := p.connectOptions(join(path, "socket_options"), m.GetSocketOptions())
	b := &Bind{Freebind: boolOr(m.GetFreebind(), false), Sources: []Source{{Options: common}}}
	if a := m.GetSourceAddress(); a != nil {
		b.Sources[0].Address = p.sourceAddress(join(path, "source_address"), a)
	}
	for i, x := range m.GetExtraSourceAddresses() {
		here := at(join(path, "extra_source_addresses"), i)
		s := Source{Address: p.sourceAddress(join(here, "address"), x.GetAddress()), Options: common}
		if o := x.GetSocketOptions(); o != nil {
			s.Options = p.connectOptions(join(here, "socket_options.socket_options"), o.GetSocketOptions())
		}
		b.Sources = append(b.Sources, s)
	}
	for i, a := range m.GetAdditionalSourceAddresses() { //nolint:staticcheck // the older form
		b.Sources = append(b.Sources, Source{Address: p.sourceAddress(at(join(path, "additional_source_addresses"), i), a), Options: common})
	}
	p.checkSources(path, b)
	return b
}

// checkSources holds Envoy's rules: one address of each family at most.
func (p *parser) checkSources(path string, b *Bind) {
	extra := join(path, "extra_source_addresses")
	switch first := b.Sources[0].Address.IP; {
	case len(b.Sources) == 1:
	case len(b.Sources) > 2:
		p.bad(extra, "one address is possible beside source_address, not %d", len(b.Sources)-1)
	case !first.IsValid():
		p.bad(extra, "needs a source_address")
	case first.Unmap().Is4() == b.Sources[1].Address.IP.Unmap().Is4():
		p.bad(extra, "must be of the other family than source_address")
	}
}

func (p *parser) sourceAddress(path string, a *corev3.SocketAddress) Address {
	return p.address(path, &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: a}}, false)
}

// connectOptions are those of sockets that connect.
func (p *parser) connectOptions(path string, in []*corev3.SocketOption) []SocketOption {
	for i, m := range in {
		if m.GetState() == corev3.SocketOption_STATE_LISTENING {
			p.bad(join(at(path, i), "state"), "a socket that connects does not listen")
		}
	}
	return p.socketOptions(path, in)
}

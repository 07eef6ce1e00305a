package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
)

// UpstreamTransport is what connections to a host have above TCP: first the PROXY protocol's header, then TLS. At least one is set.
type UpstreamTransport struct {
	Proxy *ProxyHeader
	TLS   *UpstreamTLS
}

// ProxyHeader is the configuration of the header that is sent to hosts.
type ProxyHeader struct {
	Version int // 1 or 2
	// Pass says which extensions of the client's own header go on, of those that the listener has kept.
	Pass TLVFilter
	// Added are further ones, where the host has none of the type itself.
	Added []proxyprotocol.TLV
	// KeyByTLVs: connections are not shared by clients with different extensions either.
	KeyByTLVs bool
}

// TLVFilter is core.v3.ProxyProtocolPassThroughTLVs; the zero value passes nothing.
type TLVFilter struct {
	All   bool
	Types [256]bool
}

// Passes reports whether extensions of a type pass.
func (f *TLVFilter) Passes(t byte) bool { return f.All || f.Types[t] }

// upstreamTransport reads a transport socket of a cluster; nil means raw_buffer.
func (p *parser) upstreamTransport(path string, ts *corev3.TransportSocket) *UpstreamTransport {
	if TypeName(ts.GetTypedConfig()) != "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport" {
		if tls := p.upstreamTransportSocket(path, ts); tls != nil {
			return &UpstreamTransport{TLS: tls}
		}
		return nil
	}
	var m proxyv3.ProxyProtocolUpstreamTransport
	here := join(path, "typed_config")
	if !p.message(here, ts.GetTypedConfig(), &m) {
		return nil
	}
	c := m.GetConfig()
	out := &UpstreamTransport{
		Proxy: &ProxyHeader{
			Version: 1, KeyByTLVs: m.GetTlvAsPoolKey(), Pass: p.tlvFilter(join(here, "config.pass_through_tlvs"), c.GetPassThroughTlvs()),
			Added: p.addedTLVs(join(here, "config.added_tlvs"), c.GetAddedTlvs()),
		},
		TLS: p.upstreamTransportSocket(join(here, "transport_socket"), m.GetTransportSocket()),
	}
	if c.GetVersion() == corev3.ProxyProtocolConfig_V2 {
		out.Proxy.Version = 2
	}
	return out
}

func (p *parser) tlvFilter(path string, m *corev3.ProxyProtocolPassThroughTLVs) TLVFilter {
	f := TLVFilter{All: m != nil && m.GetMatchType() == corev3.ProxyProtocolPassThroughTLVs_INCLUDE_ALL}
	for i, t := range m.GetTlvType() {
		if t > 255 {
			p.bad(at(join(path, "tlv_type"), i), "%d does not fit a byte", t)
			continue
		}
		f.Types[t] = true
	}
	return f
}

func (p *parser) addedTLVs(path string, in []*corev3.TlvEntry) []proxyprotocol.TLV {
	var out []proxyprotocol.TLV
	for i, e := range in {
		if e.GetType() > 255 {
			p.bad(join(at(path, i), "type"), "%d does not fit a byte", e.GetType())
		}
		out = append(out, proxyprotocol.TLV{Type: byte(e.GetType()), Value: e.GetValue()})
	}
	return out
}

// proxyHostConfig is the name under which an endpoint's metadata holds extensions of its own.
const proxyHostConfig = "envoy.transport_sockets.proxy_protocol"

// hostTLVs are the extensions that an endpoint's metadata adds to the headers that it gets.
func (p *parser) hostTLVs(path string, m *corev3.Metadata) []proxyprotocol.TLV {
	a := m.GetTypedFilterMetadata()[proxyHostConfig]
	if a == nil {
		return nil
	}
	var c corev3.PerHostConfig
	here := join(path, "typed_filter_metadata["+proxyHostConfig+"]")
	if !p.message(here, a, &c) {
		return nil
	}
	return p.addedTLVs(join(here, "added_tlvs"), c.GetAddedTlvs())
}

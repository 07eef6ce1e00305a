package translate

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// inboundChains makes the filter chains of one served port: what the mTLS mode admits, times
// what the protocol may be.
type inboundChains struct {
	*filters
	sp     servedPort
	prefix string // of names and statistics
	byPort bool   // chains match the original destination's port
}

// httpALPN is what the http_inspector finds in clear text.
var httpALPN = []string{"http/1.0", "http/1.1", "h2c"}

func (b *inboundChains) build() []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	http := b.sp.protocol().IsHTTP()
	auto := b.sp.protocol() == model.ProtocolAuto
	if t := b.sp.tls(); t != nil {
		c := b.chain("tls", nil, false, http)
		c.TransportSocket = serverTLSSocket(b.s.Mesh, t, nil)
		return append(out, c)
	}
	if b.sp.mode != model.MTLSDisable {
		// STRICT has no chain for anything but TLS: what is not TLS matches none and is
		// closed. PERMISSIVE tells the mesh's TLS from an app's own by ALPN.
		var alpn []string
		if b.sp.mode == model.MTLSPermissive {
			alpn = withExchange(b.p, alpnInboundMTLS)
		}
		if auto {
			// No name may appear in two chains.
			out = append(out, b.chain("tls", alpnInboundMTLS[2:], true, true))
			if alpn != nil {
				alpn = withExchange(b.p, alpnInboundMTLS[:2])
			}
		}
		out = append(out, b.chain("tls", alpn, true, http))
	}
	switch {
	case b.sp.mode == model.MTLSStrict:
	case b.sp.mode == model.MTLSDisable && !auto:
		// Nothing is to be told apart, so nothing is looked at: a server may speak first.
		out = append(out, b.chain("", nil, false, http))
	case auto:
		out = append(out, b.chain("raw_buffer", httpALPN, false, true), b.chain("raw_buffer", nil, false, false), b.chain("tls", nil, false, false))
	case http:
		out = append(out, b.chain("raw_buffer", nil, false, true))
	default:
		out = append(out, b.chain("raw_buffer", nil, false, false), b.chain("tls", nil, false, false))
	}
	return out
}

func (b *inboundChains) chain(transport string, alpn []string, mtls, http bool) *listenerv3.FilterChain {
	// Names are told apart, unlike Istio's: a chain is known by its name when a listener is
	// updated.
	name := b.prefix
	switch {
	case transport == "raw_buffer", transport == "":
		name += "-plaintext"
	case !mtls:
		name += "-tls"
	}
	if !http && b.sp.port.Protocol == model.ProtocolAuto {
		name += "-tcp"
	}
	c := &listenerv3.FilterChain{
		Name:             name,
		FilterChainMatch: &listenerv3.FilterChainMatch{TransportProtocol: transport, ApplicationProtocols: alpn},
	}
	if b.byPort {
		c.FilterChainMatch.DestinationPort = u32(b.sp.target)
	}
	if mtls {
		serve := alpnServerTCP
		if http {
			serve = alpnServerHTTP
		}
		c.TransportSocket = inboundTLS(b.s.Mesh, withExchange(b.p, serve))
	}
	if http {
		c.Filters = b.toHTTP("inbound_"+b.prefix, "", inboundRoute(b.sp))
	} else {
		c.Filters = b.toOne(b.sp.cluster())
	}
	return c
}

package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// buildGatewayListeners makes a listener for each socket of a gateway.
func buildGatewayListeners(s *model.Snapshot, p *model.Proxy) []*listenerv3.Listener {
	logs, noRoute := accessLogs(s, p, gateway)
	var out []*listenerv3.Listener
	names := map[string]bool{}
	for _, g := range gatewayListeners(s, p) {
		// The name is that of the wildcard address wherever LATEEN_BIND puts it, as tools
		// expect; a server with a bind of its own has its own name.
		ip := "0.0.0.0"
		if g.bind != p.Bind {
			ip = g.bind
		}
		l := &listenerv3.Listener{
			Name: listenerName(ip, g.port), Address: socketAddress(g.bind, g.port), TrafficDirection: trafficDirection(gateway),
			Metadata: metadata(nil, g.servers[0].srv.Origin),
		}
		if names[l.Name] {
			continue
		}
		if g.plain() {
			l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
				connectionManager(s, p, gateway, "outbound_"+l.Name, plainRouteName(g.port), nil, logs)}}}
		} else {
			l.FilterChains = secureChains(s, p, g, l.Name, logs)
			if len(l.FilterChains) == 0 {
				continue // no rule gives the connections a place to go
			}
			l.ListenerFilters = inspectors(l.FilterChains)
			if len(l.ListenerFilters) > 0 {
				detect(l, s.Mesh)
			}
		}
		names[l.Name] = true
		out = append(out, listenerLogs(l, noRoute))
	}
	return out
}

// secureChains are the chains of a socket for TLS or bytes. Of several servers that claim a
// server name the oldest has it.
func secureChains(s *model.Snapshot, p *model.Proxy, g *gatewayListener, name string, logs []*accesslogv3.AccessLog) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	claimed := map[string]bool{}
	put := func(c *listenerv3.FilterChain) {
		m := c.FilterChainMatch
		key := m.GetTransportProtocol()
		var kept []string
		for _, n := range m.GetServerNames() {
			if !claimed[n] {
				claimed[n] = true
				kept = append(kept, n)
			}
		}
		if len(m.GetServerNames()) > 0 {
			if len(kept) == 0 {
				return
			}
			m.ServerNames = kept
		} else {
			if claimed["|"+key] {
				return
			}
			claimed["|"+key] = true
		}
		out = append(out, c)
	}
	for _, gs := range g.servers {
		hosts := serverHosts(gs.srv)
		switch {
		case gs.terminates():
			socket := gatewayTLS(s.Mesh, gs.srv.TLS)
			if socket == nil {
				continue // reported when the Gateway was read
			}
			m := &listenerv3.FilterChainMatch{ServerNames: hosts}
			if contains(hosts, "*") {
				m = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
			}
			put(&listenerv3.FilterChain{
				FilterChainMatch: m, TransportSocket: socket,
				Filters:  []*listenerv3.Filter{connectionManager(s, p, gateway, "outbound_"+name, secureRouteName(gs), nil, logs)},
				Metadata: metadata(nil, gs.srv.Origin),
			})
		case gs.srv.Protocol.IsTLS() && gs.srv.TLS.Mode == "PASSTHROUGH":
			admit := func(sni string) bool {
				return slices.ContainsFunc(hosts, func(h string) bool { return covers(h, sni) })
			}
			for _, vs := range s.RulesForGateway(gs.gw.Key(), p.Namespace) {
				rc := &routeContext{snap: s, proxy: p, gateway: gs.gw.Key(), port: gs.srv.Port}
				for _, c := range rc.tlsChains(gateway, vs, admit, logs) {
					put(c)
				}
			}
		case gs.srv.Protocol == model.ProtocolTCP && gs.srv.TLS == nil:
			for _, vs := range s.RulesForGateway(gs.gw.Key(), p.Namespace) {
				rc := &routeContext{snap: s, proxy: p, gateway: gs.gw.Key(), port: gs.srv.Port}
				t := rc.tcpRule(vs)
				if t == nil {
					continue
				}
				if to := rc.shares(t.Destinations); len(to) > 0 {
					put(&listenerv3.FilterChain{Filters: tcpFiltersWith(gateway, to[0].name, to, rc.tcpPolicy(t.Destinations[0].Destination), logs),
						Metadata: metadata(map[string]any{"config": vs.Origin.IstioPath()}, t.Origin)})
				}
			}
		}
	}
	return out
}

func serverHosts(srv *model.Server) []string {
	var out []string
	for _, h := range srv.Hosts {
		_, host, _ := strings.Cut(h, "/")
		out = append(out, host)
	}
	return out
}

// gatewayTLS is the transport socket of a server with certificates in files, or with the
// mesh's own (ISTIO_MUTUAL). Nil: the server cannot be served.
func gatewayTLS(mesh *model.Mesh, t *model.ServerTLS) *corev3.TransportSocket {
	if t.Mode == "ISTIO_MUTUAL" {
		return inboundTLS(mesh, alpnServerHTTP)
	}
	if t.Certificate == "" || t.PrivateKey == "" {
		return nil
	}
	params := tlsParams()
	if v, ok := tlsv3.TlsParameters_TlsProtocol_value[strings.Replace(t.MinVersion, "TLSV", "TLSv", 1)]; ok && t.MinVersion != "" {
		params.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TlsProtocol(v)
	}
	if v, ok := tlsv3.TlsParameters_TlsProtocol_value[strings.Replace(t.MaxVersion, "TLSV", "TLSv", 1)]; ok && t.MaxVersion != "" {
		params.TlsMaximumProtocolVersion = tlsv3.TlsParameters_TlsProtocol(v)
	}
	params.CipherSuites = t.Ciphers
	common := &tlsv3.CommonTlsContext{
		TlsParams: params, AlpnProtocols: []string{"http/1.1"},
		TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: file(t.Certificate), PrivateKey: file(t.PrivateKey)}},
	}
	ctx := &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	if t.Mode == "MUTUAL" || t.Mode == "OPTIONAL_MUTUAL" {
		if t.CACertificates == "" {
			return nil
		}
		v := &tlsv3.CertificateValidationContext{TrustedCa: file(t.CACertificates), MatchSubjectAltNames: exactMatchers(t.SANs)}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		ctx.RequireClientCertificate = boolean(t.Mode == "MUTUAL")
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// What gateways offer by ALPN, to clients from outside and, for bytes, from the mesh.
var (
	alpnGateway    = []string{"h2", "http/1.1"}
	alpnGatewayTCP = []string{peerExchange, "h2", "http/1.1"}
)

// serverSocket is the transport socket of a server that terminates TLS.
func serverSocket(mesh *model.Mesh, p *model.Proxy, srv *model.Server, from secretServers) *corev3.TransportSocket {
	if srv.TLS.Mode != model.ServerIstioMutual {
		return serverTLSSocket(mesh, srv.TLS, from)
	}
	return downstreamTLS(&tlsv3.DownstreamTlsContext{RequireClientCertificate: boolean(true), CommonTlsContext: meshServer(mesh, p, srv)})
}

// serverTLSSocket terminates TLS with certificates that are not the mesh's: from is where those of providers are had from.
func serverTLSSocket(mesh *model.Mesh, t *model.ServerTLS, from secretServers) *corev3.TransportSocket {
	return downstreamTLS(&tlsv3.DownstreamTlsContext{RequireClientCertificate: boolean(t.Mode == model.ServerMutual), CommonTlsContext: ownServer(mesh, t, from)})
}

func downstreamTLS(ctx *tlsv3.DownstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

// meshServer shows the gateway's own identity of the mesh, and wants the client's.
func meshServer(mesh *model.Mesh, p *model.Proxy, srv *model.Server) *tlsv3.CommonTlsContext {
	alpn := alpnGateway
	if srv.TerminatesTCP() {
		alpn = alpnGatewayTCP
	}
	sans := exactMatchers(srv.TLS.SANs)
	if len(sans) == 0 {
		sans = meshMembers(mesh)
	}
	c := meshIdentity(withExchange(p, alpn), sans)
	if srv.TLS.CRLFile != "" {
		c.GetCombinedValidationContext().DefaultValidationContext.Crl = file(srv.TLS.CRLFile)
	}
	return c
}

// ownServer shows certificates of the gateway's own, from Secrets, providers or files.
func ownServer(mesh *model.Mesh, t *model.ServerTLS, from secretServers) *tlsv3.CommonTlsContext {
	c := &tlsv3.CommonTlsContext{TlsParams: serverParams(mesh, t), AlpnProtocols: slices.Clone(alpnGateway)}
	for _, name := range t.Credentials {
		c.TlsCertificateSdsSecretConfigs = append(c.TlsCertificateSdsSecretConfigs, from.secret(name))
	}
	for _, f := range t.Files {
		c.TlsCertificates = append(c.TlsCertificates, &tlsv3.TlsCertificate{CertificateChain: file(f.Certificate), PrivateKey: file(f.Key)})
	}
	if !t.Mode.ChecksClients() {
		return c
	}
	v := &tlsv3.CertificateValidationContext{
		MatchSubjectAltNames: exactMatchers(t.SANs), VerifyCertificateSpki: t.SPKI, VerifyCertificateHash: t.Hashes,
	}
	if t.CRLFile != "" {
		v.Crl = file(t.CRLFile)
	}
	if t.AcceptUntrusted {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	if t.CACredential != "" {
		c.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: v, ValidationContextSdsSecretConfig: from.secret(t.CACredential),
		}}
		return c
	}
	v.TrustedCa = file(t.CAFile)
	c.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	return c
}

func serverParams(mesh *model.Mesh, t *model.ServerTLS) *tlsv3.TlsParameters {
	params := ownParams(mesh)
	if mesh.TLS13 {
		params.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_3
	}
	if t.MinVersion != 0 {
		params.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TlsProtocol(t.MinVersion)
	}
	if t.MaxVersion != 0 {
		params.TlsMaximumProtocolVersion = tlsv3.TlsParameters_TlsProtocol(t.MaxVersion)
		params.TlsMinimumProtocolVersion = min(params.TlsMinimumProtocolVersion, params.TlsMaximumProtocolVersion)
	}
	if len(t.Ciphers) > 0 {
		params.CipherSuites = t.Ciphers
	}
	return params
}

package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

const (
	tlsSocket = "envoy.transport_sockets.tls"
	rawSocket = "envoy.transport_sockets.raw_buffer"
	// usualRoots is where Debian, Ubuntu and Alpine keep the roots of the public CAs.
	usualRoots = "/etc/ssl/certs/ca-certificates.crt"
)

// systemRoots is where the proxy has the roots of the public CAs.
func systemRoots(p *model.Proxy) string { return cmp.Or(p.SystemRoots, usualRoots) }

// ALPN names. "istio" tells the server's listener that mutual TLS of the mesh follows, as
// opposed to TLS of the application's own.
var (
	alpnMeshHTTP  = []string{"istio-http/1.1", "istio", "http/1.1"}
	alpnMeshHTTP2 = []string{"istio-h2", "istio", "h2"}
	alpnMeshTCP   = []string{peerExchange, "istio"}
	alpnMeshAny   = []string{"istio"}
	// What a server takes for the mesh's TLS: two for bytes, three for requests.
	alpnInboundMTLS = []string{"istio", peerExchange, "istio-http/1.0", "istio-http/1.1", "istio-h2"}
	alpnServerHTTP  = []string{"h2", "http/1.1", "istio"}
	// "istio" is for clients that offer nothing else: Go refuses a handshake without a name
	// in common.
	alpnServerTCP = []string{peerExchange, "http/1.1", "istio"}
)

// peerExchange is the name by which both sides agree that their metadata are exchanged at the head of a TCP stream.
const peerExchange = "istio-peer-exchange"

// withExchange is a list of names as a proxy may offer or take them: one that cannot exchange metadata must not agree to it.
func withExchange(p *model.Proxy, alpn []string) []string {
	if !p.Lacks.Has(model.MetadataExchange) {
		return alpn
	}
	return slices.DeleteFunc(slices.Clone(alpn), func(name string) bool { return name == peerExchange })
}

func tlsParams() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}
}

// ownParams are those of TLS that is not the mesh's own.
func ownParams(mesh *model.Mesh) *tlsv3.TlsParameters {
	params := tlsParams()
	params.EcdhCurves, params.CipherSuites = mesh.TLSCurves, mesh.TLSCiphers
	return params
}

// meshIdentity is the certificate of the workload and the roots of the mesh, both from the
// agent.
func meshIdentity(alpn []string, sans []*matcherv3.StringMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams:                      tlsParams(),
		AlpnProtocols:                  slices.Clone(alpn),
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: "default", SdsConfig: sdsSource()}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchSubjectAltNames: sans},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: "ROOTCA", SdsConfig: sdsSource()},
		}},
	}
}

func exactMatchers(values []string) []*matcherv3.StringMatcher {
	var out []*matcherv3.StringMatcher
	for _, v := range values {
		out = append(out, stringmatch.Exact(v))
	}
	return out
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

// inboundTLS is what a sidecar serves mTLS with: any client whose identity is of the mesh.
func inboundTLS(mesh *model.Mesh, alpn []string) *corev3.TransportSocket {
	ctx := &tlsv3.DownstreamTlsContext{CommonTlsContext: meshIdentity(alpn, meshMembers(mesh)), RequireClientCertificate: boolean(true)}
	params := ctx.CommonTlsContext.TlsParams
	params.CipherSuites = mesh.MTLSCiphers
	if mesh.MTLS13 {
		params.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_3
	}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

// meshMembers matches every identity of the mesh.
func meshMembers(mesh *model.Mesh) []*matcherv3.StringMatcher {
	var out []*matcherv3.StringMatcher
	for _, d := range mesh.TrustDomains() {
		out = append(out, stringmatch.Prefix("spiffe://"+d+"/"))
	}
	return out
}

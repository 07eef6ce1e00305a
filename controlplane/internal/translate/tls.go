package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	tlsSocket = "envoy.transport_sockets.tls"
	rawSocket = "envoy.transport_sockets.raw_buffer"
	// systemRoots is where Debian, Ubuntu and Alpine keep the roots of the public CAs.
	systemRoots = "/etc/ssl/certs/ca-certificates.crt"
)

// ALPN names. "istio" tells the server's listener that mutual TLS of the mesh follows, as
// opposed to TLS of the application's own; istio-peer-exchange that the peers' metadata are
// exchanged at the head of a TCP stream.
var (
	alpnMeshHTTP  = []string{"istio-http/1.1", "istio", "http/1.1"}
	alpnMeshHTTP2 = []string{"istio-h2", "istio", "h2"}
	alpnMeshTCP   = []string{"istio-peer-exchange", "istio"}
	alpnMeshAny   = []string{"istio"}
	// What a server takes for the mesh's TLS: two for bytes, three for requests.
	alpnInboundMTLS = []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
	alpnServerHTTP  = []string{"h2", "http/1.1", "istio"}
	// "istio" is for clients that offer nothing else: Go refuses a handshake without a name
	// in common.
	alpnServerTCP = []string{"istio-peer-exchange", "http/1.1", "istio"}
)

func tlsParams() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}
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
		out = append(out, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v}})
	}
	return out
}

func upstreamSocket(ctx *tlsv3.UpstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

// applyTLS chooses how the cluster's endpoints are connected to: as the destination rule
// says; else, in the mesh, mutual TLS with those endpoints that can, found by their metadata.
func (in *clusterInput) applyTLS(c *clusterv3.Cluster) {
	var t *model.ClientTLS
	if in.policy != nil {
		t = in.policy.TLS
	}
	if t != nil {
		in.explicitTLS(c, t)
		return
	}
	if !in.mesh.AutoMTLS || in.svc.External || in.kind == kindOriginalDst {
		return
	}
	c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
		{
			Name:            "tlsMode-istio",
			Match:           &structpb.Struct{Fields: map[string]*structpb.Value{"tlsMode": structpb.NewStringValue("istio")}},
			TransportSocket: upstreamSocket(in.mutual(nil, "")),
		},
		{
			Name:  "tlsMode-disabled",
			Match: &structpb.Struct{},
			TransportSocket: &corev3.TransportSocket{Name: rawSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
				TypedConfig: toAny(&rawv3.RawBuffer{}),
			}},
		},
	}
}

// mutual is mTLS with the mesh's identities. Nil sans: those of the service's endpoints.
func (in *clusterInput) mutual(sans []string, sni string) *tlsv3.UpstreamTlsContext {
	if sans == nil {
		if in.set != nil {
			sans = append(sans, in.set.Accounts...)
		}
		for _, s := range in.svc.SANs {
			if !slices.Contains(sans, s) {
				sans = append(sans, s)
			}
		}
	}
	if sni == "" {
		sni = sniName(in.port.Number, in.subsetName(), in.svc.Host)
	}
	alpn := alpnMeshTCP
	switch {
	case in.requests() && in.port.Protocol.IsHTTP2():
		alpn = alpnMeshHTTP2
	case in.requests():
		alpn = alpnMeshHTTP
	case in.port.Protocol == model.ProtocolAuto:
		alpn = alpnMeshAny // bytes or requests: no metadata before them
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: meshIdentity(alpn, exactMatchers(sans)), Sni: sni}
}

func (in *clusterInput) explicitTLS(c *clusterv3.Cluster, t *model.ClientTLS) {
	sans := t.SANs
	switch t.Mode {
	case model.TLSDisable:
		return
	case model.TLSIstioMutual:
		if len(sans) == 0 {
			sans = nil
		}
		c.TransportSocket = upstreamSocket(in.mutual(sans, t.SNI))
		return
	}
	if len(sans) == 0 {
		sans = in.svc.SANs
	}
	common := &tlsv3.CommonTlsContext{TlsParams: tlsParams()}
	if t.Mode == model.TLSMutual && t.ClientCertificate != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.ClientCertificate), PrivateKey: file(t.PrivateKey)}}
	}
	if !t.InsecureSkipVerify {
		v := &tlsv3.CertificateValidationContext{MatchSubjectAltNames: exactMatchers(sans)}
		roots := t.CACertificates
		if roots == "" || roots == "system" {
			roots = systemRoots
		}
		v.TrustedCa = file(roots)
		if t.CRL != "" {
			v.Crl = file(t.CRL)
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	}
	sni := t.SNI
	if sni == "" && in.svc.External && in.svc.Host[0] != '*' {
		sni = in.svc.Host
	}
	c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni})
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

// inboundTLS is what a sidecar serves mTLS with: any client whose identity is of the mesh.
func inboundTLS(mesh *model.Mesh, alpn []string) *corev3.TransportSocket {
	sans := []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + mesh.TrustDomain + "/"}}}
	ctx := &tlsv3.DownstreamTlsContext{CommonTlsContext: meshIdentity(alpn, sans), RequireClientCertificate: boolean(true)}
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

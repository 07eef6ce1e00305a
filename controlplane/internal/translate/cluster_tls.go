package translate

//lint:file-ignore SA1019 Istio still sends these fields, and tools read them.

import (
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func upstreamSocket(ctx *tlsv3.UpstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(ctx)}}
}

func plainSocket() *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: rawSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(&rawv3.RawBuffer{})}}
}

// applyTLS chooses how the cluster's endpoints are connected to: as the destination rule
// says; else, in the mesh, mutual TLS with those endpoints that can, found by their metadata.
func (in *clusterInput) applyTLS(c *clusterv3.Cluster) {
	switch t := in.tls(); {
	case t != nil:
		in.explicitTLS(c, t)
	case !in.mesh.AutoMTLS || in.svc.External:
	case in.kind == kindOriginalDst:
		// The endpoint is the client's choice, and nothing is known of it: mutual TLS only
		// where every endpoint can.
		if in.set != nil && in.set.Mutual {
			c.TransportSocket = upstreamSocket(in.mutual(nil, ""))
		}
	default:
		c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
			{
				Name:            "tlsMode-istio",
				Match:           &structpb.Struct{Fields: map[string]*structpb.Value{"tlsMode": structpb.NewStringValue("istio")}},
				TransportSocket: upstreamSocket(in.mutual(nil, "")),
			},
			{Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: plainSocket()},
		}
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
		sans = in.mesh.WithAliases(sans)
	}
	if sni == "" {
		sni = sniName(in.port.Number, in.subsetName(), in.svc.Host)
	}
	alpn := alpnMeshTCP
	switch {
	case in.requests() && in.version() == upstreamHTTP2:
		alpn = alpnMeshHTTP2
	case in.requests():
		alpn = alpnMeshHTTP
	case in.port.Protocol == model.ProtocolAuto:
		alpn = alpnMeshAny // bytes or requests: no metadata before them
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: meshIdentity(withExchange(in.client, alpn), exactMatchers(sans)), Sni: sni}
}

// serverName says by what name a server is asked for and checked when the rule does not: the
// host of the request. Nil for all but TLS of the user's own.
func (in *clusterInput) serverName() *corev3.UpstreamHttpProtocolOptions {
	t := in.tls()
	if in.kind == kindDynamic {
		return dynamicServerName(t)
	}
	if t == nil || t.Mode != model.TLSSimple && t.Mode != model.TLSMutual || t.SNI != "" || !in.speaksTLS(t) {
		return nil
	}
	return &corev3.UpstreamHttpProtocolOptions{AutoSni: true, AutoSanValidation: len(t.SANs) == 0 && !t.InsecureSkipVerify}
}

// speaksTLS reports whether the rule's TLS is carried out: credentials by name are not for
// every proxy.
func (in *clusterInput) speaksTLS(t *model.ClientTLS) bool {
	return t.Credential == "" || in.rule.MayUseCredentials(in.client)
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
	if !in.speaksTLS(t) {
		return
	}
	if len(sans) == 0 {
		sans = in.svc.SANs
	}
	common := &tlsv3.CommonTlsContext{TlsParams: ownParams(in.mesh)}
	if in.version() == upstreamHTTP2 {
		common.AlpnProtocols = []string{"h2"}
	}
	if t.Credential != "" {
		in.credential(common, t, sans)
	} else {
		files(common, t, sans, systemRoots(in.client))
	}
	sni := t.SNI
	if sni == "" && !speaksHTTP(in.port) && in.svc.External && in.svc.Host[0] != '*' {
		sni = in.svc.Host // bytes name no host that could be taken instead
	}
	c.TransportSocket = upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni})
}

// hostTLS is how one host that no registry knows is connected to, with files; nil for plaintext. Its certificate must have the name that it is called by, unless
// another is asked for, or names are given.
func hostTLS(mesh *model.Mesh, p *model.Proxy, t *model.ClientTLS, host string) *corev3.TransportSocket {
	if t == nil || t.Mode == model.TLSDisable {
		return nil
	}
	if t.Mode == model.TLSIstioMutual {
		return upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: meshIdentity(nil, exactMatchers(t.SANs)), Sni: t.SNI})
	}
	sans, sni := t.SANs, t.SNI
	if sni == "" {
		if len(sans) == 0 {
			sans = []string{host}
		}
		if _, err := netip.ParseAddr(host); err != nil {
			sni = host
		}
	}
	common := &tlsv3.CommonTlsContext{TlsParams: ownParams(mesh)}
	files(common, t, sans, systemRoots(p))
	return upstreamSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni})
}

// files are certificates at the proxy, which has those of the public CAs in a file called system.
func files(common *tlsv3.CommonTlsContext, t *model.ClientTLS, sans []string, system string) {
	if t.Mode == model.TLSMutual && t.ClientCertificate != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.ClientCertificate), PrivateKey: file(t.PrivateKey)}}
	}
	if t.InsecureSkipVerify {
		return
	}
	v := &tlsv3.CertificateValidationContext{MatchSubjectAltNames: exactMatchers(sans)}
	roots := t.CACertificates
	if roots == "" || roots == "system" {
		roots = system
	}
	v.TrustedCa = file(roots)
	if t.CRL != "" {
		v.Crl = file(t.CRL)
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

// credential is a secret of the proxy's namespace or of a provider's, by name: the certificate and, under the
// same name with a suffix, who may have signed the server's.
func (in *clusterInput) credential(common *tlsv3.CommonTlsContext, t *model.ClientTLS, sans []string) {
	if t.Mode == model.TLSMutual {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{in.secrets.secret(t.Credential)}
	}
	if t.InsecureSkipVerify {
		return
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchSubjectAltNames: exactMatchers(sans)},
		ValidationContextSdsSecretConfig: in.secrets.secret(t.Credential + model.CASuffix),
	}}
}

const proxyProtocolSocket = "envoy.transport_sockets.upstream_proxy_protocol"

// sendProxyHeader wraps every socket of the cluster in one that begins with a PROXY header.
func (in *clusterInput) sendProxyHeader(c *clusterv3.Cluster) {
	if in.policy == nil || in.policy.ProxyProtocol == model.ProxyProtocolNone {
		return
	}
	version := corev3.ProxyProtocolConfig_V1
	if in.policy.ProxyProtocol == model.ProxyProtocolV2 {
		version = corev3.ProxyProtocolConfig_V2
	}
	wrap := func(inner *corev3.TransportSocket) *corev3.TransportSocket {
		return &corev3.TransportSocket{Name: proxyProtocolSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: toAny(&proxyprotocolv3.ProxyProtocolUpstreamTransport{Config: &corev3.ProxyProtocolConfig{Version: version}, TransportSocket: inner})}}
	}
	for _, m := range c.TransportSocketMatches {
		m.TransportSocket = wrap(m.TransportSocket)
	}
	switch {
	case c.TransportSocket != nil:
		c.TransportSocket = wrap(c.TransportSocket)
	case len(c.TransportSocketMatches) == 0:
		c.TransportSocket = wrap(plainSocket())
	}
}

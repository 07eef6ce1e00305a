package xdsresource

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/crypto/ocsp"
)

// Secret is a validated tls.v3.Secret: exactly one of its forms is set.
type Secret struct {
	Name        string
	Certificate *TLSCertificate
	Validation  *ValidationContext
	Tickets     TicketKeys
	// Files are those that the secret was read from, and Directories where a move says that they
	// have changed instead of one onto them.
	Files, Directories []string
}

// Secret validates a secret from SDS. The error never contains key material.
func (d *Decoder) Secret(m *tlsv3.Secret) (*Secret, error) {
	p := &parser{dec: d}
	p.check("", m)
	s := &Secret{Name: m.GetName()}
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		s.Certificate = p.certificate("tls_certificate", t.TlsCertificate)
	case *tlsv3.Secret_ValidationContext:
		s.Validation = p.validationContext("validation_context", t.ValidationContext, true)
	case *tlsv3.Secret_SessionTicketKeys:
		s.Tickets = p.ticketKeys("session_ticket_keys", t.SessionTicketKeys)
	default:
		p.bad("", "none of tls_certificate, validation_context, session_ticket_keys is set; other kinds of secrets are not supported")
	}
	s.Files, s.Directories = p.files, p.directories
	if err := p.finish("secret", m.GetName()); err != nil {
		return nil, err
	}
	return s, nil
}

// certificate reads a chain and its key and checks that they belong together.
func (p *parser) certificate(path string, m *tlsv3.TlsCertificate) *TLSCertificate {
	p.watch(m.GetWatchedDirectory())
	c := &TLSCertificate{
		Chain: p.dataSource(join(path, "certificate_chain"), m.GetCertificateChain()),
		Key:   p.dataSource(join(path, "private_key"), m.GetPrivateKey()),
		Path:  m.GetCertificateChain().GetFilename(),
	}
	password := p.dataSource(join(path, "password"), m.GetPassword())
	if m.GetPkcs12() != nil {
		raw, err := p.dataSource(join(path, "pkcs12"), m.GetPkcs12()), error(nil)
		if c.Chain != nil || c.Key != nil {
			p.bad(join(path, "pkcs12"), "stands beside certificate_chain or private_key, which it has itself")
		}
		if c.Chain, c.Key, err = openPKCS12(raw, password); err != nil {
			p.bad(join(path, "pkcs12"), "%v", err)
			return c
		}
		c.Path = m.GetPkcs12().GetFilename()
	} else if m.GetPassword() != nil {
		key, err := openKey(c.Key, password)
		if err != nil {
			p.bad(join(path, "private_key"), "%v", err)
			return c
		}
		c.Key = key
	}
	pair, err := tls.X509KeyPair(c.Chain, c.Key)
	if err != nil {
		p.bad(path, "certificate and key cannot be used: %v", err)
		return c
	}
	if m.GetOcspStaple() != nil {
		p.staple(path, c, pair.Leaf, m.GetOcspStaple())
	}
	return c
}

// staple reads an OCSP response (RFC 6960), which must be about the certificate.
func (p *parser) staple(path string, c *TLSCertificate, leaf *x509.Certificate, m *corev3.DataSource) {
	here := join(path, "ocsp_staple")
	raw := p.dataSource(here, m)
	r, err := ocsp.ParseResponse(raw, nil)
	switch {
	case err != nil:
		p.bad(here, "%v", err)
	case r.SerialNumber.Cmp(leaf.SerialNumber) != 0:
		p.bad(here, "the response is about another certificate")
	case r.Status != ocsp.Good:
		p.bad(here, "the response does not say that the certificate is good")
	default:
		c.Staple, c.StapleEnd = raw, r.NextUpdate
	}
}

// validationContext reads a context, or with part one to which another one comes.
func (p *parser) validationContext(path string, m *tlsv3.CertificateValidationContext, part bool) *ValidationContext {
	p.watch(m.GetWatchedDirectory())
	v := &ValidationContext{
		TrustedCA:       p.dataSource(join(path, "trusted_ca"), m.GetTrustedCa()),
		Path:            m.GetTrustedCa().GetFilename(),
		CRL:             p.dataSource(join(path, "crl"), m.GetCrl()),
		SANs:            p.sans(path, m),
		VerifySPKI:      m.GetVerifyCertificateSpki(),
		VerifyHash:      m.GetVerifyCertificateHash(),
		AcceptUntrusted: m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
		AllowExpired:    m.GetAllowExpiredCertificate(),
		OnlyLeafCRL:     m.GetOnlyVerifyLeafCertCrl(),
		SuppressCAList:  m.GetSuppressClientCaList(),
	}
	if d := m.GetMaxVerifyDepth(); d != nil {
		depth := d.GetValue()
		v.MaxDepth = &depth
	}
	if c := m.GetCustomValidatorConfig(); c != nil {
		v.SPIFFE = p.spiffe(join(path, "custom_validator_config.typed_config"), c)
	} else if len(v.SANs) > 0 && len(v.TrustedCA) == 0 && !part {
		p.bad(path, "names are checked without a trusted_ca, so that anybody can have them")
	}
	if len(v.TrustedCA) > 0 {
		if err := checkBundle(v.TrustedCA); err != nil {
			p.bad(join(path, "trusted_ca"), "%v", err)
		}
	}
	return v
}

// bundleError says why a trust bundle cannot be used.
type bundleError string

func (e bundleError) Error() string { return string(e) }

func checkBundle(raw []byte) error {
	n := 0
	for {
		var block *pem.Block
		block, raw = pem.Decode(raw)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return bundleError("holds no PEM certificate")
	}
	return nil
}

//nolint:staticcheck // match_subject_alt_names is deprecated and what older control planes send
func (p *parser) sans(path string, m *tlsv3.CertificateValidationContext) []SANMatcher {
	var out []SANMatcher
	for i, s := range m.GetMatchTypedSubjectAltNames() {
		kind, oid := "", ""
		switch s.GetSanType() {
		case tlsv3.SubjectAltNameMatcher_OTHER_NAME:
			kind = "OTHER"
			if id, err := x509.ParseOID(s.GetOid()); err == nil {
				oid = id.String()
			} else {
				p.bad(join(at(join(path, "match_typed_subject_alt_names"), i), "oid"), "%q is no object identifier, which OTHER_NAME needs", s.GetOid())
			}
		case tlsv3.SubjectAltNameMatcher_DNS:
			kind = "DNS"
		case tlsv3.SubjectAltNameMatcher_URI:
			kind = "URI"
		case tlsv3.SubjectAltNameMatcher_EMAIL:
			kind = "EMAIL"
		case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
			kind = "IP"
		default:
			p.bad(join(at(join(path, "match_typed_subject_alt_names"), i), "san_type"), "%v is not supported", s.GetSanType())
		}
		out = append(out, SANMatcher{Type: kind, OID: oid, Value: p.stringMatch(at(join(path, "match_typed_subject_alt_names"), i), s.GetMatcher())})
	}
	for i, s := range m.GetMatchSubjectAltNames() {
		out = append(out, SANMatcher{Value: p.stringMatch(at(join(path, "match_subject_alt_names"), i), s)})
	}
	return out
}

// cipherSuites are BoringSSL's names for the suites that crypto/tls has.
var cipherSuites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

var curves = map[string]tls.CurveID{
	"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
	"X25519MLKEM768": tls.X25519MLKEM768,
}

// CipherSuiteName is BoringSSL's name of a suite, "" for one that it does not have.
func CipherSuiteName(id uint16) string {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256:
		return tls.CipherSuiteName(id)
	}
	for name, suite := range cipherSuites {
		if suite == id {
			return name
		}
	}
	return ""
}

// CurveName is BoringSSL's name of a key exchange, "" for one that it does not have.
func CurveName(id tls.CurveID) string {
	for name, curve := range curves {
		if curve == id {
			return name
		}
	}
	return ""
}

func (p *parser) commonTLS(path string, m *tlsv3.CommonTlsContext) CommonTLS {
	out := CommonTLS{ALPN: m.GetAlpnProtocols()}
	params := m.GetTlsParams()
	out.MinVersion = p.tlsVersion(join(path, "tls_params.tls_minimum_protocol_version"), params.GetTlsMinimumProtocolVersion())
	out.MaxVersion = p.tlsVersion(join(path, "tls_params.tls_maximum_protocol_version"), params.GetTlsMaximumProtocolVersion())
	if out.MinVersion != 0 && out.MaxVersion != 0 && out.MinVersion > out.MaxVersion {
		p.bad(join(path, "tls_params"), "the minimum protocol version is above the maximum")
	}
	for i, s := range params.GetCipherSuites() {
		for name := range splitSuites(s) {
			id, ok := cipherSuites[name]
			if !ok {
				p.bad(at(join(path, "tls_params.cipher_suites"), i), "cipher suite %q is not supported", name)
				continue
			}
			out.CipherSuites = append(out.CipherSuites, id)
		}
	}
	for i, s := range params.GetEcdhCurves() {
		id, ok := curves[s]
		if !ok {
			p.bad(at(join(path, "tls_params.ecdh_curves"), i), "curve %q is not supported", s)
			continue
		}
		out.Curves = append(out.Curves, id)
	}
	for i, c := range m.GetTlsCertificates() {
		out.Certificates = append(out.Certificates, TLSSource[TLSCertificate]{
			Inline: p.certificate(at(join(path, "tls_certificates"), i), c),
		})
	}
	for i, s := range m.GetTlsCertificateSdsSecretConfigs() {
		out.Certificates = append(out.Certificates, sds[TLSCertificate](p, at(join(path, "tls_certificate_sds_secret_configs"), i), s))
	}
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		out.Validation = &TLSSource[ValidationContext]{Inline: p.validationContext(join(path, "validation_context"), v.ValidationContext, false)}
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		s := sds[ValidationContext](p, join(path, "validation_context_sds_secret_config"), v.ValidationContextSdsSecretConfig)
		out.Validation = &s
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		here := join(path, "combined_validation_context")
		s := sds[ValidationContext](p, join(here, "validation_context_sds_secret_config"), v.CombinedValidationContext.GetValidationContextSdsSecretConfig())
		out.Validation = &s
		if def := v.CombinedValidationContext.GetDefaultValidationContext(); def != nil {
			out.Default = p.validationContext(join(here, "default_validation_context"), def, true)
		}
	}
	return out
}

// sds reads the name of a secret and the source that serves it.
func sds[T any](p *parser, path string, m *tlsv3.SdsSecretConfig) TLSSource[T] {
	out := TLSSource[T]{SDS: m.GetName()}
	if m.GetSdsConfig().GetConfigSourceSpecifier() == nil { // a static secret of the bootstrap
		out.SDSCluster = SDSStatic
		return out
	}
	src, fetch := p.source(join(path, "sds_config"), m.GetSdsConfig())
	out.SDSCluster, out.FetchTimeout = src.SecretSource(), fetch
	return out
}

// SDSStatic is the SDSCluster of secrets that stand in the bootstrap itself.
const SDSStatic = "static"

func splitSuites(s string) func(func(string) bool) {
	// Envoy writes equal-preference groups as [A|B]; crypto/tls orders suites itself.
	return func(yield func(string) bool) {
		start := -1
		for i := 0; i <= len(s); i++ {
			if i == len(s) || s[i] == '[' || s[i] == ']' || s[i] == '|' {
				if start >= 0 && !yield(s[start:i]) {
					return
				}
				start = -1
				continue
			}
			if start < 0 {
				start = i
			}
		}
	}
}

func (p *parser) tlsVersion(path string, v tlsv3.TlsParameters_TlsProtocol) uint16 {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13
	case tlsv3.TlsParameters_TLS_AUTO:
		return 0
	}
	p.bad(path, "%v is not a TLS version", v)
	return 0
}

// downstreamTransportSocket reads a filter chain's transport socket; nil means raw_buffer.
func (p *parser) downstreamTransportSocket(path string, ts *corev3.TransportSocket) *DownstreamTLS {
	if p.rawBuffer(path, ts) {
		return nil
	}
	var m tlsv3.DownstreamTlsContext
	here := join(path, "typed_config")
	if !p.message(here, ts.GetTypedConfig(), &m) {
		return nil
	}
	out := &DownstreamTLS{
		CommonTLS:                  p.commonTLS(join(here, "common_tls_context"), m.GetCommonTlsContext()),
		RequireClientCert:          boolOr(m.GetRequireClientCertificate(), false),
		DisableStatelessResumption: m.GetDisableStatelessSessionResumption(),
		SessionTimeout:             p.duration(join(here, "session_timeout"), m.GetSessionTimeout(), 0),
		FullScan:                   boolOr(m.GetFullScanCertsOnSniMismatch(), false),
	}
	switch t := m.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		keys := p.ticketKeys(join(here, "session_ticket_keys"), t.SessionTicketKeys)
		out.Tickets = &TLSSource[TicketKeys]{Inline: &keys}
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		s := sds[TicketKeys](p, join(here, "session_ticket_keys_sds_secret_config"), t.SessionTicketKeysSdsSecretConfig)
		out.Tickets = &s
	}
	out.Staples = StaplePolicy(m.GetOcspStaplePolicy())
	for i, c := range out.Certificates {
		if out.Staples == StapleAlways && c.Inline != nil && c.Inline.Staple == nil {
			p.bad(at(join(here, "common_tls_context.tls_certificates"), i), "has no ocsp_staple, which ocsp_staple_policy MUST_STAPLE wants")
		}
	}
	if len(out.Certificates) == 0 {
		p.bad(join(here, "common_tls_context"), "a server needs a certificate: tls_certificates or tls_certificate_sds_secret_configs")
	}
	return out
}

// upstreamTransportSocket reads a cluster's transport socket; nil means raw_buffer.
func (p *parser) upstreamTransportSocket(path string, ts *corev3.TransportSocket) *UpstreamTLS {
	if p.rawBuffer(path, ts) {
		return nil
	}
	var m tlsv3.UpstreamTlsContext
	here := join(path, "typed_config")
	if !p.message(here, ts.GetTypedConfig(), &m) {
		return nil
	}
	return &UpstreamTLS{
		CommonTLS:          p.commonTLS(join(here, "common_tls_context"), m.GetCommonTlsContext()),
		SNI:                m.GetSni(),
		AllowRenegotiation: m.GetAllowRenegotiation(),
		MaxSessionKeys:     uint32Or(m.GetMaxSessionKeys(), 1),
		AutoHostSNI:        m.GetAutoHostSni(),
		AutoSNISAN:         m.GetAutoSniSanValidation(),
	}
}

// rawBuffer reports whether a transport socket is absent or plain.
func (p *parser) rawBuffer(path string, ts *corev3.TransportSocket) bool {
	if ts == nil {
		return true
	}
	if ts.GetTypedConfig() == nil {
		if ts.GetName() != "envoy.transport_sockets.raw_buffer" {
			p.bad(path, "transport socket %q needs a typed_config", ts.GetName())
		}
		return true
	}
	if string(ts.GetTypedConfig().MessageName()) == "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" {
		p.message(join(path, "typed_config"), ts.GetTypedConfig(), &rawbufferv3.RawBuffer{})
		return true
	}
	return false
}

package xdsresource

import "crypto/tls"

// TLSSource says where a certificate or a trust bundle comes from: inline (from files or
// bytes, already read), or by SDS name.
type TLSSource[T any] struct {
	SDS string // secret name; empty when Inline is set
	// SDSCluster names the SDS config source: "" or "ads" for the ADS stream, SDSStatic, or what
	// ConfigSource.SecretSource returns.
	SDSCluster string
	Inline     *T
}

// TLSCertificate is a certificate chain with its key, PEM.
type TLSCertificate struct {
	Chain, Key []byte
}

// ValidationContext is a trust bundle, PEM, with what the peer's certificate must show.
type ValidationContext struct {
	TrustedCA []byte
	CRL       []byte
	// SANs: a peer certificate must have a SAN matching one of these; empty: any.
	SANs                   []SANMatcher
	VerifySPKI, VerifyHash []string
	AcceptUntrusted        bool // trust_chain_verification ACCEPT_UNTRUSTED
}

// SANMatcher matches one subject alternative name.
type SANMatcher struct {
	Type  string // "", "DNS", "URI", "IP", "EMAIL"; empty: any type
	Value StringMatch
}

// CommonTLS is CommonTlsContext.
type CommonTLS struct {
	Certificates []TLSSource[TLSCertificate]
	Validation   *TLSSource[ValidationContext] // nil: the peer is not verified
	// ExtraSANs is combined_validation_context.default_validation_context's matchers.
	ExtraSANs              []SANMatcher
	ALPN                   []string
	MinVersion, MaxVersion uint16 // crypto/tls versions; 0: default 1.2 to 1.3
	CipherSuites           []uint16
	Curves                 []tls.CurveID
}

// DownstreamTLS is DownstreamTlsContext.
type DownstreamTLS struct {
	CommonTLS
	RequireClientCert          bool
	DisableStatelessResumption bool
}

// UpstreamTLS is UpstreamTlsContext.
type UpstreamTLS struct {
	CommonTLS
	SNI                string
	AllowRenegotiation bool
	MaxSessionKeys     uint32
}

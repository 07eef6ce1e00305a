package xdsresource

import (
	"crypto/tls"
	"slices"
	"time"
)

// TLSSource says where a certificate or a trust bundle comes from: inline (from files or
// bytes, already read), or by SDS name.
type TLSSource[T any] struct {
	SDS string // secret name; empty when Inline is set
	// SDSCluster names the SDS config source: "" or "ads" for the ADS stream, SDSStatic, or what
	// ConfigSource.SecretSource returns.
	SDSCluster string
	// FetchTimeout is how long what refers to the secret waits for its first value
	// (initial_fetch_timeout, default 15 s); 0: for ever.
	FetchTimeout time.Duration
	Inline       *T
}

// TLSCertificate is a certificate chain with its key, PEM.
type TLSCertificate struct {
	Chain, Key []byte
	Path       string // file of the chain; empty: it was inline
	// Staple is the OCSP response that clients get; nil: none. StapleEnd is when it is no longer good; zero: never.
	Staple    []byte
	StapleEnd time.Time
}

// ValidationContext is a trust bundle, PEM, with what the peer's certificate must show.
type ValidationContext struct {
	TrustedCA []byte
	Path      string // file of TrustedCA; empty: it was inline
	CRL       []byte
	// SANs: a peer certificate must have a SAN matching one of these; empty: any.
	SANs                   []SANMatcher
	VerifySPKI, VerifyHash []string
	AcceptUntrusted        bool // trust_chain_verification ACCEPT_UNTRUSTED
	AllowExpired           bool // times of certificates and revocation lists are not looked at
	OnlyLeafCRL            bool // of a chain only the leaf is looked up in revocation lists
	SuppressCAList         bool // clients are not told of the trusted authorities
	// MaxDepth is how many certificates may follow the leaf, the trust anchor included; nil: any number.
	MaxDepth *uint32
	// SPIFFE are the bundles of trust domains, PEM, by name, instead of TrustedCA and what else there
	// is but names; nil: there are none.
	SPIFFE map[string][]byte
}

// TicketKeys are what session tickets are sealed with: the first new ones, all of them old ones.
type TicketKeys [][]byte

// Over is the context with what def says besides: what lists of def hold, and where v itself says nothing.
func (v ValidationContext) Over(def *ValidationContext) ValidationContext {
	if def == nil {
		return v
	}
	either := func(a, b []byte) []byte {
		if len(a) > 0 {
			return a
		}
		return b
	}
	v.TrustedCA, v.CRL = either(v.TrustedCA, def.TrustedCA), either(v.CRL, def.CRL)
	v.SANs = slices.Concat(def.SANs, v.SANs)
	v.VerifySPKI, v.VerifyHash = slices.Concat(def.VerifySPKI, v.VerifySPKI), slices.Concat(def.VerifyHash, v.VerifyHash)
	v.AcceptUntrusted = v.AcceptUntrusted || def.AcceptUntrusted
	v.AllowExpired = v.AllowExpired || def.AllowExpired
	v.OnlyLeafCRL = v.OnlyLeafCRL || def.OnlyLeafCRL
	v.SuppressCAList = v.SuppressCAList || def.SuppressCAList
	if v.MaxDepth == nil {
		v.MaxDepth = def.MaxDepth
	}
	if v.SPIFFE == nil {
		v.SPIFFE = def.SPIFFE
	}
	return v
}

// SANMatcher matches one subject alternative name.
type SANMatcher struct {
	Type  string // "", "DNS", "URI", "IP", "EMAIL", "OTHER"; empty: any but OTHER
	OID   string // of OTHER: the kind of the name, in digits and dots
	Value StringMatch
}

// CommonTLS is CommonTlsContext.
type CommonTLS struct {
	Certificates []TLSSource[TLSCertificate]
	Validation   *TLSSource[ValidationContext] // nil: the peer is not verified
	// Default is what combined_validation_context adds to the secret; nil: nothing.
	Default                *ValidationContext
	ALPN                   []string
	MinVersion, MaxVersion uint16 // crypto/tls versions; 0: default 1.2 to 1.3
	CipherSuites           []uint16
	Curves                 []tls.CurveID
}

// StaplePolicy is DownstreamTlsContext.OcspStaplePolicy.
type StaplePolicy uint8

// What becomes of a handshake whose client asks for an OCSP staple.
const (
	StapleIfGood StaplePolicy = iota // it goes on without one that is missing or has ended
	StapleStrict                     // it goes on without one that is missing, and fails where it has ended
	StapleAlways                     // it fails without one
)

// DownstreamTLS is DownstreamTlsContext.
type DownstreamTLS struct {
	CommonTLS
	RequireClientCert          bool
	DisableStatelessResumption bool
	Tickets                    *TLSSource[TicketKeys] // nil: keys of our own
	SessionTimeout             time.Duration          // how long a session may be resumed; 0: as long as crypto/tls lets it
	FullScan                   bool                   // full_scan_certs_on_sni_mismatch
	Staples                    StaplePolicy
}

// UpstreamTLS is UpstreamTlsContext.
type UpstreamTLS struct {
	CommonTLS
	SNI                string
	AllowRenegotiation bool
	MaxSessionKeys     uint32 // 0: sessions are not resumed
	AutoHostSNI        bool   // the server name is the host's name
	AutoSNISAN         bool   // the certificate must be for the server name, and needs no other name
}

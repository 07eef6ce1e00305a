package transportsocket

import (
	"crypto/tls"
	"errors"
	"reflect"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/trust"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Statistics of TLS, "listener.<address>.ssl.*" and "cluster.<name>.ssl.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#tls-statistics).
const (
	connectionError = iota
	handshakeDone
	sessionReused
	noCertificate
	failNoCert
	failError
	failSAN
	failHash
	stapleRequests
	stapleOmitted
	stapleResponses
	stapleFailed
)

var statSet = stats.NewSet(
	stats.Item{Name: "connection_error"},
	stats.Item{Name: "handshake"},
	stats.Item{Name: "session_reused"},
	stats.Item{Name: "no_certificate"},
	stats.Item{Name: "fail_verify_no_cert"},
	stats.Item{Name: "fail_verify_error"},
	stats.Item{Name: "fail_verify_san"},
	stats.Item{Name: "fail_verify_cert_hash"},
	stats.Item{Name: "ocsp_staple_requests"},
	stats.Item{Name: "ocsp_staple_omitted"},
	stats.Item{Name: "ocsp_staple_responses"},
	stats.Item{Name: "ocsp_staple_failed"},
	stats.Item{Name: "was_key_usage_invalid"}, // as in Envoy, which fails then
)

// Stats counts the handshakes of one listener or cluster on one worker.
type Stats struct {
	scope stats.Scope
	shard *stats.Shard
	block stats.Block
	// notReady counts connections for which a secret was missing.
	notReady stats.Counter
	// named are counters of what was agreed on, made when it is first.
	named map[agreed]stats.Counter
}

// agreed is a version, cipher suite, curve or signature algorithm, by its number in the protocol.
type agreed struct {
	kind string
	id   uint16
}

// NewServerStats makes the counters of a listener's scope.
func NewServerStats(scope stats.Scope, shard *stats.Shard) *Stats {
	return newStats(scope, shard, scope.Scope("server_ssl_socket_factory").Counter("downstream_context_secrets_not_ready"))
}

// NewClientStats makes the counters of a cluster's scope.
func NewClientStats(scope stats.Scope, shard *stats.Shard) *Stats {
	return newStats(scope, shard, scope.Scope("client_ssl_socket_factory").Counter("upstream_context_secrets_not_ready"))
}

func newStats(scope stats.Scope, shard *stats.Shard, notReady stats.Counter) *Stats {
	scope = scope.Scope("ssl")
	return &Stats{scope: scope, shard: shard, block: scope.Block(statSet), notReady: notReady, named: make(map[agreed]stats.Counter)}
}

func (s *Stats) inc(i int) { s.shard.Inc(s.block.Counter(i)) }

// Hello counts what clients of a server ask for, however their handshakes end.
func (s *Stats) Hello(x Staple) {
	switch x {
	case StapleNotAsked:
		s.inc(stapleOmitted)
	case StapleAsked:
		s.inc(stapleRequests)
		s.inc(stapleOmitted)
	case StapleSent:
		s.inc(stapleRequests)
		s.inc(stapleResponses)
	case StapleFailed:
		s.inc(stapleRequests)
		s.inc(stapleFailed)
	}
}

// Done counts a finished handshake.
func (s *Stats) Done(st *tls.ConnectionState) {
	s.inc(handshakeDone)
	if st.DidResume {
		s.inc(sessionReused)
	}
	if len(st.PeerCertificates) == 0 {
		s.inc(noCertificate)
	}
	s.agree("versions", st.Version, func() string { return versionNames[st.Version] })
	s.agree("ciphers", st.CipherSuite, func() string { return xdsresource.CipherSuiteName(st.CipherSuite) })
	s.agree("curves", uint16(st.CurveID), func() string { return xdsresource.CurveName(st.CurveID) })
	if len(st.PeerCertificates) > 0 { // else it is our own that crypto/tls has noted
		sig := peerSignature(st)
		s.agree("sigalgs", uint16(sig), func() string { return signatureNames[sig] })
	}
}

// agree counts what was agreed on. Its name is asked for once: crypto/tls makes a list of all suites to find one's. What has
// no name is not counted.
func (s *Stats) agree(kind string, id uint16, name func() string) {
	k := agreed{kind, id}
	c, ok := s.named[k]
	if !ok {
		n := name()
		if n == "" {
			return
		}
		c = s.scope.Counter(kind + "." + n)
		s.named[k] = c
	}
	s.shard.Inc(c)
}

// Failed counts a handshake or session that ended by an error of TLS. A certificate that is not taken has counters of its own.
func (s *Stats) Failed(err error) {
	if _, ok := errors.AsType[missingSecret](err); ok {
		s.shard.Inc(s.notReady)
		return
	}
	switch trust.Refusal(err) {
	case trust.NoCertificate:
		s.inc(failNoCert)
	case trust.WrongName:
		s.inc(failSAN)
	case trust.WrongHash:
		s.inc(failHash)
	case trust.Untrusted:
		s.inc(failError)
	default:
		s.inc(connectionError)
	}
}

var versionNames = map[uint16]string{
	tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
}

// signatureNames are those of RFC 8446, 4.2.3, as BoringSSL writes them.
var signatureNames = map[tls.SignatureScheme]string{
	tls.PKCS1WithSHA1: "rsa_pkcs1_sha1", tls.PKCS1WithSHA256: "rsa_pkcs1_sha256", tls.PKCS1WithSHA384: "rsa_pkcs1_sha384", tls.PKCS1WithSHA512: "rsa_pkcs1_sha512",
	tls.PSSWithSHA256: "rsa_pss_rsae_sha256", tls.PSSWithSHA384: "rsa_pss_rsae_sha384", tls.PSSWithSHA512: "rsa_pss_rsae_sha512",
	tls.ECDSAWithSHA1: "ecdsa_sha1", tls.ECDSAWithP256AndSHA256: "ecdsa_secp256r1_sha256", tls.ECDSAWithP384AndSHA384: "ecdsa_secp384r1_sha384",
	tls.ECDSAWithP521AndSHA512: "ecdsa_secp521r1_sha512", tls.Ed25519: "ed25519",
}

// peerSignature is the algorithm that the peer has signed with; 0: it has not, as in a resumed session. crypto/tls keeps it, but has no
// exported field for it. Should a release drop it, the test of these statistics says so, and nothing is counted.
func peerSignature(st *tls.ConnectionState) tls.SignatureScheme {
	f := reflect.ValueOf(st).Elem().FieldByName("testingOnlyPeerSignatureAlgorithm")
	if !f.IsValid() || f.Kind() != reflect.Uint16 {
		return 0
	}
	return tls.SignatureScheme(f.Uint())
}

package format

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// side picks the TLS state of one side of a stream; nil: raw.
type side func(*Context) *tls.ConnectionState

func downstreamSide(c *Context) *tls.ConnectionState {
	if c.Info == nil || c.Info.Downstream == nil {
		return nil
	}
	return c.Info.Downstream.TLS
}

func upstreamSide(c *Context) *tls.ConnectionState {
	if c.Info == nil {
		return nil
	}
	return c.Info.UpstreamTLSState
}

// peer prints something of the certificate that the other end has shown.
func (s side) peer(f func(*x509.Certificate) string) *valueOp {
	return text(func(c *Context) string {
		st := s(c)
		if st == nil || len(st.PeerCertificates) == 0 {
			return ""
		}
		return f(st.PeerCertificates[0])
	})
}

// chain prints something of every certificate that the other end has shown.
func (s side) chain(f func(*x509.Certificate) string) *valueOp {
	return text(func(c *Context) string {
		st := s(c)
		if st == nil {
			return ""
		}
		var out []string
		for _, cert := range st.PeerCertificates {
			out = append(out, f(cert))
		}
		return strings.Join(out, ",")
	})
}

// session prints something of the session itself.
func (s side) session(f func(*tls.ConnectionState) string) *valueOp {
	return text(func(c *Context) string {
		if st := s(c); st != nil {
			return f(st)
		}
		return ""
	})
}

// validity prints the begin or end of the certificate's life in a time format.
func (s side) validity(arg string, f func(*x509.Certificate) time.Time) (operator, error) {
	return newTimeOp(arg, false, func(c *Context) (time.Time, bool) {
		st := s(c)
		if st == nil || len(st.PeerCertificates) == 0 {
			return time.Time{}, false
		}
		return f(st.PeerCertificates[0]), true
	})
}

// issuers prints something of the certificate that the peer's was signed with, where it is known.
func (s side) issuer(f func(*x509.Certificate) string) *valueOp {
	return text(func(c *Context) string {
		st := s(c)
		switch {
		case st == nil:
		case len(st.VerifiedChains) > 0 && len(st.VerifiedChains[0]) > 1:
			return f(st.VerifiedChains[0][1])
		case len(st.PeerCertificates) > 1:
			return f(st.PeerCertificates[1])
		}
		return ""
	})
}

// own prints something of our certificate of a side.
func own(of func(*Context) *x509.Certificate, f func(*x509.Certificate) string) *valueOp {
	return text(func(c *Context) string {
		if cert := of(c); cert != nil {
			return f(cert)
		}
		return ""
	})
}

func downstreamOwn(c *Context) *x509.Certificate {
	if c.Info.Downstream == nil {
		return nil
	}
	return c.Info.Downstream.LocalCertificate
}

func upstreamOwn(c *Context) *x509.Certificate { return c.Info.UpstreamCertificate }

func notBefore(c *x509.Certificate) time.Time { return c.NotBefore }
func notAfter(c *x509.Certificate) time.Time  { return c.NotAfter }

func uriSAN(c *x509.Certificate) string {
	var out []string
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	return strings.Join(out, ",")
}

func ipSAN(c *x509.Certificate) string {
	var out []string
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return strings.Join(out, ",")
}

// A client may have had control characters written into its certificate, and formats make headers and lines.
func dnsSAN(c *x509.Certificate) string   { return header.Text(strings.Join(c.DNSNames, ",")) }
func emailSAN(c *x509.Certificate) string { return header.Text(strings.Join(c.EmailAddresses, ",")) }
func subject(c *x509.Certificate) string  { return header.Text(c.Subject.String()) }
func issuer(c *x509.Certificate) string   { return header.Text(c.Issuer.String()) }
func serial(c *x509.Certificate) string   { return hex.EncodeToString(c.SerialNumber.Bytes()) }

func fingerprint256(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// fingerprint1 is for logs that are matched with older ones; nothing trusts it.
func fingerprint1(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return hex.EncodeToString(sum[:])
}

// certificate is the PEM form, escaped to fit a log line.
func certificate(c *x509.Certificate) string {
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}

func tlsVersion(s *tls.ConnectionState) string {
	switch s.Version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	}
	return "TLSv1.3"
}

// tlsCipher is OpenSSL's name, which Envoy prints; those of TLS 1.3 are the same everywhere.
func tlsCipher(s *tls.ConnectionState) string {
	name := tls.CipherSuiteName(s.CipherSuite)
	if s.Version == tls.VersionTLS13 {
		return name
	}
	// TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is ECDHE-RSA-AES128-GCM-SHA256; a plain RSA key
	// exchange is not named, and what is CBC with SHA-1 says only SHA.
	name = strings.TrimPrefix(strings.TrimPrefix(name, "TLS_"), "RSA_WITH_")
	name = strings.NewReplacer("_WITH_", "-", "AES_128", "AES128", "AES_256", "AES256", "_CBC", "", "3DES_EDE", "DES-CBC3", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").Replace(name)
	return strings.ReplaceAll(name, "_", "-")
}

// tlsGroup is the key exchange by the name that BoringSSL gives it.
func tlsGroup(s *tls.ConnectionState) string {
	switch s.CurveID {
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	case tls.X25519:
		return "X25519"
	case tls.X25519MLKEM768:
		return "X25519MLKEM768"
	}
	return ""
}

// noSessionID: sessions go on by tickets here, and have no ids.
func noSessionID(*tls.ConnectionState) string { return "" }

// peerOperators are those of the certificates and the session, for both sides.
func peerOperators() map[string]*valueOp {
	out := map[string]*valueOp{}
	for prefix, s := range map[string]side{"DOWNSTREAM": downstreamSide, "UPSTREAM": upstreamSide} {
		out[prefix+"_PEER_SUBJECT"] = s.peer(subject)
		out[prefix+"_PEER_ISSUER"] = s.peer(issuer)
		out[prefix+"_PEER_URI_SAN"] = s.peer(uriSAN)
		out[prefix+"_PEER_DNS_SAN"] = s.peer(dnsSAN)
		out[prefix+"_PEER_IP_SAN"] = s.peer(ipSAN)
		out[prefix+"_PEER_CERT"] = s.peer(certificate)
		out[prefix+"_TLS_VERSION"] = s.session(tlsVersion)
		out[prefix+"_TLS_CIPHER"] = s.session(tlsCipher)
		out[prefix+"_TLS_GROUP"] = s.session(tlsGroup)
		out[prefix+"_TLS_SESSION_ID"] = s.session(noSessionID)
	}
	s := side(downstreamSide)
	out["DOWNSTREAM_PEER_EMAIL_SAN"] = s.peer(emailSAN)
	out["DOWNSTREAM_PEER_OTHERNAME_SAN"] = s.peer(otherNames)
	out["DOWNSTREAM_PEER_ISSUER_SERIAL"] = s.issuer(serial)
	out["DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256"] = s.issuer(fingerprint256)
	out["DOWNSTREAM_LOCAL_SUBJECT"] = own(downstreamOwn, subject)
	out["DOWNSTREAM_LOCAL_EMAIL_SAN"] = own(downstreamOwn, emailSAN)
	out["DOWNSTREAM_LOCAL_OTHERNAME_SAN"] = own(downstreamOwn, otherNames)
	for prefix, of := range map[string]func(*Context) *x509.Certificate{"DOWNSTREAM": downstreamOwn, "UPSTREAM": upstreamOwn} {
		out[prefix+"_LOCAL_URI_SAN"] = own(of, uriSAN)
		out[prefix+"_LOCAL_DNS_SAN"] = own(of, dnsSAN)
		out[prefix+"_LOCAL_IP_SAN"] = own(of, ipSAN)
	}
	out["DOWNSTREAM_PEER_SERIAL"] = s.peer(serial)
	out["DOWNSTREAM_PEER_FINGERPRINT_256"] = s.peer(fingerprint256)
	out["DOWNSTREAM_PEER_FINGERPRINT_1"] = s.peer(fingerprint1)
	out["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256"] = s.chain(fingerprint256)
	out["DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1"] = s.chain(fingerprint1)
	out["DOWNSTREAM_PEER_CHAIN_SERIALS"] = s.chain(serial)
	return out
}

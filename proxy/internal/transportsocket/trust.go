package transportsocket

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// trust is a validation context ready for use: what a peer's certificate must show.
type trust struct {
	roots     *x509.CertPool // nil: the chain is not checked
	untrusted bool           // ACCEPT_UNTRUSTED: the chain may fail
	sans      []xdsresource.SANMatcher
	spki      [][]byte
	hashes    [][]byte
	crls      []*x509.RevocationList
}

func newTrust(v xdsresource.ValidationContext, extra []xdsresource.SANMatcher) (*trust, error) {
	t := &trust{untrusted: v.AcceptUntrusted}
	t.sans = append(append(t.sans, v.SANs...), extra...)
	if len(v.TrustedCA) > 0 {
		certs, err := parsePEM(v.TrustedCA)
		if err != nil {
			return nil, fmt.Errorf("trusted_ca: %w", err)
		}
		t.roots = x509.NewCertPool()
		for _, c := range certs {
			t.roots.AddCert(c)
		}
	}
	for _, s := range v.VerifySPKI {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_spki %q is not the base64 of a SHA-256", s)
		}
		t.spki = append(t.spki, b)
	}
	for _, s := range v.VerifyHash {
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("verify_certificate_hash %q is not the hex of a SHA-256", s)
		}
		t.hashes = append(t.hashes, b)
	}
	var err error
	if t.crls, err = parseCRLs(v.CRL); err != nil {
		return nil, err
	}
	return t, nil
}

func parseCRLs(b []byte) ([]*x509.RevocationList, error) {
	var out []*x509.RevocationList
	for len(b) > 0 {
		var blk *pem.Block
		if blk, b = pem.Decode(b); blk == nil {
			if len(out) == 0 {
				return nil, errors.New("crl: no PEM data")
			}
			break
		}
		crl, err := x509.ParseRevocationList(blk.Bytes)
		if err != nil {
			return nil, fmt.Errorf("crl: %w", err)
		}
		out = append(out, crl)
	}
	return out, nil
}

// Reasons for refusing a peer's certificate.
var (
	errNoCertificate = errors.New("the peer has shown no certificate")
	errSAN           = errors.New("none of the certificate's names matches")
	errPin           = errors.New("the certificate is not one of the pinned ones")
	errRevoked       = errors.New("the certificate has been revoked")
)

// verify judges the peer's chain, leaf first.
func (t *trust) verify(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(certs) == 0 {
		return errNoCertificate
	}
	leaf := certs[0]
	if t.roots != nil {
		opts := x509.VerifyOptions{Roots: t.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
		if len(certs) > 1 {
			opts.Intermediates = x509.NewCertPool()
			for _, c := range certs[1:] {
				opts.Intermediates.AddCert(c)
			}
		}
		chains, err := leaf.Verify(opts)
		if err != nil && !t.untrusted {
			return err
		}
		if err == nil && !t.anyUnrevoked(chains) {
			return errRevoked
		}
	}
	if len(t.spki) > 0 || len(t.hashes) > 0 {
		if !t.pinned(leaf) {
			return errPin
		}
	}
	if len(t.sans) > 0 && !matchSANs(t.sans, leaf) {
		return fmt.Errorf("%w: %s", errSAN, describeSANs(leaf))
	}
	return nil
}

func (t *trust) pinned(leaf *x509.Certificate) bool {
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	for _, p := range t.spki {
		if bytes.Equal(p, spki[:]) {
			return true
		}
	}
	hash := sha256.Sum256(leaf.Raw)
	for _, p := range t.hashes {
		if bytes.Equal(p, hash[:]) {
			return true
		}
	}
	return false
}

// anyUnrevoked reports whether some chain has no certificate on a list that its issuer
// signed.
func (t *trust) anyUnrevoked(chains [][]*x509.Certificate) bool {
	if len(t.crls) == 0 {
		return true
	}
	for _, chain := range chains {
		if !t.chainRevoked(chain) {
			return true
		}
	}
	return false
}

func (t *trust) chainRevoked(chain []*x509.Certificate) bool {
	for i := range len(chain) - 1 {
		cert, issuer := chain[i], chain[i+1]
		for _, crl := range t.crls {
			if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || crl.CheckSignatureFrom(issuer) != nil {
				continue
			}
			for _, e := range crl.RevokedCertificateEntries {
				if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return true
				}
			}
		}
	}
	return false
}

// hasName reports whether a certificate is for one of names, which are of hosts, addresses or URIs.
func hasName(c *x509.Certificate, names []string) error {
	for _, n := range names {
		if c.VerifyHostname(n) == nil || matchSAN(&xdsresource.SANMatcher{Value: xdsresource.StringMatch{Value: n}}, c) {
			return nil
		}
	}
	return fmt.Errorf("%w %s: %s", errSAN, strings.Join(names, ", "), describeSANs(c))
}

func matchSANs(ms []xdsresource.SANMatcher, c *x509.Certificate) bool {
	for i := range ms {
		if matchSAN(&ms[i], c) {
			return true
		}
	}
	return false
}

func matchSAN(m *xdsresource.SANMatcher, c *x509.Certificate) bool {
	if m.Type == "" || m.Type == "URI" {
		for _, u := range c.URIs {
			if matchString(&m.Value, u.String()) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "DNS" {
		for _, d := range c.DNSNames {
			if matchString(&m.Value, d) || matchWildcard(&m.Value, d) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "IP" {
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && matchString(&m.Value, a.Unmap().String()) {
				return true
			}
		}
	}
	if m.Type == "" || m.Type == "EMAIL" {
		for _, e := range c.EmailAddresses {
			if matchString(&m.Value, e) {
				return true
			}
		}
	}
	return false
}

// matchWildcard lets an exact DNS matcher accept a certificate for "*.example.com", as
// Envoy does.
func matchWildcard(m *xdsresource.StringMatch, san string) bool {
	if m.Kind != xdsresource.StringExact || !strings.HasPrefix(san, "*.") {
		return false
	}
	_, rest, ok := strings.Cut(m.Value, ".")
	return ok && strings.EqualFold(rest, san[2:])
}

func matchString(m *xdsresource.StringMatch, s string) bool {
	v := m.Value
	if m.Kind == xdsresource.StringRegex {
		return m.Regex != nil && m.Regex.MatchString(s)
	}
	if m.IgnoreCase {
		s, v = strings.ToLower(s), strings.ToLower(v)
	}
	switch m.Kind {
	case xdsresource.StringPrefix:
		return strings.HasPrefix(s, v)
	case xdsresource.StringSuffix:
		return strings.HasSuffix(s, v)
	case xdsresource.StringContains:
		return strings.Contains(s, v)
	}
	return s == v
}

func describeSANs(c *x509.Certificate) string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(names, ", ")
}

// RefusalKind says why a peer's certificate was refused, for statistics.
type RefusalKind uint8

// Kinds of refusals.
const (
	NotRefused    RefusalKind = iota // the handshake failed for another reason
	NoCertificate                    // none was shown
	Untrusted                        // chain, validity, purpose or revocation
	WrongName                        // no name matches
	WrongHash                        // not a pinned one
)

// Refusal classifies the error of a handshake.
func Refusal(err error) RefusalKind {
	var verr *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, errNoCertificate):
		return NoCertificate
	case errors.Is(err, errSAN):
		return WrongName
	case errors.Is(err, errPin):
		return WrongHash
	case errors.Is(err, errRevoked), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verr):
		return Untrusted
	case err != nil && strings.Contains(err.Error(), "client didn't provide a certificate"):
		return NoCertificate // crypto/tls has no type for it
	}
	return NotRefused
}

// Package trust judges certificates: chains, revocation, pins, names and SPIFFE identities, as a validation context asks for.
//
// It knows no connection and fetches nothing: who is asked, and with what context, is the business of transportsocket and of xdsclient,
// which import it. listener and cluster may, for the kinds of refusals.
package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Trust is a validation context ready for use: what a peer's certificate must show. It may be used by all workers.
type Trust struct {
	roots     *x509.CertPool // nil: the chain is not checked
	untrusted bool           // ACCEPT_UNTRUSTED: nothing is refused
	anyTime   bool           // times are not looked at
	depth     int            // how many certificates may follow the leaf, the anchor included; -1: any number
	sans      []xdsresource.SANMatcher
	spki      [][]byte
	hashes    [][]byte
	revoked   revocations
	domains   map[string]*x509.CertPool // of the SPIFFE validator, by trust domain; nil: there is none
	announced *x509.CertPool
	// anchors are all that is trusted, for people to look at.
	anchors []*x509.Certificate
}

// Anchors are the certificates that are trusted, of all trust domains.
func (t *Trust) Anchors() []*x509.Certificate { return t.anchors }

// New reads a validation context.
func New(v xdsresource.ValidationContext) (*Trust, error) {
	t := &Trust{untrusted: v.AcceptUntrusted, anyTime: v.AllowExpired, depth: -1, sans: v.SANs}
	if v.MaxDepth != nil {
		t.depth = int(*v.MaxDepth)
	}
	if v.SPIFFE != nil {
		// Envoy's validator looks at nothing else of the context but names and allow_expired_certificate.
		t.depth, t.domains = -1, make(map[string]*x509.CertPool, len(v.SPIFFE))
		for name, bundle := range v.SPIFFE {
			certs, _, err := parse(bundle)
			if err != nil {
				return nil, fmt.Errorf("trust domain %q: %w", name, err)
			}
			t.domains[name] = t.pool(certs)
			t.anchors = append(t.anchors, certs...)
			t.announce(&v, certs)
		}
		return t, nil
	}
	if len(v.TrustedCA) > 0 {
		certs, crls, err := parse(v.TrustedCA)
		if err != nil {
			return nil, fmt.Errorf("trusted_ca: %w", err)
		}
		t.roots, t.anchors = t.pool(certs), certs
		t.announce(&v, certs)
		t.revoked.add(crls)
	}
	if len(v.CRL) > 0 {
		_, crls, err := parse(v.CRL)
		if err == nil && len(crls) == 0 || errors.Is(err, errNoPEM) {
			err = errors.New("no revocation list in the PEM data")
		}
		if err != nil {
			return nil, fmt.Errorf("crl: %w", err)
		}
		t.revoked.add(crls)
	}
	t.revoked.leafOnly, t.revoked.anyTime = v.OnlyLeafCRL, v.AllowExpired
	return t, t.pins(&v)
}

func (t *Trust) pins(v *xdsresource.ValidationContext) error {
	for _, s := range v.VerifySPKI {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return fmt.Errorf("verify_certificate_spki %q is not the base64 of a SHA-256", s)
		}
		t.spki = append(t.spki, b)
	}
	for _, s := range v.VerifyHash {
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return fmt.Errorf("verify_certificate_hash %q is not the hex of a SHA-256", s)
		}
		t.hashes = append(t.hashes, b)
	}
	return nil
}

// pool is of certificates that are trusted, or of those that a peer shows on the way to one. It changes nothing of t, which workers share.
func (t *Trust) pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(t.timeless(c))
	}
	return p
}

func (t *Trust) announce(v *xdsresource.ValidationContext, certs []*x509.Certificate) {
	if v.SuppressCAList {
		return
	}
	if t.announced == nil {
		t.announced = x509.NewCertPool()
	}
	for _, c := range certs {
		t.announced.AddCert(c)
	}
}

// Authorities are what a server tells its clients that it trusts; nil: it does not tell.
func (t *Trust) Authorities() *x509.CertPool { return t.announced }

// NeedsCertificate reports whether a client without a certificate is refused, whatever the server asks for.
func (t *Trust) NeedsCertificate() bool { return t.domains != nil }

// timeless is a certificate without an end, where times are not looked at. Its signature is that of the bytes it was read from.
func (t *Trust) timeless(c *x509.Certificate) *x509.Certificate {
	if !t.anyTime {
		return c
	}
	x := *c
	x.NotBefore, x.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	return &x
}

// Verify judges the peer's chain, leaf first.
func (t *Trust) Verify(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(certs) == 0 {
		return ErrNoCertificate
	}
	if t.untrusted {
		return nil // as in Envoy: names and pins are not held against it either
	}
	leaf := certs[0]
	if ambiguous(leaf.URIs) {
		return fmt.Errorf("%w: it has %d URI names and may have one", errSPIFFE, len(leaf.URIs))
	}
	if t.domains != nil {
		return t.verifySPIFFE(certs, usage, now)
	}
	if t.roots != nil {
		if err := t.verifyChain(t.roots, certs, usage, now); err != nil {
			return err
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

// verifyChain wants a chain to one of the roots that is not too long, and of which nothing was revoked.
func (t *Trust) verifyChain(roots *x509.CertPool, certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	opts := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
	if len(certs) > 1 {
		opts.Intermediates = t.pool(certs[1:])
	}
	chains, err := t.timeless(certs[0]).Verify(opts)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if t.depth >= 0 && len(chain)-1 > t.depth {
			err = errDepth
			continue
		}
		if err = t.revoked.check(chain, now); err == nil {
			return nil
		}
	}
	return err
}

// CheckKey wants a certificate whose key may sign, where it says what its key is for: so TLS is shaken hands on but for the oldest
// suites, whose keys encrypt. A key on P-224 signs nothing in TLS 1.3, nor does BoringSSL take it in TLS 1.2, whoever vouches for it; crypto/tls refuses RSA of less than
// 1024 bits. Keys of authorities are not looked at, as in BoringSSL: who trusts an authority decides that.
func CheckKey(st *tls.ConnectionState) error {
	if len(st.PeerCertificates) == 0 {
		return nil
	}
	if k, ok := st.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P224() {
		return errWeakKey
	}
	usage, encrypts := st.PeerCertificates[0].KeyUsage, false
	switch st.CipherSuite {
	case tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA:
		encrypts = true
	}
	if usage != 0 && usage&x509.KeyUsageDigitalSignature == 0 && !encrypts {
		return errKeyUsage
	}
	return nil
}

func (t *Trust) pinned(leaf *x509.Certificate) bool {
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

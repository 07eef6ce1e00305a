package agent

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Identity is a certificate of the mesh with its key and the roots that its peers are checked against. Immutable.
type Identity struct {
	// Certificate is ready for crypto/tls.
	Certificate tls.Certificate
	// Chain is the leaf and its intermediates, without the root; Key is PKCS #8; Roots are those of the mesh's own authority, which the control plane
	// must chain to. PEM.
	Chain, Key, Roots []byte
	// NotBefore and NotAfter bound the leaf's validity.
	NotBefore, NotAfter time.Time

	issued      []byte   // the roots that came with the certificate; Roots may have changed since
	peers       []anchor // what workloads are checked by
	trustDomain string
}

// asked is how an identity stands in a request for a certificate: without a trust domain by cluster.local, which authorities take for their own, whatever it is
// called.
func asked(id spiffe.ID) spiffe.ID {
	setDefault(&id.TrustDomain, spiffe.DefaultTrustDomain)
	return id
}

// check says that got is not the identity that is wanted, nil when it is. One that is wanted without a trust domain may have any.
func check(want, got spiffe.ID) error {
	setDefault(&want.TrustDomain, got.TrustDomain)
	if got != want {
		return fmt.Errorf("it is of %s, wanted was %s", got, want)
	}
	return nil
}

// certificateRequest makes a new key and asks for the identity with it. Both are PEM, the key PKCS #8.
func certificateRequest(id spiffe.ID, kind KeyKind) (csr, key []byte, err error) {
	private, err := kind.make()
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{asked(id).URL()}}, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	csr = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return csr, key, nil
}

// newIdentity checks what the CA answered: the leaf has to be for our key and our identity. As of Istio's, the last element of an answer has the roots.
// One that has everything in one element, as other authorities' may, has the root at its end.
func newIdentity(want spiffe.ID, key []byte, answer []string) (*Identity, error) {
	var certs [][]byte // each one PEM
	last := 0          // how many the last element has
	for _, text := range answer {
		these := splitPEM([]byte(text))
		certs = append(certs, these...)
		last = len(these)
	}
	if len(certs) < 2 || last == 0 {
		return nil, fmt.Errorf("the certificate authority answered %d certificates, want the leaf and the root at least", len(certs))
	}
	if last == len(certs) {
		last = 1
	}
	chain, roots := certs[:len(certs)-last], certs[len(certs)-last:]
	if err := checkRoots(roots); err != nil {
		return nil, fmt.Errorf("the root in the certificate authority's answer: %w", err)
	}
	id := &Identity{Key: key, Chain: bytes.Join(chain, nil), Roots: bytes.Join(roots, nil)}
	id.issued = id.Roots
	pair, err := tls.X509KeyPair(id.Chain, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate authority's answer does not fit our key: %w", err)
	}
	if pair.Leaf == nil {
		return nil, errors.New("BUG: X509KeyPair left no leaf")
	}
	got, err := spiffe.FromCertificate(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("the certificate authority's answer: %w", err)
	}
	if err := check(want, got); err != nil {
		return nil, fmt.Errorf("the certificate authority's answer: %w", err)
	}
	id.Certificate, id.NotBefore, id.NotAfter, id.trustDomain = pair, pair.Leaf.NotBefore, pair.Leaf.NotAfter, got.TrustDomain
	id.peers = id.anchors(nil)
	return id, nil
}

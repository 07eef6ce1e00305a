package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// errAuthority says that the authority, not the request, is at fault.
var errAuthority = errors.New("certificate authority failed")

// Sign certifies the key of a PEM request for id. wish is the lifetime asked for; 0 means Options.WorkloadTTL, and more than
// Options.MaxWorkloadTTL is cut to it. The answer is the chain as Istio returns it: leaf, intermediates, and as last element the roots that are trusted.
// The error says what is wrong with the request: errForeignName when it asks for somebody else's name, errAuthority when the fault is here.
func (c *CA) Sign(csr string, id spiffe.ID, wish time.Duration) ([]string, error) {
	key, err := parseCSR(csr, id, c.domains.Load().taken)
	if err != nil {
		return nil, err
	}
	ttl := c.opts.WorkloadTTL
	if wish > 0 {
		ttl = min(wish, c.opts.MaxWorkloadTTL)
	}
	template := &x509.Certificate{URIs: []*url.URL{id.URL()}}
	a := c.signs.Load()
	leaf, err := c.issue(a, template, key, ttl)
	if err != nil {
		return nil, err
	}
	chain := append([]string{string(leaf)}, a.chain...)
	return append(chain, string(c.RootPEM())), nil
}

// issue fills in what all leaves share and signs. Leaves serve both sides of mutual TLS. The subject stays empty, so the alternative
// name is marked critical (RFC 5280, section 4.1.2.6), as Istio's are.
func (c *CA) issue(a *authority, template *x509.Certificate, key crypto.PublicKey, ttl time.Duration) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := c.opts.Now()
	if !now.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("%w: its own certificate expired at %v; put a new pair into %s", errAuthority, a.cert.NotAfter, c.opts.Dir)
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = now.Add(ttl)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if _, ok := key.(*rsa.PublicKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("%w: sign: %w", errAuthority, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

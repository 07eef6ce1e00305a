// Package credential reads certificates, keys and trust bundles out of Secrets, in the two forms that Istio takes: the entries of
// kubernetes.io/tls (tls.crt, tls.key, ca.crt, ca.crl, tls.ocsp-staple) and the older generic ones (cert, key, cacert, crl). See
// https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-credential_name.
//
// It judges what it reads (PEM, key that belongs to its certificate), so that a proxy is never sent what it cannot use. It neither finds
// Secrets nor decides who may read them. Packages below config and the control plane's snapshot import it. Its errors never hold key
// material.
package credential

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// CASuffix ends the name of the Secret that holds the roots for clients of another: the companion of "shop" is "shop-cacert".
const CASuffix = "-cacert"

// Credential is what a Secret holds for TLS; each part may be missing. Certificate and Key come together.
type Credential struct {
	Certificate []byte // PEM, the leaf first
	Key         []byte // PEM
	Staple      []byte // an OCSP response, DER
	CA          []byte // PEM, the roots that clients' certificates are checked with
	CRL         []byte // PEM, what these have revoked
}

// Empty reports whether a Secret has nothing to do with TLS.
func (c Credential) Empty() bool { return len(c.Certificate)+len(c.CA) == 0 }

// form is one way to name a Secret's entries.
type form struct{ certificate, key, staple, ca, crl string }

// forms are in Istio's order: a Secret that has both is read by the first.
var forms = []form{
	{"cert", "key", "", "cacert", "crl"},
	{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "tls.ocsp-staple", "ca.crt", "ca.crl"},
}

// EntryError says which entry of a Secret is of no use, and why.
type EntryError struct{ Entry, Reason string }

func (e *EntryError) Error() string { return e.Entry + ": " + e.Reason }

// Parse reads a Secret. Entries that belong to neither form are none of its business; a Secret without any gives an empty Credential. The
// error is an *EntryError; the Credential then holds the parts that can be used.
func Parse(s *corev1.Secret) (Credential, error) {
	data := entries(s)
	var c Credential
	var errs []error
	for _, f := range forms {
		if len(c.Certificate) == 0 {
			errs = append(errs, c.readPair(data, f))
		}
		if len(c.CA) == 0 {
			errs = append(errs, c.readRoots(data, f))
		}
	}
	for _, err := range errs {
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// entries joins data and stringData, of which the latter wins, as the API server does when it stores a Secret.
func entries(s *corev1.Secret) map[string][]byte {
	out := make(map[string][]byte, len(s.Data)+len(s.StringData))
	for k, v := range s.Data {
		out[k] = v
	}
	for k, v := range s.StringData {
		out[k] = []byte(v)
	}
	return out
}

func (c *Credential) readPair(data map[string][]byte, f form) error {
	cert, key := data[f.certificate], data[f.key]
	if len(cert) == 0 || len(key) == 0 {
		return nil // Half of a pair is no credential; who needs it is told by the name of the Secret.
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return &EntryError{f.certificate, "certificate and key cannot be used: " + strings.TrimPrefix(err.Error(), "tls: ")}
	}
	c.Certificate, c.Key = cert, key
	if f.staple != "" {
		c.Staple = data[f.staple]
	}
	return nil
}

func (c *Credential) readRoots(data map[string][]byte, f form) error {
	ca := data[f.ca]
	if len(ca) == 0 {
		return nil
	}
	if _, err := certificates(ca); err != nil {
		return &EntryError{f.ca, err.Error()}
	}
	if crl := data[f.crl]; len(crl) > 0 {
		if err := checkCRL(crl); err != nil {
			return &EntryError{f.crl, err.Error()}
		}
		c.CRL = crl
	}
	c.CA = ca
	return nil
}

// certificates reads a bundle, which must hold one at least.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate in PEM form")
	}
	return out, nil
}

func checkCRL(text []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return errors.New("holds no revocation list in PEM form")
	}
	return nil
}

// Expired says what of a credential is not valid at a time; "" when all of it is. A bundle of roots with one that has expired is fine as
// long as another has not.
func (c Credential) Expired(now time.Time) string {
	if certs, err := certificates(c.Certificate); err == nil {
		leaf := certs[0]
		switch {
		case now.After(leaf.NotAfter):
			return fmt.Sprintf("the certificate expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
		case now.Before(leaf.NotBefore):
			return fmt.Sprintf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.DateOnly))
		}
	}
	roots, err := certificates(c.CA)
	if err != nil {
		return ""
	}
	var last time.Time
	for _, r := range roots {
		if r.NotAfter.After(last) {
			last = r.NotAfter
		}
	}
	if now.After(last) {
		return fmt.Sprintf("the roots for clients expired on %s", last.UTC().Format(time.DateOnly))
	}
	return ""
}

// Equal reports whether two credentials are the same.
func (c Credential) Equal(o Credential) bool {
	return bytes.Equal(c.Certificate, o.Certificate) && bytes.Equal(c.Key, o.Key) && bytes.Equal(c.Staple, o.Staple) &&
		bytes.Equal(c.CA, o.CA) && bytes.Equal(c.CRL, o.CRL)
}

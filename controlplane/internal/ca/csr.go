package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// maxCSR is the longest request read, in bytes. One with an RSA key of 4096 bits has under 2 KiB.
const maxCSR = 16 << 10

// The extensions a request may carry. What they ask for is judged (names) or overwritten (usages); any other is refused by its number.
var (
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// errForeignName says that a request asks for an identity that is not the caller's.
var errForeignName = errors.New("request asks for a name that is not the caller's")

// parseCSR reads a PEM request and returns the key to certify. It checks the request's own signature (proof that the caller has the
// key), the kind of key, and that no name but id is asked for, or the same of cluster.local or of a domain whose identities are the same; asking for none is fine.
func parseCSR(text string, id spiffe.ID, same []string) (crypto.PublicKey, error) {
	if len(text) > maxCSR {
		return nil, fmt.Errorf("request has %d bytes and may have %d", len(text), maxCSR)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("request is not PEM")
	}
	if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("request holds a %q where a CERTIFICATE REQUEST belongs", block.Type)
	}
	if strings.TrimSpace(string(rest)) != "" || len(block.Headers) != 0 {
		return nil, errors.New("request holds more than one PEM block")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("request is not signed with its own key: %w", err)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	return csr.PublicKey, checkNames(csr, id, same)
}

func checkNames(csr *x509.CertificateRequest, id spiffe.ID, same []string) error {
	for _, ext := range csr.Extensions {
		switch {
		case ext.Id.Equal(oidSubjectAltName), ext.Id.Equal(oidKeyUsage), ext.Id.Equal(oidExtKeyUsage):
		case ext.Id.Equal(oidBasicConstraints):
			var bc struct {
				IsCA bool `asn1:"optional"`
			}
			if _, err := asn1.Unmarshal(ext.Value, &bc); err != nil || bc.IsCA {
				return fmt.Errorf("%w: it asks to be a certificate authority", errForeignName)
			}
		default:
			return fmt.Errorf("request has the extension %v, which is not issued here", ext.Id)
		}
	}
	if n := len(csr.DNSNames) + len(csr.IPAddresses) + len(csr.EmailAddresses); n != 0 {
		return fmt.Errorf("%w: it has %d DNS, IP or mail names, and workloads have a SPIFFE ID only", errForeignName, n)
	}
	// cluster.local stands for the mesh's own trust domain, as in policies: an agent need not know what it is called, nor that it has changed.
	mine := []string{id.String()}
	for _, domain := range append([]string{spiffe.DefaultTrustDomain}, same...) {
		mine = append(mine, spiffe.ID{TrustDomain: domain, Namespace: id.Namespace, ServiceAccount: id.ServiceAccount}.String())
	}
	for _, uri := range csr.URIs {
		if !slices.Contains(mine, uri.String()) {
			return fmt.Errorf("%w: it asks for %q and the caller is %q", errForeignName, uri, id)
		}
	}
	return nil
}

// checkKey takes what TLS stacks take and what is cheap enough to verify: ECDSA on P-256 and P-384, Ed25519, RSA of 2048 to 4096 bits.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("key is on the curve %s: use P-256 or P-384", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return fmt.Errorf("RSA key has %d bits: use 2048 to 4096", n)
		}
	default:
		return fmt.Errorf("key is a %T: use ECDSA, Ed25519 or RSA", key)
	}
	return nil
}

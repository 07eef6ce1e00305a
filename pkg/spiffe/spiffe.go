// Package spiffe holds the one form of identity that the mesh uses: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, as Istio.
//
// It parses, prints and finds the identity in a certificate. It verifies no signature: crypto/tls and crypto/x509 do. Standard library
// only; any package may import it.
package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// DefaultTrustDomain is Istio's.
const DefaultTrustDomain = "cluster.local"

// maxLength is the longest SPIFFE ID, in bytes: "implementations MUST support SPIFFE URIs up to 2048 bytes in length and MUST NOT
// generate URIs of length greater than 2048 bytes" (SPIFFE-ID, section 2.3).
const maxLength = 2048

// ID is a workload's identity. The zero value is nobody.
type ID struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// IsZero says that no identity is known.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the URI, "" for the zero value.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return "spiffe://" + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// Principal returns the form that Istio's policies use: the URI without "spiffe://".
func (id ID) Principal() string {
	return strings.TrimPrefix(id.String(), "spiffe://")
}

// URL returns the identity as a URI for a certificate request.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount}
}

// Validate reports the first part that may not stand in a SPIFFE ID.
func (id ID) Validate() error {
	if err := CheckTrustDomain(id.TrustDomain); err != nil {
		return err
	}
	if err := checkSegment("namespace", id.Namespace); err != nil {
		return err
	}
	if err := checkSegment("service account", id.ServiceAccount); err != nil {
		return err
	}
	if len(id.String()) > maxLength {
		return fmt.Errorf("SPIFFE ID has more than %d bytes", maxLength)
	}
	return nil
}

// Parse reads a URI of Istio's form. Any other SPIFFE ID is refused: this mesh could not say whose it is.
func Parse(uri string) (ID, error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("identity %q does not begin with spiffe://", uri)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ID{}, fmt.Errorf("identity %q is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", uri)
	}
	id := ID{TrustDomain: parts[0], Namespace: parts[2], ServiceAccount: parts[4]}
	if err := id.Validate(); err != nil {
		return ID{}, fmt.Errorf("identity %q: %w", uri, err)
	}
	return id, nil
}

// ParseServiceAccount reads the subject of a join token, system:serviceaccount:NAMESPACE:NAME, into an identity of the trust domain.
func ParseServiceAccount(subject, trustDomain string) (ID, error) {
	rest, ok := strings.CutPrefix(subject, "system:serviceaccount:")
	ns, sa, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return ID{}, fmt.Errorf("subject %q is not of the form system:serviceaccount:NAMESPACE:NAME", subject)
	}
	id := ID{TrustDomain: trustDomain, Namespace: ns, ServiceAccount: sa}
	if err := id.Validate(); err != nil {
		return ID{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return id, nil
}

// ErrNoIdentity says that a certificate carries no SPIFFE ID, or more than one URI.
var ErrNoIdentity = errors.New("certificate has no SPIFFE ID")

// FromCertificate returns the identity of a leaf certificate. "An X.509 SVID MUST contain exactly one URI SAN" (X509-SVID, section 2).
func FromCertificate(cert *x509.Certificate) (ID, error) {
	if len(cert.URIs) != 1 {
		return ID{}, fmt.Errorf("%w: it has %d URI names and must have one", ErrNoIdentity, len(cert.URIs))
	}
	return Parse(cert.URIs[0].String())
}

// CheckTrustDomain reports why a name cannot be a trust domain: it has lower-case letters, digits, dots, dashes and underscores (SPIFFE-ID, section 2.1).
func CheckTrustDomain(s string) error {
	if s == "" {
		return errors.New("trust domain is empty")
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return fmt.Errorf("trust domain %q has the character %q: lower-case letters, digits, '.', '-' and '_' may stand there", s, c)
		}
	}
	return nil
}

// checkSegment: letters, digits, dots, dashes and underscores, and not "." or ".." (SPIFFE-ID, section 2.2).
func checkSegment(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if s == "." || s == ".." {
		return fmt.Errorf("%s is %q, which is no name", what, s)
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return fmt.Errorf("%s %q has the character %q: letters, digits, '.', '-' and '_' may stand there", what, s, c)
		}
	}
	return nil
}

// Package certtest makes authorities, certificates, revocation lists and Secrets for tests, of the data plane and the control plane alike.
// It is no part of any program: only tests import it.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Cert   *x509.Certificate
	PEM    []byte
	key    crypto.Signer
	serial int64
}

// Pair is a certificate with its key.
type Pair struct {
	Cert       *x509.Certificate
	Chain, Key []byte // PEM
}

// TLS is the pair for crypto/tls.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Chain, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, public any, signer crypto.Signer) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// New makes a root.
func New(t testing.TB) *Authority {
	t.Helper()
	key := newKey(t)
	tmpl := authority("root " + t.Name())
	cert, raw := sign(t, tmpl, tmpl, key.Public(), key)
	return &Authority{cert, raw, key, 1}
}

// KeyPEM is the authority's key, PKCS #8.
func (a *Authority) KeyPEM(t testing.TB) []byte {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// Sub makes an authority that a has signed.
func (a *Authority) Sub(t testing.TB, name string) *Authority {
	t.Helper()
	return a.SubFor(t, newKey(t), name)
}

// SubFor is Sub for a key.
func (a *Authority) SubFor(t testing.TB, key crypto.Signer, name string) *Authority {
	t.Helper()
	a.serial++
	tmpl := authority(name)
	tmpl.SerialNumber = big.NewInt(a.serial)
	cert, raw := sign(t, tmpl, a.Cert, key.Public(), a.key)
	return &Authority{cert, raw, key, 100 * a.serial}
}

// Issue makes a certificate for both ends of TLS; change may be nil.
func (a *Authority) Issue(t testing.TB, change func(*x509.Certificate)) Pair {
	t.Helper()
	return a.IssueFor(t, newKey(t), change)
}

// IssueFor is Issue for a key.
func (a *Authority) IssueFor(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) Pair {
	t.Helper()
	a.serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	cert, chain := sign(t, tmpl, a.Cert, key.Public(), a.key)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{cert, chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}
}

// CRL is a revocation list of serial numbers, good for an hour.
func (a *Authority) CRL(t testing.TB, serials ...*big.Int) []byte {
	t.Helper()
	return a.CRLUntil(t, time.Now().Add(time.Hour), serials...)
}

// CRLUntil is CRL with an end.
func (a *Authority) CRLUntil(t testing.TB, end time.Time, serials ...*big.Int) []byte {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: end}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.Cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// Pool trusts the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// RSA makes a key of the other kind that servers have.
func RSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Names is a change for Issue: the certificate is for these names, which are DNS names, addresses or URIs by their form. The first is its
// common name as well.
func Names(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName = names[0]
		for _, n := range names {
			if ip := net.ParseIP(n); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else if u, err := url.Parse(n); err == nil && u.Scheme != "" {
				c.URIs = append(c.URIs, u)
			} else {
				c.DNSNames = append(c.DNSNames, n)
			}
		}
	}
}

// Secret writes a Kubernetes Secret as YAML.
func Secret(namespace, name, kind string, entries map[string][]byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ntype: %s\ndata:\n", name, namespace, kind)
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		fmt.Fprintf(&b, "  %s: %s\n", k, base64.StdEncoding.EncodeToString(entries[k]))
	}
	return b.String()
}

// OtherName is an extension of names with one of a kind that an object identifier says, such as 1.3.6.1.4.1.311.20.2.3 for user principal names. A
// certificate that has it as an extra extension has no other names.
func OtherName(t testing.TB, kind, name string) pkix.Extension {
	t.Helper()
	marshal := func(v any, params string) []byte {
		b, err := asn1.MarshalWithParams(v, params)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	oid, err := x509.ParseOID(kind)
	if err != nil {
		t.Fatal(err)
	}
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(oid.String(), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatal(err)
		}
		id = append(id, n)
	}
	value := marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshal(name, "utf8")}, "")
	other := marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(marshal(id, ""), value...)}, "")
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: other}, "")}
}

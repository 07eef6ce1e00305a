package differential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// certificates are what the subjects with TLS use: one authority, and leaf certificates that
// it signed. ${file:NAME} in a configuration is the path of NAME's certificate, NAME-key that
// of its key, ca that of the authority; other-ca is an authority that signed nothing here.
type certificates struct {
	dir    string
	leaves map[string]tls.Certificate
	pool   *x509.CertPool
}

func newCertificates(dir string) (*certificates, error) {
	c := &certificates{dir: dir, leaves: map[string]tls.Certificate{}, pool: x509.NewCertPool()}
	ca, caKey, err := c.authority("ca")
	if err != nil {
		return nil, err
	}
	c.pool.AddCert(ca)
	other, otherKey, err := c.authority("other-ca")
	if err != nil {
		return nil, err
	}
	for _, l := range []struct {
		name, uri string
		dns       []string
		foreign   bool
	}{
		{name: "server", dns: []string{"server.example", "localhost"}},
		{name: "second", dns: []string{"second.example", "*.wild.example"}},
		{name: "client", uri: "spiffe://example/ns/a/sa/client", dns: []string{"client.example"}},
		{name: "stranger", uri: "spiffe://example/ns/a/sa/stranger", foreign: true},
	} {
		signer, key := ca, caKey
		if l.foreign {
			signer, key = other, otherKey
		}
		if err := c.leaf(l.name, l.uri, l.dns, signer, key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name+".pem") }

func (c *certificates) write(name, kind string, der []byte) error {
	return os.WriteFile(c.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (c *certificates) authority(name string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return cert, key, c.write(name, "CERTIFICATE", der)
}

func (c *certificates) leaf(name, uri string, dns []string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(c.leaves) + 2)), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, DNSNames: dns,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			return err
		}
		t.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	c.leaves[name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	if err := c.write(name, "CERTIFICATE", der); err != nil {
		return err
	}
	return c.write(name+"-key", "PRIVATE KEY", keyDER)
}

// originTLS is what a TLS origin serves with: it asks for a certificate and takes any.
func (c *certificates) originTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.leaves["server"]}, ClientAuth: tls.RequestClientCert}
}

// clientTLS is how a case's client connects. It checks nothing: what the proxy shows is
// compared instead.
func (c *certificates) clientTLS(o *tlsOptions) *tls.Config {
	cfg := &tls.Config{ServerName: o.sni, NextProtos: o.alpn, InsecureSkipVerify: true}
	if o.cert != "" {
		leaf, ok := c.leaves[o.cert]
		if !ok {
			panic(fmt.Sprintf("no certificate %q", o.cert))
		}
		// Given whatever the server asks for, so that a wrong one is sent, too.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &leaf, nil }
	}
	switch o.version {
	case "1.2":
		cfg.MaxVersion = tls.VersionTLS12
	case "1.1":
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	return cfg
}

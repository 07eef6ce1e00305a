package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// authority is what signs, and what leads from it to the roots. Immutable.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// chain is the PEM of what lies between a leaf and the roots: the signing certificate and those above it; empty when it is a root.
	chain []string
	// roots are those of root-cert.pem, in the file's order; anchors are those of them that cert leads to.
	roots, anchors []*x509.Certificate
}

// same reports whether two authorities issue the same and ask for the same trust.
func (a *authority) same(o *authority) bool {
	return a.cert.Equal(o.cert) && slices.Equal(a.chain, o.chain) && slices.EqualFunc(a.roots, o.roots, (*x509.Certificate).Equal)
}

// load reads and checks the files of a folder: the key fits the certificate, the certificate may sign and leads to a root, all are still good.
func load(dir string, now time.Time) (*authority, error) {
	path := func(name string) string { return filepath.Join(dir, name) }
	a := &authority{}
	var err error
	if a.roots, err = readCerts(path(rootFile)); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, root := range a.roots {
		if !root.IsCA {
			return nil, fmt.Errorf("%s: %s is no certificate of an authority", path(rootFile), subject(root))
		}
		pool.AddCert(root)
	}
	certs, err := readCerts(path(certFile))
	if err != nil {
		return nil, err
	}
	a.cert = certs[0]
	if a.key, err = readKey(path(keyFile)); err != nil {
		return nil, err
	}
	if err := checkKey(a.key.Public()); err != nil {
		return nil, fmt.Errorf("%s: %w", path(keyFile), err)
	}
	if pub, ok := a.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(a.key.Public()) {
		return nil, fmt.Errorf("%s is not the key of %s; put the pair that belongs together there", path(keyFile), path(certFile))
	}
	if !a.cert.IsCA || a.cert.KeyUsage != 0 && a.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s may not sign certificates (no CA basic constraint or key usage)", path(certFile))
	}
	between := x509.NewCertPool()
	if !containsCert(a.roots, a.cert) {
		a.chain = append(a.chain, string(encodeCert(a.cert)))
		extra, err := readCerts(path(chainFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, cert := range extra {
			between.AddCert(cert)
			if !cert.Equal(a.cert) && !containsCert(a.roots, cert) {
				a.chain = append(a.chain, string(encodeCert(cert)))
			}
		}
	}
	chains, err := a.cert.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%s does not lead to %s: %w", path(certFile), path(rootFile), err)
	}
	for _, chain := range chains {
		if anchor := chain[len(chain)-1]; !containsCert(a.anchors, anchor) {
			a.anchors = append(a.anchors, anchor)
		}
	}
	return a, nil
}

func containsCert(list []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(list, cert.Equal)
}

// subject is how a certificate is called in logs and errors.
func subject(cert *x509.Certificate) string {
	return fmt.Sprintf("%q (serial %x)", cert.Subject.String(), cert.SerialNumber)
}

// maxFile is the longest file read, in bytes: hundreds of certificates.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes and may have %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// readCerts returns the certificates of a PEM file, at least one.
func readCerts(path string) ([]*x509.Certificate, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCerts(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// parseCerts returns the certificates of a PEM text, at least one. Any other block is a mistake.
func parseCerts(raw []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %s, where certificates belong", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return certs, nil
}

// readKey reads a private key in PKCS #8, SEC 1 or PKCS #1 form, and refuses one that others may read.
func readKey(path string) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o); run `chmod 600 %s`", path, perm, path)
	}
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey reads a PEM key. `openssl ecparam -genkey` writes the curve's parameters before it, in a block of their own.
func parseKey(raw []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(raw)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("holds a block %q, where a private key without a password belongs", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

func encodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func encodeCerts(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(encodeCert(c))
	}
	return out.Bytes()
}

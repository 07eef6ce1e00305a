package sample

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files in a folder of certificates for trying TLS out.
const (
	authorityFile = "ca.pem"
	authorityKey  = "ca.key"
)

// certificateLife is how long such certificates are good for.
const certificateLife = 90 * 24 * time.Hour

// Certificate is one for trying TLS out, PEM, with the files that hold it.
type Certificate struct {
	Chain, Key, Authority             []byte
	ChainFile, KeyFile, AuthorityFile string
}

// MakeCertificate makes a certificate for a host name, or for a client of that name, and writes it to NAME.pem and NAME.key in the folder. It
// is signed by the folder's own authority, ca.pem, which is made when it is missing. Nobody else trusts that authority, and its key lies
// beside it: it is for trying things out.
func MakeCertificate(dir, name string) (*Certificate, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") || name == "ca" {
		return nil, fmt.Errorf("%q cannot be the name of a certificate and of its file", name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	ca, caKey, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	out := &Certificate{
		ChainFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+".key"), AuthorityFile: filepath.Join(dir, authorityFile),
		Authority: encodePEM("CERTIFICATE", ca.Raw),
	}
	if out.Chain, out.Key, _, err = sign(template, ca, caKey); err != nil {
		return nil, err
	}
	return out, errors.Join(os.WriteFile(out.KeyFile, out.Key, 0o600), os.WriteFile(out.ChainFile, out.Chain, 0o644))
}

func openAuthority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	path, keyPath := filepath.Join(dir, authorityFile), filepath.Join(dir, authorityKey)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(path, keyPath)
	}
	keyText, keyErr := os.ReadFile(keyPath)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, nil, fmt.Errorf("the authority of %s: %w", dir, err)
	}
	cert, keyBlock := decodePEM(text), decodePEM(keyText)
	ca, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w; remove it and %s to have a new authority made", path, err, authorityKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s; remove both to have a new authority made", keyPath, authorityFile)
	}
	return ca, key, nil
}

func newAuthority(path, keyPath string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority for trying TLS out"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	chain, keyText, key, err := sign(template, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(os.WriteFile(keyPath, keyText, 0o600), os.WriteFile(path, chain, 0o644)); err != nil {
		return nil, nil, fmt.Errorf("make an authority: %w", err)
	}
	ca, err := x509.ParseCertificate(decodePEM(chain))
	return ca, key, err
}

// sign makes a key and a certificate for it; without an authority it signs itself.
func sign(template, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (chain, keyText []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(certificateLife)
	if ca == nil {
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("sign: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", raw), key, nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func decodePEM(text []byte) []byte {
	if block, _ := pem.Decode(text); block != nil {
		return block.Bytes
	}
	return nil
}

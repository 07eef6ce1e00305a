package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// The files' names are those of Istio's secret "cacerts", so that a folder made for one works for the other.
const (
	rootFile  = "root-cert.pem"
	certFile  = "ca-cert.pem"
	keyFile   = "ca-key.pem"
	chainFile = "cert-chain.pem"
)

// maxInFlight bounds requests in work; one takes well under a millisecond of CPU.
const maxInFlight = 64

// Open reads the authority from its folder, and makes what a first start needs: a self-signed root on P-256 and the join key.
// Two control planes that start on one folder at once end with the same root. Errors name the file and what to do.
func Open(opts Options) (*CA, error) {
	if opts.TrustDomain == "" {
		opts.TrustDomain = spiffe.DefaultTrustDomain
	}
	if opts.WorkloadTTL == 0 {
		opts.WorkloadTTL = DefaultWorkloadTTL
	}
	if opts.WorkloadTTL < time.Second {
		return nil, fmt.Errorf("certificate authority: workload certificates of %v are too short to use; give 1s or more", opts.WorkloadTTL)
	}
	if len(opts.ServerNames) == 0 {
		opts.ServerNames = defaultServerNames()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	unlock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: lock %s: %w", opts.Dir, err)
	}
	defer unlock()
	if err := create(opts); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	c, err := load(opts)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	root, err := rootOf(c.roots)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %s: %w", rootFile, err)
	}
	c.metrics = newMetrics(opts.Registerer, root, c.cert, opts.Now)
	return c, nil
}

// lockDir holds the folder for this process until the returned function is called.
func lockDir(dir string) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing gives the lock back
}

// create makes what is missing. The root certificate is written last: a start that was cut off before it begins anew, since nobody
// can have trusted the key yet.
func create(opts Options) error {
	if _, err := os.Stat(filepath.Join(opts.Dir, jointoken.KeyFile)); errors.Is(err, fs.ErrNotExist) {
		if err := runfile.WriteFile(filepath.Join(opts.Dir, jointoken.KeyFile), jointoken.NewKey(), 0o600); err != nil {
			return err
		}
	}
	_, err := os.Stat(filepath.Join(opts.Dir, rootFile))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := opts.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{opts.TrustDomain}, CommonName: "Lateen root"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(rootTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for _, f := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{
		{keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600},
		{certFile, certPEM, 0o644},
		{rootFile, certPEM, 0o644},
	} {
		if err := runfile.WriteFile(filepath.Join(opts.Dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	opts.Logger.Info("made a self-signed root certificate", "dir", opts.Dir, "trustDomain", opts.TrustDomain, "until", template.NotAfter)
	return nil
}

// load reads and checks the files: the key fits the certificate, the certificate may sign and leads to a root, all are still good.
func load(opts Options) (*CA, error) {
	path := func(name string) string { return filepath.Join(opts.Dir, name) }
	c := &CA{opts: opts, log: opts.Logger, pool: x509.NewCertPool(), inFlight: make(chan struct{}, maxInFlight)}
	var err error
	if c.joinKey, err = jointoken.ReadKey(opts.Dir); err != nil {
		return nil, err
	}
	rootCerts, err := readCerts(path(rootFile))
	if err != nil {
		return nil, err
	}
	for _, root := range rootCerts {
		c.pool.AddCert(root)
		c.roots = append(c.roots, encodeCert(root)...)
	}
	certs, err := readCerts(path(certFile))
	if err != nil {
		return nil, err
	}
	c.cert = certs[0]
	if c.key, err = readKey(path(keyFile)); err != nil {
		return nil, err
	}
	if pub, ok := c.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(c.key.Public()) {
		return nil, fmt.Errorf("%s is not the key of %s; put the pair that belongs together there", path(keyFile), path(certFile))
	}
	if !c.cert.IsCA || c.cert.KeyUsage != 0 && c.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s may not sign certificates (no CA basic constraint or key usage)", path(certFile))
	}
	between := x509.NewCertPool()
	selfSigned := bytes.Equal(c.cert.Raw, rootCerts[0].Raw)
	if !selfSigned {
		c.chain = append(c.chain, string(encodeCert(c.cert)))
		extra, err := readCerts(path(chainFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, cert := range extra {
			between.AddCert(cert)
			if !bytes.Equal(cert.Raw, c.cert.Raw) && !containsCert(rootCerts, cert) {
				c.chain = append(c.chain, string(encodeCert(cert)))
			}
		}
	}
	_, err = c.cert.Verify(x509.VerifyOptions{
		Roots: c.pool, Intermediates: between, CurrentTime: opts.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%s does not lead to %s: %w", path(certFile), path(rootFile), err)
	}
	return c, nil
}

func containsCert(list []*x509.Certificate, cert *x509.Certificate) bool {
	for _, c := range list {
		if bytes.Equal(c.Raw, cert.Raw) {
			return true
		}
	}
	return false
}

// readCerts returns the certificates of a PEM file, at least one.
func readCerts(path string) ([]*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: holds a %s, where certificates belong", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: holds no PEM certificate", path)
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
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: holds no PEM block", path)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%s: holds a %s, where a private key belongs", path, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", path, key)
	}
	return signer, nil
}

func encodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// newSerial returns 128 random bits, as Istio: unguessable and unique without a record.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
}

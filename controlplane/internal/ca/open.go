package ca

import (
	"cmp"
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
	opts = opts.withDefaults()
	if opts.WorkloadTTL < time.Second {
		return nil, fmt.Errorf("certificate authority: workload certificates of %v are too short to use; give 1s or more", opts.WorkloadTTL)
	}
	if opts.MaxWorkloadTTL < opts.WorkloadTTL {
		return nil, fmt.Errorf("certificate authority: workload certificates are good for %v where nothing is asked for, and for %v at most; raise the latter",
			opts.WorkloadTTL, opts.MaxWorkloadTTL)
	}
	c := &CA{opts: opts, log: opts.Logger, inFlight: make(chan struct{}, maxInFlight), wake: make(chan struct{}, 1)}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	c.metrics = newMetrics(opts.Registerer, c)
	return c, nil
}

func (o Options) withDefaults() Options {
	if o.WorkloadTTL == 0 {
		o.WorkloadTTL = DefaultWorkloadTTL
	}
	if o.MaxWorkloadTTL == 0 {
		o.MaxWorkloadTTL = o.WorkloadTTL
	}
	if len(o.ServerNames) == 0 {
		o.ServerNames = defaultServerNames()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (c *CA) open() error {
	if err := os.MkdirAll(c.opts.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(c.opts.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := create(c.opts); err != nil {
		return err
	}
	if c.joinKey, err = jointoken.ReadKey(c.opts.Dir); err != nil {
		return err
	}
	c.tokens = []TokenAuthenticator{joinTokens{key: c.joinKey, now: c.opts.Now}}
	for _, of := range c.opts.Issuers {
		t, err := newIssuerTokens(of, c.opts.Now)
		if err != nil {
			return err
		}
		c.tokens = append(c.tokens, t)
	}
	now := c.opts.Now()
	a, err := load(c.opts.Dir, now)
	if err != nil {
		return err
	}
	return c.begin(a, now)
}

// lockDir holds the folder for this process until the returned function is called.
func lockDir(dir string) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
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
	// The name in it is for people to read. The trust domain may change, and may not be known yet.
	cert, err := writeSelfSigned(opts.Dir, cmp.Or(opts.TrustDomain, spiffe.DefaultTrustDomain), opts.Now())
	if err != nil {
		return err
	}
	opts.Logger.Info("made a self-signed root certificate", "dir", opts.Dir, "until", cert.NotAfter)
	return nil
}

// writeSelfSigned makes a key and a root certificate of it, and puts them into the folder, the root certificate last.
func writeSelfSigned(dir, trustDomain string, now time.Time) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{trustDomain}, CommonName: "Lateen root"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(rootTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
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
		if err := runfile.WriteFile(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return nil, err
		}
	}
	return x509.ParseCertificate(der)
}

// newSerial returns 128 random bits, as Istio: unguessable and unique without a record.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
}

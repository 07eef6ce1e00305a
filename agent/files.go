package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// The files of an identity in a folder, as Istio's agent names them (OUTPUT_CERTS, PROV_CERT).
const (
	chainName = "cert-chain.pem"
	keyName   = "key.pem"
	rootName  = "root-cert.pem"
)

// keepFiles writes the identity to a folder, whenever it changes, until ctx ends. It is the one way in which a key comes to a disk, and nobody asks for it
// by default. What could not be written is told, and tried again with the next identity.
func (a *Agent) keepFiles(ctx context.Context) error {
	for {
		id, _, changed := a.secrets.get()
		if id != nil {
			if err := id.write(a.cfg.OutputDir); err != nil {
				a.cfg.Logger.Error("the certificate could not be written", "folder", a.cfg.OutputDir, "error", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// write puts an identity into a folder, in files that only their owner can read. Each is replaced in one step, the key before its certificate.
func (id *Identity) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{{keyName, id.Key, 0o600}, {chainName, id.Chain, 0o600}, {rootName, id.rootsFor(id.trustDomain), 0o644}} {
		if err := runfile.WriteFile(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// readIdentity reads what write has written, or who provisions a host: a certificate by which its agent asks for the next one, without a token. It must
// be of the workload's own identity and still good.
func readIdentity(dir string, want spiffe.ID, now time.Time) (*Identity, error) {
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	key, err := read(keyName)
	if err != nil {
		return nil, err
	}
	chain, err := read(chainName)
	if err != nil {
		return nil, err
	}
	roots, err := read(rootName)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate in %s: %w", dir, err)
	}
	got, err := spiffe.FromCertificate(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("certificate in %s: %w", dir, err)
	}
	if err := check(want, got); err != nil {
		return nil, fmt.Errorf("certificate in %s: %w", dir, err)
	}
	if !now.Before(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("certificate in %s expired at %s", dir, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	if err := checkRoots(splitPEM(roots)); err != nil {
		return nil, fmt.Errorf("roots in %s: %w", dir, err)
	}
	roots = bytes.Join(splitPEM(roots), nil)
	id := &Identity{
		Certificate: pair, Chain: chain, Key: key, Roots: roots, issued: roots, trustDomain: got.TrustDomain, NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter,
	}
	id.peers = id.anchors(nil)
	return id, nil
}

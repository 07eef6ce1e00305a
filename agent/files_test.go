package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// keysBelow are the files of a folder with a private key in them.
func keysBelow(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte("PRIVATE KEY")) {
			found = append(found, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// served waits until an agent serves its certificate.
func served(t *testing.T, socket string) {
	t.Helper()
	stream, err := dialSDS(t, socket).StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoverypb.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{"default"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

func TestKeysStayInMemory(t *testing.T) {
	cfg := testConfig(t, startCA(t, time.Hour))
	served(t, socketOf(t, runAgent(t, cfg)))
	if found := keysBelow(t, cfg.Dir); len(found) > 0 {
		t.Errorf("private keys are in %q", found)
	}
}

// An agent that was told to writes its certificate; the next one on the host needs no token.
func TestCertificatesAreWrittenAndUsedAgain(t *testing.T) {
	ca := startCA(t, 3*time.Second)
	cfg := testConfig(t, ca)
	cfg.OutputDir = filepath.Join(t.TempDir(), "certs")
	served(t, socketOf(t, runAgent(t, cfg)))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	read := func(not []byte) *Identity {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; <-tick.C {
			id, err := readIdentity(cfg.OutputDir, catalogID, time.Now())
			if err == nil && !bytes.Equal(id.Chain, not) {
				return id
			}
			if time.Now().After(end) {
				t.Fatalf("no certificate was written: %v", err)
			}
		}
	}
	first := read(nil)
	if info, err := os.Stat(filepath.Join(cfg.OutputDir, keyName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info, err)
	}
	if !bytes.Equal(first.Roots, ca.rootPEM) {
		t.Errorf("roots\n%s", first.Roots)
	}
	read(first.Chain) // renewed

	next := testConfig(t, ca)
	next.ProvisionedDir, next.TokenFile = cfg.OutputDir, ""
	before := len(ca.requests())
	served(t, socketOf(t, runAgent(t, next)))
	proved := false
	for _, how := range ca.requests()[before:] {
		proved = proved || how.token == "" && how.identity == catalogID.String()
	}
	if !proved {
		t.Errorf("nobody asked with the certificate alone: %+v", ca.requests()[before:])
	}
}

func TestProvisionedCertificatesThatAreNoUse(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Issue(t, certtest.Names(catalogID.String()))
	other := ca.Issue(t, certtest.Names("spiffe://cluster.local/ns/istioinaction/sa/forum"))
	for name, tt := range map[string]struct {
		chain, key, roots []byte
		later             time.Duration
		want              string
	}{
		"another's":    {other.Chain, other.Key, ca.PEM, 0, "sa/forum"},
		"another key":  {pair.Chain, other.Key, ca.PEM, 0, "does not match"},
		"expired":      {pair.Chain, pair.Key, ca.PEM, 2 * time.Hour, "expired"},
		"nothing":      {nil, nil, nil, 0, keyName},
		"broken roots": {pair.Chain, pair.Key, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0, "roots"},
		"a server's":   {ca.Issue(t, certtest.Names("a.example")).Chain, pair.Key, ca.PEM, 0, "certificate in"},
	} {
		dir := t.TempDir()
		for file, content := range map[string][]byte{chainName: tt.chain, keyName: tt.key, rootName: tt.roots} {
			if content == nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := readIdentity(dir, catalogID, time.Now().Add(tt.later)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestKindsOfKeys(t *testing.T) {
	for _, kind := range []KeyKind{{}, {P384: true}, {RSABits: 2048}} {
		key, err := kind.make()
		if err != nil {
			t.Fatal(err)
		}
		switch k := key.(type) {
		case *ecdsa.PrivateKey:
			if kind.RSABits != 0 || (k.Curve.Params().BitSize == 384) != kind.P384 {
				t.Errorf("%+v made a key on %s", kind, k.Curve.Params().Name)
			}
		case *rsa.PrivateKey:
			if k.N.BitLen() != kind.RSABits {
				t.Errorf("%+v made an RSA key of %d bits", kind, k.N.BitLen())
			}
		}
	}
	cfg := testConfig(t, startCA(t, time.Hour))
	cfg.Key = KeyKind{RSABits: 2048}
	served(t, socketOf(t, runAgent(t, cfg)))
	cfg.Key.RSABits = 1024
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "1024") {
		t.Errorf("a short key: %v", err)
	}
}

package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// proxies stand in for the mesh: they have what they were told once they say so.
type proxies struct {
	mu      sync.Mutex
	told    []string // every bundle, in order
	lacking []string
}

func (p *proxies) Distribute(_ context.Context, roots []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, string(roots))
}

func (p *proxies) bundles() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told)
}

func (p *proxies) Lacking() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lacking
}

func (p *proxies) Former(context.Context, []string) {}

func (p *proxies) Unaware(string) []string { return p.Lacking() }

func (p *proxies) setLacking(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lacking = ids
}

// clock is what a test sets.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// plugIn puts an authority's files into a folder, in Istio's layout. chain are certificates between it and the roots.
func plugIn(t *testing.T, dir string, cert []byte, key []byte, chain, roots []byte) {
	t.Helper()
	for name, content := range map[string][]byte{keyFile: key, certFile: cert, chainFile: chain, rootFile: roots} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
}

// leafOfNow returns a fresh leaf, and whether it leads to each of the bundles.
func leafOfNow(t *testing.T, c *CA, bundles ...[]byte) (leaf *x509.Certificate, leads []bool) {
	t.Helper()
	chain, err := c.Sign(csr(t, newKey(t), x509.CertificateRequest{}), web, 0)
	must(t, err)
	leaf = parse(t, chain[0])
	between := x509.NewCertPool()
	for _, text := range chain[1 : len(chain)-1] {
		between.AppendCertsFromPEM([]byte(text))
	}
	for _, b := range bundles {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(b)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: c.opts.Now()})
		leads = append(leads, err == nil)
	}
	return leaf, leads
}

// step is one turn of Run.
func (c *CA) step(d Distributor) { c.look(); c.advance(d) }

func TestRootIsReplacedWithOverlap(t *testing.T) {
	at := &clock{time.Now()}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }})
	p := &proxies{}
	old := c.RootPEM()
	serial, err := ReplaceRoot(dir, at.now)
	must(t, err)
	fresh, err := os.ReadFile(filepath.Join(dir, rootFile))
	must(t, err)

	// Both roots are trusted at once, and the old one goes on signing while a proxy lacks the new one, and a moment more.
	p.setLacking("sidecar~10.0.0.1~a.b~b")
	c.step(p)
	if got := string(c.RootPEM()); got != string(fresh)+string(old) {
		t.Fatalf("trusted is\n%swant the new root and the old one", got)
	}
	signs := func(when string, want string) {
		t.Helper()
		_, leads := leafOfNow(t, c, old, fresh)
		if byNew := leads[1] && !leads[0]; byNew != (want == "new") {
			t.Errorf("%s: the leaf leads to old %v, new %v; want %s", when, leads[0], leads[1], want)
		}
	}
	signs("while a proxy lacks it", "old")
	if s := c.Status(); s.Next == nil || s.Next.Serial != serial {
		t.Errorf("status says that %+v is next", s.Next)
	}
	at.pass(time.Minute)
	c.step(p)
	signs("a minute later", "old")
	p.setLacking()
	c.step(p)
	signs("as all have it", "old")
	at.pass(maxPause)
	c.step(p)
	signs("a moment later", "new")
	if s := c.Status(); s.Next != nil || s.Signer.Serial != serial || len(s.Roots) != 2 || s.Roots[1].TrustedUntil == nil || !s.Roots[1].TrustedUntil.Equal(at.now.Add(time.Hour)) {
		t.Errorf("status is %+v", s)
	}
	// A restart in between forgets nothing.
	again := open(t, Options{Dir: dir, WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }})
	if string(again.RootPEM()) != string(c.RootPEM()) {
		t.Error("after a restart the old root is not trusted")
	}
	// The old root retires with the last certificate under it.
	at.pass(time.Hour - time.Second)
	c.step(p)
	if string(c.RootPEM()) != string(fresh)+string(old) {
		t.Error("the old root retired too early")
	}
	at.pass(time.Second)
	c.step(p)
	if string(c.RootPEM()) != string(fresh) {
		t.Error("the old root did not retire")
	}
	if again := open(t, Options{Dir: dir, Now: func() time.Time { return at.now }}); string(again.RootPEM()) != string(fresh) {
		t.Error("after a restart the old root is back")
	}
}

// A proxy that never says anything is waited for until it has renewed, which brought it the roots.
func TestSilentProxiesAreWaitedForUntilTheyHaveRenewed(t *testing.T) {
	at := &clock{time.Now()}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }})
	p := &proxies{lacking: []string{"silent"}}
	serial, err := ReplaceRoot(dir, at.now)
	must(t, err)
	c.step(p)
	at.pass(36 * time.Minute)
	c.step(p)
	if c.Status().Signer.Serial == serial {
		t.Fatal("the new root signs while certificates may be around whose holders do not know it")
	}
	at.pass(time.Second)
	c.step(p)
	if c.Status().Signer.Serial != serial {
		t.Error("the new root does not sign though all must have renewed")
	}
}

func TestRootRemovedByHand(t *testing.T) {
	at := &clock{time.Now()}
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }})
	p := &proxies{}
	_, err := ReplaceRoot(dir, at.now)
	must(t, err)
	c.step(p)
	at.pass(maxPause)
	c.step(p)
	at.pass(maxPause)
	c.step(p)
	if n := len(c.Status().Roots); n != 2 || c.Status().Next != nil {
		t.Fatalf("%d roots are trusted", n)
	}
	// Its key is known to have leaked: who takes it out of the record no longer trusts it.
	must(t, os.Remove(filepath.Join(dir, recordFile)))
	c.step(p)
	if got, _ := os.ReadFile(filepath.Join(dir, rootFile)); string(c.RootPEM()) != string(got) {
		t.Error("the old root is still trusted")
	}
}

func TestIntermediateIsReplacedAtOnce(t *testing.T) {
	at := &clock{time.Now()}
	dir := t.TempDir()
	root := certtest.New(t)
	first, second := root.Sub(t, "first"), root.Sub(t, "second")
	plugIn(t, dir, first.PEM, first.KeyPEM(t), append(slices.Clone(first.PEM), root.PEM...), root.PEM)
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Minute, Now: func() time.Time { return at.now }})
	p := &proxies{lacking: []string{"silent"}} // what it has is enough
	before, _ := leafOfNow(t, c)
	plugIn(t, dir, second.PEM, second.KeyPEM(t), append(slices.Clone(second.PEM), root.PEM...), root.PEM)
	c.step(p)
	after, leads := leafOfNow(t, c, root.PEM)
	if before.CheckSignatureFrom(first.Cert) != nil || after.CheckSignatureFrom(second.Cert) != nil || !leads[0] {
		t.Errorf("issued by %s, then by %s, which leads to the root: %v", before.Issuer, after.Issuer, leads[0])
	}
	if string(c.RootPEM()) != string(root.PEM) {
		t.Errorf("roots changed:\n%s", c.RootPEM())
	}
}

// Files are replaced one by one, and some are wrong: until they belong together, what was in force stays.
func TestFilesThatAreNotGoodChangeNothing(t *testing.T) {
	dir := t.TempDir()
	root := certtest.New(t)
	first, second, foreign := root.Sub(t, "first"), root.Sub(t, "second"), certtest.New(t)
	plugIn(t, dir, first.PEM, first.KeyPEM(t), first.PEM, root.PEM)
	c := open(t, Options{Dir: dir})
	p := &proxies{}
	for _, tt := range []struct {
		name, file string
		content    []byte
		mode       os.FileMode
	}{
		{"the new key before its certificate", keyFile, second.KeyPEM(t), 0o600},
		{"half a file", certFile, second.PEM[:100], 0o600},
		{"nothing", rootFile, nil, 0o600},
		{"another root", rootFile, foreign.PEM, 0o600},
		{"a key for everybody", keyFile, first.KeyPEM(t), 0o644},
		{"a leaf that shall sign", certFile, root.Issue(t, nil).Chain, 0o600},
		{"a record that is none", recordFile, []byte("{"), 0o600},
	} {
		path := filepath.Join(dir, tt.file)
		good, _ := os.ReadFile(path)
		must(t, os.WriteFile(path, tt.content, tt.mode))
		must(t, os.Chmod(path, tt.mode))
		c.step(p)
		if leaf, _ := leafOfNow(t, c); leaf.CheckSignatureFrom(first.Cert) != nil || string(c.RootPEM()) != string(root.PEM) {
			t.Errorf("%s: certificates are signed by %s", tt.name, leaf.Issuer)
		}
		must(t, os.Chmod(path, 0o600))
		must(t, os.WriteFile(path, good, 0o600))
	}
	c.step(p)
	plugIn(t, dir, second.PEM, second.KeyPEM(t), second.PEM, root.PEM)
	c.step(p)
	if leaf, _ := leafOfNow(t, c); leaf.CheckSignatureFrom(second.Cert) != nil {
		t.Errorf("good files were not taken: signed by %s", leaf.Issuer)
	}
}

// Istio's way by hand: a second root is added first, later the authority under it is plugged in, then the first is removed.
func TestRootsAddedAndRemovedByHand(t *testing.T) {
	at := &clock{time.Now()}
	dir := t.TempDir()
	one, two := certtest.New(t), certtest.New(t)
	a, b := one.Sub(t, "under one"), two.Sub(t, "under two")
	both := append(slices.Clone(one.PEM), two.PEM...)
	plugIn(t, dir, a.PEM, a.KeyPEM(t), a.PEM, one.PEM)
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Minute, Now: func() time.Time { return at.now }})
	p := &proxies{}
	plugIn(t, dir, a.PEM, a.KeyPEM(t), a.PEM, both)
	c.step(p)
	if string(c.RootPEM()) != string(both) || c.Status().Next != nil {
		t.Fatal("the second root is not trusted")
	}
	at.pass(maxPause)
	c.step(p)
	at.pass(maxPause)
	c.step(p) // by now it is with all
	plugIn(t, dir, b.PEM, b.KeyPEM(t), b.PEM, both)
	c.step(p)
	if leaf, _ := leafOfNow(t, c); leaf.CheckSignatureFrom(b.Cert) != nil {
		t.Errorf("signed by %s", leaf.Issuer)
	}
	plugIn(t, dir, b.PEM, b.KeyPEM(t), b.PEM, two.PEM)
	c.step(p)
	if string(c.RootPEM()) != string(two.PEM) {
		t.Error("a root that root-cert.pem named while another signed, and names no more, is still trusted")
	}
}

// Run sees new files by itself, and tells proxies the roots before it signs under them.
func TestRunFollowsTheFolder(t *testing.T) {
	dir := t.TempDir()
	c := open(t, Options{Dir: dir, WorkloadTTL: time.Second})
	p := &proxies{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, p) }()
	old := string(c.RootPEM())
	for len(p.bundles()) == 0 {
		runtime.Gosched()
	}
	serial, err := ReplaceRoot(dir, time.Now())
	must(t, err)
	fresh, err := os.ReadFile(filepath.Join(dir, rootFile))
	must(t, err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		signs := c.Status().Signer.Serial == serial
		told := p.bundles()
		if signs && !slices.Contains(told, string(fresh)+old) {
			t.Fatal("it signs before anybody was told of it")
		}
		if told[len(told)-1] == string(fresh) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not within a minute")
		}
	}
	cancel()
	must(t, <-done)
	if want := []string{old, string(fresh) + old, string(fresh)}; !slices.Equal(p.bundles(), want) {
		t.Errorf("proxies were told %d bundles, want old, both, new", len(p.told))
	}
}

func TestReplaceRootRefuses(t *testing.T) {
	if _, err := ReplaceRoot(t.TempDir(), time.Now()); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("an empty folder: %v", err)
	}
	dir, root := t.TempDir(), certtest.New(t)
	sub := root.Sub(t, "plugged in")
	plugIn(t, dir, sub.PEM, sub.KeyPEM(t), sub.PEM, root.PEM)
	if _, err := ReplaceRoot(dir, time.Now()); err == nil || !strings.Contains(err.Error(), "another authority") {
		t.Errorf("another's authority: %v", err)
	}
}

// Authorities and workloads have keys of either kind, in every form that tools write.
func TestKinds(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	pkcs8 := func(k crypto.Signer) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	sec1 := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalECPrivateKey(k)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}})
	for _, tt := range []struct {
		name string
		key  crypto.Signer
		pem  []byte
	}{
		{"RSA, PKCS #1", rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		{"RSA, PKCS #8", rsaKey, pkcs8(rsaKey)},
		{"P-256, SEC 1", p256, sec1(p256)},
		{"P-256, SEC 1 after its parameters", p256, append(parameters, sec1(p256)...)},
		{"P-256, PKCS #8", p256, pkcs8(p256)},
		{"P-384, PKCS #8", p384, pkcs8(p384)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, root := t.TempDir(), certtest.New(t)
			sub := root.SubFor(t, tt.key, "signs")
			plugIn(t, dir, sub.PEM, tt.pem, sub.PEM, root.PEM)
			c := open(t, Options{Dir: dir})
			for _, key := range []crypto.Signer{rsaKey, p256, p384} {
				chain, err := c.Sign(csr(t, key, x509.CertificateRequest{}), web, 0)
				if err != nil {
					t.Fatal(err)
				}
				leaf, between := parse(t, chain[0]), x509.NewCertPool()
				between.AppendCertsFromPEM(sub.PEM)
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: root.Pool(), Intermediates: between}); err != nil {
					t.Errorf("%T: %v", key, err)
				}
				if _, isRSA := key.(*rsa.PrivateKey); (leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0) != isRSA {
					t.Errorf("%T: key usage %b", key, leaf.KeyUsage)
				}
			}
		})
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	for name, tt := range map[string]struct {
		pem  []byte
		want string
	}{
		"a password":    {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "without a password"},
		"a certificate": {certtest.New(t).PEM, "CERTIFICATE"},
		"no PEM":        {[]byte("x"), "no PEM"},
		"broken":        {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "private key"},
		"too short":     {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)}), "1024 bits"},
	} {
		dir, root := t.TempDir(), certtest.New(t)
		plugIn(t, dir, root.PEM, tt.pem, root.PEM, root.PEM)
		_, err := Open(Options{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error shows the file: %v", name, err)
		}
	}
}

func TestLifetimes(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	c := open(t, Options{WorkloadTTL: time.Hour, MaxWorkloadTTL: 48 * time.Hour, Now: func() time.Time { return at }})
	for wish, want := range map[time.Duration]time.Duration{0: time.Hour, 24 * time.Hour: 24 * time.Hour, 720 * time.Hour: 48 * time.Hour} {
		chain, err := c.Sign(csr(t, newKey(t), x509.CertificateRequest{}), web, wish)
		must(t, err)
		if got := parse(t, chain[0]).NotAfter.Sub(at); got != want {
			t.Errorf("a wish of %v gave %v, want %v", wish, got, want)
		}
	}
	if _, err := Open(Options{Dir: t.TempDir(), WorkloadTTL: 2 * time.Hour, MaxWorkloadTTL: time.Hour}); err == nil {
		t.Error("a default beyond the most was taken")
	}
}

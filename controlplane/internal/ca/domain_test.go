package ca

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// issuedUnder is the trust domain of the certificate that the bearer of a token is given now.
func issuedUnder(t *testing.T, c *CA) string {
	t.Helper()
	token, err := jointoken.Mint(c.joinKey, "shop", "web", c.opts.Now(), time.Hour)
	must(t, err)
	caller, err := c.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token)))
	must(t, err)
	chain, err := c.Sign(csr(t, newKey(t), x509.CertificateRequest{}), caller, 0)
	must(t, err)
	id, err := spiffe.FromCertificate(parse(t, chain[0]))
	must(t, err)
	return id.TrustDomain
}

// The mesh's settings name another trust domain: it is issued under when all proxies know it, and the one before is the same until its last certificate has ended,
// over restarts too.
func TestTrustDomainChanges(t *testing.T) {
	at := &clock{time.Now()}
	opts := Options{Dir: t.TempDir(), TrustDomain: "old.example", WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }}
	c, p := open(t, opts), &proxies{}
	want := func(when, issued, next string, former ...string) {
		t.Helper()
		s := c.Status()
		if got := issuedUnder(t, c); got != issued || s.TrustDomain != issued || s.NextTrustDomain != next || !slices.Equal(s.FormerTrustDomains, former) {
			t.Errorf("%s: issued under %s; status says %q, next %q, formerly %q; want %q, %q, %q", when, got, s.TrustDomain, s.NextTrustDomain, s.FormerTrustDomains, issued, next, former)
		}
	}
	taken := func(when string, others ...string) {
		t.Helper()
		if got := c.FormerTrustDomains(); !slices.Equal(got, others) {
			t.Errorf("%s: proxies are to take identities of %q as well, want %q", when, got, others)
		}
	}
	want("at first", "old.example", "")
	p.setLacking("sidecar~10.0.0.1~a.b~b")
	c.SetTrustDomain("new.example", nil)
	c.step(p)
	at.pass(time.Minute)
	c.step(p)
	want("while a proxy does not know it", "old.example", "new.example")
	taken("while a proxy does not know it", "old.example")
	p.setLacking()
	c.step(p)
	want("as all know it", "old.example", "new.example")
	at.pass(maxPause)
	c.step(p)
	want("a moment later", "new.example", "", "old.example")
	taken("a moment later", "old.example")

	// A restart forgets nothing, also with settings that name a third one; and back again.
	opts.TrustDomain = "newest.example"
	c = open(t, opts)
	want("after a restart with another", "new.example", "newest.example", "old.example")
	taken("after a restart with another", "new.example", "old.example")
	c.SetTrustDomain("new.example", nil)
	want("as it was taken back", "new.example", "", "old.example")

	at.pass(time.Hour - time.Second)
	c.step(p)
	taken("before its last certificate ends", "old.example")
	at.pass(time.Second)
	c.step(p)
	want("as its last certificate has ended", "new.example", "")
	taken("as its last certificate has ended")
}

// A proxy that never says that it knows the new trust domain, as one that is stuck, holds the change up for as long as it holds up a root.
func TestTrustDomainDoesNotWaitForEver(t *testing.T) {
	at := &clock{time.Now()}
	c, p := open(t, Options{TrustDomain: "old.example", WorkloadTTL: time.Hour, Now: func() time.Time { return at.now }}), &proxies{}
	p.setLacking("sidecar~10.0.0.1~a.b~b")
	c.SetTrustDomain("new.example", nil)
	at.pass(c.longest())
	c.step(p)
	if got := issuedUnder(t, c); got != "old.example" {
		t.Errorf("issued under %s while it is waited", got)
	}
	at.pass(time.Second)
	c.step(p)
	if got := issuedUnder(t, c); got != "new.example" {
		t.Errorf("issued under %s when the wait is over", got)
	}
}

// Where the settings come from elsewhere and have not been read, nothing is issued under a name that may be wrong; a later start knows the name.
func TestTrustDomainNotKnownYet(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Options{Dir: dir})
	must(t, err)
	token, err := jointoken.Mint(first.joinKey, "shop", "web", time.Now(), time.Hour)
	must(t, err)
	_, err = dial(t, serve(t, first), first.RootPEM(), nil).CreateCertificate(withToken(t.Context(), token), &securityapi.IstioCertificateRequest{Csr: csr(t, newKey(t), x509.CertificateRequest{})})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("before the settings are read: %v, want Unavailable", err)
	}
	first.SetTrustDomain("mesh.example", nil)
	if got := issuedUnder(t, first); got != "mesh.example" {
		t.Errorf("issued under %s", got)
	}
	again, err := Open(Options{Dir: dir})
	must(t, err)
	if got := issuedUnder(t, again); got != "mesh.example" {
		t.Errorf("issued under %s at the next start", got)
	}
}

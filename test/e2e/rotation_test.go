package e2e

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// oneRequestEach has proxies open a connection, and shake hands, for each request.
const oneRequestEach = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one-request-each, namespace: istioinaction}
spec:
  host: "*.istioinaction.svc.cluster.local"
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
`

// authority is what signs in the mesh and what is trusted.
func (m *mesh) authority() (controlplane.AuthorityStatus, error) {
	var s controlplane.AuthorityStatus
	out, err := m.lateen("root-ca", "status", "-o", "json")
	if err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// certificates are the serial numbers of every proxy's certificate, by the proxy's name.
func (m *mesh) certificates(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range m.run.Proxies {
		for line := range strings.Lines(m.must(t, "proxy-config", "secret", p.Name+"."+p.Namespace)) {
			if f := strings.Fields(line); len(f) > 5 && f[0] == "default" {
				out[p.Name] = f[5]
			}
		}
	}
	return out
}

// renewed waits until every proxy has another certificate than before.
func (m *mesh) renewed(t *testing.T) {
	t.Helper()
	before := m.certificates(t)
	eventually(t, time.Minute, func() error {
		for name, serial := range m.certificates(t) {
			if before[name] == serial {
				return fmt.Errorf("%s still has the certificate %s", name, serial)
			}
		}
		return nil
	})
}

// plugIn puts an authority that another has signed into the mesh's folder, in Istio's layout, and waits until it signs.
func (m *mesh) plugIn(t *testing.T, signer, root *certtest.Authority) {
	t.Helper()
	// One by one, as people copy files: in between they do not belong together.
	for _, f := range []struct {
		name    string
		content []byte
	}{{"root-cert.pem", root.PEM}, {"cert-chain.pem", slices.Concat(signer.PEM, root.PEM)}, {"ca-key.pem", signer.KeyPEM(t)}, {"ca-cert.pem", signer.PEM}} {
		if err := os.WriteFile(filepath.Join(m.state, "ca", f.name), f.content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, func() error {
		s, err := m.authority()
		if err == nil && s.Signer.Subject != signer.Cert.Subject.String() {
			err = fmt.Errorf("%s signs", s.Signer.Subject)
		}
		return err
	})
}

// Workload certificates that live five seconds, roots, intermediates and the trust domain are replaced under load, over kept connections and over new ones, from proxy to
// proxy and from a client of the mesh's own: no request fails. `make stress` goes on from root to root.
func TestCertificatesRotate(t *testing.T) {
	m := secondMesh(t, "SECRET_TTL=5s", "DEFAULT_WORKLOAD_CERT_TTL=5s")
	m.apply(t, "security/peerauthentication-strict.yaml")
	m.applyText(t, oneRequestEach)
	address := m.address(t, "catalog-v1-1") + ":3000"
	eventually(t, settleTime, func() error {
		if line, err := plaintext(address); err == nil {
			return fmt.Errorf("plaintext under STRICT: %q", line)
		}
		return nil
	})
	// The client renews as an agent does.
	var mine atomic.Pointer[agent.Identity]
	mine.Store(m.join(t, "webapp"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	dir := t.TempDir()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			// While a root is replaced the control plane shows one that the file has not for a moment; there is time to ask again.
			if id, err := m.joinIn(ctx, dir, "webapp"); err == nil {
				mine.Store(id)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	kept := startLoad(func() (answer, error) { return m.get(webappHost, "/api/catalog") }, 2, 10*time.Millisecond)
	fresh := startLoad(func() (answer, error) {
		line, _, err := withCertificate(address, mine.Load().Certificate)
		if strings.Contains(line, " 200 ") {
			return answer{code: 200}, err
		}
		return answer{body: line}, err
	}, 1, 20*time.Millisecond)

	m.renewed(t)
	out := m.must(t, "root-ca", "rotate")
	if !strings.Contains(out, "it signs") {
		t.Errorf("root-ca rotate says %q", out)
	}
	m.retires(t)
	m.renewed(t)

	rounds := int64(1)
	if os.Getenv("LATEEN_STRESS") != "" {
		rounds = 20
	}
	for round := range rounds {
		began := time.Now()
		root := certtest.New(t)
		for _, name := range []string{"first intermediate", "second intermediate"} {
			m.plugIn(t, root.Sub(t, fmt.Sprintf("%s %d", name, round)), root)
			m.renewed(t)
		}
		if s, err := m.authority(); err != nil || s.Signer.Subject != fmt.Sprintf("CN=second intermediate %d", round) {
			t.Errorf("%+v, %v", s, err)
		}
		if rounds > 1 {
			m.retires(t)
			t.Logf("round %d took %v", round, time.Since(began).Round(time.Second))
		}
	}
	m.movesTo(t, "shop.example")
	kept.end(t, 500+100*(rounds-1)) // beside the handshakes, on two cores
	fresh.end(t, 200+100*(rounds-1))
}

// movesTo gives the mesh another trust domain, and waits until every certificate is of it and the one before has ended.
func (m *mesh) movesTo(t *testing.T, domain string) {
	t.Helper()
	m.meshConfig(t, "trustDomain: "+domain+"\n")
	for _, former := range []int{1, 0} {
		eventually(t, time.Minute, func() error {
			if s, err := m.authority(); err != nil || s.TrustDomain != domain || len(s.FormerTrustDomains) != former {
				return fmt.Errorf("issued under %s, formerly %q, %v", s.TrustDomain, s.FormerTrustDomains, err)
			}
			return nil
		})
	}
	leaf, err := x509.ParseCertificate(m.join(t, "webapp").Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if id, err := spiffe.FromCertificate(leaf); err != nil || id.TrustDomain != domain {
		t.Errorf("a client is given %v, %v", id, err)
	}
}

// retires waits until one root is trusted: the old one retires when the last certificate under it has ended.
func (m *mesh) retires(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		if s, err := m.authority(); err != nil || len(s.Roots) != 1 {
			return fmt.Errorf("%d roots are trusted, %v", len(s.Roots), err)
		}
		return nil
	})
}

// The authority is away for longer than half of a certificate's life, in which each proxy wants to renew its own: requests go on, also over new
// connections from proxy to proxy, and when it is back all renew.
func TestAuthorityAway(t *testing.T) {
	const life = 24 * time.Second
	m := secondMesh(t, "SECRET_TTL="+life.String(), "DEFAULT_WORKLOAD_CERT_TTL="+life.String())
	m.applyText(t, oneRequestEach)
	requests := startLoad(func() (answer, error) { return m.get(webappHost, "/api/catalog") }, 2, 10*time.Millisecond)
	m.renewed(t)

	// Its supervisor would start another one.
	if err := syscall.Kill(m.run.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(m.run.PID, syscall.SIGCONT) })
	pid, err := m.pid("control-plane")
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	for time.Since(gone) < life/2+time.Second {
		requests.more(t, 50)
	}
	if s, err := m.authority(); err == nil {
		t.Errorf("the authority is there: %+v", s)
	}
	if err := syscall.Kill(m.run.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.renewed(t)
	requests.end(t, 500)
}

package registries

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/test/internal/consulmesh"
)

const services = 1000

// versions starts two instances of version v2 among many other services.
func versions(t *testing.T, m *consulmesh.Mesh) {
	t.Helper()
	begin := time.Now()
	m.Fill(services)
	t.Logf("%d services registered and known after %v", services, time.Since(begin).Round(time.Millisecond))
	m.App("web-1", "v1")
	m.App("web-2", "v2")
	m.App("web-3", "v2")
	m.Until("/", "v2", 200, "web-2")
	m.Until("/", "v2", 200, "web-3")
}

// long skips what takes half a minute.
func long(t *testing.T) {
	if os.Getenv("LATEEN_REGISTRIES") == "" {
		t.Skip("it takes half a minute; `make registries` runs it")
	}
}

// updates is the metric of services that changed.
const updates = `lateen_registry_events_total{event="update"`

// TestChurn: of 1,000 services one changes. The control plane asks for that one alone, and the change is in force within a second.
func TestChurn(t *testing.T) {
	long(t)
	s := start(t, "limits { http_max_conns_per_client = 2000 }")
	m := consulmesh.Start(t, s.Addr(), controlplane.ConsulCatalog{MaxWatches: 1500})
	versions(t, m)
	const changes = 20
	queries, cpu, events := m.Metric("lateen_registry_queries_total"), m.Metric("process_cpu_seconds_total"), m.Metric(updates)
	begin := time.Now()
	var most time.Duration
	for range changes / 2 {
		most = max(most, m.Fail("web-2", "v2", "web-3"))
		m.SetCheck("web-2", "passing")
		m.Until("/", "v2", 200, "web-2")
	}
	asked, told := m.Metric("lateen_registry_queries_total")-queries, m.Metric(updates)-events
	idle := 10*time.Since(begin).Seconds() + 10 // ten queries a second end without news
	t.Logf("%d changes of one service among %d: %v services changed, %v answers, %.0f ms of CPU for each change (control plane, gateway, applications and this test), at most %v until in force",
		changes, services, told, asked, 1000*(m.Metric("process_cpu_seconds_total")-cpu)/changes, most.Round(time.Millisecond))
	if told != changes || asked > changes+idle {
		t.Errorf("%d changes of one service were told as %v and cost %v queries, of which %.0f may be idle ones", changes, told, asked, idle)
	}
	if most > time.Second {
		t.Errorf("a change took %v", most)
	}
}

// TestTurns: an agent that takes 200 connections is enough for 1,000 services, which then take turns.
func TestTurns(t *testing.T) {
	long(t)
	s := start(t, "")
	m := consulmesh.Start(t, s.Addr(), controlplane.ConsulCatalog{})
	versions(t, m)
	for range 3 {
		took := m.Fail("web-2", "v2", "web-3")
		t.Logf("a change was in force after %v", took.Round(time.Millisecond))
		if took > 10*time.Second {
			t.Errorf("that is too long")
		}
		m.SetCheck("web-2", "passing")
		m.Until("/", "v2", 200, "web-2")
	}
	if r := m.Registry(); len(r.Failing) > 0 {
		t.Errorf("services that cannot be read: %v", r.Failing)
	}
}

// TestTLS: over HTTP/2 all queries share a few connections, so that 1,000 services need no larger limit and no turns.
func TestTLS(t *testing.T) {
	long(t)
	cert, key := certificate(t)
	port := freePort(t)
	s := start(t, fmt.Sprintf("ports { https = %d }\ntls { defaults { cert_file = %q, key_file = %q } }", port, cert, key))
	m := consulmesh.Start(t, s.Addr(), controlplane.ConsulCatalog{Address: fmt.Sprintf("https://127.0.0.1:%d", port), CAFile: cert})
	versions(t, m)
	if took := m.Fail("web-2", "v2", "web-3"); took > time.Second {
		t.Errorf("a change took %v", took)
	} else {
		t.Logf("a change was in force after %v", took.Round(time.Millisecond))
	}
	if r := m.Registry(); len(r.Failing) > 0 {
		t.Errorf("services that cannot be read: %v", r.Failing)
	}
}

// TestACL: a token is read from its file whenever it changes; one that is refused changes nothing.
func TestACL(t *testing.T) {
	const management = "6c1b2d9e-0000-4000-8000-5f6a7b8c9d0e"
	t.Setenv("CONSUL_HTTP_TOKEN", management) // with which the test registers
	s := start(t, fmt.Sprintf("acl { enabled = true, default_policy = \"deny\", tokens { initial_management = %q, agent = %q } }", management, management))
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(management)
	m := consulmesh.Start(t, s.Addr(), controlplane.ConsulCatalog{TokenFile: file})
	m.App("web-1", "v1")
	m.Until("/", "", 200, "web-1")
	// A token that Consul does not know: everything stays, and the error says what to do.
	write("6c1b2d9e-ffff-4000-8000-5f6a7b8c9d0e")
	m.App("web-2", "v1") // so that the queries which wait under the old token are answered
	m.Eventually("the token is refused", func() bool {
		r := m.Registry()
		return !r.Connected && strings.Contains(r.LastError, "--consul-token-file needs service:read and node:read")
	})
	m.Until("/", "", 200, "web-1")
	// A token that may see nothing is no error to Consul, which leaves out what may not be seen. The control plane tells it.
	write(m.Token())
	m.Eventually("the warning is shown", func() bool { return strings.Contains(m.Registry().Warning, "may not read all services") })
	write(management)
	m.Eventually("the right token is taken", func() bool { return m.Registry().Connected })
	m.Until("/", "", 200, "web-2")
}

// certificate is a server's for 127.0.0.1, which is its own authority.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "consul"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

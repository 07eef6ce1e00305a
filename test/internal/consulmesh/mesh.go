// Package consulmesh is the scenario of services that are registered in Consul: a control plane that follows it, a gateway, applications of two
// versions, a check that fails, a Consul that goes and comes back. It is run on a stand-in by test/contract and on a real Consul by
// test/registries, so that what holds on the one is known to hold on the other.
//
// The objects and the gateway are those of samples/consul. It registers through Consul's own API and asks the gateway as a client would; it fakes nothing itself.
package consulmesh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/proxy"
)

// Mesh is a control plane with a gateway.
type Mesh struct {
	t       testing.TB
	debug   string // address of the debug pages
	gateway string
	client  *http.Client
	agent   *api.Client
}

// Start runs a control plane and a gateway on a Consul agent. Services are registered at addr; the control plane follows catalog, which is that
// of addr unless it says another address.
func Start(t testing.TB, addr string, catalog controlplane.ConsulCatalog) *Mesh {
	t.Helper()
	dir := t.TempDir()
	m := &Mesh{t: t, client: &http.Client{Timeout: 10 * time.Second}}
	m.agent = agentAt(t, addr, os.Getenv(api.HTTPTokenEnvName))
	m.gateway = freeAddr(t)
	_, port, _ := net.SplitHostPort(m.gateway)
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "web.yaml"), sample(t, "web.yaml", "8080", port), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if catalog.Address == "" {
		catalog.Address = addr
	}
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: filepath.Join(dir, "config"), CADir: filepath.Join(dir, "ca"), GRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0",
		Consul: []controlplane.ConsulCatalog{catalog}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "control plane", cp.Run, cp.Ready())
	m.debug = cp.Addresses().HTTP.String()
	p, err := proxy.New(proxy.Config{
		Bootstrap:   sample(t, "gateway.yaml", "15010", strconv.Itoa(cp.Addresses().GRPC.(*net.TCPAddr).Port)),
		Concurrency: 1, Logger: log, LogLevel: "warning",
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "gateway", p.Run, p.Ready())
	return m
}

// sample reads a file of samples/consul and puts a port of this run in the place of its own.
func sample(t testing.TB, name, old, port string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "samples", "consul", name)) // from the folder of the test
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(raw, []byte(old)); n == 0 {
		t.Fatalf("%s has no %q", name, old)
	}
	return bytes.ReplaceAll(raw, []byte(old), []byte(port))
}

// agentAt is a client of the agent, to register with.
func agentAt(t testing.TB, addr, token string) *api.Client {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address, cfg.Token = addr, token
	c, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// App serves an application that says its name, and registers it with a check that passes.
func (m *Mesh) App(id, version string) {
	m.t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, id) }))
	m.t.Cleanup(srv.Close)
	m.Register(id, version, srv.Listener.Addr().(*net.TCPAddr).Port)
}

// Register registers an instance of web at a port of loopback, which clients call by 80.
func (m *Mesh) Register(id, version string, port int) {
	m.t.Helper()
	if err := m.agent.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: "web", Address: "127.0.0.1", Port: port, Tags: []string{"version|" + version, "shop"}, Meta: map[string]string{"protocol": "http", "port": "80"},
		Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthPassing},
	}); err != nil {
		m.t.Fatal(err)
	}
}

// Fill registers n services with an instance each, which nobody calls.
func (m *Mesh) Fill(n int) {
	m.t.Helper()
	for i := range n {
		name := fmt.Sprintf("filler-%04d", i)
		if err := m.agent.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: name, Name: name, Address: "127.0.0.1", Port: 1000 + i}); err != nil {
			m.t.Fatal(err)
		}
	}
	m.eventually(func() string { return fmt.Sprintf("%d services are known", m.Registry().Services) }, func() bool { return m.Registry().Services >= n })
}

// Metric reads the first series whose name and labels begin so.
func (m *Mesh) Metric(name string) float64 {
	m.t.Helper()
	resp, err := m.client.Get("http://" + m.debug + "/metrics")
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.ContainsAny(rest[:1], "{, ") {
			value := 0.0
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &value); err != nil {
				m.t.Fatalf("metric %s: %v", line, err)
			}
			return value
		}
	}
	m.t.Fatalf("there is no metric %s", name)
	return 0
}

// Token makes an ACL token that may do nothing.
func (m *Mesh) Token() string {
	m.t.Helper()
	token, _, err := m.agent.ACL().TokenCreate(&api.ACLToken{Description: "test"}, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return token.SecretID
}

// SetCheck sets the status of an instance's check.
func (m *Mesh) SetCheck(id, status string) {
	m.t.Helper()
	if err := m.agent.Agent().UpdateTTL("service:"+id, "set by the test", status); err != nil {
		m.t.Fatal(err)
	}
}

// Deregister takes an instance away.
func (m *Mesh) Deregister(id string) {
	m.t.Helper()
	if err := m.agent.Agent().ServiceDeregister(id); err != nil {
		m.t.Fatal(err)
	}
}

// Get sends a request through the gateway and returns the status and who answered.
func (m *Mesh) Get(path, version string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+m.gateway+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Host = "web.example"
	if version != "" {
		req.Header.Set("x-version", version)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// Until waits for a request to be answered so.
func (m *Mesh) Until(path, version string, status int, who string) {
	m.t.Helper()
	gotStatus, got := 0, ""
	m.eventually(func() string {
		return fmt.Sprintf("%s with version %q is answered %d %q, want %d %q", path, version, gotStatus, got, status, who)
	}, func() bool {
		gotStatus, got = m.Get(path, version)
		return gotStatus == status && (who == "" || got == who)
	})
}

// Registry is what /debug/registries says.
type Registry struct {
	Name      string
	Connected bool
	LastError string
	Warning   string
	Services  int
	Endpoints int
	Failing   map[string]string
	Problems  map[string][]string
}

// Page reads a debug page as JSON.
func (m *Mesh) Page(path string, to any) {
	m.t.Helper()
	resp, err := m.client.Get("http://" + m.debug + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		m.t.Fatalf("%s: %v", path, err)
	}
}

// Registry reads the state of the registry.
func (m *Mesh) Registry() Registry {
	m.t.Helper()
	var out []Registry
	m.Page("/debug/registries", &out)
	if len(out) != 1 {
		m.t.Fatalf("%d registries", len(out))
	}
	return out[0]
}

// Eventually waits for something to be so.
func (m *Mesh) Eventually(what string, ok func() bool) {
	m.t.Helper()
	m.eventually(func() string { return what }, ok)
}

// Endpoint is what /debug/endpointShardz says of one.
type Endpoint struct {
	Service  string // HOST:PORT
	Address  string
	Port     uint32
	Locality string
}

// Endpoints reads all endpoints.
func (m *Mesh) Endpoints() []Endpoint {
	m.t.Helper()
	var hosts map[string]map[string]struct {
		Shards map[string][]struct {
			Addresses                          []string
			LegacyClusterPortKey, EndpointPort uint32
			Locality                           struct{ Label string }
		}
	}
	m.Page("/debug/endpointShardz", &hosts)
	var out []Endpoint
	for host, namespaces := range hosts {
		for _, of := range namespaces {
			for _, shard := range of.Shards {
				for _, e := range shard {
					out = append(out, Endpoint{fmt.Sprintf("%s:%d", host, e.LegacyClusterPortKey), e.Addresses[0], e.EndpointPort, e.Locality.Label})
				}
			}
		}
	}
	return out
}

func (m *Mesh) eventually(what func() string, ok func() bool) {
	m.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-over:
			m.t.Fatal("within 30 s it did not come to pass: " + what())
		}
	}
}

// run starts a part of the mesh and ends it with the test.
func run(t testing.TB, name string, run func(context.Context) error, ready <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("%s ended: %v", name, err)
	case <-time.After(time.Minute):
		t.Fatalf("%s did not become ready", name)
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// sds serves secrets over a Unix socket, one per stream, as Istio's agent does.
type sds struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	t       *testing.T
	mu      sync.Mutex
	version int
	secrets map[string]*tlsv3.Secret
	changed chan struct{} // closed at each change
	nacks   chan string
}

func startSDS(t *testing.T) (*sds, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sds.sock")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return serveSDS(t, lis), path
}

func serveSDS(t *testing.T, lis net.Listener, opts ...grpc.ServerOption) *sds {
	s := &sds{t: t, secrets: map[string]*tlsv3.Secret{}, changed: make(chan struct{}), nacks: make(chan string, 8)}
	srv := grpc.NewServer(opts...)
	secretv3.RegisterSecretDiscoveryServiceServer(srv, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return s
}

func (s *sds) StreamSecrets(st secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	req, err := st.Recv()
	if err != nil {
		return err
	}
	if len(req.GetResourceNames()) != 1 {
		return fmt.Errorf("want one name, have %v", req.GetResourceNames())
	}
	name := req.GetResourceNames()[0]
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			if d := r.GetErrorDetail(); d != nil {
				s.nacks <- d.GetMessage()
			}
		}
	}()
	for {
		s.mu.Lock()
		secret, changed, version := s.secrets[name], s.changed, s.version
		s.mu.Unlock()
		if secret != nil {
			a, err := anypb.New(secret)
			if err != nil {
				return err
			}
			err = st.Send(&discoveryv3.DiscoveryResponse{
				TypeUrl: xdsresource.TypeSecret, VersionInfo: fmt.Sprint(version), Nonce: fmt.Sprint(version), Resources: []*anypb.Any{a},
			})
			if err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-st.Context().Done():
			return nil
		}
	}
}

func (s *sds) set(secret *tlsv3.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[secret.GetName()] = secret
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// certificate makes a self-signed certificate with a serial number to know it by.
func certificate(t *testing.T, serial int64) *tlsv3.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	inline := func(kind string, b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})}}
	}
	return &tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline("CERTIFICATE", der), PrivateKey: inline("PRIVATE KEY", raw),
	}}}
}

// TestSecretsRotate: a TLS listener waits for its certificate, new handshakes use a new one,
// live connections go on, and a bad one is refused while the good one stays.
func TestSecretsRotate(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	agent, path := startSDS(t)
	text := staticBootstrap(backend.Listener.Addr().String())
	text = strings.Replace(text, "    filter_chains:\n    - filters:", `    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {name: default, sds_config: {api_config_source: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}}
      filters:`, 1) + fmt.Sprintf(`
  - name: sds-grpc
    load_assignment: {cluster_name: sds-grpc, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]}
`, path)
	first := certificate(t, 1)
	go func() { // the certificate comes after the listener
		agent.set(first)
	}()
	p := run(t, text)
	addr := p.ListenerAddrs()["main"]

	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	serial := func(c *tls.Conn) int64 { return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() }
	get := func(c *tls.Conn) string {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("on the live connection: %v", err)
		}
		resp.Body.Close()
		return resp.Status
	}
	old := dial()
	if got := serial(old); got != 1 {
		t.Fatalf("serial %d, want 1", got)
	}
	get(old)

	agent.set(certificate(t, 2))
	eventually(t, "new handshakes use the new certificate", func() bool { return serial(dial()) == 2 })
	if got := get(old); got != "200 OK" {
		t.Errorf("live connection: %s", got)
	}

	bad := certificate(t, 3)
	bad.GetTlsCertificate().PrivateKey = certificate(t, 4).GetTlsCertificate().GetPrivateKey()
	agent.set(bad)
	select {
	case msg := <-agent.nacks:
		if !strings.Contains(msg, "tls_certificate") {
			t.Errorf("NACK says %q", msg)
		}
	case <-time.After(time.Minute):
		t.Fatal("a certificate with a foreign key was not refused")
	}
	if got := serial(dial()); got != 2 {
		t.Errorf("serial %d after a refused secret, want 2", got)
	}
	_, dump := p.admin("GET", "/config_dump?resource=dynamic_active_secrets")
	if !strings.Contains(dump, "W3JlZGFjdGVkXQ==") || strings.Contains(dump, "PRIVATE KEY") { // "[redacted]"
		t.Errorf("the dump of secrets does not hide the key:\n%s", dump)
	}
	if _, certs := p.admin("GET", "/certs"); !strings.Contains(normalise(certs), `"serial_number": "02"`) {
		t.Errorf("certs = %s", certs)
	}
}

func TestDrainListeners(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	p := run(t, staticBootstrap(backend.Listener.Addr().String()))
	addr := p.ListenerAddrs()["main"]
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	get := func() (*http.Response, error) {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	if resp, err := get(); err != nil || resp.Close {
		t.Fatalf("before draining: %v %v", resp, err)
	}
	if code, _ := p.admin("POST", "/drain_listeners"); code != 200 {
		t.Errorf("drain_listeners: %d", code)
	}
	eventually(t, "the address closes", func() bool {
		n, err := net.Dial("tcp", addr)
		if err == nil {
			n.Close()
		}
		return err != nil
	})
	// An idle connection ends at once or after one more request, never in the middle of one.
	if resp, err := get(); err == nil && !resp.Close {
		t.Error("a draining connection was kept alive")
	}
}

// TestMissingSecretHoldsNobodyUp: a listener one of whose certificates does not come within its time serves the others, and the
// one as soon as it does come.
func TestMissingSecretHoldsNobodyUp(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	agent, path := startSDS(t)
	manager := func(text string) string {
		_, rest, _ := strings.Cut(text, "    - filters:\n")
		rest, _, _ = strings.Cut(rest, "  clusters:\n")
		return rest
	}
	text := staticBootstrap(backend.Listener.Addr().String())
	chain := `    - filter_chain_match: {server_names: [%s]}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - {name: %s, sds_config: {initial_fetch_timeout: %s, api_config_source: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}}
      filters:
`
	filters := manager(text)
	text = strings.Replace(text, "    filter_chains:\n    - filters:\n"+filters, `    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
    filter_chains:
`+fmt.Sprintf(chain, "localhost", "default", "0s")+filters+fmt.Sprintf(chain, "late.localhost", "late", "0.1s")+filters, 1) + fmt.Sprintf(`
  - name: sds-grpc
    load_assignment: {cluster_name: sds-grpc, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]}
`, path)
	agent.set(certificate(t, 1))
	p := run(t, text)
	dial := func(name string) error {
		c, err := tls.Dial("tcp", p.ListenerAddrs()["main"], &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial("localhost"); err != nil {
		t.Errorf("the server that has its certificate: %v", err)
	}
	if err := dial("late.localhost"); err == nil {
		t.Error("a server without a certificate took a connection")
	}
	late := certificate(t, 2)
	late.Name = "late"
	agent.set(late)
	eventually(t, "the late certificate is used", func() bool { return dial("late.localhost") == nil })
}

// TestSecretsFromADynamicCluster: a listener's certificate comes from a server behind a cluster that is discovered, and that is there
// after the listener only.
func TestSecretsFromADynamicCluster(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	server, path := startSDS(t)
	dir := t.TempDir()
	clusters := filepath.Join(dir, "cds.yaml")
	discover := func(resources string) {
		t.Helper()
		next := filepath.Join(dir, "next.yaml")
		if err := os.WriteFile(next, []byte("resources:"+resources), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, clusters); err != nil {
			t.Fatal(err)
		}
	}
	discover(" []\n")
	text := strings.Replace(staticBootstrap(backend.Listener.Addr().String()), "    filter_chains:\n    - filters:", `    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: default
              sds_config:
                initial_fetch_timeout: 0.01s
                api_config_source:
                  api_type: GRPC
                  grpc_services:
                  - envoy_grpc: {cluster_name: certificates, retry_policy: {retry_back_off: {base_interval: 0.01s, max_interval: 0.02s}}}
      filters:`, 1) + fmt.Sprintf("dynamic_resources: {cds_config: {path_config_source: {path: %s}}}\n", clusters)
	server.set(certificate(t, 7))
	p := run(t, text)
	dial := func() (*tls.Conn, error) {
		return tls.Dial("tcp", p.ListenerAddrs()["main"], &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	}
	if c, err := dial(); err == nil {
		c.Close()
		t.Fatal("a server without a certificate took a connection")
	}
	discover(fmt.Sprintf(`
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: certificates
  load_assignment: {cluster_name: certificates, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %s}}}}]}]}
`, path))
	eventually(t, "the certificate comes with the cluster", func() bool {
		c, err := dial()
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 7
	})
	server.set(certificate(t, 8))
	eventually(t, "the next certificate is used", func() bool {
		c, err := dial()
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 8
	})
}

// TestSecretsOverTheEndpointsTLS: whoever serves secrets, or takes spans, may be a workload of the mesh: its endpoint's metadata choose the TLS, which offers the
// mesh's name.
func TestSecretsOverTheEndpointsTLS(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := certificate(t, 1).GetTlsCertificate()
	pair, err := tls.X509KeyPair(own.GetCertificateChain().GetInlineBytes(), own.GetPrivateKey().GetInlineBytes())
	if err != nil {
		t.Fatal(err)
	}
	offered := make(chan []string, 1)
	server := serveSDS(t, lis, grpc.Creds(credentials.NewTLS(&tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			select {
			case offered <- hello.SupportedProtos:
			default:
			}
			return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}, nil
		},
	})))
	clusters := filepath.Join(t.TempDir(), "cds.yaml")
	if err := os.WriteFile(clusters, fmt.Appendf(nil, `
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: certificates
  transport_socket_matches:
  - name: mesh
    match: {tlsMode: istio}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context: {alpn_protocols: [istio], validation_context: {trusted_ca: {inline_string: %q}}}
  load_assignment:
    cluster_name: certificates
    endpoints:
    - lb_endpoints:
      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
        metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}
`, own.GetCertificateChain().GetInlineBytes(), lis.Addr().(*net.TCPAddr).Port), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(staticBootstrap(backend.Listener.Addr().String()), "    filter_chains:\n    - filters:", `    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: default
              sds_config:
                api_config_source:
                  api_type: GRPC
                  grpc_services:
                  - envoy_grpc: {cluster_name: certificates, retry_policy: {retry_back_off: {base_interval: 0.01s, max_interval: 0.02s}}}
      filters:`, 1) + fmt.Sprintf("dynamic_resources: {cds_config: {path_config_source: {path: %s}}}\n", clusters)
	server.set(certificate(t, 7))
	p := run(t, text)
	c, err := tls.Dial("tcp", p.ListenerAddrs()["main"], &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 7 {
		t.Errorf("serial %d, want 7", got)
	}
	if got := <-offered; !slices.Equal(got, []string{"istio", "h2"}) {
		t.Errorf("offered %v", got)
	}
}

package extauthz_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is an authorizer that answers always the same.
type service struct {
	authv3.UnimplementedAuthorizationServer
	addr string

	mu     sync.Mutex
	answer *authv3.CheckResponse // nil: an error
	hang   bool
	last   *authv3.CheckRequest
	left   int // calls that were cancelled
}

// Check implements authv3.AuthorizationServer.
func (s *service) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		s.left++
		return nil, ctx.Err()
	}
	if s.answer == nil {
		return nil, errors.New("oh")
	}
	return s.answer, nil
}

func (s *service) set(a *authv3.CheckResponse, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.hang, s.last = a, hang, nil
}

func (s *service) told() *authv3.CheckRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func start(t *testing.T) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String()}
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return s
}

const message = "type.googleapis.com/envoy.extensions.filters.network."

func filter(fields string) string {
	return "- {name: authz, typed_config: {'@type': " + message + "ext_authz.v3.ExtAuthz, stat_prefix: a, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 2s}, " + fields + "}}\n"
}

// config is an echo behind the filter.
func config(s *service, fields string) proxytest.Config {
	host, port, _ := net.SplitHostPort(s.addr)
	return proxytest.Config{
		Network: filter(fields), Terminal: "- {name: echo, typed_config: {'@type': " + message + "echo.v3.Echo}}\n",
		Clusters: fmt.Sprintf("- name: authz\n  connect_timeout: 1s\n  load_assignment: {cluster_name: authz, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}\n", host, port) +
			"  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}\n",
	}
}

// echo sends a line and returns what comes back, "" for a connection that was closed.
func echo(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = c.Write([]byte("hello\n"))
	b := make([]byte, 6)
	n, _ := c.Read(b)
	return strings.TrimSuffix(string(b[:n]), "\n")
}

// TestAnswers: what each answer does to a connection, and what is counted.
func TestAnswers(t *testing.T) {
	s := start(t)
	no := &status.Status{Code: 7}
	yes := &authv3.CheckResponse{DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"k": structpb.NewStringValue("v")}}}
	for _, c := range []struct {
		name   string
		answer *authv3.CheckResponse
		fields string
		want   string
		stats  map[string]int64
	}{
		{"yes", yes, "", "hello", map[string]int64{"ok": 1}},
		{"no", &authv3.CheckResponse{Status: no}, "", "", map[string]int64{"denied": 1, "cx_closed": 1}},
		{"no, lenient", &authv3.CheckResponse{Status: no}, "failure_mode_allow: true", "", map[string]int64{"denied": 1, "cx_closed": 1}},
		{"error", nil, "", "", map[string]int64{"error": 1, "cx_closed": 1}},
		{"error, lenient", nil, "failure_mode_allow: true", "hello", map[string]int64{"error": 1, "failure_mode_allowed": 1}},
		{"error response", &authv3.CheckResponse{Status: no, HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{}}}, "failure_mode_allow: true", "hello",
			map[string]int64{"error": 1, "failure_mode_allowed": 1}},
		{"not asked", nil, "filter_enabled_metadata: {filter: f, path: [{key: k}], value: {present_match: true}}", "hello", map[string]int64{"disabled": 1, "total": 0}},
	} {
		s.set(c.answer, false)
		p := proxytest.Start(t, config(s, c.fields))
		client := p.Dial()
		if got := echo(client.Conn); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		want := map[string]int64{"ext_authz.a.total": 1, "ext_authz.a.active": 0}
		for _, n := range []string{"ok", "denied", "error", "failure_mode_allowed", "disabled", "cx_closed"} {
			want["ext_authz.a."+n] = 0
		}
		for n, v := range c.stats {
			want["ext_authz.a."+n] = v
		}
		p.WantStats(want)
	}
}

// TestOrder: filters behind this one, and a connection manager, see the connection when it may be served, with
// all that was sent meanwhile.
func TestOrder(t *testing.T) {
	s := start(t)
	md, err := structpb.NewStruct(map[string]any{"role": "admin"})
	if err != nil {
		t.Fatal(err)
	}
	s.set(&authv3.CheckResponse{DynamicMetadata: md}, false)
	cfg := config(s, "")
	cfg.Terminal, cfg.Upstream = "", proxytest.Server(t, proxytest.Echo)
	// Envoy's rbac judges at the first byte, too, but does not wait for who stands before it.
	if !proxytest.Envoy() {
		cfg.Network += "- {name: rbac, typed_config: {'@type': " + message + "rbac.v3.RBAC, stat_prefix: r., rules: {policies: {p: {permissions: [{any: true}], principals: [{metadata: {filter: envoy.filters.network.ext_authz, path: [{key: role}], value: {string_match: {exact: admin}}}}]}}}}}\n"
	}
	p := proxytest.Start(t, cfg)
	if r := p.Do("POST", "/x", nil, strings.Repeat("b", 100<<10)); r.StatusCode != 200 || len(r.Text) < 100<<10 {
		t.Errorf("%d, %d bytes", r.StatusCode, len(r.Text))
	}
	md.Fields["role"] = structpb.NewStringValue("guest")
	s.set(&authv3.CheckResponse{DynamicMetadata: md}, false)
	if !proxytest.Envoy() {
		if got := p.Dial().Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").All(); got != "" {
			t.Errorf("%q", got)
		}
	}
}

// TestAfterShadowPolicy: as Istio has it, a policy before this filter says which connections are meant.
func TestAfterShadowPolicy(t *testing.T) {
	s := start(t)
	s.set(&authv3.CheckResponse{Status: &status.Status{Code: 7}}, false)
	for network, want := range map[string]string{"127.0.0.0": "", "10.0.0.0": "hello"} {
		cfg := config(s, "filter_enabled_metadata: {filter: envoy.filters.network.rbac, path: [{key: x_shadow_effective_policy_id}], value: {string_match: {prefix: istio-ext-authz}}}")
		cfg.Network = "- {name: rbac, typed_config: {'@type': " + message + "rbac.v3.RBAC, stat_prefix: r., shadow_rules_stat_prefix: x_, shadow_rules: {action: DENY, policies: {istio-ext-authz-p: " +
			"{permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: " + network + ", prefix_len: 8}}]}}}}}\n" + cfg.Network
		p := proxytest.Start(t, cfg)
		if got := echo(p.Dial().Conn); got != want {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
	}
}

// TestClientLeaves: a client that breaks off ends the call.
func TestClientLeaves(t *testing.T) {
	s := start(t)
	s.set(nil, true)
	p := proxytest.Start(t, config(s, "failure_mode_allow: true"))
	c := p.Dial().Send("hello\n")
	proxytest.Eventually(t, func() error {
		if s.told() == nil {
			return errors.New("the service was not asked")
		}
		return nil
	})
	p.WantStats(map[string]int64{"ext_authz.a.active": 1})
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	proxytest.Eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left != 1 {
			return errors.New("the call goes on")
		}
		return nil
	})
	p.WantStats(map[string]int64{"ext_authz.a.active": 0, "ext_authz.a.error": 0, "ext_authz.a.cx_closed": 0, "cluster.authz.upstream_rq_active": 0})
}

// TestSlow: a service that takes too long is an error.
func TestSlow(t *testing.T) {
	s := start(t)
	s.set(nil, true)
	cfg := config(s, "")
	cfg.Network = strings.Replace(cfg.Network, "timeout: 2s", "timeout: 0.05s", 1)
	p := proxytest.Start(t, cfg)
	if got := echo(p.Dial().Conn); got != "" {
		t.Errorf("%q", got)
	}
	p.WantStats(map[string]int64{"ext_authz.a.error": 1, "ext_authz.a.cx_closed": 1})
}

// TestTold: what the service is told of a connection.
func TestTold(t *testing.T) {
	s := start(t)
	s.set(&authv3.CheckResponse{}, false)
	p := proxytest.Start(t, config(s, "include_tls_session: true, include_peer_certificate: true"))
	if got := echo(p.Dial().Conn); got != "hello" {
		t.Fatalf("%q", got)
	}
	compare(t, s.told(), `{"source": {"address": {"socketAddress": {"address": "127.0.0.1"}}},
		"destination": {"address": {"socketAddress": {"address": "127.0.0.1"}}}, "metadataContext": {}, "tlsSession": {}}`)

	ca, caKey := certificate(t, nil, nil, nil, nil)
	server, serverKey := certificate(t, ca, caKey, nil, []string{"server.example"})
	for _, c := range []struct {
		uris, dns []string
		principal string
	}{
		{[]string{"spiffe://td/ns/a/sa/b"}, []string{"client.example"}, "spiffe://td/ns/a/sa/b"},
		{nil, []string{"client.example", "other.example"}, "client.example"},
		{nil, nil, "CN=me"},
	} {
		client, clientKey := certificate(t, ca, caKey, c.uris, c.dns)
		cfg := config(s, "include_tls_session: true, include_peer_certificate: true")
		cfg.Listener = "listener_filters: [{name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]"
		cfg.FilterChain = "transport_socket:\n  name: tls\n  typed_config: " + string(must(t, map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "require_client_certificate": true,
			"common_tls_context": map[string]any{
				"tls_certificates":   []any{map[string]any{"certificate_chain": inline(certPEM(server)), "private_key": inline(keyPEM(t, serverKey))}},
				"validation_context": map[string]any{"trusted_ca": inline(certPEM(ca))},
			},
		})) + "\n"
		p := proxytest.Start(t, cfg)
		conn, err := tls.Dial("tcp", p.Addr, &tls.Config{
			ServerName: "asked.example", InsecureSkipVerify: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{client.Raw}, PrivateKey: clientKey}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := echo(conn); got != "hello" {
			t.Errorf("%q", got)
		}
		conn.Close()
		told := s.told()
		block := told.GetAttributes().GetSource().GetCertificate()
		text, err := url.QueryUnescape(block)
		if err != nil || text != certPEM(client) || strings.ContainsAny(block, "\n +/=") {
			t.Errorf("certificate %q: %v", block, err)
		}
		told.Attributes.Source.Certificate = ""
		compare(t, told, `{"source": {"address": {"socketAddress": {"address": "127.0.0.1"}}, "principal": "`+c.principal+`"},
			"destination": {"address": {"socketAddress": {"address": "127.0.0.1"}}, "principal": "server.example", "service": "asked.example"}, "metadataContext": {}, "tlsSession": {"sni": "asked.example"}}`)
	}
}

func compare(t *testing.T, r *authv3.CheckRequest, want string) {
	t.Helper()
	for _, a := range []*authv3.AttributeContext_Peer{r.GetAttributes().GetSource(), r.GetAttributes().GetDestination()} {
		if sa := a.GetAddress().GetSocketAddress(); sa.GetPortValue() == 0 {
			t.Error("no port")
		} else {
			sa.PortSpecifier = nil
		}
	}
	raw, err := protojson.Marshal(r.GetAttributes())
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted any
	if err := errors.Join(json.Unmarshal(raw, &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatal(err)
	}
	if a, b := string(must(t, got)), string(must(t, wanted)); a != b {
		t.Errorf("told\n%s\nwant\n%s", a, b)
	}
}

func must(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inline(text string) map[string]any { return map[string]any{"inline_string": text} }

// certificate makes one; without an issuer it is its own.
func certificate(t *testing.T, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey, uris, dns []string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "me"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: dns, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	if issuer == nil {
		issuer, issuerKey = c, key
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.Subject.CommonName = "ca"
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, key
}

func certPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestRefused: what is not performed is refused by name.
func TestRefused(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("its messages are its own")
	}
	s := &service{addr: "127.0.0.1:1"}
	for fields, want := range map[string]string{
		"send_tls_alert_on_denial: true":         "send_tls_alert_on_denial: this field is not supported",
		"shadow_mode: true":                      "shadow_mode: this field is not supported",
		"typed_metadata_context_namespaces: [a]": "typed_metadata_context_namespaces: this field is not supported",
	} {
		if err := proxytest.Check(config(s, fields)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	for from, to := range map[string]string{
		"transport_api_version: V3, ": "", "grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 2s}, ": "", "stat_prefix: a, ": "",
	} {
		cfg := config(s, "")
		cfg.Network = strings.Replace(cfg.Network, from, to, 1)
		field, _, _ := strings.Cut(from, ":")
		if err := proxytest.Check(cfg); err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

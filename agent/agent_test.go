package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretpb "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func testConfig(t *testing.T, ca *testCA) Config {
	t.Helper()
	root, token := ca.files(t)
	return Config{
		Type: Sidecar, Name: "catalog-v1-1", Namespace: "istioinaction", ServiceAccount: "catalog",
		IP: netip.MustParseAddr("127.77.1.2"), Discovery: ca.address, RootCertFile: root, TokenFile: token,
		Dir: t.TempDir(), Logger: quiet(),
		RunProxy: func(ctx context.Context, _ ProxyRun) error { <-ctx.Done(); return nil },
	}
}

// socketOf finds the SDS socket's path in a bootstrap.
func socketOf(t *testing.T, bootstrap []byte) string {
	t.Helper()
	doc := parseBootstrap(t, bootstrap)
	for _, c := range doc.GetStaticResources().GetClusters() {
		if c.GetName() == sdsCluster {
			return c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetPipe().GetPath()
		}
	}
	t.Fatal("no sds-grpc cluster")
	return ""
}

// runAgent starts an agent and returns the bootstrap that its proxy got.
func runAgent(t *testing.T, cfg Config) []byte {
	t.Helper()
	got := make(chan []byte, 1)
	cfg.RunProxy = func(ctx context.Context, p ProxyRun) error {
		got <- p.Bootstrap
		<-ctx.Done()
		return nil
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case bootstrap := <-got:
		return bootstrap
	case <-time.After(time.Minute):
		t.Fatal("the proxy was not started")
		return nil
	}
}

func dialSDS(t *testing.T, socket string) secretpb.SecretDiscoveryServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return secretpb.NewSecretDiscoveryServiceClient(conn)
}

func decode(t *testing.T, resources ...*anypb.Any) map[string]*tlspb.Secret {
	t.Helper()
	out := map[string]*tlspb.Secret{}
	for _, r := range resources {
		var s tlspb.Secret
		if err := r.UnmarshalTo(&s); err != nil {
			t.Fatal(err)
		}
		out[s.GetName()] = &s
	}
	return out
}

func TestAgentServesItsCertificate(t *testing.T) {
	ca := startCA(t, time.Hour)
	cfg := testConfig(t, ca)
	socket := socketOf(t, runAgent(t, cfg))
	if info, err := os.Stat(filepath.Dir(socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v %v", info, err)
	}
	stream, err := dialSDS(t, socket).StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoverypb.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{"default", "ROOTCA", "kubernetes://elsewhere"}}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, resp.GetResources()...)
	if len(got) != 2 {
		t.Fatalf("got %d secrets, want default and ROOTCA", len(got))
	}
	c := got["default"].GetTlsCertificate()
	pair, err := tls.X509KeyPair(c.GetCertificateChain().GetInlineBytes(), c.GetPrivateKey().GetInlineBytes())
	if err != nil {
		t.Fatal(err)
	}
	if uri := pair.Leaf.URIs[0].String(); uri != "spiffe://cluster.local/ns/istioinaction/sa/catalog" || len(pair.Certificate) != 1 {
		t.Errorf("identity %s, %d certificates", uri, len(pair.Certificate))
	}
	if roots := got["ROOTCA"].GetValidationContext().GetTrustedCa().GetInlineBytes(); !bytes.Equal(roots, ca.rootPEM) {
		t.Errorf("roots %s", roots)
	}
	if asked := ca.requests(); len(asked) != 1 || asked[0] != (how{token: "Bearer the-token"}) {
		t.Errorf("asked %+v", asked)
	}
}

func TestRotationIsPushed(t *testing.T) {
	ca := startCA(t, 2500*time.Millisecond)
	socket := socketOf(t, runAgent(t, testConfig(t, ca)))
	stream, err := dialSDS(t, socket).DeltaSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: secretType, ResourceNamesSubscribe: []string{"default", "nobody's"}}); err != nil {
		t.Fatal(err)
	}
	var chains [][]byte
	for range 3 {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetResources()) != 1 {
			t.Fatalf("got %v", resp)
		}
		if gone := resp.GetRemovedResources(); len(gone) != 1 || gone[0] != "nobody's" {
			t.Errorf("removed %v", gone)
		}
		chain := decode(t, resp.GetResources()[0].GetResource())["default"].GetTlsCertificate().GetCertificateChain().GetInlineBytes()
		for _, old := range chains {
			if bytes.Equal(old, chain) {
				t.Error("the same certificate again")
			}
		}
		chains = append(chains, chain)
	}
	if n := len(ca.requests()); n > 4 {
		t.Errorf("%d requests for three certificates", n)
	}
	if asked := ca.requests(); asked[1].identity != "spiffe://cluster.local/ns/istioinaction/sa/catalog" {
		t.Errorf("the renewal was asked for as %+v, want with the certificate", asked[1])
	}
}

func TestStateOfTheWorldRotation(t *testing.T) {
	ca := startCA(t, 2500*time.Millisecond)
	socket := socketOf(t, runAgent(t, testConfig(t, ca)))
	stream, err := dialSDS(t, socket).StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := &discoverypb.DiscoveryRequest{TypeUrl: secretType, ResourceNames: []string{"default"}}
	versions := map[string]bool{}
	for range 2 {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		versions[resp.GetVersionInfo()] = true
		req.VersionInfo, req.ResponseNonce = resp.GetVersionInfo(), resp.GetNonce()
	}
	if len(versions) != 2 {
		t.Errorf("versions %v", versions)
	}
}

func TestAgentWaitsForItsCA(t *testing.T) {
	ca := startCA(t, time.Hour)
	ca.setRefuse(status.Error(codes.Unavailable, "starting"))
	cfg := testConfig(t, ca)
	started := make(chan struct{})
	cfg.RunProxy = func(ctx context.Context, _ ProxyRun) error { close(started); <-ctx.Done(); return nil }
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); len(ca.requests()) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the agent gave up")
		}
	}
	select {
	case <-started:
		t.Error("the proxy runs without a certificate")
	default:
	}
	ca.setRefuse(nil)
	<-started
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A CA that is away when the certificate is to be renewed, and for a while after: the proxy keeps what it has, and gets the next one as soon as there is one.
func TestCAAwayForMoreThanHalfALife(t *testing.T) {
	ca := startCA(t, 4*time.Second)
	socket := socketOf(t, runAgent(t, testConfig(t, ca)))
	stream, err := dialSDS(t, socket).DeltaSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: secretType, ResourceNamesSubscribe: []string{"default"}}); err != nil {
		t.Fatal(err)
	}
	leaf := func() *x509.Certificate {
		t.Helper()
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetRemovedResources()) != 0 {
			t.Errorf("the proxy lost %v", resp.GetRemovedResources())
		}
		c := decode(t, resp.GetResources()[0].GetResource())["default"].GetTlsCertificate()
		pair, err := tls.X509KeyPair(c.GetCertificateChain().GetInlineBytes(), c.GetPrivateKey().GetInlineBytes())
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	first := leaf()
	ca.setRefuse(status.Error(codes.Unavailable, "away"))
	half := first.NotAfter.Add(-2 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); len(ca.requests()) < 3 || time.Now().Before(half.Add(200*time.Millisecond)); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the agent does not try again")
		}
	}
	ca.setRefuse(nil)
	if second := leaf(); !time.Now().Before(first.NotAfter) || !second.NotAfter.After(first.NotAfter) {
		t.Errorf("the next certificate came at %v, and the first ended at %v", time.Now(), first.NotAfter)
	}
}

func TestProxysFailureEndsTheAgent(t *testing.T) {
	cfg := testConfig(t, startCA(t, time.Hour))
	cfg.RunProxy = func(context.Context, ProxyRun) error { return errors.New("port taken") }
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "port taken") {
		t.Errorf("got %v", err)
	}
}

func TestJoin(t *testing.T) {
	ca := startCA(t, time.Hour)
	root, token := ca.files(t)
	cfg := Config{Namespace: "istioinaction", ServiceAccount: "webapp", Discovery: ca.address, RootCertFile: root, TokenFile: token}
	id, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if uri := id.Certificate.Leaf.URIs[0].String(); uri != "spiffe://cluster.local/ns/istioinaction/sa/webapp" {
		t.Errorf("identity %s", uri)
	}
	ca.setRefuse(status.Error(codes.Unauthenticated, "who are you"))
	if _, err := Join(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "who are you") {
		t.Errorf("refused: %v", err)
	}
}

// A CA that was made anew does not know the old certificate: the token counts, and the new root is learned.
func TestCAMadeAnew(t *testing.T) {
	old, fresh := startCA(t, time.Hour), startCA(t, time.Hour)
	cfg := testConfig(t, old)
	first, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.CAAddress = fresh.address
	cfg.RootCertFile, cfg.TokenFile = fresh.files(t)
	cfg = cfg.withDefaults()
	r := &renewer{cfg: cfg, secrets: newSecrets()}
	r.cfg.signer = newCAClient(cfg, r.secrets)
	r.secrets.set(first)
	if err := r.obtain(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := r.secrets.current()
	if id == first || !bytes.Equal(id.Roots, fresh.rootPEM) {
		t.Errorf("roots %s", id.Roots)
	}
	if asked := fresh.requests(); len(asked) != 1 || asked[0].identity != "" || asked[0].token == "" {
		t.Errorf("asked %+v", asked)
	}
}

func TestShortPathForTheSocket(t *testing.T) {
	cfg := testConfig(t, startCA(t, time.Hour))
	cfg.Dir = filepath.Join(cfg.Dir, strings.Repeat("long/", 30))
	if socket := socketOf(t, runAgent(t, cfg)); len(socket) > maxSocketPath {
		t.Errorf("%d bytes", len(socket))
	}
}

func TestRenewalTime(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		grace, jitter, draw float64
		want                time.Duration
	}{
		{defaultGrace, defaultGraceJitter, 0, 49 * time.Hour}, {defaultGrace, defaultGraceJitter, 0.5, 50 * time.Hour}, {defaultGrace, defaultGraceJitter, 1, 51 * time.Hour},
		{0.2, 0, 0.3, 80 * time.Hour}, {0.9, 0.5, 0, time.Hour}, {0.1, 0.5, 1, 100 * time.Hour},
	} {
		if got := renewalTime(from, from.Add(100*time.Hour), tt.grace, tt.jitter, tt.draw).Sub(from).Round(time.Second); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestRetryWait(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 250 * time.Millisecond, 1: 500 * time.Millisecond, 6: 16 * time.Second, 7: maxRetry, 1000: maxRetry} {
		if got := retryWait(n, 1); got != want {
			t.Errorf("failure %d: %v, want %v", n, got, want)
		}
		if got := retryWait(n, 0); got != want/2 {
			t.Errorf("failure %d, lowest draw: %v, want %v", n, got, want/2)
		}
	}
}

func TestAnswersThatAreRefused(t *testing.T) {
	ca := startCA(t, time.Hour)
	catalog := spiffe.ID{TrustDomain: "cluster.local", Namespace: "istioinaction", ServiceAccount: "catalog"}
	forum := catalog
	forum.ServiceAccount = "forum"
	_, key, err := certificateRequest(catalog, KeyKind{})
	if err != nil {
		t.Fatal(err)
	}
	pair := func(k []byte) any {
		id, err := keyOf(k)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	_, otherKey, err := certificateRequest(catalog, KeyKind{})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(id spiffe.ID, k []byte) []string {
		chain, err := ca.issue(id.URL(), pair(k))
		if err != nil {
			t.Fatal(err)
		}
		return chain
	}
	for _, tc := range []struct {
		name   string
		answer []string
		want   string
	}{
		{"nothing", nil, "0 certificates"},
		{"leaf alone", issue(catalog, key)[:1], "1 certificates"},
		{"rubbish", []string{"x", "y"}, "0 certificates"},
		{"another's identity", issue(forum, key), "sa/forum"},
		{"another key", issue(catalog, otherKey), "does not fit our key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := newIdentity(catalog, key, tc.answer); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := newIdentity(catalog, key, issue(catalog, key)); err != nil {
		t.Error(err)
	}
	elsewhere, any := catalog, catalog
	elsewhere.TrustDomain, any.TrustDomain = "mesh.example", ""
	if _, err := newIdentity(catalog, key, issue(elsewhere, key)); err == nil || !strings.Contains(err.Error(), "spiffe://mesh.example/") {
		t.Errorf("a domain that is not the one wanted: %v", err)
	}
	id, err := newIdentity(any, key, issue(elsewhere, key))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := nodeMetadata(Config{Type: Sidecar, Name: "x", Namespace: "istioinaction", ServiceAccount: "catalog", IP: netip.MustParseAddr("127.77.1.2")}.member(id))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"MESH_ID", "TRUST_DOMAIN"} {
		if got := meta.GetFields()[key].GetStringValue(); got != "mesh.example" {
			t.Errorf("%s is %q", key, got)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{Type: "waypoint", Name: "x", Namespace: "a/b"}); err == nil {
		t.Error("accepted")
	} else {
		for _, want := range []string{"waypoint", "IP is missing", "control plane's address", "root certificate", "no proxy", "a/b"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not mention %q", err, want)
			}
		}
	}
}

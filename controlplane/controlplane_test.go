package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// running is a whole control plane on folders of its own.
type running struct {
	t     *testing.T
	dir   string
	cp    *ControlPlane
	stop  func() error
	addrs Addresses
}

const webService = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n  clusterIP: 10.0.0.1\n  selector: {app: web}\n  ports: [{name: http, port: 80}]\n"

func start(t *testing.T, change func(*Config)) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir()}
	r.write("config/shop/service/web.yaml", webService)
	r.write("workloads/web-1.yaml", "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: web-1, namespace: shop}\nspec: {address: 10.1.0.1, labels: {app: web}, serviceAccount: web}\n")
	r.run(change)
	return r
}

func (r *running) run(change func(*Config)) {
	r.t.Helper()
	cfg := Config{
		ConfigDir: filepath.Join(r.dir, "config"), WorkloadsDir: filepath.Join(r.dir, "workloads"), MeshFile: filepath.Join(r.dir, "mesh.yaml"),
		CADir: filepath.Join(r.dir, "ca"), GRPCAddr: "127.0.0.1:0", SecureGRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", Instance: "istiod-test",
	}
	if change != nil {
		change(&cfg)
	}
	cp, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cp.Run(ctx) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Error(err)
		}
	})
	select {
	case <-cp.Ready():
	case err := <-ended:
		r.t.Fatal(err)
	case <-time.After(time.Minute):
		r.t.Fatal("not ready within a minute")
	}
	r.cp, r.addrs = cp, cp.Addresses()
}

func (r *running) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// page reads a debug page.
func (r *running) page(path string) (int, string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.addrs.HTTP.String() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func connect(t *testing.T, addr net.Addr, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr.String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// roots is what a workload is given to verify the control plane with.
func (r *running) roots() *x509.CertPool {
	r.t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.dir, "ca", "root-cert.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return pool
}

func (r *running) tls(cert *tls.Certificate) credentials.TransportCredentials {
	cfg := &tls.Config{RootCAs: r.roots(), ServerName: "istiod.istio-system.svc", MinVersion: tls.VersionTLS12}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return credentials.NewTLS(cfg)
}

// enrol gets a certificate for a service account as an agent does: a token, a request, the control plane's name verified.
func (r *running) enrol(ns, sa string) *tls.Certificate {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	id := spiffe.ID{TrustDomain: "cluster.local", Namespace: ns, ServiceAccount: sa}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		r.t.Fatal(err)
	}
	joinKey, err := jointoken.ReadKey(filepath.Join(r.dir, "ca"))
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := jointoken.Mint(joinKey, ns, sa, time.Now(), time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(r.t.Context(), "authorization", "Bearer "+token)
	resp, err := securityapi.NewIstioCertificateServiceClient(connect(r.t, r.addrs.SecureGRPC, r.tls(nil))).CreateCertificate(ctx,
		&securityapi.IstioCertificateRequest{Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	if err != nil {
		r.t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(resp.CertChain[0]))
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// webNode is the sidecar of web-1, which leaves its service account to its certificate.
func webNode(t *testing.T) *corepb.Node {
	t.Helper()
	n := node(t, "sidecar", "web-1", "shop", "10.1.0.1", map[string]any{"app": "web"})
	delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
	return n
}

func TestTheWholeWay(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	has := func(typeURL, name string) func(xdstest.State) bool {
		return func(s xdstest.State) bool { return s[typeURL][name] != nil }
	}
	if err := c.Until(ctx, has(xdstest.EDS, "outbound|80||web.shop.svc.cluster.local")); err != nil {
		t.Fatal(err)
	}

	// A file is written. That the rescan's turn is not waited for, configstore/file's tests show.
	r.write("config/shop/service/api.yaml", strings.ReplaceAll(webService, "web", "api"))
	if err := c.Until(ctx, has(xdstest.EDS, "outbound|80||api.shop.svc.cluster.local")); err != nil {
		t.Fatal(err)
	}
	// It turns bad: nothing changes, and the mistake is shown. Another one is taken meanwhile, and nothing was removed on the way.
	r.write("config/shop/service/api.yaml", strings.NewReplacer("web", "api", "port: 80", "port: eighty").Replace(webService))
	r.write("config/shop/service/more.yaml", strings.ReplaceAll(webService, "web", "more"))
	if err := c.Until(ctx, has(xdstest.CDS, "outbound|80||more.shop.svc.cluster.local")); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(ctx, func() bool { _, page := r.page("/debug/errors"); return strings.Contains(page, "api.yaml") }); err != nil {
		t.Error("the mistake is not shown")
	}
	for _, resp := range c.Responses() {
		if len(resp.Removed) > 0 {
			t.Errorf("something was removed: %v", resp)
		}
	}
	if err := c.Until(ctx, has(xdstest.CDS, "outbound|80||api.shop.svc.cluster.local")); err != nil {
		t.Errorf("the last good form was not kept: %v", err)
	}
	// It goes: so does the cluster.
	if err := os.Remove(filepath.Join(r.dir, "config/shop/service/api.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.CDS]["outbound|80||api.shop.svc.cluster.local"] == nil }); err != nil {
		t.Fatal(err)
	}
	// The mesh configuration is followed too.
	r.write("mesh.yaml", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
	if err := c.Until(ctx, func(s xdstest.State) bool {
		for _, a := range s[xdstest.RDS] {
			if strings.Contains(string(a.Value), "block_all") {
				return true
			}
		}
		return false
	}); err != nil {
		t.Errorf("REGISTRY_ONLY did not arrive: %v", err)
	}

	// The control plane ends and comes back: the proxy is sent nothing that it has.
	if err := waitFor(ctx, func() bool {
		st := r.cp.xds.Status()
		return len(st) == 1 && st[0].Served == r.cp.pipeline.view.Load().Version()
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	_ = c.Err()
	r.run(nil)
	back, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{Node: webNode(t), From: c})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := waitFor(ctx, func() bool { st := r.cp.xds.Status(); return len(st) == 1 && len(st[0].Types) == 4 && st[0].Served > 0 }); err != nil {
		t.Fatal(err)
	}
	if got := back.Responses(); len(got) != 0 {
		t.Errorf("a proxy that has everything was sent %v", got)
	}
}

// TestIdentity: on the TLS listener a proxy is who its certificate says.
func TestIdentity(t *testing.T) {
	r := start(t, nil)
	other := start(t, nil)
	web := r.enrol("shop", "web")
	tests := []struct {
		name string
		cert *tls.Certificate
		node *corepb.Node
		want codes.Code
	}{
		{"its own", web, webNode(t), codes.OK},
		{"another service account", web, node(t, "sidecar", "web-1", "shop", "10.1.0.1", nil), codes.PermissionDenied},
		{"another namespace", web, func() *corepb.Node {
			n := node(t, "sidecar", "web-1", "bank", "10.1.0.1", nil)
			delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
			return n
		}(), codes.PermissionDenied},
		{"no certificate", nil, webNode(t), codes.Unauthenticated},
		// The handshake fails, which gRPC reports as a connection that cannot be had.
		{"of another mesh", other.enrol("shop", "web"), webNode(t), codes.Unavailable},
		{"no node", web, nil, codes.InvalidArgument},
		{"a node that is none", web, &corepb.Node{Id: "web"}, codes.InvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(tt.cert)), xdstest.Options{Node: tt.node})
			if err == nil {
				defer c.Close()
				err = c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.CDS] != nil })
			}
			if status.Code(err) != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPlaintextServesAndRefusalIsShown(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	refuse := func(typeURL string, _ []string) string {
		if typeURL == xdstest.LDS {
			return "listener of a kind that this proxy does not know"
		}
		return ""
	}
	for _, sotw := range []bool{false, true} {
		n := webNode(t)
		n.Id = strings.Replace(n.Id, "web-1", fmt.Sprint("web-", sotw), 1)
		delete(n.Metadata.Fields, "NAME")
		c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: n, SotW: sotw, Refuse: refuse})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := waitFor(ctx, func() bool {
			for _, p := range r.cp.xds.Status() {
				if p.Proxy.ID == n.Id {
					return p.Type(xdstest.LDS).Refusal != ""
				}
			}
			return false
		}); err != nil {
			t.Fatalf("sotw %v: the refusal was not noticed", sotw)
		}
	}
	r.write("config/shop/secret/key.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\nstringData: {tls.key: highly-private}\n")
	if err := waitFor(ctx, func() bool { _, page := r.page("/debug/configz?kind=Secret"); return strings.Contains(page, "tls.key") }); err != nil {
		t.Error("the Secret is not shown")
	}
	if _, page := r.page("/debug/configz"); strings.Contains(page, "highly-private") || strings.Contains(page, "aGlnaGx5LXByaXZhdGU") {
		t.Error("configz shows what a Secret holds")
	}
	_, page := r.page("/debug/syncz")
	var syncz []map[string]any
	if err := json.Unmarshal([]byte(page), &syncz); err != nil || len(syncz) != 2 {
		t.Fatalf("%v in %s", err, page)
	}
	for _, p := range syncz {
		if p["listener_sent"] == p["listener_acked"] || p["cluster_sent"] != p["cluster_acked"] || p["cluster_id"] != "Kubernetes" || p["istio_version"] != "1.24.1" {
			t.Errorf("syncz: %v", p)
		}
	}
	for path, want := range map[string]string{
		"/debug/view": "does not know", "/debug/registryz": "web.shop.svc.cluster.local", "/debug/endpointz": "10.1.0.1",
		"/debug/configz?kind=service": `"kind": "Service"`, "/debug/workloads": "web-1", "/metrics": "pilot_total_xds_rejects{type=\"lds\"} 2",
		"/debug/config_dump?proxyID=web-false.shop": "outbound|80||web.shop.svc.cluster.local", "/debug/connections": "totalClients",
		"/debug/ndsz?proxyID=web-false.shop": "web.shop.svc.cluster.local",
		"/version":                           "istio_compat", "/ready": "ready", "/debug/mesh": "cluster.local", "/debug/cachez": "Built", "/debug": "/debug/syncz",
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "controlplane",
	} {
		if code, page := r.page(path); code != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%s answers %d without %q:\n%.600s", path, code, want, page)
		}
	}
	if code, _ := r.page("/debug/config_dump?proxyID=nobody.shop"); code != http.StatusNotFound {
		t.Errorf("config_dump of nobody: %d", code)
	}
}

func TestDebugPagesAreForThisMachine(t *testing.T) {
	r := start(t, nil)
	for _, change := range []func(*http.Request){
		func(q *http.Request) { q.Host = "rebound.example:15014" },
		func(q *http.Request) { q.Header.Set("Origin", "http://elsewhere.example") },
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addrs.HTTP.String()+"/debug/configz", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %v: %d", req.Host, req.Header, resp.StatusCode)
		}
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	cp, err := New(Config{ConfigDir: filepath.Join(dir, "config"), CADir: filepath.Join(dir, "ca"), GRPCAddr: "127.0.0.1:0", HTTPAddr: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	err = cp.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--http-addr") {
		t.Errorf("Run: %v, want the address and the flag", err)
	}
}

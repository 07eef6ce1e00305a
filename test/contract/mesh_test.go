package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/proxy"
)

// mesh is a control plane with a gateway and a sidecar, and the applications behind them.
type mesh struct {
	gateway, sidecar string // where to send requests
	log              string // the access log of both proxies

	startSidecar                  func()
	stopSidecar, stopControlPlane func()
}

// apps are the applications of every scenario: name, labels, and whether it is one that fails.
var apps = []struct{ service, version, behaviour string }{
	{"catalog", "v1", ""}, {"catalog", "v2", ""}, {"webapp", "v1", ""}, {"broken", "v1", "fail"}, {"flaky", "v1", "flaky"}, {"slow", "v1", "slow"},
	{"greeter", "v1", "http2"},
}

const format = `%REQ(X-CASE)% %UPSTREAM_CLUSTER% %ROUTE_NAME% %RESPONSE_FLAGS%\n`

func startMesh(t *testing.T, dir string) *mesh {
	t.Helper()
	state := t.TempDir()
	m := &mesh{log: filepath.Join(state, "access.log"), gateway: freeAddr(t), sidecar: freeAddr(t)}
	config := filepath.Join(state, "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(dir, "config.yaml"), filepath.Join(config, "config.yaml"))
	write(t, filepath.Join(config, "services.yaml"), m.services(t))
	meshYAML, err := os.ReadFile(filepath.Join(dir, "mesh.yaml"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	write(t, filepath.Join(state, "mesh.yaml"), fmt.Sprintf("accessLogFile: %s\naccessLogFormat: \"%s\"\n%s", m.log, format, meshYAML))

	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: config, MeshFile: filepath.Join(state, "mesh.yaml"), CADir: filepath.Join(state, "ca"), GRPCAddr: "127.0.0.1:0", Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.stopControlPlane = run(t, "control plane", cp.Run, cp.Ready())
	xds := cp.Addresses().GRPC.(*net.TCPAddr)

	bind := `, LATEEN_BIND: 127.0.0.1, LABELS: {istio: ingressgateway, app: istio-ingressgateway}`
	startProxy(t, log, "router", "127.0.0.1", "istio-ingressgateway-1", "istio-system", bind, xds.Port)
	app := fmt.Sprintf(`, INTERCEPTION_MODE: NONE, LATEEN_HTTP_PROXY: "%s", LATEEN_ON_DEMAND: "true", LABELS: {app: client}`, m.sidecar)
	m.startSidecar = func() {
		m.stopSidecar = startProxy(t, log, "sidecar", "127.0.0.9", "client-1", "istioinaction", app, xds.Port)
	}
	m.startSidecar()
	return m
}

// services are the mesh's services with a running application behind each, and the gateway's.
func (m *mesh) services(t *testing.T) string {
	_, port, _ := net.SplitHostPort(m.gateway)
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80, targetPort: %s}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: istio-ingressgateway-1, namespace: istio-system}
spec: {address: 127.0.0.1, labels: {istio: ingressgateway}}
`, port)
	seen := map[string]bool{}
	for _, a := range apps {
		addr := startApp(t, a.service+"-"+a.version, a.behaviour)
		port := "http"
		if a.behaviour == "http2" {
			port = "grpc" // the name says which protocol the application speaks
		}
		if !seen[a.service] {
			fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: istioinaction}
spec:
  selector: {app: %s}
  ports: [{name: %s, port: 80, targetPort: 3000}]
`, a.service, a.service, port)
		}
		seen[a.service] = true
		fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s-%s, namespace: istioinaction}
spec:
  address: 127.0.0.1
  ports: {%s: %d}
  labels: {app: %s, version: %s}
`, a.service, a.version, port, addr.Port, a.service, a.version)
	}
	return b.String()
}

// startApp serves an application that says who it is and what it saw.
func startApp(t *testing.T, name, behaviour string) *net.TCPAddr {
	count := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count++
		w.Header().Set("x-app", name)
		w.Header().Set("x-seen-protocol", r.Proto)
		w.Header().Set("x-seen-path", r.URL.RequestURI())
		w.Header().Set("x-seen-host", r.Host)
		for k := range r.Header {
			w.Header().Set("x-seen-"+k, r.Header.Get(k))
		}
		switch {
		case behaviour == "fail", behaviour == "flaky" && count%2 == 1:
			w.WriteHeader(http.StatusInternalServerError)
		case behaviour == "slow":
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}
	}))
	if behaviour == "http2" {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetHTTP1(true)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().(*net.TCPAddr)
}

// startProxy runs a proxy at an address that no application has: what it serves is what goes out of it.
func startProxy(t *testing.T, log *slog.Logger, kind, ip, name, namespace, metadata string, xdsPort int) (stop func()) {
	bootstrap := fmt.Sprintf(`
node:
  id: %[1]s~%[6]s~%[2]s.%[3]s~%[3]s.svc.cluster.local
  cluster: %[2]s.%[3]s
  metadata: {NAME: %[2]s, NAMESPACE: %[3]s, WORKLOAD_NAME: %[2]s, CLUSTER_ID: Kubernetes, INSTANCE_IPS: %[6]s%[4]s}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[5]d}}}}]}]
`, kind, name, namespace, metadata, xdsPort, ip)
	p, err := proxy.New(proxy.Config{Bootstrap: []byte(bootstrap), Concurrency: 1, Logger: log, LogLevel: "warning"})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, name, p.Run, p.Ready())
}

// run starts a part of the mesh and ends it by stop, or with the test.
func run(t *testing.T, name string, run func(context.Context) error, ready <-chan struct{}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
		return stop
	case err := <-done:
		done <- nil
		t.Fatalf("%s ended: %v", name, err)
	case <-time.After(time.Minute):
		t.Fatalf("%s did not become ready", name)
	}
	return nil
}

// entry is a line of the access log.
type entry struct{ cluster, route, flags string }

// logged waits for the lines of all requests.
func (m *mesh) logged(t *testing.T, want [][]answer) map[string]entry {
	t.Helper()
	count := 0
	for _, w := range want {
		count += len(w)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	found := map[string]entry{}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		raw, err := os.ReadFile(m.log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			if f := strings.Fields(string(line)); len(f) == 4 && bytes.HasSuffix(line, []byte("\n")) {
				found[f[0]] = entry{f[1], f[2], f[3]}
			}
		}
		if len(found) == count {
			return found
		}
	}
	t.Fatalf("%d of %d requests are in the access log", len(found), count)
	return nil
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

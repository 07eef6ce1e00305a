// Package grpcxds runs gRPC-Go's own xDS client under Lateen's control plane: an application without a proxy that finds, balances and follows
// a service by "xds:///". It is a module of its own, because the client needs what the product does not. `make conformance` runs it.
package grpcxds

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"

	"github.com/lateen-mesh/lateen/test/conformance/runproxy"
)

// mesh is a running control plane and where it reads and answers.
type mesh struct {
	t            *testing.T
	dir          string
	grpc, http   int
	conn         *grpc.ClientConn
	greeterPorts map[string]int // by server
}

const service = `apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: greeter}, ports: [{name: grpc, port: 50051}]}
`

func TestClient(t *testing.T) {
	m := &mesh{t: t, dir: t.TempDir(), grpc: runproxy.FreePort(t), http: runproxy.FreePort(t), greeterPorts: map[string]int{}}
	for _, name := range []string{"v1-a", "v1-b", "v2-a"} {
		m.greeterPorts[name] = startGreeter(t, name)
	}
	m.write("service.yaml", service)
	m.workload("v1-a")
	m.workload("v1-b")
	m.workload("v2-a")
	m.start()
	m.conn = m.dial("greeter.shop.svc.cluster.local:50051")

	m.eventually("every server answers", func() error { return m.answers(60, nil, "v1-a", "v1-b", "v2-a") })

	m.write("rules.yaml", rules("v1"))
	m.eventually("the route leads to version 1 and the header to version 2", func() error {
		if err := m.answers(40, nil, "v1-a", "v1-b"); err != nil {
			return err
		}
		return m.answers(20, []string{"x-cohort", "internal"}, "v2-a")
	})
	m.eventually("an injected fault aborts", func() error {
		_, err := m.call("x-fault", "yes")
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "fault injection") {
			return fmt.Errorf("%v", err)
		}
		return nil
	})

	// While configuration changes no call fails.
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- m.callUntil(ctx) }()
	m.write("rules.yaml", rules("v2"))
	m.eventually("the changed route leads to version 2", func() error { return m.answers(40, nil, "v2-a") })
	m.write("rules.yaml", rules("v1"))
	m.eventually("and back to version 1", func() error { return m.answers(40, nil, "v1-a", "v1-b") })
	m.remove("v1-b.yaml")
	m.eventually("a workload that has gone is not called", func() error { return m.answers(40, nil, "v1-a") })
	m.workload("v1-b")
	m.eventually("one that has come is", func() error { return m.answers(40, nil, "v1-a", "v1-b") })
	cancel()
	if err := <-failed; err != nil {
		t.Errorf("a call failed while configuration changed: %v", err)
	}
	m.checkStatus()
}

// TestNames: short names are those of the client's namespace, and what does not exist is said to be so.
func TestNames(t *testing.T) {
	m := &mesh{t: t, dir: t.TempDir(), grpc: runproxy.FreePort(t), http: runproxy.FreePort(t), greeterPorts: map[string]int{"v1-a": startGreeter(t, "v1-a")}}
	m.write("service.yaml", service)
	m.workload("v1-a")
	m.start()
	for _, name := range []string{"greeter:50051", "greeter.shop:50051", "greeter.shop.svc:50051"} {
		m.conn = m.dial(name)
		m.eventually(name+" is served", func() error { return m.answers(1, nil, "v1-a") })
	}
	for _, name := range []string{"greeter.shop.svc.cluster.local:50052", "nobody.shop.svc.cluster.local:50051"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the client waits for 15 s before it believes it
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := healthpb.NewHealthClient(m.dial(name)).Check(ctx, &healthpb.HealthCheckRequest{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%v, want that it is unavailable", err)
			}
		})
	}
}

// rules have requests without a header go to one version, those with x-cohort to version 2, and those with x-fault nowhere.
func rules(version string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter, namespace: shop}
spec:
  host: greeter
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter, namespace: shop}
spec:
  hosts: [greeter]
  http:
  - match: [{headers: {x-fault: {exact: "yes"}}}]
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    route: [{destination: {host: greeter, subset: v1}}]
  - match: [{headers: {x-cohort: {exact: internal}}}]
    route: [{destination: {host: greeter, subset: v2}}]
  - route: [{destination: {host: greeter, subset: %s}}]
    corsPolicy: {allowMethods: [POST]}
    timeout: 30s
`, version)
}

// startGreeter serves gRPC's health service, and says in a header which server it is.
func startGreeter(t *testing.T, name string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs("server", name)); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// write replaces a file of the configuration in one step.
func (m *mesh) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, "config", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) remove(name string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.dir, "config", name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) workload(name string) {
	m.t.Helper()
	version, _, _ := strings.Cut(name, "-")
	m.write(name+".yaml", fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: greeter-%s, namespace: shop}
spec: {address: 127.0.0.1, ports: {grpc: %d}, labels: {app: greeter, version: %s}}
`, name, m.greeterPorts[name], version))
}

// start runs `lateen control-plane` until the test ends.
func (m *mesh) start() {
	t := m.t
	t.Helper()
	bin := filepath.Join(m.dir, "lateen")
	build := exec.Command("go", "build", "-o", bin, "./cmd/lateen")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build of lateen: %v\n%s", err, out)
	}
	var log strings.Builder
	cmd := exec.Command(bin, "control-plane", "--config-dir", filepath.Join(m.dir, "config"), "--state-dir", filepath.Join(m.dir, "state"),
		"--grpc-addr", fmt.Sprint("127.0.0.1:", m.grpc), "--secure-grpc-addr", "none", "--http-addr", fmt.Sprint("127.0.0.1:", m.http))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("the control plane wrote:\n%s", log.String())
		}
	})
	m.eventually("the control plane is ready", func() error { _, err := m.page("/ready"); return err })
}

func (m *mesh) page(path string) ([]byte, error) {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", m.http, path))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}

// dial makes a channel as an application does, with Istio's bootstrap for gRPC.
func (m *mesh) dial(target string) *grpc.ClientConn {
	m.t.Helper()
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": fmt.Sprint("127.0.0.1:", m.grpc), "channel_creds": []any{map[string]string{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{
			"id":       "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local",
			"metadata": map[string]any{"GENERATOR": "grpc", "NAMESPACE": "shop", "INSTANCE_IPS": "127.0.0.1"},
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// call returns the server that answered.
func (m *mesh) call(header ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	var got metadata.MD
	_, err := healthpb.NewHealthClient(m.conn).Check(metadata.AppendToOutgoingContext(ctx, header...), &healthpb.HealthCheckRequest{}, grpc.Header(&got))
	return strings.Join(got.Get("server"), ","), err
}

// callUntil calls until ctx ends, and returns the first failure.
func (m *mesh) callUntil(ctx context.Context) error {
	for ctx.Err() == nil {
		if _, err := m.call(); err != nil {
			return err
		}
	}
	return nil
}

// answers calls n times and wants to be answered by all of the servers and no others.
func (m *mesh) answers(n int, header []string, servers ...string) error {
	seen := map[string]bool{}
	for range n {
		server, err := m.call(header...)
		if err != nil {
			return err
		}
		seen[server] = true
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, servers) {
		return fmt.Errorf("answered by %v, want %v", got, servers)
	}
	return nil
}

// checkStatus wants the client to be shown as one that has taken everything.
func (m *mesh) checkStatus() {
	m.t.Helper()
	raw, err := m.page("/debug/syncz")
	if err != nil {
		m.t.Fatal(err)
	}
	var proxies []struct {
		Proxy, Protocol string
		Types           []struct{ Type, State, Error string }
	}
	if err := json.Unmarshal(raw, &proxies); err != nil || len(proxies) != 1 || proxies[0].Protocol != "sotw" {
		m.t.Fatalf("%v: %s", err, raw)
	}
	for _, kind := range proxies[0].Types {
		if kind.Error != "" || kind.Type != "ECDS" && kind.State != "SYNCED" {
			m.t.Errorf("%s is %s %s", kind.Type, kind.State, kind.Error)
		}
	}
}

func (m *mesh) eventually(what string, check func() error) {
	m.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if err = check(); err == nil {
			return
		}
	}
	m.t.Fatalf("not within a minute: %s: %v", what, err)
}

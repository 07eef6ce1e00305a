package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/supervise"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestChooseBlock(t *testing.T) {
	taken := func(blocks ...string) func(string) bool {
		return func(b string) bool { return !slices.Contains(blocks, b) }
	}
	tests := []struct {
		name      string
		preferred int
		free      func(string) bool
		want      string
	}{
		{"the preferred one", 77, taken(), "127.77"},
		{"the next", 77, taken("127.77", "127.78"), "127.79"},
		{"around the end", 254, taken("127.254"), "127.64"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := chooseBlock(tc.preferred, tc.free); err != nil || got != tc.want {
				t.Errorf("got %s %v, want %s", got, err, tc.want)
			}
		})
	}
	if _, err := chooseBlock(77, func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "lateen demo stop") {
		t.Errorf("none free: %v", err)
	}
	for _, dir := range []string{"/a", "/b", "/home/x/.lateen", ""} {
		if b := preferredBlock(dir); b < firstBlock || b > lastBlock || b != preferredBlock(dir) {
			t.Errorf("%q: block %d", dir, b)
		}
	}
}

func TestGatewayPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	chosen := gatewayPort{"gateway-port", port, port}
	if _, err = chosen.free(nil); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "--gateway-port") {
		t.Errorf("got %v", err)
	}
	// Nobody chose it: another one will do, and not one that is spoken for.
	usual := gatewayPort{"gateway-tls-port", 0, port}
	next, err := usual.free(nil)
	if err != nil || next <= port {
		t.Errorf("the next after %d is %d, %v", port, next, err)
	}
	if other, err := usual.free([]int{next}); err != nil || other <= next {
		t.Errorf("the next after %d is %d, %v", next, other, err)
	}
	ln.Close()
	if got, err := chosen.free(nil); err != nil || got != port {
		t.Errorf("a free port: %d, %v", got, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if _, err := holder(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody: %v", err)
	}
	l, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(dir); err != nil || pid != os.Getpid() {
		t.Errorf("holder %d %v", pid, err)
	}
	if _, err := acquire(dir); err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), "lateen demo stop") {
		t.Errorf("a second one: %v", err)
	}
	l.release()
	if _, err := holder(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after release: %v", err)
	}
	l, err = acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.release()
}

func testPlan(t *testing.T) *plan {
	t.Helper()
	return newPlan(t.TempDir(), "127.77", gatewayPorts{8080, 8443, 31400}, "/bin/lateen")
}

func TestPlan(t *testing.T) {
	p := testPlan(t)
	run := p.runFile([]supervise.Status{{Name: "control-plane", PID: 7, Log: "/l"}})
	if run.Gateway != "127.0.0.1:8080" || run.GatewayTLS != "127.0.0.1:8443" || run.GatewayTCP != "127.0.0.1:31400" || run.XDSTLS != "127.77.0.1:15012" || len(run.Proxies) != 5 || len(run.Apps) != 5 || run.Processes[0].PID != 7 {
		t.Errorf("%+v", run)
	}
	names := map[string]bool{}
	addresses := map[string]bool{}
	for _, process := range append(p.meshProcesses(), p.controlPlaneProcess()) {
		if names[process.Name] {
			t.Errorf("two processes are called %s", process.Name)
		}
		names[process.Name] = true
	}
	for _, w := range p.workloads {
		for _, a := range []string{w.IP, w.AppIP} {
			if a != "" && addresses[a] {
				t.Errorf("two use %s", a)
			}
			addresses[a] = true
		}
		if !names[processName(run.Proxies[slices.IndexFunc(p.workloads, func(x workload) bool { return x.Name == w.Name })])] {
			t.Errorf("no process for the proxy of %s", w.Name)
		}
	}
	for _, want := range []string{"istio-ingressgateway-1", "webapp-1", "webapp-1.sidecar", "catalog-v1-1", "catalog-v2-1", "forum-1", "users-1"} {
		if !names[want] {
			t.Errorf("no process %s in %v", want, names)
		}
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	got := cleanEnvironment([]string{"PATH=/bin", "http_proxy=x", "HTTPS_PROXY=x", "ISTIO_META_X=y", "LATEEN_STATE=z", "HOME=/h", "SHOW_IMAGE=true"})
	if !slices.Equal(got, []string{"PATH=/bin", "HOME=/h"}) {
		t.Errorf("got %v", got)
	}
}

func TestSeed(t *testing.T) {
	p := testPlan(t)
	if err := p.seed(); err != nil {
		t.Fatal(err)
	}
	if !p.fresh {
		t.Error("an empty folder is not fresh")
	}
	for _, path := range []string{
		"istioinaction/service/webapp.yaml", "istioinaction/service/catalog.yaml", "istioinaction/service/forum.yaml",
		"istioinaction/gateway/webapp-gateway.yaml", "istioinaction/virtualservice/webapp-vs-from-gw.yaml", "istio-system/service/istio-ingressgateway.yaml",
	} {
		raw, err := os.ReadFile(p.path("config", path))
		if err != nil {
			t.Error(err)
			continue
		}
		if set, err := config.Load([]config.File{{Name: path, Data: raw}}, config.LoadOptions{}); err != nil || len(set.All()) != 1 {
			t.Errorf("%s: %v", path, err)
		}
	}
	// What the user has changed stays, except for the gateway's port.
	mine := p.path("config", "istioinaction", "service", "catalog.yaml")
	if err := os.WriteFile(mine, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.path("config", "istioinaction", "service", "forum.yaml")); err != nil {
		t.Fatal(err)
	}
	again := newPlan(p.stateDir, p.block, gatewayPorts{9090, 9443, 9400}, p.executable)
	if err := again.seed(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(mine); err != nil || string(raw) != "# mine\n" || again.fresh {
		t.Errorf("%s %v, fresh %v", raw, err, again.fresh)
	}
	if _, err := os.Stat(p.path("config", "istioinaction", "service", "forum.yaml")); err == nil {
		t.Error("a deleted object came back")
	}
	if raw, err := os.ReadFile(p.path("config", "istio-system", "service", "istio-ingressgateway.yaml")); err != nil || !strings.Contains(string(raw), "targetPort: 9090") {
		t.Errorf("%s %v", raw, err)
	}
}

func TestWorkloads(t *testing.T) {
	p := testPlan(t)
	if err := os.MkdirAll(p.path("workloads"), 0o755); err != nil {
		t.Fatal(err)
	}
	stale := p.path("workloads", "catalog-v9-1.yaml")
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.writeWorkloads(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a workload of a former run stays")
	}
	raw, err := os.ReadFile(p.path("workloads", "catalog-v2-1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: WorkloadEntry", "name: catalog-v2-1", "namespace: istioinaction", "address: 127.77.1.3", "app: catalog", "version: v2",
		"security.istio.io/tlsMode: istio", "serviceAccount: catalog"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in\n%s", want, raw)
		}
	}
	if set, err := config.Load([]config.File{{Name: "w", Data: raw}}, config.LoadOptions{}); err != nil || len(set.All()) != 1 {
		t.Errorf("not a valid object: %v\n%s", err, raw)
	}
}

func TestTokens(t *testing.T) {
	p := testPlan(t)
	key := jointoken.NewKey()
	if err := os.MkdirAll(p.path("ca"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path("ca", jointoken.KeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := p.writeTokens(now); err != nil {
		t.Fatal(err)
	}
	for _, w := range p.workloads {
		raw, err := os.ReadFile(p.tokenFile(w))
		if err != nil {
			t.Fatal(err)
		}
		id, err := jointoken.Verify(key, strings.TrimSpace(string(raw)), "cluster.local", now.Add(time.Hour))
		if err != nil || id.ServiceAccount != w.ServiceAccount || id.Namespace != w.Namespace {
			t.Errorf("%s: %v %v", w.Name, id, err)
		}
		if info, err := os.Stat(p.tokenFile(w)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", w.Name, info.Mode(), err)
		}
	}
}

func TestTable(t *testing.T) {
	p := testPlan(t)
	p.stateFlag = "/x"
	var b strings.Builder
	if err := writeTable(&b, p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WHAT", "http://localhost:8080", "catalog-v2", "127.77.1.3:3000", "http://127.77.2.1:8000", "curl localhost:8080/api/catalog", "lateen --state-dir /x proxy-status"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 120 {
			t.Errorf("a long line: %s", line)
		}
	}
}

func TestGoRun(t *testing.T) {
	for path, want := range map[string]bool{"/tmp/go-build12/b001/exe/lateen": true, "/usr/local/bin/lateen": false, "/x/exe/lateen": false} {
		p := newPlan(t.TempDir(), "127.77", gatewayPorts{8080, 8443, 31400}, path)
		if p.goRun != want || strings.HasPrefix(p.command(), "go run ./cmd/lateen") != want {
			t.Errorf("%s: %v, %s", path, p.goRun, p.command())
		}
	}
}

func TestUntil(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if err := until(t.Context(), func(ctx context.Context) error { return answers(ctx, server.URL, "") }); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	calls = -1000
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	err := until(ctx, func(context.Context) error { return errors.New("not yet") })
	if err == nil || err.Error() != "not yet" {
		t.Errorf("got %v", err)
	}
}

func TestBadPort(t *testing.T) {
	for _, port := range []int{0, -1, 65536} {
		if _, err := New(Config{GatewayPort: port, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "--gateway-port") {
			t.Errorf("%d: %v", port, err)
		}
	}
}

func TestPortsAreDifferent(t *testing.T) {
	for want, cfg := range map[string]Config{
		"--gateway-tls-port": {GatewayPort: 8080, GatewayTLSPort: 8080}, "--gateway-tcp-port": {GatewayPort: 8080, GatewayTCPPort: -1},
	} {
		cfg.Logger = quiet()
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRefusesTakenPortAndSecondDemo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "state")
	d, err := New(Config{StateDir: dir, GatewayPort: ln.Addr().(*net.TCPAddr).Port, Out: io.Discard, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--gateway-port") {
		t.Errorf("taken port: %v", err)
	}
	l, err := acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("second demo: %v", err)
	}
}

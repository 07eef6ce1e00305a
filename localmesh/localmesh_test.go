package localmesh

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
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
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/supervise"
	"github.com/lateen-mesh/lateen/workload"
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
			if got, err := chooseBlock(tc.preferred, tc.free, "up"); err != nil || got != tc.want {
				t.Errorf("got %s %v, want %s", got, err, tc.want)
			}
		})
	}
	if _, err := chooseBlock(77, func(string) bool { return false }, "up"); err == nil || !strings.Contains(err.Error(), "lateen up stop") {
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
	l, err := acquire(dir, "up")
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := holder(dir); err != nil || pid != os.Getpid() {
		t.Errorf("holder %d %v", pid, err)
	}
	if _, err := acquire(dir, "up"); err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), "lateen up stop") {
		t.Errorf("a second one: %v", err)
	}
	l.release()
	if _, err := holder(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after release: %v", err)
	}
	l, err = acquire(dir, "up")
	if err != nil {
		t.Fatal(err)
	}
	l.release()
}

// nothing is a mesh without workloads.
type nothing struct{}

func (nothing) Prepare(Place) ([]workload.Workload, error) { return nil, nil }
func (nothing) Serves(context.Context, Place) error        { return nil }
func (nothing) Table(io.Writer, Place) error               { return nil }
func (nothing) Keep(ctx context.Context, _ *Members) error { <-ctx.Done(); return nil }

// running are members whose processes are never started.
func running(t *testing.T) *Members {
	t.Helper()
	p := newPlace(t.TempDir(), "127.77", Ports{8080, 8443, 31400}, "/bin/lateen")
	if err := os.MkdirAll(p.Path("ca"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Path("ca", jointoken.KeyFile), jointoken.NewKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Members{Place: p, drain: func(workload.Workload) {}, processes: supervise.New(supervise.Config{Logger: quiet()})}
}

func hello(p Place, name string, n int) workload.Workload {
	ip, appIP := p.Addresses(n)
	return workload.Workload{
		Name: name, Deployment: name, Namespace: "shop", ServiceAccount: "hello", Labels: map[string]string{"app": "hello", "version": "v1"}, Type: workload.Sidecar,
		IP: ip, AppIP: appIP, App: "hello", Command: []string{"/bin/hello"},
		Ports: []workload.Port{{Number: 8080, App: netip.AddrPortFrom(netip.MustParseAddr(appIP), 8080)}},
	}
}

func processes(m *Members) []string {
	var out []string
	for _, s := range m.processes.Statuses() {
		out = append(out, s.Name)
	}
	return out
}

// Workloads come, change and go: what is the same goes on.
func TestSet(t *testing.T) {
	m := running(t)
	p := m.Place
	a, b, c := hello(p, "a", 1), hello(p, "b", 2), hello(p, "c", 3)
	if err := m.Set([]workload.Workload{a, b}); err != nil {
		t.Fatal(err)
	}
	if got := processes(m); !slices.Equal(got, []string{"istio-ingressgateway-1", "a.sidecar", "a", "b.sidecar", "b"}) {
		t.Errorf("at first %v", got)
	}
	b.Env = []string{"X=y"}
	if err := m.Set([]workload.Workload{b, c}); err != nil {
		t.Fatal(err)
	}
	if got := processes(m); !slices.Equal(got, []string{"istio-ingressgateway-1", "b.sidecar", "b", "c.sidecar", "c"}) {
		t.Errorf("then %v", got)
	}
	for name, want := range map[string]bool{"a": false, "b": true, "c": true, "istio-ingressgateway-1": true} {
		if _, err := os.Stat(p.Path("workloads", name+".yaml")); (err == nil) != want {
			t.Errorf("entry of %s: %v", name, err)
		}
	}
	key, err := jointoken.ReadKey(p.Path("ca"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(p.TokenFile(c))
	if err != nil {
		t.Fatal(err)
	}
	id, err := jointoken.Verify(key, strings.TrimSpace(string(raw)), "cluster.local", time.Now().Add(time.Hour))
	if err != nil || id.Namespace != "shop" || id.ServiceAccount != "hello" {
		t.Errorf("token of c: %v %v", id, err)
	}
	run := m.runFile()
	if run.Gateway != "127.0.0.1:8080" || run.GatewayTLS != "127.0.0.1:8443" || run.XDSTLS != "127.77.0.1:15012" || len(run.Proxies) != 3 || len(run.Apps) != 2 || run.Apps[0].Version != "v1" {
		t.Errorf("%+v", run)
	}
}

// What a former run has left goes; what has joined by itself stays for as long as it lives.
func TestStaleEntries(t *testing.T) {
	m := running(t)
	dir := m.Place.Path("workloads")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"left", "joined"} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := runfile.Join(m.Place.StateDir, "joined", func(int) (*runfile.Member, error) {
		return &runfile.Member{PID: os.Getpid(), Proxy: runfile.Proxy{Name: "joined"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.sweepEntries([]workload.Workload{hello(m.Place, "a", 1)}); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, []string{"a.yaml", "joined.yaml"}) {
		t.Errorf("%v %v", names, err)
	}
}

func TestGatewayService(t *testing.T) {
	p := running(t).Place
	for _, ports := range []Ports{{8080, 8443, 31400}, {9090, 9443, 9400}} {
		p.Ports = ports
		if err := p.WriteConfig([]config.File{p.GatewayService()}, "shop"); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(p.Path("config", "istio-system", "service", "istio-ingressgateway.yaml"))
		if err != nil || !strings.Contains(string(raw), "targetPort: "+strconv.Itoa(ports.HTTP())) {
			t.Errorf("%s %v", raw, err)
		}
	}
}

func TestGoRun(t *testing.T) {
	for path, want := range map[string]bool{"/tmp/go-build12/b001/exe/lateen": true, "/usr/local/bin/lateen": false, "/x/exe/lateen": false} {
		p := newPlace(t.TempDir(), "127.77", Ports{8080, 8443, 31400}, path)
		if p.goRun != want || strings.HasPrefix(p.Command(), "go run ./cmd/lateen") != want {
			t.Errorf("%s: %v, %s", path, p.goRun, p.Command())
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
	if err := Until(t.Context(), func(ctx context.Context) error { return answers(ctx, server.URL, "") }); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	calls = -1000
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	err := Until(ctx, func(context.Context) error { return errors.New("not yet") })
	if err == nil || err.Error() != "not yet" {
		t.Errorf("got %v", err)
	}
}

func TestBadPort(t *testing.T) {
	for _, port := range []int{0, -1, 65536} {
		if _, err := New(Config{Content: nothing{}, GatewayPort: port, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "--gateway-port") {
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

func TestRefusesTakenPortAndSecondMesh(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "state")
	d, err := New(Config{Command: "up", Content: nothing{}, StateDir: dir, GatewayPort: ln.Addr().(*net.TCPAddr).Port, Out: io.Discard, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--gateway-port") {
		t.Errorf("taken port: %v", err)
	}
	l, err := acquire(dir, "up")
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("second mesh: %v", err)
	}
}

// A second start in the background says that a mesh runs, and leaves the log of that one as it is.
func TestDetachTwice(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "logs", "up.out")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("what it said\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := acquire(dir, "up")
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	if err := Detach(t.Context(), "/no/such/program", []string{"up"}, dir, io.Discard); err == nil || !strings.Contains(err.Error(), "a mesh runs already in "+dir) {
		t.Errorf("got %v", err)
	}
	if raw, err := os.ReadFile(log); err != nil || string(raw) != "what it said\n" {
		t.Errorf("the log: %q %v", raw, err)
	}
}

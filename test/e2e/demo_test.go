package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/samples/shop"
)

func TestSecondDemoIsRefused(t *testing.T) {
	m := shared
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--detach", "--detach=false"} {
		out, err := m.lateen("demo", flag, "--gateway-port", strconv.Itoa(port))
		if err == nil || !strings.Contains(out, "runs already") || !strings.Contains(out, "lateen demo stop") {
			t.Errorf("%s: %v\n%s", flag, err, out)
		}
	}
	m.mustGet(t, webappHost, "/api/catalog")
}

func TestTakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	other := mesh{bin: shared.bin, state: t.TempDir()}
	out, err := other.lateen("demo", "--detach", "--gateway-port", port)
	if err == nil || !strings.Contains(out, port) || !strings.Contains(out, "--gateway-port") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStatus(t *testing.T) {
	m := shared
	eventually(t, settleTime, func() error {
		out := m.must(t, "demo", "status")
		for _, p := range m.run.Processes {
			if !statusReady(out, p.Name) {
				return fmt.Errorf("%s is not ready:\n%s", p.Name, out)
			}
		}
		return nil
	})
}

// Proxies' views: what istioctl's users look at first.
func TestProxyStatusAndConfig(t *testing.T) {
	m := shared
	out := m.must(t, "proxy-status")
	for _, p := range m.run.Proxies {
		if !strings.Contains(out, p.Name+"."+p.Namespace) {
			t.Errorf("no %s in\n%s", p.Name, out)
		}
	}
	if out := m.must(t, "proxy-config", "cluster", "deploy/webapp.istioinaction", "--fqdn", "catalog.istioinaction.svc.cluster.local"); !strings.Contains(out, "catalog.istioinaction.svc.cluster.local") || !strings.Contains(out, "EDS") {
		t.Errorf("clusters:\n%s", out)
	}
	if out := m.must(t, "proxy-config", "secret", "deploy/webapp.istioinaction"); !strings.Contains(out, "default") || !strings.Contains(out, "ROOTCA") {
		t.Errorf("secrets:\n%s", out)
	}
}

// secondMesh starts a mesh of the test's own beside the shared one.
func secondMesh(t *testing.T, env ...string) *mesh {
	t.Helper()
	m := &mesh{bin: shared.bin, state: filepath.Join(t.TempDir(), "state"), client: newClient(), env: env}
	var err error
	if m.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.client.CloseIdleConnections)
	t.Cleanup(func() { m.must(t, "demo", "stop") })
	m.must(t, "demo", "--detach", "--gateway-port", strconv.Itoa(m.port))
	m.mustGet(t, "localhost", "/api/catalog")
	if m.run, err = runfile.Read(m.state); err != nil {
		t.Fatal(err)
	}
	return m
}

// The whole life of a second mesh beside the first, and that nothing of it survives: neither a stop, nor a kill -9 of the supervisor,
// nor Ctrl-C.
func TestNothingSurvives(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, m *mesh, supervisor int)
	}{
		{"stop", func(t *testing.T, m *mesh, _ int) { m.must(t, "demo", "stop") }},
		{"kill -9", func(t *testing.T, _ *mesh, supervisor int) {
			if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}},
		{"interrupt", func(t *testing.T, _ *mesh, supervisor int) {
			if err := syscall.Kill(supervisor, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := secondMesh(t)
			run := m.run
			tc.end(t, m, run.PID)
			eventually(t, 10*time.Second, func() error {
				for _, p := range append(run.Processes, runfile.Process{Name: "supervisor", PID: run.PID}) {
					if alive(p.PID) {
						return fmt.Errorf("%s (%d) lives", p.Name, p.PID)
					}
				}
				return nil
			})
			// A killed process lets go of its lock a moment after its first thread is gone; a stop in between ends it once more.
			eventually(t, 10*time.Second, func() error {
				if out := m.must(t, "demo", "stop"); !strings.Contains(out, "no mesh runs") {
					return fmt.Errorf("a second stop: %s", out)
				}
				return nil
			})
			if _, err := runfile.Read(m.state); err == nil {
				t.Error("run.json says that the mesh still runs")
			}
		})
	}
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// A mesh that is started again has the configuration and the authority that it had, on another port as well as on the same, and also
// after its supervisor was killed.
func TestRestartKeepsState(t *testing.T) {
	m := secondMesh(t)
	for _, path := range []string{"mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml"} {
		text, err := shop.ForBlock(path, m.run.Block)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := m.lateenIn(string(text), "apply", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	root, err := os.ReadFile(filepath.Join(m.state, "ca", "root-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(m.run.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error {
		if alive(m.run.PID) {
			return fmt.Errorf("process %d lives", m.run.PID)
		}
		return nil
	})
	if m.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	m.must(t, "demo", "--detach", "--gateway-port", strconv.Itoa(m.port))
	for range 40 {
		if m.mustGet(t, webappHost, "/api/catalog").v2() {
			t.Fatal("the rule for catalog is gone")
		}
	}
	if again, err := os.ReadFile(filepath.Join(m.state, "ca", "root-cert.pem")); err != nil || string(again) != string(root) {
		t.Errorf("another root certificate (%v)", err)
	}
	out := m.must(t, "get", "destinationrule", "-n", "istioinaction")
	if !strings.Contains(out, "catalog") {
		t.Errorf("objects:\n%s", out)
	}
}

// A file that is edited by hand counts within a second; one that is broken changes nothing, and neither does it harm its neighbours.
func TestEditingFiles(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	m.settle(t, webappHost, "/api/catalog", isV1)
	path := filepath.Join(m.state, "config", "istioinaction", "virtualservice", "catalog.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(text string) {
		// As an editor may do it: not in one step.
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// A file that is left broken keeps its last good form in force, whatever is taken back after it.
	t.Cleanup(func() { edit(string(raw)) })
	// The quickest of a few edits counts: the machine may do much else.
	for n := 0; ; n++ {
		edit(strings.ReplaceAll(string(raw), "version-v1", "version-v2"))
		edited := time.Now()
		m.settle(t, webappHost, "/api/catalog", isV2)
		took := time.Since(edited)
		if took <= time.Second {
			break
		}
		if n == 5 {
			t.Fatalf("each edit takes more than a second, the last %v, twenty requests included", took)
		}
		edit(string(raw))
		m.settle(t, webappHost, "/api/catalog", isV1)
	}
	edit("spec: [this is\n")
	m.apply(t, "egress/users.yaml") // a change elsewhere, which is taken
	eventually(t, settleTime, func() error {
		// Gateways are told of everything; sidecars of what is called.
		out := m.must(t, "proxy-config", "cluster", "deploy/istio-ingressgateway.istio-system")
		if !strings.Contains(out, "users.shop.example") {
			return fmt.Errorf("no cluster for the new ServiceEntry:\n%s", out)
		}
		return nil
	})
	for range 40 {
		if !m.mustGet(t, webappHost, "/api/catalog").v2() {
			t.Fatal("a broken file has changed the mesh")
		}
	}
	edit(string(raw))
	m.settle(t, webappHost, "/api/catalog", isV1)
}

// In the foreground the demo prints its table, and nothing more.
func TestForeground(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(shared.bin, "demo", "--state-dir", state, "--gateway-port", strconv.Itoa(port))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	printed := func() string {
		raw, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	eventually(t, 15*time.Second, func() error {
		if text := printed(); !strings.Contains(text, "Try:") {
			return fmt.Errorf("printed so far: %s", text)
		}
		return nil
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, printed())
	}
	if lines := strings.Count(printed(), "\n"); lines > 25 {
		t.Errorf("%d lines:\n%s", lines, printed())
	}
}

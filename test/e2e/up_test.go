package e2e

import (
	"errors"
	"fmt"
	"net/http"
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

// shopApps is the shop as a user writes it down: its apps know each other by name alone.
const shopApps = `apps:
- name: webapp
  namespace: istioinaction
  ports: [8080]
  command: [lateen, sample, serve, webapp, --address, "$(HOST):$(PORT)"]
- name: catalog-v1
  namespace: istioinaction
  serviceAccount: catalog
  labels: {app: catalog, version: v1}
  ports: [3000]
  command: [lateen, sample, serve, catalog, --address, "$(HOST):$(PORT)"]
- name: catalog-v2
  namespace: istioinaction
  serviceAccount: catalog
  labels: {app: catalog, version: v2}
  ports: [3000]
  env: {SHOW_IMAGE: "true"}
  command: [lateen, sample, serve, catalog, --address, "$(HOST):$(PORT)"]
`

// upMesh is a mesh of a folder of the test's own, which begins with the shop's first manifests and with files, by name and content.
func upMesh(t *testing.T, apps string, files ...string) (m *mesh, dir string) {
	t.Helper()
	dir = t.TempDir()
	m = &mesh{bin: shared.bin, state: filepath.Join(dir, ".lateen"), client: newClient(), env: []string{"PATH=" + filepath.Dir(shared.bin) + ":" + os.Getenv("PATH")}}
	var err error
	if m.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lateen.yaml", apps)
	for i := 0; i < len(files); i += 2 {
		write(t, dir, files[i], files[i+1])
	}
	for _, name := range []string{"catalog", "webapp", "gateway"} {
		manifest(t, dir, "base/"+name+".yaml")
	}
	t.Cleanup(m.client.CloseIdleConnections)
	t.Cleanup(func() { m.must(t, "up", "stop") })
	m.must(t, "up", dir, "--detach", "--gateway-port", strconv.Itoa(m.port))
	if m.run, err = runfile.Read(m.state); err != nil {
		t.Fatal(err)
	}
	return m, dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// manifest puts one of samples/shop into the folder.
func manifest(t *testing.T, dir, path string) {
	t.Helper()
	text, err := shop.FS.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, strings.ReplaceAll(path, "/", "-"), string(text))
}

func (m *mesh) said(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.state, "logs", "up.out"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A folder is the mesh: what is put into it counts, what is taken out is gone, and what is wrong changes nothing.
func TestUp(t *testing.T) {
	m, dir := upMesh(t, shopApps, "mesh.yaml", "trustDomain: shop.example\n")
	m.settle(t, webappHost, "/api/catalog", func(a answer) bool { return a.code == http.StatusOK })

	t.Run("identities are of the mesh's trust domain", func(t *testing.T) {
		write(t, dir, "strict.yaml", `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istioinaction}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: catalog, namespace: istioinaction}
spec:
  selector: {matchLabels: {app: catalog}}
  rules: [{from: [{source: {principals: [shop.example/ns/istioinaction/sa/nobody]}}]}]
`)
		m.settle(t, webappHost, "/api/catalog", func(a answer) bool { return a.code != http.StatusOK })
		text, err := os.ReadFile(filepath.Join(dir, "strict.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, "strict.yaml", strings.Replace(string(text), "sa/nobody", "sa/webapp", 1))
		m.settle(t, webappHost, "/api/catalog", func(a answer) bool { return a.code == http.StatusOK })
		a, err := fetch(m.client, "http://"+m.run.Debug+"/debug/syncz", "localhost")
		if want := "spiffe://shop.example/ns/istioinaction/sa/catalog"; err != nil || !strings.Contains(a.body, want) {
			t.Errorf("no proxy is %s: %v\n%s", want, err, a.body)
		}
	})

	t.Run("O3, 80 to 20 by subset", func(t *testing.T) {
		manifest(t, dir, "mesh/catalog-subsets.yaml")
		text, err := shop.FS.ReadFile("mesh/catalog-90-10.yaml")
		if err != nil {
			t.Fatal(err)
		}
		manifest(t, dir, "mesh/catalog-all-v1.yaml")
		m.settle(t, webappHost, "/api/catalog", isV1)
		if err := os.Remove(filepath.Join(dir, "mesh-catalog-all-v1.yaml")); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "split.yaml", strings.NewReplacer("weight: 90", "weight: 80", "weight: 10", "weight: 20").Replace(string(text)))
		eventually(t, settleTime, func() error { // it is in force once one of twenty is of version 2
			for range 20 {
				if m.mustGet(t, webappHost, "/api/catalog").v2() {
					return nil
				}
			}
			return errors.New("version 2 gets nothing")
		})
		v2 := 0
		for range 400 {
			if m.mustGet(t, webappHost, "/api/catalog").v2() {
				v2++
			}
		}
		// 80 are expected; 6 standard deviations (8) of a fair draw are 48.
		if v2 < 32 || v2 > 128 {
			t.Errorf("%d of 400 went to version 2, want about 80", v2)
		}
	})
	t.Run("a mistake changes nothing", func(t *testing.T) {
		write(t, dir, "bad.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {prots: []}\n")
		eventually(t, settleTime, func() error {
			if said := m.said(t); !strings.Contains(said, "bad.yaml:4") || !strings.Contains(said, "goes on as it was") {
				return errors.New(said)
			}
			return nil
		})
		m.mustGet(t, webappHost, "/api/catalog")
		if err := os.Remove(filepath.Join(dir, "bad.yaml")); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an app goes", func(t *testing.T) {
		first, _, _ := strings.Cut(shopApps, "- name: catalog-v2")
		write(t, dir, "lateen.yaml", first)
		if err := os.Remove(filepath.Join(dir, "split.yaml")); err != nil {
			t.Fatal(err)
		}
		eventually(t, settleTime, func() error {
			if out := m.must(t, "up", "status", dir); strings.Contains(out, "catalog-v2") {
				return errors.New(out)
			}
			return nil
		})
		m.settle(t, webappHost, "/api/catalog", isV1)
	})
	run := m.run
	m.must(t, "up", "stop", dir)
	for _, p := range run.Processes {
		if alive(p.PID) {
			t.Errorf("%s (%d) lives", p.Name, p.PID)
		}
	}
}

// O14: a second gateway, in the namespace of the apps, has what its Gateway selects, and the first one has not.
func TestSecondGateway(t *testing.T) {
	m, dir := upMesh(t, shopApps+`- name: my-gateway
  namespace: istioinaction
  labels: {app: my-gateway, istio: my-gateway}
  gateway: true
`)
	write(t, dir, "second.yaml", `
apiVersion: v1
kind: Service
metadata: {name: my-gateway, namespace: istioinaction}
spec:
  selector: {istio: my-gateway}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: coolstore, namespace: istioinaction}
spec:
  selector: {istio: my-gateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [cool.istioinaction.io]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cool, namespace: istioinaction}
spec:
  hosts: [cool.istioinaction.io]
  gateways: [coolstore]
  http:
  - route: [{destination: {host: catalog, port: {number: 80}}}]
`)
	address := m.address(t, "my-gateway-1")
	eventually(t, settleTime, func() error {
		a, err := fetch(m.client, "http://"+address+":8080/items", "cool.istioinaction.io")
		if err != nil || a.code != http.StatusOK {
			return fmt.Errorf("%+v %w", a, err)
		}
		return nil
	})
	if a, err := m.get("cool.istioinaction.io", "/items"); err != nil || a.code != http.StatusNotFound {
		t.Errorf("at the first gateway: %+v %v", a, err)
	}
}

// start runs `lateen run` in the background.
func (m *mesh) start(t *testing.T, args ...string) (cmd *exec.Cmd, out *output) {
	t.Helper()
	out = &output{}
	cmd = exec.Command(m.bin, append([]string{"--state-dir", m.state, "run", "--namespace", "istioinaction"}, args...)...)
	cmd.Env = append(os.Environ(), m.env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	})
	return cmd, out
}

// A command that joins gets requests; while it is told to end none fails; its exit code is that of lateen run.
func TestRun(t *testing.T) {
	m := shared
	m.apply(t, "mesh/catalog-subsets.yaml", "mesh/catalog-all-v1.yaml")
	cmd, out := m.start(t, "--service", "catalog", "--version", "v1", "--name", "catalog-v1-run", "--port", "3000", "--drain-time", "1s", "--",
		"sh", "-c", `exec "$0" sample serve catalog --address "$HOST:$PORT"`, m.bin)
	var joined runfile.App
	eventually(t, 20*time.Second, func() error {
		for _, member := range runfile.Members(m.state) {
			if member.Proxy.Name == "catalog-v1-run" {
				joined = *member.App
			}
		}
		if _, err := m.get(webappHost, "/api/catalog"); err != nil {
			return err
		}
		seen, err := m.lateen("sample", "requests", "--app", "catalog", "--version", "v1")
		if err != nil {
			return fmt.Errorf("%w: %s", err, seen) // it does not listen yet
		}
		if _, after, ok := strings.Cut(seen, `"catalog-v1-run": [`); !ok || strings.HasPrefix(after, "]") {
			return fmt.Errorf("%s\n%s", seen, out)
		}
		return nil
	})
	if joined.Address == "" {
		t.Fatal("it is no member of the mesh")
	}
	if status := m.must(t, "proxy-status"); !strings.Contains(status, "catalog-v1-run.istioinaction") {
		t.Errorf("no proxy in\n%s", status)
	}
	ended := make(chan error, 1)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- cmd.Wait() }()
	for requests := 0; ; requests++ {
		m.mustGet(t, webappHost, "/api/catalog")
		select {
		case err := <-ended:
			if requests < 10 {
				t.Errorf("%d requests while it ended", requests)
			}
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() != 143 {
				t.Errorf("%v\n%s", err, out)
			}
			if runfile.IsMember(m.state, "catalog-v1-run") {
				t.Error("it is a member still")
			}
			return
		default:
		}
	}
}

// The command's exit code is that of lateen run, which says nothing itself.
func TestRunExitCode(t *testing.T) {
	m := shared
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "kill -9 $$": 137,
	} {
		cmd, out := m.start(t, "--name", "client", "--", "sh", "-c", script)
		err := cmd.Wait()
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != want || out.String() != "" {
			t.Errorf("%s: %v, want %d\n%s", script, err, want, out)
		}
	}
}

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/config/statedir"
)

// hostObjects are a service whose instances are hosts that come by themselves; the probe is a command.
const hostObjects = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: catalog, namespace: shop}
spec:
  metadata: {labels: {app: catalog}, annotations: {team: blue, proxy.istio.io/config: "{concurrency: 2, proxyMetadata: {ISTIO_META_FROM: group}}"}}
  template: {serviceAccount: catalog, ports: {http: 3000}, labels: {version: v1}}
  probe: {periodSeconds: 1, exec: {command: [test, -e, %s]}}
---
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {clusterIP: 10.200.9.1, selector: {app: catalog}, ports: [{name: http, port: 80, targetPort: 3000}]}
`

// A host with nothing but this program, a token and a root certificate joins a control plane elsewhere: it registers by a WorkloadGroup, gets requests
// while it is well, none while it is not, none from the moment at which it is asked to end, and is forgotten.
func TestHostRegistersByGroup(t *testing.T) {
	dir := t.TempDir()
	m := &mesh{bin: shared.bin, state: filepath.Join(dir, "state"), client: newClient()}
	well := filepath.Join(dir, "well")
	if err := os.MkdirAll(filepath.Join(m.state, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, m.state, "config/hosts.yaml", fmt.Sprintf(hostObjects, well))
	ports := make([]string, 3)
	for i := range ports {
		n, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = strconv.Itoa(n)
	}
	const host, client = "127.188.0.2", "127.188.0.3"
	secure := net.JoinHostPort("127.0.0.1", ports[0])
	m.background(t, "control-plane", "--grpc-addr", "none", "--secure-grpc-addr", secure, "--http-addr", net.JoinHostPort("127.0.0.1", ports[1]),
		"--workload-entry-grace", "1s")
	eventually(t, settleTime, func() error {
		a, err := fetch(m.client, "http://127.0.0.1:"+ports[1]+"/ready", "")
		if err == nil && a.code != http.StatusOK {
			err = fmt.Errorf("status %d", a.code)
		}
		return err
	})
	token := func(account string) string {
		write(t, dir, account, m.must(t, "create", "token", account, "-n", "shop", "--duration", "10m"))
		return filepath.Join(dir, account)
	}
	root := filepath.Join(m.state, "ca", "root-cert.pem")
	m.background(t, "proxy", "sidecar", "--name", "client", "--namespace", "shop", "--service-account", "client", "--ip", client, "--http-proxy", client+":15080",
		"--discovery-address", secure, "--root-cert", root, "--token-file", token("client"), "--config-path", filepath.Join(dir, "client-proxy"))
	t.Cleanup(func() { // before the processes are ended
		if !t.Failed() {
			return
		}
		logs, _ := filepath.Glob(filepath.Join(dir, "host", "logs", "*")) // the pattern is sound
		for _, log := range logs {
			b, err := os.ReadFile(log)
			t.Logf("%s: %v\n%s", filepath.Base(log), err, b)
		}
	})
	run := m.background(t, "run", "--state-dir", filepath.Join(dir, "host"), "--group", "catalog", "--port", "3000=127.0.0.1:"+ports[2], "--ip", host, "--exec-probes",
		"--discovery-address", secure, "--root-cert", root, "--token-file", token("catalog"), "--drain-time", "2s",
		"--", m.bin, "sample", "serve", "catalog", "--address", "127.0.0.1:"+ports[2])

	proxied := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: client + ":15080"})}}
	status := func(want int) {
		t.Helper()
		eventually(t, settleTime, func() error {
			a, err := fetch(proxied, "http://catalog.shop/items", "catalog.shop")
			if err == nil && a.code != want {
				err = fmt.Errorf("status %d, want %d; %.200s", a.code, want, a.body)
			}
			return err
		})
	}
	entry := func() *config.Object {
		set, err := statedir.ReadAll(m.state)
		if err != nil {
			t.Fatal(err)
		}
		if all := set.List(schema.WorkloadEntry); len(all) > 0 {
			return all[0]
		}
		return nil
	}
	eventually(t, settleTime, func() error {
		if o := entry(); o == nil || o.Key().String() != "WorkloadEntry shop/catalog-"+host || o.Annotations["istio.io/autoRegistrationGroup"] != "catalog" {
			return fmt.Errorf("its entry is %v", o)
		}
		return nil
	})
	status(http.StatusServiceUnavailable) // nobody has said that it is well
	write(t, dir, "well", "")
	status(http.StatusOK)
	if o := entry(); o.Condition(config.ConditionHealthy).Status != "True" || o.Labels["version"] != "v1" || o.Annotations["team"] != "blue" {
		t.Errorf("entry %+v", o)
	}
	if a, err := fetch(m.client, "http://127.0.0.1:15000/server_info", ""); err != nil || readRun(t, a.body) != "2 workers, told by group" {
		t.Errorf("run with %s %v", readRun(t, a.body), err)
	}
	// The agent's stream is no proxy.
	if table := m.must(t, "proxy-status", "--xds-debug-address", "127.0.0.1:"+ports[1]); strings.Count(table, ".shop") != 2 {
		t.Errorf("proxies:\n%s", table)
	}
	if err := os.Remove(well); err != nil {
		t.Fatal(err)
	}
	status(http.StatusServiceUnavailable)
	write(t, dir, "well", "")
	status(http.StatusOK)
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	status(http.StatusServiceUnavailable)
	if run.ProcessState != nil {
		t.Error("it ended before it had left")
	}
	eventually(t, settleTime, func() error {
		if o := entry(); o != nil {
			return fmt.Errorf("%s is there", o)
		}
		return nil
	})
}

// background starts a command of the program, which the test's end ends.
func (m *mesh) background(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if args[0] != "run" {
		args = append(args, "--state-dir", m.state)
	}
	cmd := exec.Command(m.bin, args...)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // how it ends says nothing here
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], out)
		}
	})
	return cmd
}

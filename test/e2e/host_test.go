//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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
	const patience = 3 * settleTime // probes of a second each have to fail and to succeed again, and processes to start
	dir := t.TempDir()
	m := &mesh{bin: shared.bin, state: filepath.Join(dir, "state"), client: newClient()}
	well := filepath.Join(dir, "well")
	if err := os.MkdirAll(filepath.Join(m.state, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, m.state, "config/hosts.yaml", fmt.Sprintf(hostObjects, well))
	// Addresses of this run's own: ports that were free a moment ago may have become those of somebody's connection, and another run may be on its way.
	pid := os.Getpid()
	address := func(n int) string { return fmt.Sprintf("127.%d.%d.%d", 188+pid/250%32, 1+pid%250, n) }
	host, client := address(2), address(3)
	secure, debug, app := address(1)+":15012", address(1)+":15014", address(4)+":3000"
	m.background(t, "control-plane", "--grpc-addr", "none", "--secure-grpc-addr", secure, "--http-addr", debug, "--workload-entry-grace", "1s")
	eventually(t, patience, func() error {
		a, err := fetch(m.client, "http://"+debug+"/ready", "")
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
	run := m.background(t, "run", "--state-dir", filepath.Join(dir, "host"), "--group", "catalog", "--port", "3000="+app, "--ip", host, "--exec-probes",
		"--discovery-address", secure, "--root-cert", root, "--token-file", token("catalog"), "--drain-time", "5s",
		"--", m.bin, "sample", "serve", "catalog", "--address", app)

	proxied := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: client + ":15080"})}}
	status := func(want int) {
		t.Helper()
		eventually(t, patience, func() error {
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
	eventually(t, patience, func() error {
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
	if table := m.must(t, "proxy-status", "--xds-debug-address", debug); strings.Count(table, ".shop") != 2 {
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
	// 503 has to be what clients were told, not what they find when nobody is there any more.
	var end unix.Siginfo
	if err := unix.Waitid(unix.P_PID, run.Process.Pid, &end, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || end.Signo != 0 {
		t.Errorf("it ended before it had left (%v)", err)
	}
	eventually(t, patience, func() error {
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

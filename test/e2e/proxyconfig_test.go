//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asRun is how a proxy was run: its workers, and the variable of its agent that the test sets.
type asRun struct {
	Options struct {
		Concurrency int `json:"concurrency"`
	} `json:"command_line_options"`
	Node struct {
		Metadata struct {
			From string `json:"FROM"`
		} `json:"metadata"`
	} `json:"node"`
}

func (a asRun) String() string {
	return fmt.Sprintf("%d workers, told by %s", a.Options.Concurrency, a.Node.Metadata.From)
}

func readRun(t *testing.T, serverInfo string) string {
	t.Helper()
	var out asRun
	if err := json.Unmarshal([]byte(serverInfo), &out); err != nil {
		t.Fatalf("%v\n%s", err, serverInfo)
	}
	return out.String()
}

// How proxies are run the mesh says, for all, for a namespace, and for a workload, whether `lateen up` runs them or `lateen run`. An application starts once its proxy serves.
func TestProxyConfig(t *testing.T) {
	client := filepath.Join(t.TempDir(), "client")
	copyProgram(t, "/proc/self/exe", client)
	started := filepath.Join(t.TempDir(), "started")
	m, _ := upMesh(t, shopApps+fmt.Sprintf(`- name: eager
  command: [sh, -c, "%s=http://$(POD_IP):15021/healthz/ready %s > %s; exec sleep 1000"]
`, fetchVariable, client, started), "mesh.yaml", `defaultConfig:
  concurrency: 2
  holdApplicationUntilProxyStarts: true
  proxyMetadata: {ISTIO_META_FROM: mesh}
`, "proxies.yaml", `apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all, namespace: istioinaction}
spec: {concurrency: 3, environmentVariables: {ISTIO_META_FROM: namespace}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: some, namespace: istioinaction}
spec: {selector: {matchLabels: {app: webapp}}, concurrency: 4, environmentVariables: {ISTIO_META_FROM: workload}}
`)
	for name, want := range map[string]string{
		"eager-1": "2 workers, told by mesh", "catalog-v1-1": "3 workers, told by namespace", "webapp-1": "4 workers, told by workload",
		"istio-ingressgateway-1": "2 workers, told by mesh",
	} {
		t.Run(name, func(t *testing.T) {
			a, err := fetch(m.client, "http://"+m.address(t, name)+":15000/server_info", "")
			if err != nil || a.code != http.StatusOK {
				t.Fatal(a.code, err)
			}
			if got := readRun(t, a.body); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	t.Run("lateen run", func(t *testing.T) {
		for labels, want := range map[string]string{"app=other": "3 workers, told by namespace", "app=webapp": "4 workers, told by workload"} {
			out := m.must(t, "run", "-n", "istioinaction", "--name", "client", "--labels", labels, "--", "sh", "-c",
				fetchVariable+"=http://$POD_IP:15000/server_info "+client)
			_, body, _ := strings.Cut(out, "\n")
			if got := readRun(t, body); got != want {
				t.Errorf("%s: %s, want %s", labels, got, want)
			}
		}
	})
	t.Run("the application starts when its proxy serves", func(t *testing.T) {
		eventually(t, settleTime, func() error {
			out, err := os.ReadFile(started)
			if err == nil && !strings.HasPrefix(string(out), "200 ") {
				err = fmt.Errorf("%.200q", out)
			}
			return err
		})
	})
}

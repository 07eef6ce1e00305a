package contract

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
)

// proxyConfigs say something at each place where a mesh may speak of how proxies are run.
const proxyConfigs = `
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: mesh, namespace: istio-system}
spec: {concurrency: 2, environmentVariables: {ISTIO_META_B: mesh, ISTIO_META_C: mesh, ISTIO_META_D: mesh, ISTIO_META_E: mesh}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {concurrency: 3, environmentVariables: {ISTIO_META_C: namespace, ISTIO_META_D: namespace, ISTIO_META_E: namespace}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: younger, namespace: shop, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {concurrency: 13}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: db, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, concurrency: 5, environmentVariables: {ISTIO_META_E: workload}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: cache, namespace: shop}
spec:
  metadata:
    labels: {app: cache}
    annotations: {proxy.istio.io/config: "{concurrency: 4, proxyMetadata: {ISTIO_META_D: annotation, ISTIO_META_E: annotation}}"}
  template: {}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: shop}
spec:
  metadata:
    labels: {app: db}
    annotations: {proxy.istio.io/config: "{concurrency: 4, proxyMetadata: {ISTIO_META_D: annotation, ISTIO_META_E: annotation}}"}
  template: {}
`

// TestProxyConfig: an agent runs its proxy as the mesh says, in Istio's order of precedence, and what the host says itself wins.
func TestProxyConfig(t *testing.T) {
	told := startAgents(t, proxyConfigs, "defaultConfig: {concurrency: 1, proxyMetadata: {ISTIO_META_A: default, ISTIO_META_B: default}}\n")
	for _, c := range []struct {
		name, namespace, group string
		own                    agent.Config
		want                   string
	}{
		{"the mesh", "other", "", agent.Config{}, "2 default mesh mesh mesh mesh"},
		{"the root namespace", "istio-system", "", agent.Config{}, "2 default mesh mesh mesh mesh"},
		{"a namespace", "shop", "", agent.Config{}, "3 default mesh namespace namespace namespace"},
		{"a group's annotation", "shop", "cache", agent.Config{}, "4 default mesh namespace annotation annotation"},
		{"a workload", "shop", "db", agent.Config{}, "5 default mesh namespace annotation workload"},
		{"labels of the host", "shop", "", agent.Config{Metadata: map[string]any{"LABELS": map[string]any{"app": "db"}}}, "5 default mesh namespace namespace workload"},
		{"the host", "shop", "db", agent.Config{Concurrency: 7, Metadata: map[string]any{"E": "own"}}, "7 default mesh namespace annotation own"},
		{"no more than a default of the host", "shop", "", agent.Config{DefaultConcurrency: 9}, "3 default mesh namespace namespace namespace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := told.agent(t, c.own, c.namespace, c.group)
			got := ""
			cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error {
				var b struct {
					Node struct{ Metadata map[string]any }
				}
				if err := json.Unmarshal(p.Bootstrap, &b); err != nil {
					return err
				}
				m := b.Node.Metadata
				got = fmt.Sprint(p.Concurrency, " ", m["A"], " ", m["B"], " ", m["C"], " ", m["D"], " ", m["E"])
				return nil // and its agent ends
			}
			runAgent(t, cfg)
			if got != c.want {
				t.Errorf("the proxy is run with %s, want %s", got, c.want)
			}
		})
	}
}

// TestProxyRun: the rest of how a proxy is run, of the mesh, of a WorkloadGroup's annotation, and of the host itself, which wins.
func TestProxyRun(t *testing.T) {
	told := startAgents(t, `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: shop}
spec:
  metadata:
    annotations:
      proxy.istio.io/config: |
        drainDuration: 7s
        terminationDrainDuration: 3s
        fileFlushInterval: 0.5s
        fileFlushMinSizeKb: 8
        meshId: annotated
        proxyHeaders: {server: {value: mine}}
        connectionSettings: {httpIdleTimeout: 60s}
        gatewayTopology: {numTrustedProxies: 2}
  template: {}
`, "proxyListenPort: 16001\ndefaultConfig: {drainDuration: 5s, terminationDrainDuration: 2s, fileFlushInterval: 0.25s, fileFlushMinSizeKb: 4, meshId: mesh}\n")
	for _, c := range []struct {
		name, group string
		own         agent.Config
		want        string
	}{
		{"the mesh", "", agent.Config{}, "5s 250ms 4096 mesh 16001,15006 {}"},
		{"a group's annotation", "db", agent.Config{}, `7s 500ms 8192 annotated 16001,15006 ` +
			`{"connectionSettings":{"httpIdleTimeout":"60s"},"gatewayTopology":{"numTrustedProxies":2},"proxyHeaders":{"server":{"value":"mine"}}}`},
		{"the host", "db", agent.Config{
			DrainTime: time.Second, FileFlushInterval: time.Minute, FileFlushSize: 1,
			Metadata: map[string]any{"MESH_ID": "own", "LATEEN_CAPTURE_PORTS": "1,2", "PROXY_CONFIG": map[string]any{"proxyHeaders": map[string]any{}}},
		}, `1s 1m0s 1 own 1,2 {"proxyHeaders":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := told.agent(t, c.own, "shop", c.group)
			got := ""
			cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error {
				var b struct {
					Node struct {
						Metadata struct {
							Mesh   string         `json:"MESH_ID"`
							Ports  string         `json:"LATEEN_CAPTURE_PORTS"`
							Config map[string]any `json:"PROXY_CONFIG"`
						}
					}
				}
				b.Node.Metadata.Config = map[string]any{}
				if err := json.Unmarshal(p.Bootstrap, &b); err != nil {
					return err
				}
				m := b.Node.Metadata
				own, err := json.Marshal(m.Config)
				got = fmt.Sprint(p.DrainTime, " ", p.FileFlushInterval, " ", p.FileFlushSize, " ", m.Mesh, " ", m.Ports, " ", string(own))
				return err
			}
			runAgent(t, cfg)
			if got != c.want {
				t.Errorf("the proxy is run with %s, want %s", got, c.want)
			}
		})
	}
	t.Run("it drains before it ends", func(t *testing.T) {
		cfg := told.agent(t, agent.Config{}, "shop", "")
		admin, drained := httptest.NewServer(nil), make(chan string, 1)
		defer admin.Close()
		admin.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { drained <- r.Method + " " + r.URL.String() })
		at := netip.MustParseAddrPort(admin.Listener.Addr().String())
		cfg.AdminIP, cfg.AdminPort = at.Addr(), at.Port()
		var told, lasted time.Time
		var end context.CancelFunc
		run := func() {
			t.Helper()
			a, err := agent.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end = cancel
			if err := a.Run(ctx); err != nil {
				t.Fatal(err)
			}
		}
		cfg.RunProxy = func(ctx context.Context, _ agent.ProxyRun) error {
			told = time.Now()
			end()
			<-ctx.Done()
			lasted = time.Now()
			return nil
		}
		run()
		if got := <-drained; got != "POST /drain_listeners?graceful&inboundonly" {
			t.Errorf("the proxy is told %s", got)
		}
		if d := lasted.Sub(told); d < 2*time.Second {
			t.Errorf("it has %v, want the mesh's 2s", d)
		}
		cfg.TerminationDrain = -1
		run()
		if len(drained) > 0 {
			t.Errorf("whoever sees to it himself has it drained all the same: %s", <-drained)
		}
	})
}

// TestPorts: where the proxy's admin API and the agent's own port are says the host, else a WorkloadGroup's annotation, else the mesh.
func TestPorts(t *testing.T) {
	told := startAgents(t, `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: shop}
spec:
  metadata: {annotations: {proxy.istio.io/config: "{statusPort: 15720}"}}
  template: {}
`, "defaultConfig: {proxyAdminPort: 15600, statusPort: 15620}\n")
	for _, c := range []struct {
		name, group string
		own         agent.Config
		want        string
	}{
		{"the mesh", "", agent.Config{}, "15600 15620"},
		{"a group's annotation", "db", agent.Config{}, "15600 15720"},
		{"the host", "db", agent.Config{AdminPort: 15700, StatusPort: 15701}, "15700 15701"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := told.agent(t, c.own, "shop", c.group)
			var fields [2]int
			if _, err := fmt.Sscan(c.want, &fields[0], &fields[1]); err != nil {
				t.Fatal(err)
			}
			got := ""
			cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error {
				var b struct {
					Admin struct {
						Address struct {
							Socket struct {
								Port int `json:"port_value"`
							} `json:"socket_address"`
						}
					}
				}
				if err := json.Unmarshal(p.Bootstrap, &b); err != nil {
					return err
				}
				conn, err := net.Dial("tcp", netip.AddrPortFrom(cfg.IP, uint16(fields[1])).String())
				if err != nil {
					return err
				}
				got = fmt.Sprint(b.Admin.Address.Socket.Port, " ", fields[1])
				return conn.Close()
			}
			runAgent(t, cfg)
			if got != c.want {
				t.Errorf("the ports are %s, want %s", got, c.want)
			}
		})
	}
}

// agents are what agents need to join a control plane.
type agents struct {
	ca, discovery string
	key           []byte
	mesh          string // the file of the mesh's settings
}

// startAgents runs a control plane with some objects and a mesh configuration.
func startAgents(t *testing.T, objects, mesh string) agents {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"config/objects.yaml": objects, "mesh.yaml": mesh} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ca := filepath.Join(dir, "ca")
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: filepath.Join(dir, "config"), WorkloadsDir: filepath.Join(dir, "workloads"), MeshFile: filepath.Join(dir, "mesh.yaml"), CADir: ca,
		SecureGRPCAddr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "control plane", cp.Run, cp.Ready())
	key, err := jointoken.ReadKey(ca)
	if err != nil {
		t.Fatal(err)
	}
	return agents{ca, cp.Addresses().SecureGRPC.String(), key, filepath.Join(dir, "mesh.yaml")}
}

// agent completes the configuration of an agent of a namespace. RunProxy is left to the caller.
func (a agents) agent(t *testing.T, cfg agent.Config, namespace, group string) agent.Config {
	t.Helper()
	token, err := jointoken.Mint(a.key, namespace, "default", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir = t.TempDir()
	cfg.TokenFile = filepath.Join(cfg.Dir, "token")
	if err := os.WriteFile(cfg.TokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Type, cfg.Name, cfg.Namespace, cfg.Group = cmp.Or(cfg.Type, agent.Sidecar), "a-1", namespace, group
	cfg.IP, cfg.Discovery = netip.MustParseAddr("127.80.0.1"), a.discovery
	cfg.RootCertFile, cfg.Logger = filepath.Join(a.ca, "root-cert.pem"), slog.New(slog.DiscardHandler)
	return cfg
}

// runAgent runs an agent until its proxy ends.
func runAgent(t *testing.T, cfg agent.Config) {
	t.Helper()
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestNodeCluster: by which name spans know a workload says the host, else a WorkloadGroup's annotation, else the mesh, by a name or by a rule.
func TestNodeCluster(t *testing.T) {
	groups := func(mesh string) agents {
		return startAgents(t, `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: db, namespace: shop}
spec:
  metadata: {annotations: {proxy.istio.io/config: "{tracingServiceName: CANONICAL_NAME_AND_NAMESPACE}"}}
  template: {}
`, mesh)
	}
	byName, byRule, silent := groups("defaultConfig: {serviceCluster: meshs}\n"), groups("defaultConfig: {tracingServiceName: CANONICAL_NAME_ONLY}\n"), groups("{}\n")
	for _, c := range []struct {
		name, group, want string
		mesh              agents
		own               agent.Config
	}{
		{"the mesh's name", "", "meshs", byName, agent.Config{}},
		{"the mesh's rule", "", "front", byRule, agent.Config{}},
		{"nobody", "", "web.shop", silent, agent.Config{}},
		{"a group's annotation", "db", "front.shop", byName, agent.Config{}},
		{"the host", "db", "own", byName, agent.Config{Cluster: "own"}},
		{"the host's rule", "", "web.shop", byName, agent.Config{ClusterRule: agent.ByAppAndNamespace}},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := c.own
			own.Metadata = map[string]any{"LABELS": map[string]any{"app": "web", "service.istio.io/canonical-name": "front"}}
			cfg := c.mesh.agent(t, own, "shop", c.group)
			got := ""
			cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error {
				var b struct{ Node struct{ Cluster string } }
				err := json.Unmarshal(p.Bootstrap, &b)
				got = b.Node.Cluster
				return err
			}
			runAgent(t, cfg)
			if got != c.want {
				t.Errorf("the node's cluster is %s, want %s", got, c.want)
			}
		})
	}
}

// TestCustomBootstrap: the mesh names a file of the host that its proxy has as its bootstrap. An agent whose host has none says so, and ends.
func TestCustomBootstrap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(file, []byte("node: {id: own}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	told := startAgents(t, "", "defaultConfig: {customConfigFile: "+file+"}\n")
	cfg := told.agent(t, agent.Config{}, "shop", "")
	var got []byte
	cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error {
		got = p.Bootstrap
		return nil
	}
	runAgent(t, cfg)
	if string(got) != `{"node":{"id":"own"}}` {
		t.Errorf("the bootstrap is %s", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(told.agent(t, agent.Config{RunProxy: cfg.RunProxy}, "shop", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "customConfigFile: open "+file) {
		t.Errorf("without the file: %v", err)
	}
}

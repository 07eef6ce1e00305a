package contract

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/proxy"
)

// bootstrapPatches are for all, for the namespace's workloads of app web, and for gateways. The last is not for this proxy's program.
const bootstrapPatches = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: all, namespace: istio-system}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {operation: MERGE, value: {stats_flush_interval: 3s, static_resources: {clusters: [{name: extra, type: STATIC, connect_timeout: 1s}]}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: web, namespace: shop}
spec:
  workloadSelector: {labels: {app: web}}
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {operation: MERGE, value: {stats_flush_interval: 7s, node: {id: somebody.else}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: gateways, namespace: shop}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    match: {context: GATEWAY}
    patch: {operation: MERGE, value: {stats_flush_interval: 9s}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: wrong, namespace: wrong}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {operation: MERGE, value: {static_resources: {clusters: [{name: extra, type: STATIC, lb_policy: MAGLEV, ring_hash_lb_config: {minimum_ring_size: 5}}]}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {metadata: {labels: {app: web}}, template: {}}
`

// Agents merge what EnvoyFilters say into the bootstraps that they make, in the order of other patches. With one that the proxy refuses they start it without.
func TestBootstrapPatches(t *testing.T) {
	told := startAgents(t, bootstrapPatches, "")
	for _, c := range []struct {
		name, namespace, group, kind string
		interval                     string
		extra                        bool
	}{
		{"the root namespace's", "other", "", agent.Sidecar, "3s", true},
		{"a workload that is not selected", "shop", "", agent.Sidecar, "3s", true},
		{"a workload by the labels of its group", "shop", "web", agent.Sidecar, "7s", true},
		{"a gateway", "shop", "", agent.Router, "9s", true},
		{"one that the proxy refuses", "wrong", "", agent.Sidecar, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := told.agent(t, agent.Config{Type: c.kind}, c.namespace, c.group)
			cfg.CheckBootstrap = func(b []byte) error { return proxy.Validate(proxy.Config{Bootstrap: b, Logger: cfg.Logger}) }
			var got struct {
				Node            struct{ ID string }
				Interval        string                                     `json:"stats_flush_interval"`
				StaticResources struct{ Clusters []struct{ Name string } } `json:"static_resources"`
			}
			cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error { return json.Unmarshal(p.Bootstrap, &got) }
			runAgent(t, cfg)
			extra := got.StaticResources.Clusters[len(got.StaticResources.Clusters)-1].Name == "extra"
			if got.Interval != c.interval || extra != c.extra || !strings.HasPrefix(got.Node.ID, c.kind+"~127.80.0.1~a-1."+c.namespace) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A limit of each listener's connections is a layer that the proxy takes.
func TestBootstrapLimits(t *testing.T) {
	told := startAgents(t, bootstrapPatches, "defaultConfig: {connectionSettings: {listenerConnectionLimit: 7}}\n")
	cfg := told.agent(t, agent.Config{Type: agent.Sidecar}, "other", "")
	cfg.CheckBootstrap = func(b []byte) error { return proxy.Validate(proxy.Config{Bootstrap: b, Logger: cfg.Logger}) }
	got := ""
	cfg.RunProxy = func(_ context.Context, p agent.ProxyRun) error { got = string(p.Bootstrap); return nil }
	runAgent(t, cfg)
	if !strings.Contains(got, `"rtds_layer"`) || !strings.Contains(got, `"listener-limits"`) {
		t.Errorf("the proxy is run with %s", got)
	}
}

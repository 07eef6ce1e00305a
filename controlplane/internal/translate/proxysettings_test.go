package translate

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// What the mesh's defaultConfig says of bootstraps, agents merge into theirs; EnvoyFilters come after it.
func TestSettingsBootstrap(t *testing.T) {
	const filter = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: all, namespace: istio-system}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {operation: MERGE, value: {stats_flush_interval: 3s}}
`
	for _, c := range []struct{ mesh, want string }{
		{"defaultConfig: {runtimeValues: {a.b: '7'}}", "staticLayer:\n        a.b: \"7\"\n"},
		{"defaultConfig: {statsdUdpAddress: '10.0.0.1:9125'}", "portValue: 9125\n"},
		{"defaultConfig: {envoyMetricsService: {address: 'metrics.example:15000'}}", "clusterName: envoy_metrics_service\n"},
		{"defaultConfig: {envoyMetricsService: {address: 'metrics.example:15000'}}", "address: metrics.example\n"},
		{"defaultConfig: {envoyMetricsService: {address: 'metrics.example:15000', tcpKeepalive: {time: 77s}}}", "keepaliveTime: 77\n"},
		{"defaultConfig: {envoyMetricsService: {address: 'metrics.example:15000', tlsSettings: {mode: SIMPLE, caCertificates: /m.pem}}}", "filename: /m.pem\n"},
		{"defaultConfig: {connectionSettings: {globalDownstreamConnectionLimit: 7}}", "maxActiveDownstreamConnections: \"7\"\n"},
		{"defaultConfig: {connectionSettings: {listenerConnectionLimit: 7}}", "rtdsLayer:\n        name: listener-limits\n"},
	} {
		s := meshSnapshot(t, c.mesh, filter)
		p, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", nil, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		text := string(toYAML(t, BootstrapPatches(s, p)))
		for _, want := range []string{c.want, "statsFlushInterval: 3s"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", c.mesh, want, text)
			}
		}
	}
}

// The limit of each listener comes in a layer of its own, and is taken back where the mesh says nothing of it any more.
func TestListenerLimits(t *testing.T) {
	p, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", nil, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	for mesh, want := range map[string]string{
		"defaultConfig: {connectionSettings: {listenerConnectionLimit: 7}}": "envoy.resource_limits.listener.0.0.0.0_80.connection_limit: 7\n",
		"{}": "- layer: {}\n  name: listener-limits\n",
	} {
		text := string(toYAML(t, ListenerLimits(meshSnapshot(t, mesh, ""), p, []string{"virtualInbound", "0.0.0.0_80"})))
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", mesh, want, text)
		}
	}
}

// A node's own proxy configuration wins over the mesh's, and proxies that differ in it share nothing that it says.
func TestNodeSettings(t *testing.T) {
	s := meshSnapshot(t, "defaultConfig: {proxyHeaders: {server: {value: mesh}}, connectionSettings: {clusterPerConnectionBufferLimitBytes: 5000}}", meshObjects)
	node := func(config map[string]any) *model.Proxy {
		meta := map[string]any{"LABELS": map[string]any{"app": "web"}}
		if config != nil {
			meta["PROXY_CONFIG"] = config
		}
		p, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", meta, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain := node(nil)
	own := node(map[string]any{
		"proxyHeaders":       map[string]any{"server": map[string]any{"value": "own"}, "attemptCount": map[string]any{"disabled": true}, "another": "of a newer Istio"},
		"connectionSettings": map[string]any{"clusterPerConnectionBufferLimitBytes": 6000.0},
	})
	for _, c := range []struct {
		p    *model.Proxy
		want string
	}{{plain, "mesh 5000 true"}, {own, "own 6000 false"}} {
		list := resources(s, c.p)
		listeners, clusters, routes := string(toYAML(t, list["listeners"])), string(toYAML(t, list["clusters"])), string(toYAML(t, list["routes"]))
		f := strings.Fields(c.want)
		if !strings.Contains(listeners, "serverName: "+f[0]) || !strings.Contains(clusters, "perConnectionBufferLimitBytes: "+f[1]) ||
			strings.Contains(routes, "includeRequestAttemptCount: true") != (f[2] == "true") {
			t.Errorf("not as it should be: %s", c.want)
		}
	}
	if s.Scope(plain) == s.Scope(own) {
		t.Error("proxies with other settings share what they are sent")
	}
	for name, config := range map[string]map[string]any{
		"connectionSettings.http2InitialStreamWindowSize: 1 is too small": {"connectionSettings": map[string]any{"http2InitialStreamWindowSize": 1.0}},
		"PROXY_CONFIG": {"proxyHeaders": "none"},
	} {
		_, err := model.ParseProxy("sidecar~10.1.0.1~a.b~c", "", map[string]any{"PROXY_CONFIG": config}, model.Locality{})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", config, err)
		}
	}
}

package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// TestHeadersOfTheEnvironment: a header that names a variable has its value when it reaches a proxy, and shows it to nobody else.
func TestHeadersOfTheEnvironment(t *testing.T) {
	const secret = "dt0c01-0123456789abcdef"
	log := &lines{}
	r := start(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Environment = func(name string) (string, bool) { return secret, name == "COLLECTOR_KEY" }
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const host = "web.shop.svc.cluster.local"
	for kind, provider := range map[string]string{
		"zipkin":    "zipkin: {service: " + host + ", port: 80, headers: [{name: authorization, envName: COLLECTOR_KEY}, {name: other, envName: NOT_SET}]}",
		"OTLP/HTTP": "opentelemetry: {service: " + host + ", port: 80, http: {path: /v1, headers: [{name: authorization, envName: COLLECTOR_KEY}, {name: other, envName: NOT_SET}]}}",
		"OTLP/gRPC": "opentelemetry: {service: " + host + ", port: 80, grpc: {initialMetadata: [{name: authorization, envName: COLLECTOR_KEY}, {name: other, envName: NOT_SET}]}}",
	} {
		r.write("mesh.yaml", "extensionProviders: [{name: c, "+provider+"}]\ndefaultProviders: {tracing: [c]}\n")
		n := node(t, "sidecar", "web-1", "shop", "10.1.0.1", map[string]any{"app": "web"})
		delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
		c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{Node: n})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Until(ctx, func(s xdstest.State) bool {
			for _, l := range s[xdstest.LDS] {
				if bytes.Contains(l.GetValue(), []byte(secret)) {
					return true
				}
			}
			return false
		}); err != nil {
			t.Fatalf("%s: no listener has the value: %v", kind, err)
		}
		_, list := r.page("/debug/list")
		var names []string
		if err := json.Unmarshal([]byte(list), &names); err != nil {
			t.Fatal(err)
		}
		pages := []string{"/debug/config_dump?proxyID=web-1.shop", "/debug/config_dump?proxyID=web-1.shop&types=lds", "/metrics"}
		for _, name := range names {
			if !strings.HasPrefix(name, "pprof/") {
				pages = append(pages, "/debug/"+name)
			}
		}
		for _, path := range pages {
			if _, page := r.page(path); strings.Contains(page, secret) {
				t.Errorf("%s: %s shows the value", kind, path)
			}
		}
		if _, page := r.page(pages[0]); !strings.Contains(page, `"value": "[redacted]"`) || !strings.Contains(page, `"key": "authorization"`) {
			t.Errorf("%s: the dump does not say that there is a header", kind)
		}
		if _, page := r.page("/debug/errors"); !strings.Contains(page, `there is no variable \"NOT_SET\" in the control plane's environment; the header is left out`) {
			t.Errorf("%s: nobody says that NOT_SET is not set: %s", kind, page)
		}
		c.Close()
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log shows the value")
	}
}

// TestConfigSourcesWhileItRuns: where objects come from is chosen at the start; what the settings say later is told.
func TestConfigSourcesWhileItRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := start(t, func(c *Config) { c.ConfigSources = []string{"fs:///etc/mesh"} })
	told := func() bool {
		_, page := r.page("/debug/errors")
		return strings.Contains(page, "they are not those of the start")
	}
	for _, c := range []struct {
		mesh string
		want bool
	}{
		{"configSources: [{address: 'fs:///etc/mesh'}]\nconnectTimeout: 3s\n", false}, {"configSources: [{address: 'fs:///srv'}]\n", true},
		{"configSources: [{address: 'fs:///etc/mesh'}]\n", false}, {"configSources: [{address: 'fs:///etc/mesh'}, {address: 'k8s://'}]\n", true},
	} {
		r.write("mesh.yaml", c.mesh)
		if err := waitFor(ctx, func() bool {
			_, page := r.page("/debug/mesh")
			return strings.Count(page, `"address"`) == strings.Count(c.mesh, "address") && told() == c.want
		}); err != nil {
			t.Fatalf("%s: told %t", c.mesh, told())
		}
	}
}

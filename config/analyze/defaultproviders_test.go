package analyze

import (
	"strings"
	"testing"
)

// TestDefaultProviders: a default provider that the mesh's settings do not define is named, wherever it stands.
func TestDefaultProviders(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    extensionProviders: [{name: spans, zipkin: {service: z.example, port: 9411}}]\n"
	for mesh, want := range map[string]string{
		"": "",
		"defaultProviders: {accessLogging: [envoy], metrics: [prometheus], tracing: [SPANS]}": "",
		"defaultProviders: {accessLogging: [envoy, log]}":                                     `data.mesh.defaultProviders.accessLogging[1]: there is no provider "log" in extensionProviders, so it has no effect; there is envoy, prometheus, spans`,
		"defaultProviders: {metrics: [promethius]}":                                           `data.mesh.defaultProviders.metrics[0]: there is no provider "promethius" in extensionProviders, so it has no effect; did you mean prometheus?`,
		"defaultProviders: {tracing: [span]}":                                                 `data.mesh.defaultProviders.tracing[0]: there is no provider "span" in extensionProviders, so it has no effect; did you mean spans?`,
	} {
		var got []string
		for _, m := range Effects(load(t, head+"    "+mesh+"\n").All()) {
			got = append(got, m.Field+": "+m.Text)
		}
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("%s: got\n%s\nwant\n%s", mesh, text, want)
		}
	}
}

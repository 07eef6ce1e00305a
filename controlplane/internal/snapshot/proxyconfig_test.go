package snapshot

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
)

// TestProxyConfigWithoutEffect: what of a ProxyConfig nobody reads is named.
func TestProxyConfigWithoutEffect(t *testing.T) {
	set, err := config.Load([]config.File{{Name: "p.yaml", Data: []byte("apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: p, namespace: shop}\n" +
		"spec: {concurrency: 2, environmentVariables: {ISTIO_META_X: a, ISTIO_METAJSON_Y: \"{}\", OTHER: b}, image: {imageType: debug}}\n")}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := New()
	b.Update(Set("config", set.All()[0]))
	var got []string
	for _, p := range b.Problems() {
		got = append(got, p.String())
	}
	if all := strings.Join(got, "\n"); len(got) != 2 || !strings.Contains(all, "OTHER has no effect") || !strings.Contains(all, "spec.image") {
		t.Errorf("problems:\n%s", all)
	}
}

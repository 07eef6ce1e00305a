package rbac

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// TestNetworkNames: what an Envoy of version 1.40 showed for the same prefixes.
func TestNetworkNames(t *testing.T) {
	s := stats.NewStore(stats.Options{Workers: 1})
	for _, prefix := range []string{"tcp.", "mine"} {
		scope := NetworkScope(s, prefix)
		scope.Counter("denied")
		scope.Counter(ShadowPrefix("dry_") + "shadow_denied")
	}
	snap, err := s.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	text := string(snap.AppendText(nil, stats.Buckets(0)))
	for _, name := range []string{"tcp.rbac.denied: 0\n", "tcp.rbac.dry_.shadow_denied: 0\n", "mine.rbac.denied: 0\n"} {
		if !strings.Contains(text, name) {
			t.Errorf("%q is not in\n%s", name, text)
		}
	}
	var got []string
	for line := range strings.Lines(string(snap.AppendPrometheus(nil))) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`envoy_denied{envoy_rbac_prefix="tcp",envoy_tcp_prefix="rbac"} 0`,
		`envoy_dry__shadow_denied{envoy_rbac_prefix="tcp",envoy_tcp_prefix="rbac"} 0`,
		`envoy_rbac_denied{envoy_rbac_prefix="mine"} 0`,
		`envoy_rbac_dry__shadow_denied{envoy_rbac_prefix="mine"} 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

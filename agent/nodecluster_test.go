package agent

import (
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

func TestNodeCluster(t *testing.T) {
	app := map[string]any{"app": "web"}
	canonical := map[string]any{"app": "web", "service.istio.io/canonical-name": "shop-front"}
	for _, tt := range []struct {
		name   string
		cfg    Config
		labels map[string]any
		want   string
	}{
		{"nothing is said", Config{}, app, "web.shop"},
		{"without an app", Config{}, nil, "web-1.shop"},
		{"the usual name", Config{Cluster: "istio-proxy"}, app, "web.shop"},
		{"a name", Config{Cluster: "mine", ClusterRule: ByCanonicalName}, app, "mine"},
		{"APP_LABEL_AND_NAMESPACE", Config{ClusterRule: ByAppAndNamespace}, canonical, "web.shop"},
		{"CANONICAL_NAME_ONLY", Config{ClusterRule: ByCanonicalName}, canonical, "shop-front"},
		{"CANONICAL_NAME_ONLY, by another label", Config{ClusterRule: ByCanonicalName}, map[string]any{"app": "web", "app.kubernetes.io/name": "front"}, "front"},
		{"CANONICAL_NAME_ONLY, by the workload", Config{ClusterRule: ByCanonicalName}, nil, "web-1"},
		{"CANONICAL_NAME_AND_NAMESPACE", Config{ClusterRule: ByCanonicalNameAndNamespace}, canonical, "shop-front.shop"},
	} {
		cfg := tt.cfg
		cfg.Name, cfg.Namespace, cfg.Metadata = "web-1", "shop", map[string]any{"LABELS": tt.labels}
		node, err := cfg.withDefaults().node()
		if err != nil {
			t.Fatal(err)
		}
		if got := node.GetCluster(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := (Config{}).nodeCluster(&structpb.Struct{}); got != "istio-proxy" {
		t.Errorf("of nothing: %s", got)
	}
}

// The mesh says it where the host does not, either way.
func TestNodeClusterOfTheMesh(t *testing.T) {
	mesh := settings{cluster: "meshs"}
	for _, tt := range []struct {
		host, want Config
	}{
		{Config{}, Config{Cluster: "meshs"}},
		{Config{Cluster: "own"}, Config{Cluster: "own"}},
		{Config{ClusterRule: ByCanonicalName}, Config{ClusterRule: ByCanonicalName}},
	} {
		if got := tt.host.apply(mesh); got.Cluster != tt.want.Cluster || got.ClusterRule != tt.want.ClusterRule {
			t.Errorf("%q, %d, want %q, %d", got.Cluster, got.ClusterRule, tt.want.Cluster, tt.want.ClusterRule)
		}
	}
}

package translate

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func TestServiceAttributes(t *testing.T) {
	for _, c := range []struct {
		name string
		p    model.Proxy
		want string
	}{
		{"nothing is known", model.Proxy{}, "[[service.name unknown_service]]"},
		{"a pod", model.Proxy{Name: "web-1", Namespace: "shop"}, "[[service.name web-1] [service.namespace shop] [service.instance.id shop.web-1]]"},
		{"its owner and container", model.Proxy{Name: "web-1", Namespace: "shop", WorkloadName: "web", Metadata: map[string]any{"APP_CONTAINERS": "app"}},
			"[[service.name web] [service.namespace shop] [service.instance.id shop.web-1.app]]"},
		{"several containers", model.Proxy{Name: "web-1", Namespace: "shop", WorkloadName: "web", Metadata: map[string]any{"APP_CONTAINERS": "app,logs"}},
			"[[service.name web] [service.namespace shop] [service.instance.id shop.web-1]]"},
		{"labels", model.Proxy{Name: "web-1", Namespace: "shop", WorkloadName: "web", Labels: map[string]string{"app.kubernetes.io/name": "site", "app.kubernetes.io/version": "v2"}},
			"[[service.name site] [service.namespace shop] [service.version v2] [service.instance.id shop.web-1]]"},
		{"the label of the instance before that of the name", model.Proxy{Name: "web-1", Namespace: "shop", Labels: map[string]string{"app.kubernetes.io/name": "site", "app.kubernetes.io/instance": "site-eu"}},
			"[[service.name site-eu] [service.namespace shop] [service.instance.id shop.web-1]]"},
		{"annotations before all else", model.Proxy{Name: "web-1", Namespace: "shop", Labels: map[string]string{"app.kubernetes.io/name": "site", "app.kubernetes.io/version": "v2"},
			Metadata: map[string]any{"ANNOTATIONS": map[string]any{"resource.opentelemetry.io/service.name": "n", "resource.opentelemetry.io/service.namespace": "ns",
				"resource.opentelemetry.io/service.version": "v", "resource.opentelemetry.io/service.instance.id": "i"}}},
			"[[service.name n] [service.namespace ns] [service.version v] [service.instance.id i]]"},
		{"metadata of other kinds", model.Proxy{Name: "web-1", Namespace: "shop", Metadata: map[string]any{"ANNOTATIONS": "x", "APP_CONTAINERS": 1}},
			"[[service.name web-1] [service.namespace shop] [service.instance.id shop.web-1]]"},
	} {
		if got := fmt.Sprint(serviceAttributes(&c.p)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// BenchmarkInboundListener makes the listener of a workload of ten ports, with a hundred policies for its namespace.
func BenchmarkInboundListener(b *testing.B) {
	var text strings.Builder
	text.WriteString("apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a, namespace: shop}\nspec: {address: 10.0.0.1, labels: {app: a}}\n---\n")
	text.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec:\n  selector: {app: a}\n  ports:\n")
	for i := range 10 {
		fmt.Fprintf(&text, "  - {name: http-%d, port: %d}\n", i, 8000+i)
	}
	for i := range 100 {
		fmt.Fprintf(&text, `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p%d, namespace: shop}
spec:
  rules:
  - from: [{source: {principals: ["cluster.local/ns/shop/sa/c%d"]}}]
    to: [{operation: {methods: [GET, POST], paths: ["/p%d/*"]}}]
`, i, i, i)
	}
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(text.String())}}, config.LoadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := snapshot.New().Update(events...)
	p, err := model.ParseProxy("sidecar~10.0.0.1~a.shop~shop.svc.cluster.local", "a.shop", map[string]any{"NAMESPACE": "shop", "LABELS": map[string]any{"app": "a"}}, model.Locality{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range InboundListeners(s, p) {
			r.Build()
		}
	}
}

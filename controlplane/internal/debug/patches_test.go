package debug

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// rottenPatch is for every proxy and matches nothing of any: the report has to look at all.
const rottenPatch = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: rotten, namespace: istio-system}
spec:
  configPatches:
  - {applyTo: CLUSTER, match: {cluster: {service: nobody.shop.svc.cluster.local}}, patch: {operation: MERGE, value: {connect_timeout: 4s}}}
  - {applyTo: CLUSTER, match: {cluster: {service: web-1.shop.svc.cluster.local}}, patch: {operation: MERGE, value: {connect_timeout: 3s}}}
`

// patchMesh has services with as many workloads each, and a proxy for each workload.
func patchMesh(tb testing.TB, services, replicas int) (*model.Snapshot, []xdsserver.ProxyStatus) {
	tb.Helper()
	var text strings.Builder
	text.WriteString(rottenPatch)
	var proxies []xdsserver.ProxyStatus
	for i := range services {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: web-%d, namespace: shop}\n"+
			"spec: {clusterIP: 10.200.%d.%d, selector: {app: web-%d}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", i, i/250, i%250+1, i)
		for j := range replicas {
			ip := fmt.Sprintf("10.1.%d.%d", i, j+1)
			fmt.Fprintf(&text, "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: web-%d-%d, namespace: shop}\n"+
				"spec: {address: %s, labels: {app: web-%d}, serviceAccount: web}\n", i, j, ip, i)
			p, err := model.ParseProxy(fmt.Sprintf("sidecar~%s~web-%d-%d.shop~shop.svc.cluster.local", ip, i, j), "",
				map[string]any{"LABELS": map[string]any{"app": fmt.Sprintf("web-%d", i)}}, model.Locality{})
			if err != nil {
				tb.Fatal(err)
			}
			proxies = append(proxies, xdsserver.ProxyStatus{Proxy: p})
		}
	}
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(text.String())}}, config.LoadOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := snapshot.New().Update(events...)
	return s, proxies
}

func TestPatchReport(t *testing.T) {
	s, proxies := patchMesh(t, 3, 4)
	var r patchReport
	said := func() string {
		var out []string
		for _, n := range r.of(s, proxies) {
			out = append(out, n.Field+": "+n.Text)
		}
		return strings.Join(out, "\n")
	}
	const idle = "spec.configPatches[0]: matches nothing of any of the 12 connected proxies; correct its match, or remove it"
	if got := said(); got != idle {
		t.Errorf("said %s", got)
	}
	if len(r.effects) != 3 || len(r.keys) != 12 {
		t.Errorf("derived %d of %d proxies, want one for each service", len(r.effects), len(r.keys))
	}
	// What is remembered is of the proxies; what they refuse is asked anew.
	proxies[5].Types = []xdsserver.TypeStatus{{TypeURL: translate.ClusterType, Refusal: "cluster outbound|80||web-1.shop.svc.cluster.local: no"}}
	if got := said(); !strings.Contains(got, idle) || !strings.Contains(got, "spec.configPatches[1]: proxy web-1-1.shop refuses outbound|80||web-1.shop.svc.cluster.local") {
		t.Errorf("said %s", got)
	}
	proxies = proxies[:4]
	if got := said(); !strings.Contains(got, "any of the 4 connected") || len(r.keys) != 4 {
		t.Errorf("said %s, %d keys", got, len(r.keys))
	}
	next, others := patchMesh(t, 1, 1)
	if r.of(next, others); len(r.effects) != 1 || r.snap != next {
		t.Errorf("of another snapshot: %d derived", len(r.effects))
	}
}

// BenchmarkPatchReport is a page of a mesh of 1,000 proxies, when it is first asked for and again.
func BenchmarkPatchReport(b *testing.B) {
	s, proxies := patchMesh(b, 100, 10)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			var r patchReport
			r.of(s, proxies)
		}
	})
	b.Run("again", func(b *testing.B) {
		var r patchReport
		r.of(s, proxies)
		for b.Loop() {
			r.of(s, proxies)
		}
	})
	b.Run("each proxy by itself", func(b *testing.B) {
		for b.Loop() {
			for _, p := range proxies {
				translate.PatchEffects(s, p.Proxy, func(*model.EnvoyPatch, string, string) {})
			}
		}
	})
}

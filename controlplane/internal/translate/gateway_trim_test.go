package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

const trimWorld = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: shadow, namespace: shop}
spec: {selector: {app: shadow}, ports: [{name: http, port: 80}, {name: admin, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {selector: {app: echo}, ports: [{name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: inner, namespace: shop}
spec: {selector: {app: inner}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: known-as, namespace: shop}
spec: {type: ExternalName, externalName: inner.shop.svc.cluster.local, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 31400, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example.com]
  gateways: [front]
  http: [{route: [{destination: {host: web, subset: v1}}], mirror: {host: shadow, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tcp, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  tcp: [{match: [{port: 31400}], route: [{destination: {host: echo}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mesh-only, namespace: shop}
spec:
  hosts: [inner]
  http: [{route: [{destination: {host: inner}}]}]
`

const toAlias = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example.com]
  gateways: [front]
  http: [{route: [{destination: {host: known-as, port: {number: 80}}}]}]
`

// TestTrimmedGateways: with trimming a gateway has all clusters of the services that its rules lead to, and nothing else of the mesh; a sidecar has what
// it has without.
func TestTrimmedGateways(t *testing.T) {
	parse := func(id, label, value string) *model.Proxy {
		p, err := model.ParseProxy(id, "", map[string]any{"LABELS": map[string]any{label: value}}, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	gateway := parse("router~10.0.0.9~gw.istio-system~istio-system.svc.cluster.local", "istio", "ingressgateway")
	other := parse("router~10.0.0.8~gw2.istio-system~istio-system.svc.cluster.local", "istio", "egressgateway")
	sidecar := parse("sidecar~10.0.0.7~a.shop~shop.svc.cluster.local", "app", "a")
	everything := []string{"echo:9000", "inner:80", "shadow:80", "shadow:81", "web:80", "web:80 v1", "web:80 v2"}
	for _, tt := range []struct {
		name  string
		trim  bool
		p     *model.Proxy
		extra string
		want  []string
	}{
		{"off", false, gateway, "", everything},
		{"on", true, gateway, "", []string{"echo:9000", "shadow:80", "shadow:81", "web:80", "web:80 v1", "web:80 v2"}},
		{"on, no gateway selects it", true, other, "", nil},
		{"on, a sidecar", true, sidecar, "", everything},
		{"on, to an alias", true, gateway, toAlias, []string{"echo:9000", "inner:80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := snapshot.New()
			if tt.trim {
				b.TrimGateways()
			}
			s := b.Snapshot()
			for _, text := range []string{trimWorld, tt.extra} {
				var events []snapshot.Event
				for _, o := range loadAll(t, text) {
					events = append(events, snapshot.Set("config", o))
				}
				s, _ = b.Update(events...)
			}
			var got []string
			for _, r := range Clusters(s, tt.p) {
				if port, subset, host, ok := ParseClusterName(r.Name); ok {
					name := strings.TrimSuffix(host, ".shop.svc.cluster.local") + ":" + fmt.Sprint(port)
					got = append(got, strings.TrimSpace(name+" "+subset))
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("clusters %v, want %v", got, tt.want)
			}
		})
	}
}

func loadAll(t *testing.T, text string) []*config.Object {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "objects.yaml", Data: []byte(text)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set.All()
}

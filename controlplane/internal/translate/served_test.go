package translate

import (
	"testing"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// A workload that has left the registry goes on to serve the ports that its proxy owns, as long as the proxy is there: clients hear of it later, or know it still.
func TestLeavingWorkloadServes(t *testing.T) {
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(`
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{name: http, port: 80, targetPort: 3000}, {name: tcp-admin, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {selector: {app: other}, ports: [{name: http, port: 80, targetPort: 4000}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: catalog-1, namespace: shop}
spec: {address: 127.0.1.1, labels: {app: catalog}, serviceAccount: catalog}
`)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	proxy := func(inbound string) *model.Proxy {
		p, err := model.ParseProxy("sidecar~127.0.1.1~catalog-1.shop~shop.svc.cluster.local", "", map[string]any{
			"INTERCEPTION_MODE": "NONE", "LABELS": map[string]any{"app": "catalog"}, "LATEEN_INBOUND": inbound,
		}, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := proxy("3000=127.0.0.1:3001,9000=127.0.0.1:9001,4000=127.0.0.1:4001")
	b := snapshot.New()
	var entry config.Key
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
		if o.Kind.Name == "WorkloadEntry" {
			entry = o.Key()
		}
	}
	there, _ := b.Update(events...)
	before := encodeAll(InboundListeners(there, p))
	if len(before) != 2 {
		t.Fatalf("%d listeners, want those of ports 3000 and 9000", len(before))
	}
	gone, change := b.Update(snapshot.Delete("config", entry))
	sameBytes(t, "listeners", encodeAll(InboundListeners(gone, p)), before)
	sameBytes(t, "clusters", encodeAll(InboundClusters(gone, p)), encodeAll(InboundClusters(there, p)))
	if !Affects(change, gone, p).Inbound {
		t.Error("the proxy is not looked at")
	}
	if own := InboundListeners(gone, proxy("")); len(own) != 0 {
		t.Errorf("a proxy that owns no ports has %d listeners of its own", len(own))
	}
}

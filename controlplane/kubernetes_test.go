package controlplane

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/controlplane/internal/kube/kubetest"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// clusterPod is a pod of the namespace shop with the label app: web.
func clusterPod(name, ip, ready, node string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, labels: {app: web, security.istio.io/tlsMode: istio}}\n" +
		"spec: {serviceAccountName: web, nodeName: " + node + ", containers: [{ports: [{name: http, containerPort: 9090}, {name: main, containerPort: 8080}]}]}\n" +
		"status: {podIP: " + ip + ", phase: Running, conditions: [{type: Ready, status: '" + ready + "'}]}"
}

// endpointsUntil connects a proxy and returns what waits until a cluster has exactly these endpoints there.
func endpointsUntil(ctx context.Context, t *testing.T, r *running) func(cluster string, want ...string) {
	t.Helper()
	client, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return func(cluster string, want ...string) {
		t.Helper()
		var got []string
		if err := client.Until(ctx, func(s xdstest.State) bool {
			got = addressesOf(t, s, cluster)
			return s[xdstest.EDS][cluster] != nil && slices.Equal(got, want)
		}); err != nil {
			t.Fatalf("%s: endpoints %v, want %v: %v", cluster, got, want, err)
		}
	}
}

// TestKubernetes: a cluster's objects and pods, beside those of the folder.
func TestKubernetes(t *testing.T) {
	s := kubetest.New(t)
	s.Put("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.7, selector: {app: web}, ports: [{name: http, port: 80, targetPort: main}]}")
	s.Put("apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: 10.96.0.8, ports: [{name: tcp, port: 5432}]}")
	s.Put("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\n" +
		"ports: [{name: tcp, port: 15432}]\nendpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2], conditions: {ready: false}}]")
	s.Put("apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/region: east, topology.kubernetes.io/zone: east-1}}")
	s.Put(clusterPod("web-a", "10.244.0.1", "True", "n1"))
	s.Put(clusterPod("web-b", "10.244.0.2", "False", "n1"))
	s.Put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: '{accessLogFile: /dev/stdout, trustDomain: mesh.example}'}")
	s.Put("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: destinationrules.networking.istio.io}\n" +
		"spec: {group: networking.istio.io, versions: [{name: v1, served: true}]}\nstatus: {conditions: [{type: Established, status: 'True'}]}")
	s.Put("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\nspec: {host: web, subsets: [{name: all, labels: {app: web}}]}")

	r := &running{t: t, dir: t.TempDir()}
	r.write("config/shop/service/old.yaml", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: old, namespace: shop}\n"+
		"spec: {hosts: [old.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: web}}}\n")
	r.run(func(c *Config) { c.Kubeconfig, c.MeshFile = s.Kubeconfig(), "" })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	until := endpointsUntil(ctx, t, r)
	const web, subset, db = "outbound|80||web.shop.svc.cluster.local", "outbound|80|all|web.shop.svc.cluster.local", "outbound|5432||db.shop.svc.cluster.local"
	until(web, "10.244.0.1")
	until(subset, "10.244.0.1")
	until(db, "192.0.2.1")
	until("outbound|80||old.example.com", "10.244.0.1") // a ServiceEntry chooses pods as well
	if _, page := r.page("/debug/endpointz"); !strings.Contains(page, `"EndpointPort": 8080`) || strings.Contains(page, `"EndpointPort": 9090`) {
		t.Error("the target port main is not 8080")
	}
	if _, page := r.page("/debug/mesh"); !strings.Contains(page, `"accessLogFile": "/dev/stdout"`) {
		t.Errorf("the mesh configuration is not the ConfigMap's: %s", page)
	}

	// Identities are those of the ConfigMap from the first certificate on.
	if got := r.identityOf(); got != "spiffe://mesh.example/ns/shop/sa/web" {
		t.Errorf("it issues %s", got)
	}

	// A pod becomes ready, another is on its way out.
	s.Put(clusterPod("web-b", "10.244.0.2", "True", "n1"))
	until(web, "10.244.0.1", "10.244.0.2")
	s.Put(strings.Replace(clusterPod("web-a", "10.244.0.1", "True", "n1"), "name: web-a,", "name: web-a, deletionTimestamp: '2026-11-30T10:00:00Z',", 1))
	until(web, "10.244.0.2")
	s.Delete("v1", "Pod", "shop", "web-a")
	s.Put("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}\naddressType: IPv4\n" +
		"ports: [{name: tcp, port: 15432}]\nendpoints: [{addresses: [192.0.2.3]}]")
	until(db, "192.0.2.3")

	// The server goes: everything stays. It comes back with news.
	s.Refuse("v1", "Pod", http.StatusServiceUnavailable)
	s.Cut()
	if err := waitFor(ctx, func() bool { return !r.registries()[0].Connected }); err != nil {
		t.Fatal("the registry is still said to be connected")
	}
	until(web, "10.244.0.2")
	s.Put(clusterPod("web-c", "10.244.0.3", "True", "n2"))
	s.Refuse("v1", "Pod", 0)
	until(web, "10.244.0.2", "10.244.0.3")
	if err := waitFor(ctx, func() bool { return r.registries()[0].Connected }); err != nil {
		t.Fatal("the registry is still said to be away")
	}
	if st := r.registries()[0]; st.Registry != "Kubernetes" || st.LastError == "" || st.Endpoints != 3 {
		t.Errorf("status %+v", st)
	}
	_, page := r.page("/metrics")
	for _, want := range []string{`lateen_registry_connected{registry="` + r.registries()[0].Name + `"} 1`, `lateen_registry_endpoints{registry="` + r.registries()[0].Name + `"} 3`} {
		if !strings.Contains(page, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestKubernetesServer reads a real API server, with the definitions that Istio publishes.
func TestKubernetesServer(t *testing.T) {
	s := kubetest.Start(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.Put("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
	s.Put("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: main}]}")
	s.Put(realPod("web-a", "10.244.0.1", "True"))
	s.Put(realPod("web-b", "10.244.0.2", "False"))
	r := &running{t: t, dir: t.TempDir()}
	r.run(func(c *Config) { c.Kubeconfig, c.MeshFile = s.Kubeconfig(), "" })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	until := endpointsUntil(ctx, t, r)
	until("outbound|80||web.shop.svc.cluster.local", "10.244.0.1")
	s.Put(realPod("web-b", "10.244.0.2", "True"))
	until("outbound|80||web.shop.svc.cluster.local", "10.244.0.1", "10.244.0.2")
	// The kinds come while the control plane runs, and objects with them.
	s.Put(string(definitions))
	s.Put("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\nspec: {host: web, subsets: [{name: all, labels: {app: web}}]}")
	until("outbound|80|all|web.shop.svc.cluster.local", "10.244.0.1", "10.244.0.2")
}

// realPod is one as an API server takes it, where nothing runs pods.
func realPod(name, ip, ready string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, labels: {app: web}}\n" +
		"spec: {containers: [{name: web, image: web, ports: [{name: main, containerPort: 8080}]}]}\n" +
		"status: {podIP: " + ip + ", podIPs: [{ip: " + ip + "}], phase: Running, conditions: [{type: Ready, status: '" + ready + "'}]}"
}

package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// read makes an object of YAML.
func read[T any](t *testing.T, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatal(err, text)
	}
	return v
}

// TestWorkload says what a pod is to the mesh.
func TestWorkload(t *testing.T) {
	const ready = `{podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}`
	for _, tt := range []struct{ name, pod, want string }{
		{"ready", `{metadata: {name: a, namespace: shop}, spec: {serviceAccountName: web}, status: ` + ready + `}`, "10.0.0.1 account web, at r/z/"},
		{"without an address", `{metadata: {name: a, namespace: shop}, status: {phase: Pending}}`, "none"},
		{"not ready", `{metadata: {name: a, namespace: shop}, status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: "False"}]}}`, "10.0.0.1 unhealthy, at r/z/"},
		{"without conditions", `{metadata: {name: a, namespace: shop}, status: {podIP: 10.0.0.1, phase: Running}}`, "10.0.0.1 unhealthy, at r/z/"},
		{"on its way out", `{metadata: {name: a, namespace: shop, deletionTimestamp: "2026-11-30T10:00:00Z"}, status: ` + ready + `}`, "10.0.0.1 unhealthy, at r/z/"},
		{"a job that is done", `{metadata: {name: a, namespace: shop}, status: {podIP: 10.0.0.1, phase: Succeeded}}`, "none"},
		{"a job that failed", `{metadata: {name: a, namespace: shop}, status: {podIP: 10.0.0.1, phase: Failed}}`, "none"},
		{"with a proxy", `{metadata: {name: a, namespace: shop, labels: {security.istio.io/tlsMode: istio}}, status: ` + ready + `}`, "10.0.0.1 mTLS, at r/z/"},
		{"that opts out of mTLS", `{metadata: {name: a, namespace: shop, labels: {security.istio.io/tlsMode: disabled}}, spec: {serviceAccountName: web}, status: ` + ready + `}`, "10.0.0.1 account web, at r/z/"},
		{"with a place of its own", `{metadata: {name: a, namespace: shop, labels: {istio-locality: east.1.b}}, status: ` + ready + `}`, "10.0.0.1, at east/1/b"},
		{"on a network", `{metadata: {name: a, namespace: shop, labels: {topology.istio.io/network: n1}}, status: ` + ready + `}`, "10.0.0.1 network n1, at r/z/"},
		{"with named ports", `{metadata: {name: a, namespace: shop}, spec: {containers: [{ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}, {containerPort: 9}]}, {ports: [{name: http, containerPort: 1}, {name: admin, containerPort: 81, protocol: TCP}]}],
			initContainers: [{ports: [{name: once, containerPort: 7}]}, {restartPolicy: Always, ports: [{name: proxy, containerPort: 15090}]}]}, status: ` + ready + `}`, "10.0.0.1 admin=81 http=8080 proxy=15090, at r/z/"},
	} {
		w := workload(read[corev1.Pod](t, tt.pod), model.Locality{Region: "r", Zone: "z"})
		if got := describe(w); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		// What is kept of a pod says the same.
		if got := describe(workload(brief(read[corev1.Pod](t, tt.pod)), model.Locality{Region: "r", Zone: "z"})); got != tt.want {
			t.Errorf("%s, as it is kept: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func describe(w *model.Workload) string {
	if w == nil {
		return "none"
	}
	out := w.Address
	if w.ServiceAccount != "" {
		out += " account " + w.ServiceAccount
	}
	if w.TLS == model.TLSModeIstio {
		out += " mTLS"
	}
	if w.Network != "" {
		out += " network " + w.Network
	}
	for _, name := range []string{"admin", "dns", "http", "once", "proxy"} {
		if p, ok := w.ContainerPorts[name]; ok {
			out += fmt.Sprintf(" %s=%d", name, p)
		}
	}
	if w.Unhealthy {
		out += " unhealthy"
	}
	return out + ", at " + w.Locality.Region + "/" + w.Locality.Zone + "/" + w.Locality.SubZone
}

// TestPlacement: what slices say of where a Service is, port by port.
func TestPlacement(t *testing.T) {
	var list []*discoveryv1.EndpointSlice
	for _, text := range []string{
		`{metadata: {name: db-1, namespace: shop}, addressType: IPv4, ports: [{name: tcp, port: 5433}, {name: dns, port: 53, protocol: UDP}, {name: tcp, port: 1}, {name: none}, {name: far, port: 70000}],
			endpoints: [{addresses: [192.0.2.1], nodeName: n1}, {addresses: [192.0.2.2], zone: z2, conditions: {ready: false}}, {addresses: [192.0.2.3, 192.0.2.4], conditions: {ready: true}}, {addresses: []}]}`,
		`{metadata: {name: db-2, namespace: shop}, addressType: IPv6, ports: [{port: 8080, protocol: TCP}], endpoints: [{addresses: ["2001:db8::1"]}]}`,
		`{metadata: {name: db-3, namespace: shop}, addressType: FQDN, ports: [{name: tcp, port: 5433}], endpoints: [{addresses: [db.example.com]}]}`,
	} {
		list = append(list, read[discoveryv1.EndpointSlice](t, text))
	}
	r := placement("shop/db", "cluster.local", list, func(node string) model.Locality { return model.Locality{Region: "of " + node} })
	if r.Key() != "db.shop.svc.cluster.local/shop" || !r.Placed || r.Service.Origin.String() != "Service shop/db" {
		t.Errorf("registration is of %s, placed %v, of %s", r.Key(), r.Placed, r.Service.Origin)
	}
	var got []string
	for _, in := range r.Instances {
		s := fmt.Sprintf("%s %v of %s", in.Address, in.Ports, in.Origin.Name)
		if in.Unhealthy {
			s += " unhealthy"
		}
		if at := in.Locality; at != (model.Locality{}) {
			s += " at " + at.Region + "/" + at.Zone
		}
		got = append(got, s)
	}
	want := []string{"192.0.2.1 map[tcp:5433] of db-1 at of n1/", "192.0.2.2 map[tcp:5433] of db-1 unhealthy at /z2", "192.0.2.3 map[tcp:5433] of db-1", "2001:db8::1 map[:8080] of db-2"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("instances are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// dump is a delta as text, for comparisons.
func dump(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

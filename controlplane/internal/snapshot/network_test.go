package snapshot

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func gateways(b *Builder, network string) (out []string) {
	if n := b.Snapshot().Networks; n != nil {
		for _, gw := range n.Gateways[network] {
			out = append(out, fmt.Sprintf("%s:%d", gw.Address, gw.Port))
		}
	}
	return out
}

// Gateways come and go with their services and workloads, and everything that is sent to proxies is looked at again when they do.
func TestNetworksFollowTheirGateways(t *testing.T) {
	const (
		service = "apiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: istio-system%s}\nspec: {selector: {app: gw}, ports: [{name: tls, port: 15443, targetPort: 5443}]%s}\n"
		entry   = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: gw-1, namespace: istio-system}\nspec: {address: %s, labels: {app: gw}}\n"
		mesh    = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {meshNetworks: 'networks: {west: {gateways: [{registryServiceName: gw.istio-system.svc.cluster.local, port: 15443}]}}'}\n"
		label   = ", labels: {topology.istio.io/network: east}"
	)
	b := New()
	apply := func(text string) (all bool) {
		t.Helper()
		set, err := config.Load([]config.File{{Name: "f", Data: []byte(text)}}, config.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range set.All() {
			_, ch := b.Update(Set("config", o))
			all = all || ch.All
		}
		return all
	}
	for i, step := range []struct {
		apply      string
		all        bool
		east, west []string
	}{
		{fmt.Sprintf(service, "", ""), false, nil, nil},
		{fmt.Sprintf(entry, "10.0.0.1"), false, nil, nil},
		{fmt.Sprintf(service, label, ""), true, []string{"10.0.0.1:5443"}, nil},
		{fmt.Sprintf(entry, "10.0.0.2"), true, []string{"10.0.0.2:5443"}, nil},
		{fmt.Sprintf(service, label, ", externalIPs: [203.0.113.9, 203.0.113.8]"), true, []string{"203.0.113.8:15443", "203.0.113.9:15443"}, nil},
		{fmt.Sprintf(entry, "10.0.0.3"), false, []string{"203.0.113.8:15443", "203.0.113.9:15443"}, nil},
		{mesh, true, []string{"203.0.113.8:15443", "203.0.113.9:15443"}, []string{"203.0.113.8:15443", "203.0.113.9:15443"}},
		{fmt.Sprintf(service, "", ""), true, nil, []string{"10.0.0.3:5443"}},
	} {
		all := apply(step.apply)
		if e, w := gateways(b, "east"), gateways(b, "west"); all != step.all || !reflect.DeepEqual(e, step.east) || !reflect.DeepEqual(w, step.west) {
			t.Errorf("step %d: everything %v, east %v, west %v", i, all, e, w)
		}
	}
}

// A gateway that is given by a name stands at the addresses that DNS tells, and nowhere before; so does a load balancer's name before a gateway's Service.
func TestGatewaysByName(t *testing.T) {
	b := New()
	set, err := config.Load([]config.File{{Name: "f", Data: []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {meshNetworks: 'networks: {west: {gateways: [{address: gw.example, port: 15443}, {address: 192.0.2.9, port: 15443}]}}'}
---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: istio-system, labels: {topology.istio.io/network: east}}
spec: {ports: [{name: tls, port: 15443}]}
`)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Files say no status: only Kubernetes' API tells one.
	set.Get(schema.Service, "istio-system", "gw").Spec.(*corev1.Service).Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example"}}
	for _, o := range set.All() {
		b.Update(Set("config", o))
	}
	if got := b.GatewayNames(); !reflect.DeepEqual(got, []string{"gw.example", "lb.example"}) {
		t.Errorf("DNS is asked for %v", got)
	}
	for i, step := range []struct {
		names      map[string][]string
		all        bool
		east, west []string
	}{
		{nil, false, nil, []string{"192.0.2.9:15443"}},
		{map[string][]string{"gw.example": {"192.0.2.1", "192.0.2.2"}}, true, nil, []string{"192.0.2.1:15443", "192.0.2.2:15443", "192.0.2.9:15443"}},
		{map[string][]string{"gw.example": {"192.0.2.1", "192.0.2.2"}}, false, nil, []string{"192.0.2.1:15443", "192.0.2.2:15443", "192.0.2.9:15443"}},
		{map[string][]string{"gw.example": {"192.0.2.2"}, "lb.example": {"2001:db8::1"}}, true, []string{"2001:db8::1:15443"}, []string{"192.0.2.2:15443", "192.0.2.9:15443"}},
	} {
		_, ch := b.SetNames(step.names)
		if e, w := gateways(b, "east"), gateways(b, "west"); ch.All != step.all || !reflect.DeepEqual(e, step.east) || !reflect.DeepEqual(w, step.west) {
			t.Errorf("step %d: everything %v, east %v, west %v", i, ch.All, e, w)
		}
	}
	b.Update(Delete("config", set.All()[0].Key()), Delete("config", set.All()[1].Key()))
	if got := b.GatewayNames(); len(got) > 0 {
		t.Errorf("DNS is still asked for %v", got)
	}
}

func TestNetworkOf(t *testing.T) {
	b := New()
	set, err := config.Load([]config.File{{Name: "f", Data: []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
    networks:
      near: {endpoints: [{fromCidr: 10.0.0.0/8}]}
      nearer: {endpoints: [{fromCidr: 10.1.0.0/16}]}
      rest: {endpoints: [{fromRegistry: Kubernetes}]}
`)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Update(Set("config", set.All()[0]))
	n := b.Snapshot().Networks
	for _, c := range [][3]string{
		{"named", "10.1.1.1", "named"}, {"", "10.1.1.1", "nearer"}, {"", "10.2.1.1", "near"}, {"", "::ffff:10.1.1.1", "nearer"}, {"", "192.0.2.1", "rest"},
		{"", "a.name", "rest"}, {"", "", "rest"},
	} {
		if got := n.Of(c[0], c[1]); got != c[2] {
			t.Errorf("%q, %q: %q", c[0], c[1], got)
		}
	}
	p, err := model.ParseProxy("sidecar~10.1.0.1~a.shop~shop.svc.cluster.local", "", map[string]any{"LABELS": map[string]any{"topology.istio.io/network": "by-label"}}, model.Locality{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Snapshot().NetworkOf(p); got != "by-label" {
		t.Errorf("a proxy with a label is in %q", got)
	}
}

func TestMeshNetworksRefused(t *testing.T) {
	for text, want := range map[string]string{
		"networks: {a: {endpoints: [{fromCidr: x}]}}":                     "networks.a.endpoints[0].fromCidr: \"x\" is not a subnet",
		"networks: {a: {endpoints: [{}]}}":                                "networks.a.endpoints[0]: says nothing",
		"networks: {a: {gateways: [{address: 1.2.3.4}]}}":                 "networks.a.gateways[0].port: 0 is not a port",
		"networks: {a: {gateways: [{address: 'a b', port: 1}]}}":          "networks.a.gateways[0].address: \"a b\" is not a host name",
		"networks: {a: {gateways: [{port: 1}]}}":                          "networks.a.gateways[0]: leads nowhere",
		"networks: {a: {gateways: [{registryServiceName: '', port: 1}]}}": "networks.a.gateways[0].registryServiceName: missing",
		"networks: {a: {gatways: []}}":                                    "unknown field; did you mean gateways?",
	} {
		_, err := config.ParseMeshNetworks(config.File{Name: "f", Data: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

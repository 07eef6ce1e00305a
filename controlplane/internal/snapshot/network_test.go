package snapshot

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
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

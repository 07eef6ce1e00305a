package translate

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networkingv1 "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// An agent is told its group's probe, every field of it, and of no other group's.
func TestAgentConfig(t *testing.T) {
	const times = "initialDelaySeconds: 1, timeoutSeconds: 2, periodSeconds: 3, successThreshold: 4, failureThreshold: 5"
	keys := map[string]bool{}
	for _, probe := range []string{
		"{" + times + ", httpGet: {path: /h, port: 80, host: h, scheme: HTTPS, httpHeaders: [{name: a, value: b}]}}",
		"{" + times + ", tcpSocket: {host: h, port: 81}}",
		"{" + times + ", exec: {command: [a, b]}}",
		"{" + times + ", grpc: {port: 82, service: s}}",
		"null",
	} {
		text := "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: db, namespace: shop}\nspec: {template: {}, probe: " + probe + "}\n"
		set, err := config.Load([]config.File{{Name: "g.yaml", Data: []byte(text)}}, config.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := snapshot.New()
		s, _ := b.Update(snapshot.Set("config", set.All()[0]))
		js, err := yaml.YAMLToJSON([]byte(probe))
		if err != nil {
			t.Fatal(err)
		}
		want := &meshv1.ProxyConfig{}
		if probe != "null" {
			want.ReadinessProbe = &networkingv1.ReadinessProbe{}
			if err := protojson.Unmarshal(js, want.ReadinessProbe); err != nil {
				t.Fatal(err)
			}
		}
		got := AgentConfig(s, &model.Proxy{Namespace: "shop", Group: "db"})
		if len(got) != 1 || !proto.Equal(got[0].Build(), want) {
			t.Errorf("%s: got %v", probe, got[0].Build())
		}
		keys[got[0].Key] = true
		for _, p := range []*model.Proxy{{Namespace: "shop"}, {Namespace: "shop", Group: "other"}, {Namespace: "other", Group: "db"}} {
			if other := AgentConfig(s, p); !proto.Equal(other[0].Build(), &meshv1.ProxyConfig{}) {
				t.Errorf("%+v is told %v", p, other[0].Build())
			}
		}
	}
	if keys["none"] {
		t.Error("a group's configuration has the key of none")
	}
}

// TestProbeOfTheMesh: a workload whose group has no probe is asked by the mesh's, if it has registered.
func TestProbeOfTheMesh(t *testing.T) {
	const mesh = "defaultConfig: {readinessProbe: {periodSeconds: 7, httpGet: {path: /mesh, port: 80}}}\n"
	group := func(probe string) string {
		return "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: db, namespace: shop}\nspec: {template: {}" + probe + "}\n"
	}
	told := func(mesh, group string, p *model.Proxy) string {
		t.Helper()
		out := AgentConfig(meshSnapshot(t, mesh, group), p)[0].Build().(*meshv1.ProxyConfig).GetReadinessProbe()
		if out.GetHttpGet() == nil {
			return ""
		}
		return fmt.Sprint(out.GetHttpGet().GetPath(), " ", out.GetPeriodSeconds())
	}
	registered := &model.Proxy{Namespace: "shop", Group: "db"}
	for _, c := range []struct {
		mesh, group string
		p           *model.Proxy
		want        string
	}{
		{mesh, group(""), registered, "/mesh 7"},
		{mesh, group(", probe: {httpGet: {path: /own, port: 80}}"), registered, "/own 0"},
		{"{}\n", group(""), registered, ""},
		{mesh, group(""), &model.Proxy{Namespace: "shop"}, ""},
	} {
		if got := told(c.mesh, c.group, c.p); got != c.want {
			t.Errorf("%s%s: %q, want %q", c.mesh, c.group, got, c.want)
		}
	}
}

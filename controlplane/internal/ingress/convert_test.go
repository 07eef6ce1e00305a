package ingress

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	mesh "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/ingress"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/derived"
)

var update = flag.Bool("update", false, "write the golden files anew")

func load(t *testing.T, name string) *config.Set {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	set, err := config.Load([]config.File{{Name: name, Data: data}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestConvert compares what testdata/shop.yaml comes to with the .want file beside it. Refresh with:
// go test ./controlplane/internal/ingress -run TestConvert -update
func TestConvert(t *testing.T) {
	const golden = "testdata/shop.want"
	got := show(t, API{Settings: ingress.SettingsOf(nil)}.Convert(load(t, "testdata/shop.yaml")))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func show(t *testing.T, r derived.Result) string {
	t.Helper()
	var b strings.Builder
	for _, o := range r.Objects {
		m, err := o.Map()
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(m["spec"])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s, from %s\n%s---\n", o, o.Annotations["internal.istio.io/parents"], text)
	}
	for _, line := range statuses(r) {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	return b.String()
}

func statuses(r derived.Result) []string {
	var out []string
	for k, raw := range r.Status {
		out = append(out, k.String()+" "+string(raw))
	}
	slices.Sort(out)
	return out
}

// Which Ingresses are served, by the mesh's settings.
func TestSettings(t *testing.T) {
	set := load(t, "testdata/shop.yaml")
	for _, tc := range []struct {
		name, settings string
		want           []string // Ingresses
		selector       string   // of their Gateways
	}{
		{"Istio's defaults", "{}", []string{"default/older", "shop/shop"}, "ingressgateway"},
		{"strict", "{ingressControllerMode: STRICT}", []string{"default/older", "shop/shop"}, "ingressgateway"},
		{"those without a class too", "{ingressControllerMode: DEFAULT}", []string{"default/none", "default/older", "shop/shop"}, "ingressgateway"},
		{"none", "{ingressControllerMode: 'OFF'}", nil, ""},
		{"another class", "{ingressClass: nginx}", []string{"default/annotated", "shop/shop"}, "ingressgateway"},
		{"another selector", "{ingressSelector: edge}", []string{"default/older", "shop/shop"}, "edge"},
		{"another Service", "{ingressService: edge-lb}", []string{"default/older", "shop/shop"}, "edge-lb"},
		{"both", "{ingressService: edge-lb, ingressSelector: edge}", []string{"default/older", "shop/shop"}, "edge"},
	} {
		mc, err := config.ParseMeshConfig(config.File{Data: []byte(tc.settings)})
		if err != nil {
			t.Fatal(err)
		}
		r := API{Settings: ingress.SettingsOf(mc)}.Convert(set)
		var got []string
		for k := range r.Status {
			got = append(got, k.Namespace+"/"+k.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		for _, o := range r.Objects {
			m, err := o.Map()
			if err != nil {
				t.Fatal(err)
			}
			if spec := m["spec"].(map[string]any); o.Kind == schema.Gateway && fmt.Sprint(spec["selector"]) != "map[istio:"+tc.selector+"]" {
				t.Errorf("%s: %s has selector %v", tc.name, o, spec["selector"])
			}
		}
	}
}

// What is in a namespace that the mesh does not see comes to nothing, its part in a host that others share too.
func TestNamespacesThatAreNotSeen(t *testing.T) {
	var asked []string
	r := API{Settings: ingress.SettingsOf(&mesh.MeshConfig{}), Considers: func(namespace string, _ map[string]string) bool {
		asked = append(asked, namespace)
		return namespace == "default"
	}}.Convert(load(t, "testdata/shop.yaml"))
	if !slices.Contains(asked, "shop") {
		t.Error("nobody asked for namespace shop")
	}
	for k := range r.Status {
		if k.Namespace != "default" {
			t.Errorf("%s has a status", k)
		}
	}
	if text := show(t, r); strings.Contains(text, "catalog.shop") || !strings.Contains(text, "forum.default") {
		t.Errorf("got\n%s", text)
	}
}

// Where Ingresses are reached.
func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		service string
		status  corev1.LoadBalancerStatus
		want    string
	}{
		{"there is no Service", "", corev1.LoadBalancerStatus{}, `{"loadBalancer":{}}`},
		{"one within the cluster", "{ports: [{port: 80}]}", corev1.LoadBalancerStatus{}, `{"loadBalancer":{"ingress":[{"hostname":"edge.istio-system.svc.cluster.local"}]}}`},
		{"elsewhere", "{type: ExternalName, externalName: edge.example.com}", corev1.LoadBalancerStatus{}, `{"loadBalancer":{"ingress":[{"hostname":"edge.example.com"}]}}`},
		{"load balancers", "{ports: [{port: 80}], externalIPs: [192.0.2.1]}", corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}, {IP: "2001:db8::1"}, {}}},
			`{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"},{"ip":"2001:db8::1"},{"hostname":"lb.example.com"}]}}`},
	} {
		text := "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: [{host: a.example.com}]}\n"
		if tc.service != "" {
			text += "---\napiVersion: v1\nkind: Service\nmetadata: {name: edge, namespace: istio-system}\nspec: " + tc.service + "\n"
		}
		set, err := config.Load([]config.File{{Name: "a.yaml", Data: []byte(text)}}, config.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if o := set.Get(schema.Service, "istio-system", "edge"); o != nil {
			o.Spec.(*corev1.Service).Status.LoadBalancer = tc.status
		}
		r := API{Settings: ingress.Settings{Unclassed: true, Service: "edge"}}.Convert(set)
		if got := slices.Collect(maps.Values(r.Status)); len(got) != 1 || string(got[0]) != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// Whatever objects there are, conversion neither fails nor yields two objects of one name, and its status is JSON.
func FuzzConvert(f *testing.F) {
	seed, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(seed))
	f.Add(strings.ReplaceAll(string(seed), "shop", "a.b"))
	f.Fuzz(func(t *testing.T, text string) {
		set, _ := config.Load([]config.File{{Name: "fuzz.yaml", Data: []byte(text)}}, config.LoadOptions{}) // what is right of it
		r := API{Settings: ingress.Settings{Unclassed: true}}.Convert(set)
		seen := map[config.Key]bool{}
		for _, o := range r.Objects {
			if seen[o.Key()] {
				t.Errorf("%s is made twice", o)
			}
			seen[o.Key()] = true
		}
		for k, raw := range r.Status {
			if !json.Valid(raw) {
				t.Errorf("%s: %s", k, raw)
			}
		}
	})
}

package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
)

// inNamespaces has a Service and a ServiceEntry in each of three namespaces, two of which have labels.
func inNamespaces(t *testing.T, b *Builder) {
	t.Helper()
	var text strings.Builder
	for _, ns := range []string{"prod", "test", "bare"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: %s}\nspec: {ports: [{name: http, port: 80}]}\n", ns)
		fmt.Fprintf(&text, "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: %s}\nspec: {hosts: [%s.example], exportTo: [other], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n", ns, ns)
	}
	text.WriteString("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: prod, labels: {env: prod, team: a}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: test, labels: {env: test}}\n")
	putObjects(t, b, text.String())
}

func putObjects(t *testing.T, b *Builder, text string) {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "f", Data: []byte(text)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range set.All() {
		b.Update(Set("config", o))
	}
}

func setMesh(t *testing.T, b *Builder, text string) {
	t.Helper()
	m, _, err := ParseMesh(config.File{Name: "mesh.yaml", Data: []byte(text)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.SetMesh(m)
}

func TestDiscoverySelectors(t *testing.T) {
	b := New()
	inNamespaces(t, b)
	services := func() string { return strings.Join(b.Snapshot().Services.Keys(), " ") }
	const all = "bare.example/bare prod.example/prod s.bare.svc.cluster.local/bare s.prod.svc.cluster.local/prod s.test.svc.cluster.local/test test.example/test"
	for _, step := range []struct{ mesh, objects, want string }{
		{"", "", all},
		{"discoverySelectors: [{matchLabels: {env: prod}}]", "", "prod.example/prod s.prod.svc.cluster.local/prod"},
		{"discoverySelectors: [{matchLabels: {env: prod, team: b}}]", "", ""},
		{"discoverySelectors: [{matchLabels: {env: prod, team: b}}, {matchLabels: {kubernetes.io/metadata.name: bare}}]", "", "bare.example/bare s.bare.svc.cluster.local/bare"},
		{"discoverySelectors: [{matchExpressions: [{key: env, operator: NotIn, values: [prod]}, {key: env, operator: Exists}]}]", "", "s.test.svc.cluster.local/test test.example/test"},
		{"discoverySelectors: [{matchExpressions: [{key: env, operator: DoesNotExist}]}]", "", "bare.example/bare s.bare.svc.cluster.local/bare"},
		{"discoverySelectors: [{matchExpressions: [{key: env, operator: In, values: [prod, x]}]}]", "", "prod.example/prod s.prod.svc.cluster.local/prod"},
		// A namespace whose labels change comes and goes, and what is applied to one that does not count waits.
		{"", "apiVersion: v1\nkind: Namespace\nmetadata: {name: test, labels: {env: x}}\n", "prod.example/prod s.prod.svc.cluster.local/prod s.test.svc.cluster.local/test test.example/test"},
		{"", "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n", "s.test.svc.cluster.local/test test.example/test"},
		{"", "apiVersion: v1\nkind: Service\nmetadata: {name: later, namespace: prod}\nspec: {ports: [{name: http, port: 80}]}\n", "s.test.svc.cluster.local/test test.example/test"},
		{"{}", "", all + " later"},
	} {
		if step.objects != "" {
			putObjects(t, b, step.objects)
		} else {
			setMesh(t, b, step.mesh)
		}
		got := services()
		if strings.HasSuffix(step.want, " later") {
			got = strings.Replace(got, "later.prod.svc.cluster.local/prod ", "", 1) + " later"
		}
		if got != step.want {
			t.Errorf("%s%s: %q, want %q", step.mesh, step.objects, got, step.want)
		}
	}
}

func TestServiceEntryVisibility(t *testing.T) {
	b := New()
	inNamespaces(t, b)
	seen := func() (out []string) {
		for _, ns := range []string{"prod", "test", "bare", "other"} {
			for _, svc := range b.Snapshot().VisibleServices(ns) {
				if strings.HasSuffix(svc.Host, ".example") {
					out = append(out, ns+":"+svc.Host)
				}
			}
		}
		return out
	}
	for _, c := range []struct {
		mesh string
		want []string
	}{
		{"", []string{"other:bare.example", "other:prod.example", "other:test.example"}},
		{"serviceEntryVisibility: {defaultVisibility: NONE}", []string{"other:bare.example", "other:prod.example", "other:test.example"}},
		{"serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NAMESPACE}", []string{"prod:prod.example", "test:test.example", "bare:bare.example"}},
		{"serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NONE, policies: [{visibility: PUBLIC, matchingRules: [{namespaceSelector: {matchLabels: {env: prod}}}]}]}",
			[]string{"prod:prod.example", "test:prod.example", "bare:prod.example", "other:prod.example"}},
		{"serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NONE, policies: [" +
			"{visibility: NAMESPACE, matchingRules: [{namespaceSelector: {matchLabels: {env: test}}}, {namespaceSelector: {matchLabels: {team: a}}}]}, " +
			"{visibility: NAMESPACE, matchingRules: [{namespaceSelector: {matchLabels: {env: test}}}]}]}", []string{"test:test.example"}},
	} {
		setMesh(t, b, c.mesh)
		if got := seen(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.mesh, got)
		}
	}
}

// The label of the root namespace names the network of whatever says nothing itself.
func TestNetworkOfTheRootNamespace(t *testing.T) {
	b := New()
	putObjects(t, b, "apiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: a, labels: {topology.istio.io/network: far}}\nspec: {externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]}\n")
	if got := b.Snapshot().Networks.Of("", "10.0.0.1"); got != "" {
		t.Errorf("in %q", got)
	}
	putObjects(t, b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: {topology.istio.io/network: near}}\n")
	if n := b.Snapshot().Networks; n.Of("", "10.0.0.1") != "near" || n.Of("far", "10.0.0.1") != "far" {
		t.Errorf("%+v", n)
	}
}

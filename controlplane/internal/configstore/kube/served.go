package kube

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/config/schema"
)

// definitions is the resource that says which kinds there are.
var definitions = kubeschema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Kinds that every server has.
func coreKinds() []*schema.Kind {
	return []*schema.Kind{schema.Namespace, schema.Service, schema.Secret, schema.ConfigMap, schema.IngressClass, schema.Ingress}
}

// customKinds are those for which a server needs a definition, by the definition's name. Some are for the command line alone.
func customKinds() map[string]*schema.Kind {
	out := map[string]*schema.Kind{}
	for _, k := range schema.All() {
		if (k.Istio() || k.GatewayAPI()) && k != schema.IstioOperator {
			out[k.PluralResource()] = k
		}
	}
	return out
}

// resource is a kind as a server has it.
func resource(k *schema.Kind, version string) kubeschema.GroupVersionResource {
	return kubeschema.GroupVersionResource{Group: k.Group, Version: version, Resource: k.Plural}
}

// selection is what of a core kind is followed: the namespace and a field selector.
func selection(k *schema.Kind) (namespace, selector string) {
	switch k {
	case schema.ConfigMap:
		return "istio-system", "metadata.name=istio"
	case schema.Secret:
		// Those that are many, large and never a gateway's.
		return "", "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
	}
	return "", ""
}

// servedVersion is the version in which a definition's objects are read: of those that the server serves the first that we prefer; false for none, or as
// long as the server does not serve them.
func servedVersion(definition *unstructured.Unstructured, k *schema.Kind) (string, bool) {
	if !established(definition) {
		return "", false
	}
	served := map[string]bool{}
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok {
			name, _ := m["name"].(string)
			is, _ := m["served"].(bool)
			served[name] = is
		}
	}
	i := slices.IndexFunc(k.Versions, func(v string) bool { return served[v] })
	if i < 0 {
		return "", false
	}
	return k.Versions[i], true
}

func established(definition *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" {
			return m["status"] == "True"
		}
	}
	return false
}

// servedVersions are the versions that a definition offers, for messages.
func servedVersions(definition *unstructured.Unstructured) string {
	var out []string
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok && m["served"] == true {
			name, _ := m["name"].(string)
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

package config

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config/schema"
)

func single(t *testing.T, doc string) *Object {
	t.Helper()
	set, err := Load([]File{{Name: "f", Data: []byte(doc)}}, LoadOptions{KeepText: true})
	if err != nil {
		t.Fatal(err)
	}
	all := set.All()
	if len(all) != 1 {
		t.Fatalf("%d objects", len(all))
	}
	return all[0]
}

func TestNotation(t *testing.T) {
	// A byte order mark, Windows line ends, comments around the separators.
	set, err := Load([]File{{Name: "f", Data: []byte("\xef\xbb\xbf# 주석\r\n--- # first\r\napiVersion: v1\r\nkind: ServiceAccount\r\nmetadata: {name: a}\r\n---\r\n# nothing\r\n---\r\n" +
		"apiVersion: v1\r\nkind: ServiceAccount\r\nmetadata: {name: b}\r\n...\r\n")}}, LoadOptions{})
	if err != nil || set.Len() != 2 {
		t.Fatalf("%d objects, %v", set.Len(), err)
	}
	if b := set.Get(schema.ServiceAccount, "default", "b"); b.Source.Line != 9 {
		t.Errorf("b is on line %d", b.Source.Line)
	}

	// Text that holds a separator, indented as block text is.
	cm := single(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    a\n    ---\n    b\n")
	if got := cm.Spec.(*corev1.ConfigMap).Data["x"]; got != "a\n---\nb\n" {
		t.Errorf("%q", got)
	}

	// Anchors, aliases and merge keys; a key of one's own wins.
	dr := single(t, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  subsets:
  - &v1
    name: v1
    labels: &labels {app: a, version: v1}
  - <<: *v1
    name: v2
    labels: {<<: *labels, version: v2}
`).Spec.(*networking.DestinationRule)
	if s := dr.Subsets[1]; s.Name != "v2" || s.Labels["app"] != "a" || s.Labels["version"] != "v2" {
		t.Errorf("%v", s)
	}

	// What YAML 1.1 and kubectl take for booleans; both spellings of a field; null is unset.
	dr = single(t, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, creationTimestamp: null}
spec:
  host: a
  exportTo: null
  trafficPolicy:
    outlier_detection: {consecutive_5xx_errors: 3, splitExternalLocalOriginErrors: yes, baseEjectionTime: 1m30s}
    connectionPool: {tcp: {maxConnections: 0x10}}
`).Spec.(*networking.DestinationRule)
	o := dr.TrafficPolicy.OutlierDetection
	if o.Consecutive_5XxErrors.GetValue() != 3 || !o.SplitExternalLocalOriginErrors || o.BaseEjectionTime.AsDuration() != 90*time.Second {
		t.Errorf("%v", o)
	}
	if dr.TrafficPolicy.ConnectionPool.Tcp.MaxConnections != 16 {
		t.Error("0x10 is not 16")
	}

	// Map keys that are numbers.
	pa := single(t, `{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "a"},
	"spec": {"selector": {"matchLabels": {"app": "a"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}}`).Spec.(*security.PeerAuthentication)
	if pa.PortLevelMtls[8080].GetMode() != security.PeerAuthentication_MutualTLS_DISABLE {
		t.Errorf("%v", pa)
	}

	// Free-form content keeps its shape.
	ef := single(t, `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_BEFORE
      value: {name: lua, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, value: {inlineCode: "a\nb", n: 1.5, list: [1, true, null]}}}
`).Spec.(*networking.EnvoyFilter)
	cfg := ef.ConfigPatches[0].Patch.Value.Fields["typed_config"].GetStructValue().Fields["value"].GetStructValue().AsMap()
	if cfg["inlineCode"] != "a\nb" || cfg["n"] != 1.5 || len(cfg["list"].([]any)) != 3 {
		t.Errorf("%v", cfg)
	}
}

// TestServersBookkeepingIsIgnored takes an object as `kubectl get -o yaml` prints it.
func TestServersBookkeepingIsIgnored(t *testing.T) {
	o := single(t, `
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"networking.istio.io/v1beta1","kind":"Gateway"}
  creationTimestamp: "2024-01-02T03:04:05Z"
  generation: 7
  labels:
    app.kubernetes.io/instance: prod
  managedFields:
  - apiVersion: networking.istio.io/v1beta1
    fieldsType: FieldsV1
    fieldsV1: {"f:spec": {".": {}}}
    manager: kubectl
    operation: Update
    time: "2024-01-02T03:04:05Z"
  name: gw
  namespace: istio-system
  resourceVersion: "123"
  uid: 5f0b7f2e-0000-0000-0000-000000000000
spec:
  selector: {istio: ingressgateway}
  servers:
  - hosts: ["*"]
    port: {name: http, number: 80, protocol: HTTP}
status:
  whatever: {is: here}
`)
	if o.Generation != 7 || o.Created.Year() != 2024 || o.Labels["app.kubernetes.io/instance"] != "prod" || o.UID == "" {
		t.Errorf("%+v", o)
	}
	text, err := o.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"managedFields", "status", "resourceVersion", "uid"} {
		if bytes.Contains(text, []byte(gone)) {
			t.Errorf("%s is written back:\n%s", gone, text)
		}
	}
}

func TestLimits(t *testing.T) {
	_, err := Load([]File{{Name: "big", Data: make([]byte, MaxFileSize+1)}}, LoadOptions{})
	if err == nil || !strings.Contains(err.Error(), "split it") {
		t.Errorf("%v", err)
	}
	deep := "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\nspec: {configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {a: " +
		strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}}}]}\n"
	_, err = Load([]File{{Name: "deep", Data: []byte(deep)}}, LoadOptions{})
	if err == nil || !strings.Contains(err.Error(), "nested deeper than") {
		t.Errorf("%v", err)
	}
	// A document that is wrong everywhere does not flood the terminal.
	var wrong strings.Builder
	wrong.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n")
	for i := range 5000 {
		wrong.WriteString("  k" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/50) + ": [1]\n")
	}
	_, err = Load([]File{{Name: "wrong", Data: []byte(wrong.String())}}, LoadOptions{})
	if n := len(AsProblems(err)); n == 0 || n > 200 {
		t.Errorf("%d problems", n)
	}
}

func TestMeshConfig(t *testing.T) {
	mc, err := ParseMeshConfig(File{Name: "mesh.yaml", Data: []byte(`
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  proxyMetadata: {}
  tracing:
    zipkin:
      address: zipkin.istio-system:9411
enablePrometheusMerge: true
extensionProviders:
- envoyOtelAls:
    port: 4317
    service: opentelemetry-collector.istio-system.svc.cluster.local
  name: otel
- name: skywalking
  skywalking:
    port: 11800
    service: tracing.istio-system.svc.cluster.local
outboundTrafficPolicy:
  mode: REGISTRY_ONLY
rootNamespace: istio-system
trustDomain: cluster.local
`)})
	if err != nil {
		t.Fatal(err)
	}
	if mc.OutboundTrafficPolicy.Mode != mesh.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY || len(mc.ExtensionProviders) != 2 ||
		mc.DefaultConfig.Tracing.GetZipkin().Address != "zipkin.istio-system:9411" {
		t.Errorf("%v", mc)
	}
	if mc, err := ParseMeshConfig(File{Name: "empty"}); err != nil || mc == nil {
		t.Errorf("%v %v", mc, err)
	}
	for doc, want := range map[string]string{
		"outboundTrafficPolicy: {mode: ALLOW_LIST}":                                                                                                                                "m:1: outboundTrafficPolicy.mode: got the text \"ALLOW_LIST\", expected one of REGISTRY_ONLY, ALLOW_ANY, ALLOW_ANY_DYNAMIC_DNS; to allow only listed hosts, use REGISTRY_ONLY",
		"accessLogFile: x\naccessLogFormatt: y":                                                                                                                                    "m:2: accessLogFormatt: unknown field; did you mean accessLogFormat?",
		"extensionProviders: [{name: a, opentelemetry: {service: o, port: 1, dynatraceSampler: {tenant: t}}}]":                                                                     "m:1: extensionProviders[0].opentelemetry.dynatraceSampler.httpService: missing; spans go out by gRPC",
		"extensionProviders: [{name: a, opentelemetry: {service: o, port: 1, http: {path: /x}, dynatraceSampler: {}}}]":                                                            "m:1: extensionProviders[0].opentelemetry.dynatraceSampler.tenant: missing",
		"extensionProviders: [{name: a, opentelemetry: {service: o, port: 1, dynatraceSampler: {tenant: t, httpService: {port: 1, http: {path: /x}}}}}]":                           "m:1: extensionProviders[0].opentelemetry.dynatraceSampler.httpService.service: missing",
		"extensionProviders: [{name: a, opentelemetry: {service: o, port: 1, dynatraceSampler: {tenant: t, httpService: {service: d, port: 1}}}}]":                                 "m:1: extensionProviders[0].opentelemetry.dynatraceSampler.httpService.http.path: missing",
		"extensionProviders: [{name: a, opentelemetry: {service: o, port: 1, dynatraceSampler: {tenant: t, httpService: {service: d, port: 1, http: {path: /x, timeout: -1s}}}}}]": "m:1: extensionProviders[0].opentelemetry.dynatraceSampler.httpService.http.timeout:",
		"extensionProviders: [{name: a}]":                      "m:1: extensionProviders[0]: provider \"a\" has no type",
		"extensionProviders:\n- envoyFileAccessLog: {path: x}": "m:2: extensionProviders[0].name: missing",
		"connectTimeout: 0s":                                   "m:1: connectTimeout: 0s is too short",
		"- a":                                                  "m:1: got a list, expected fields",
		"a: [":                                                 "m:1: not valid YAML",
	} {
		_, err := ParseMeshConfig(File{Name: "m", Data: []byte(doc)})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", doc, err, want)
		}
	}
}

func TestSet(t *testing.T) {
	set, err := Load([]File{{Name: "f", Data: []byte(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: b, namespace: y}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: a, namespace: y}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: c, namespace: x}
---
apiVersion: v1
kind: Namespace
metadata: {name: y, namespace: ignored}
`)}}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range set.All() {
		names = append(names, o.String())
	}
	if got, want := strings.Join(names, "; "), "Namespace y; ServiceAccount x/c; ServiceAccount y/a; ServiceAccount y/b"; got != want {
		t.Errorf("got %s", got)
	}
	less := set.Without(Key{schema.ServiceAccount, "y", "a"})
	if less.Len() != 3 || set.Len() != 4 || less.With(set).Len() != 4 {
		t.Error("With and Without")
	}
	var none *Set
	if none.Len() != 0 || none.Get(schema.Service, "a", "b") != nil || none.With(set).Len() != 4 || len(none.All()) != 0 {
		t.Error("nil Set")
	}
}

func TestEveryKindRoundTrips(t *testing.T) {
	for _, k := range schema.All() {
		for _, v := range k.Versions {
			if got, err := schema.Lookup(k.GroupVersion(v), k.Name); err != nil || got != k {
				t.Errorf("%s %s: %v", k.GroupVersion(v), k.Name, err)
			}
		}
		for _, word := range append([]string{k.Name, k.Plural, k.Singular, k.PluralResource(), k.Resource()}, k.ShortNames...) {
			if got := schema.AllByResource(word); !slices.Contains(got, k) || strings.Contains(word, ".") && len(got) != 1 {
				t.Errorf("%s means %v, not %s", word, got, k)
			}
		}
		for _, c := range k.Columns {
			if c.Value != nil {
				c.Value(k.New()) // no column may fail on an empty object
			}
			if c.Status != nil {
				c.Status(nil) // nor on one that nobody has observed
			}
		}
	}
	if kinds := schema.AllByResource("gateway"); len(kinds) != 2 || schema.ByResource("gw") != schema.Gateway || schema.ByResource("gtw") != schema.K8sGateway {
		t.Errorf("gateway means %v", kinds)
	}
	if schema.ByResource("pods") != nil || schema.ByResource("vs.wrong.group") != nil {
		t.Error("unknown resources are found")
	}
}

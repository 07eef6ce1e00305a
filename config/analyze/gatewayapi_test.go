package analyze

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/config/schema"
)

// TestEffectiveFieldsOfGoTypesExist is TestEffectiveFieldsExist for kinds whose Go type is no proto.
func TestEffectiveFieldsOfGoTypesExist(t *testing.T) {
	for kind, fields := range effective {
		v := kind.New()
		if _, isProto := v.(proto.Message); isProto {
			continue
		}
		for _, f := range fields {
			name, _, _ := strings.Cut(f, "=")
			if !hasField(reflect.TypeOf(v).Elem(), strings.Split(name, ".")) {
				t.Errorf("%s of %q has no field %s", kind, kind.Group, name)
			}
		}
	}
}

func hasField(typ reflect.Type, names []string) bool {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() == reflect.Map {
		return true // whatever its keys are
	}
	if typ.Kind() != reflect.Struct {
		return false
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous && hasField(f.Type, names):
			return true
		case name == names[0]:
			return len(names) == 1 || hasField(f.Type, names[1:])
		}
	}
	return false
}

const doorAndCatalog = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog}
spec: {ports: [{port: 80, name: http}], selector: {app: catalog}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: others}
spec: {controllerName: example.com/other}
---
`

func TestGatewayAPI(t *testing.T) {
	route := func(spec string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: " + spec + "\n"
	}
	gateway := func(spec string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: " + spec + "\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"all is well", route("{parentRefs: [{name: door, sectionName: http}], rules: [{backendRefs: [{name: catalog, port: 80}]}]}"), ""},
		{"no such Gateway", route("{parentRefs: [{name: dor}]}"), "IST0101 spec.parentRefs[0].name: there is no Gateway shop/dor of the Gateway API, so no request reaches the route through it; did you mean shop/door?"},
		{"no such listener", route("{parentRefs: [{name: door, sectionName: htp}]}"), "IST0101 spec.parentRefs[0].sectionName: Gateway shop/door has no listener htp; did you mean http?"},
		{"no such Service as parent", route("{parentRefs: [{group: '', kind: Service, name: nobody}]}"), "IST0101 spec.parentRefs[0].name: there is no Service shop/nobody, so the route has no effect on it"},
		{"another kind of parent", route("{parentRefs: [{kind: ListenerSet, name: x}]}"), `LAT0001 spec.parentRefs[0].kind: parents of kind ListenerSet (group "gateway.networking.k8s.io") are not supported; use a Gateway or a Service`},
		{"no such backend", route("{parentRefs: [{name: door}], rules: [{backendRefs: [{name: catalgo, port: 80}]}]}"), "IST0101 spec.rules[0].backendRefs[0].name: there is no Service shop/catalgo, so its requests fail; did you mean catalog?"},
		{"no such port", route("{parentRefs: [{name: door}], rules: [{backendRefs: [{name: catalog, port: 81}]}]}"), "IST0101 spec.rules[0].backendRefs[0].port: Service shop/catalog has no port 81; there is 80"},
		{"no such mirror", route("{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x, port: 80}}}]}]}"), "IST0101 spec.rules[0].filters[0].requestMirror.backendRef.name: there is no Service shop/x, so its requests fail; there is catalog"},
		{"no such class", gateway("{gatewayClassName: istoi, listeners: [{name: a, port: 81, protocol: HTTP}]}"), "IST0101 spec.gatewayClassName: there is no GatewayClass istoi, so nobody serves the Gateway; use istio"},
		{"a class of another controller", gateway("{gatewayClassName: others, listeners: [{name: a, port: 81, protocol: HTTP}]}"), "LAT0001 spec.gatewayClassName: GatewayClass others is served by example.com/other, not by this mesh; use istio, or a class of istio.io/gateway-controller"},
		{"no such Secret", gateway("{gatewayClassName: istio, listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x}]}}]}"), "IST0101 spec.listeners[0].tls.certificateRefs[0].name: there is no Secret shop/x, so the listener is not served"},
	} {
		var got []string
		for _, m := range Set(load(t, doorAndCatalog+tc.text), Options{}) {
			got = append(got, m.Code+" "+m.Field+": "+m.Text)
		}
		var want []string
		if tc.want != "" {
			want = []string{tc.want}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tc.name, got, want)
		}
	}
}

// What nobody reads of an object of the Gateway API is said, wherever it stands.
func TestGatewayAPIEffect(t *testing.T) {
	set := load(t, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  useDefaultGateways: All
  rules:
  - sessionPersistence: {sessionName: x}
    backendRefs: [{name: a, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec:
  gatewayClassName: istio
  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: x}}
  listeners: [{name: a, port: 53, protocol: UDP}]
`)
	var got []string
	for _, m := range Effects(set.All()) {
		got = append(got, m.Field)
	}
	want := []string{"spec.listeners[0].protocol", "spec.infrastructure.parametersRef", "spec.useDefaultGateways",
		"spec.rules[0].backendRefs[0].filters[0].requestMirror", "spec.rules[0].sessionPersistence"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, k := range schema.All() {
		if _, listed := effective[k]; !listed && k.Translated() {
			t.Errorf("%s is not in the list of effective fields", k)
		}
	}
}

package analyze

import (
	"slices"
	"testing"

	mesh "istio.io/api/mesh/v1alpha1"
)

const classesAndCatalog = `apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: mesh}
spec: {controller: istio.io/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: others}
spec: {controller: example.com/other}
---
apiVersion: v1
kind: Service
metadata: {name: catalog}
spec: {ports: [{port: 80, name: http}], selector: {app: catalog}}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
apiVersion: v1
kind: Secret
metadata: {name: near}
---
apiVersion: v1
kind: Secret
metadata: {name: empty, namespace: istio-system}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: older, creationTimestamp: "2024-01-01T00:00:00Z"}
spec:
  ingressClassName: mesh
  tls: [{hosts: [older.example.com], secretName: empty}]
  rules: [{host: older.example.com, http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: catalog, port: {name: http}}}}]}}]
---
`

func TestIngresses(t *testing.T) {
	const empty = "IST0161 spec.tls[0].secretName: Secret istio-system/empty has no certificate that can be used; it needs tls.crt and tls.key, or cert and key"
	ingress := func(meta, spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, creationTimestamp: '2024-01-02T00:00:00Z'" + meta + "}\nspec: {" + spec + "}\n"
	}
	path := func(host, path, backend string) string {
		return "rules: [{host: " + host + ", http: {paths: [{path: " + path + ", backend: " + backend + "}]}}]"
	}
	well := path("a.example.com", "/, pathType: Prefix", "{service: {name: catalog, port: {number: 80}}}")
	for _, tc := range []struct {
		name, text, want string
		mode             mesh.MeshConfig_IngressControllerMode
	}{
		{name: "all is well", text: ingress("", "ingressClassName: mesh, "+well)},
		{name: "by annotation", text: ingress(", annotations: {kubernetes.io/ingress.class: istio}", well)},
		{name: "another annotation", text: ingress(", annotations: {kubernetes.io/ingress.class: nginx}", "ingressClassName: mesh, "+well),
			want: `LAT0001 metadata.annotations[kubernetes.io/ingress.class]: class "nginx" is not the mesh's, which is "istio" (ingressClass); the mesh does not serve this Ingress`},
		{name: "no such class", text: ingress("", "ingressClassName: istio, "+well),
			want: "LAT0001 spec.ingressClassName: there is no IngressClass istio; write one with controller istio.io/ingress-controller; the mesh does not serve this Ingress"},
		{name: "a class of another controller", text: ingress("", "ingressClassName: others, "+well),
			want: "LAT0001 spec.ingressClassName: IngressClass others is of controller example.com/other, not of istio.io/ingress-controller; the mesh does not serve this Ingress"},
		{name: "no class", text: ingress("", well),
			want: "LAT0001 spec.ingressClassName: missing, and the mesh serves no Ingress without a class (ingressControllerMode: STRICT); name an IngressClass whose controller is istio.io/ingress-controller, or say kubernetes.io/ingress.class: istio; the mesh does not serve this Ingress"},
		{name: "no class, and none is needed", text: ingress("", well), mode: mesh.MeshConfig_DEFAULT},
		{name: "no such Service", text: ingress("", "ingressClassName: mesh, "+path("a.example.com", "/, pathType: Prefix", "{service: {name: catalgo, port: {number: 80}}}")),
			want: "IST0101 spec.rules[0].http.paths[0].backend.service.name: there is no Service shop/catalgo, so its requests fail; did you mean catalog?"},
		{name: "no such Service, and a named port", text: ingress("", "ingressClassName: mesh, "+path("a.example.com", "/, pathType: Prefix", "{service: {name: nobody, port: {name: http}}}")),
			want: "IST0101 spec.rules[0].http.paths[0].backend.service.name: there is no Service shop/nobody, so the path has no effect; there is catalog"},
		{name: "no such port", text: ingress("", "ingressClassName: mesh, "+path("a.example.com", "/, pathType: Prefix", "{service: {name: catalog, port: {number: 81}}}")),
			want: "IST0101 spec.rules[0].http.paths[0].backend.service.port.number: Service shop/catalog has no port 81, so its requests fail; there is 80"},
		{name: "no port of that name", text: ingress("", "ingressClassName: mesh, "+path("a.example.com", "/, pathType: Prefix", "{service: {name: catalog, port: {name: htp}}}")),
			want: "IST0101 spec.rules[0].http.paths[0].backend.service.port.name: Service shop/catalog has no port named htp, so the path has no effect; did you mean http?"},
		{name: "no such Secret", text: ingress("", "ingressClassName: mesh, tls: [{secretName: nowhere}], "+well),
			want: "IST0161 spec.tls[0].secretName: there is no Secret istio-system/nowhere; this server cannot take connections"},
		{name: "a Secret of the Ingress's namespace", text: ingress("", "ingressClassName: mesh, tls: [{secretName: near}], "+well),
			want: "IST0161 spec.tls[0].secretName: there is no Secret istio-system/near; as in Istio it has to be in the namespace of the gateway, and the one in namespace shop is not read"},
		{name: "no Secret", text: ingress("", "ingressClassName: mesh, tls: [{hosts: [a.example.com]}], "+well),
			want: "LAT0001 spec.tls[0]: has no secretName, so there is no certificate to show and nothing is served over TLS"},
		{name: "a rule without paths", text: ingress("", "ingressClassName: mesh, rules: [{host: a.example.com}]"),
			want: "LAT0001 spec.rules[0]: has no paths, so it has no effect; name some in http.paths"},
		{name: "a path of another Ingress", text: ingress("", "ingressClassName: mesh, "+path("older.example.com", "/a, pathType: Prefix", "{service: {name: catalog, port: {number: 80}}}")),
			want: "LAT0005 spec.rules[0].http.paths[0].path: Ingress shop/older has path /a (Prefix) of host older.example.com as well, and gets its requests"},
		{name: "the same path, exactly", text: ingress("", "ingressClassName: mesh, "+path("older.example.com", "/a, pathType: Exact", "{service: {name: catalog, port: {number: 80}}}"))},
	} {
		var got []string
		for _, m := range Set(load(t, classesAndCatalog+tc.text), Options{Mesh: &mesh.MeshConfig{IngressControllerMode: tc.mode}}) {
			got = append(got, m.Code+" "+m.Field+": "+m.Text)
		}
		want := []string{empty}
		if tc.want != "" {
			want = append(want, tc.want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tc.name, got, want)
		}
	}
	var got []string
	for _, m := range Set(load(t, classesAndCatalog+ingress("", "ingressClassName: mesh, tls: [{hosts: [b.example.com, older.example.com], secretName: empty}], "+well)), Options{}) {
		if m.Code == IngressConflict {
			got = append(got, m.Field+": "+m.Text)
		}
	}
	if want := []string{"spec.tls[0].hosts[1]: Ingress shop/older serves host older.example.com over TLS as well; only the older certificate counts, and none of the hosts here is served with this one"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

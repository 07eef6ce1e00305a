package analyze

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/config"
)

// base is what the cases below stand in.
const base = `
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{name: http, port: 80, targetPort: 3000}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: http-admin, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway, app: istio-ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: query-gateway, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [query.example.com]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: shop}
spec: {host: catalog, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: catalog-v1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: catalog, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: catalog-v2, namespace: shop}
spec: {address: 10.0.0.2, labels: {app: catalog, version: v2}}
`

func load(t *testing.T, docs string) *config.Set {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "case.yaml", Data: []byte(docs)}}, config.LoadOptions{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func vs(spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: " + spec
}

func TestBaseIsClean(t *testing.T) {
	for _, m := range Set(load(t, base), Options{}) {
		t.Errorf("%v", m)
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name, docs string
		want       string // "CODE Severity field: text"; empty for silence
	}{
		{"good", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog, subset: v1}}]}]}"), ""},
		{"misnamed gateway", vs("{hosts: [query.example.com], gateways: [istio-system/devops-gateway], http: [{route: [{destination: {host: catalog}}]}]}"),
			"IST0101 Error spec.gateways[0]: there is no Gateway istio-system/devops-gateway"},
		{"gateway of another namespace", vs("{hosts: [query.example.com], gateways: [query-gateway], http: [{route: [{destination: {host: catalog}}]}]}"),
			"IST0101 Error spec.gateways[0]: did you mean istio-system/query-gateway?"},
		{"gateway in a match", vs("{hosts: [catalog], http: [{match: [{gateways: [nope]}], route: [{destination: {host: catalog}}]}]}"),
			"IST0101 Error spec.http[0].match[0].gateways[0]: there is no Gateway shop/nope"},
		{"host not at the gateway", vs("{hosts: [other.example.com], gateways: [istio-system/query-gateway], http: [{route: [{destination: {host: catalog}}]}]}"),
			"IST0132 Warning spec.hosts[0]: does not serve host"},
		{"unknown host", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalogue}}]}]}"),
			"IST0101 Error spec.http[0].route[0].destination.host: did you mean catalog?"},
		{"half-qualified host", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog.shop}}]}]}"),
			"IST0101 Error spec.http[0].route[0].destination.host: write catalog.shop.svc.cluster.local"},
		{"qualified host", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog.shop.svc.cluster.local}}]}]}"), ""},
		{"missing subset", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog, subset: v3}}]}]}"),
			`IST0101 Error spec.http[0].route[0].destination.subset: there is no subset "v3" in DestinationRule shop/catalog; did you mean`},
		{"subset without rule", vs("{hosts: [two], http: [{route: [{destination: {host: two, subset: v1, port: {number: 80}}}]}]}"),
			"IST0101 Error spec.http[0].route[0].destination.subset: no DestinationRule is for host two.shop.svc.cluster.local"},
		{"mirror subset", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog}}], mirror: {host: catalog, subset: v9}}]}"),
			`IST0101 Error spec.http[0].mirror.subset: there is no subset "v9"`},
		{"port required", vs("{hosts: [two], http: [{route: [{destination: {host: two}}]}]}"),
			"IST0112 Error spec.http[0].route[0].destination.port: has the ports 80, 81"},
		{"no such port", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog, port: {number: 8080}}}]}]}"),
			"IST0101 Error spec.http[0].route[0].destination.port.number: no port 8080; it has 80"},
		{"behind a catch-all", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog}}]}, {match: [{uri: {prefix: /a}}], route: [{destination: {host: catalog}}]}]}"),
			"IST0130 Warning spec.http[1]: http[0] takes every request"},
		{"same match", vs("{hosts: [catalog], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: catalog}}]}, {match: [{uri: {prefix: /a}}], redirect: {uri: /}}]}"),
			"IST0130 Warning spec.http[1]: earlier routes have the same matches"},
		{"two for one host", vs("{hosts: [catalog], http: [{route: [{destination: {host: catalog}}]}]}") + "\n---\n" +
			strings.Replace(vs("{hosts: [catalog.shop.svc.cluster.local], http: [{route: [{destination: {host: catalog}}]}]}"), "name: x", "name: y", 1),
			"IST0109 Error spec.hosts[0]: VirtualService shop/x has routes for host catalog.shop.svc.cluster.local"},
		{"delegate", vs("{hosts: [catalog], http: [{delegate: {name: d}}]}"), "IST0101 Error spec.http[0].delegate: there is no VirtualService shop/d"},
		{"tcp and tls on one port", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tcp-echo}
spec: {selector: {istio: other}, servers: [{port: {number: 31400, name: tcp-echo, protocol: TCP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: tls-sni}
spec: {selector: {istio: other}, servers: [{port: {number: 31400, name: tcp-sni, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
`, "IST0145 Error spec.servers[0]: TLS and TCP cannot share a port"},
		{"same host twice", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: again}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [query.example.com]}]}
`, ""},
		{"same host twice with TLS", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: b}
spec: {selector: {istio: other, app: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*/A.com"], tls: {mode: PASSTHROUGH}}]}
`, "IST0145 Error spec.servers[0]: Gateway shop/a (servers[0]) as well: both serve host a.com"},
		{"same host with TLS for two namespaces", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [x/a.com], tls: {mode: PASSTHROUGH}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: b}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [y/a.com], tls: {mode: PASSTHROUGH}}]}
`, "IST0145 Error spec.servers[0]: tells no namespaces apart"},
		{"the younger one yields", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a, creationTimestamp: "2025-02-01T00:00:00Z"}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: b, creationTimestamp: "2025-01-01T00:00:00Z"}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
`, "IST0145 Error spec.servers[0]: is used by Gateway shop/b"},
		{"same host for other proxies", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a}
spec: {selector: {app: one}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: b}
spec: {selector: {app: two}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: PASSTHROUGH}}]}
`, ""},
		{"other host on the port", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: again}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [other.example.com]}]}
`, ""},
		{"port not open", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 9000, name: http, protocol: HTTP}, hosts: [a.com]}]}
`, "IST0162 Warning spec.servers[0].port.number: has no port 9000"},
		{"wrong selector", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingresgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]}
`, "IST0101 Error spec.selector: no gateway has the label istio=ingresgateway"},
		{"no secret", `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: other}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}]}
`, "IST0161 Error spec.servers[0].tls.credentialName: there is no Secret istio-system/cert"},
		{"rule for nobody", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: n}
spec: {host: nobody}
`, "IST0101 Error spec.host: there is no service nobody.shop.svc.cluster.local"},
		{"subset of nobody", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog}
spec: {host: catalog, subsets: [{name: v4, labels: {version: v4}}]}
`, "IST0173 Error spec.subsets[0].labels: no workload of catalog.shop.svc.cluster.local has the labels version=v4"},
		{"tls without ca", `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: two}
spec: {host: two, trafficPolicy: {tls: {mode: SIMPLE}}}
`, "IST0128 Warning spec.trafficPolicy.tls: without caCertificates"},
		{"tcp without address", `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec: {hosts: [db.example.com], ports: [{number: 5432, name: tcp, protocol: TCP}], resolution: DNS}
`, "IST0134 Warning spec.ports[0].protocol: plain TCP"},
		{"service entry", `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: ["*.example.com"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
---
` + vs("{hosts: [api.example.com], http: [{route: [{destination: {host: api.example.com}}]}]}"), ""},
		{"two telemetries", `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: a}
spec: {accessLogging: [{disabled: true}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: b}
spec: {accessLogging: [{disabled: false}]}
`, "IST0160 Error metadata.name: Telemetry a is for the whole namespace shop"},
		{"ports that speak HTTP/2", `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: grpc-web-ui, port: 80}, {name: http2, port: 81}]}
`, ""},
		{"unknown provider", `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: a}
spec: {accessLogging: [{providers: [{name: envoyy}]}]}
`, "LAT0003 Warning spec.accessLogging[0].providers[0].name: did you mean envoy?"},
		{"provider of the mesh", `
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: a}
spec: {accessLogging: [{providers: [{name: mine}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "extensionProviders: [{name: mine, envoyFileAccessLog: {path: /dev/stdout}}]"}
`, ""},
		{"port name", `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: web, port: 80}]}
`, "IST0118 Info spec.ports[0].name: does not begin with a protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := load(t, base)
			more, err := config.Load([]config.File{{Name: "case.yaml", Data: []byte(c.docs)}}, config.LoadOptions{Namespace: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			messages := Set(set.With(more), Options{})
			if c.want == "" {
				for _, m := range messages {
					t.Errorf("unexpected: %v", m)
				}
				return
			}
			head, text, _ := strings.Cut(c.want, ": ")
			f := strings.Fields(head)
			for _, m := range messages {
				if m.Code == f[0] && m.Severity.String() == f[1] && m.Field == f[2] && strings.Contains(m.Text, text) {
					if m.Line == 0 || m.File == "" {
						t.Errorf("no position: %v", m)
					}
					return
				}
			}
			t.Errorf("want %s, got %v", c.want, messages)
		})
	}
}

func TestEffect(t *testing.T) {
	docs := `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [catalog]
  http:
  - match: [{uri: {prefix: /}, statPrefix: x}]
    route: [{destination: {host: catalog}}]
    fault: {delay: {exponentialDelay: 1s}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: catalog
  trafficPolicy:
    loadBalancer: {simple: PASSTHROUGH}
    tunnel: {targetHost: a.example, targetPort: 443}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, outlierDetectionHttpErrorCodes: [500]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {action: CUSTOM, provider: {name: a}, rules: [{}]}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: a}
spec: {url: "https://example.com/a.wasm"}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80, protocol: UDP}], sessionAffinity: ClientIP}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    rootNamespace: istio-system
    enablePrometheusMerge: true
    defaultConfig: {discoveryAddress: "istiod.istio-system.svc:15012"}
`
	var got []string
	for _, m := range Effects(load(t, docs).All()) {
		got = append(got, strings.TrimSpace(m.Problem().Error()))
	}
	want := []string{
		"case.yaml:39: spec.ports[0].protocol: UDP has no effect yet; use TCP",
		"case.yaml:39: spec.sessionAffinity: ClientIP has no effect yet; use None",
		"case.yaml:45: data.mesh.defaultConfig.discoveryAddress: has no effect in the mesh's settings: whoever is told them has found the control plane; an agent takes it from PROXY_CONFIG or --discovery-address",
		"case.yaml:10: spec.http[0].fault.delay.exponentialDelay: has no effect, as in Istio: write fixedDelay",
		"case.yaml:31: kind WasmPlugin has no effect yet; the object is kept",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

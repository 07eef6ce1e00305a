package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
)

// meshObjects are a service with workloads in three places, one outside that is called by TLS, and a gateway with TLS of its own.
const meshObjects = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{name: http-web, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: web}, serviceAccount: web, locality: eu/a}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-2, namespace: shop}
spec: {address: 10.1.0.2, labels: {app: web}, serviceAccount: web, locality: us/a}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-3, namespace: shop}
spec: {address: 10.1.0.3, labels: {app: web}, serviceAccount: web, locality: asia/a}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec: {hosts: [api.example], ports: [{number: 443, name: https, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec: {host: api.example, trafficPolicy: {tls: {mode: SIMPLE}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {app: web}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {selector: {istio: gw}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: gw, namespace: shop}
spec: {hosts: ["*"], gateways: [gw], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: outside}
spec: {hosts: [ext.example], ports: [{number: 81, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.3.0.1}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ext, namespace: outside}
spec: {host: ext.example, subsets: [{name: far, labels: {a: b}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ext, namespace: outside}
spec: {hosts: [ext.example], http: [{name: own-route, route: [{destination: {host: ext.example}}]}]}
`

// environment is the control plane's.
func environment(name string) (string, bool) {
	value, set := map[string]string{"COLLECTOR_KEY": "from-the-environment", "LINES": "a\r\nb: c", "FORMAT": "%B%"}[name]
	return value, set
}

// meshSnapshot is what a MeshConfig and objects amount to, both as YAML.
func meshSnapshot(t *testing.T, mesh, objects string) *model.Snapshot {
	t.Helper()
	b := snapshot.New()
	m, found, err := snapshot.ParseMesh(config.File{Name: "mesh.yaml", Data: []byte(mesh)}, environment)
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	b.SetMesh(m)
	set, err := config.Load([]config.File{{Name: "in.yaml", Data: []byte(objects)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var events []snapshot.Event
	for _, o := range set.All() {
		events = append(events, snapshot.Set("config", o))
	}
	s, _ := b.Update(events...)
	return s
}

// meshText is all that a sidecar of web and a gateway are served, as YAML, by resource: "sidecar clusters", "gateway listeners".
func meshText(t *testing.T, mesh string) map[string]string {
	t.Helper()
	s := meshSnapshot(t, mesh, meshObjects)
	out := map[string]string{}
	for kind, id := range map[string]string{"sidecar": "sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "gateway": "router~10.1.0.9~gw.shop~shop.svc.cluster.local"} {
		p, err := model.ParseProxy(id, "", map[string]any{"LABELS": map[string]any{"app": "web", "istio": "gw"}}, model.Locality{Region: "eu", Zone: "a"})
		if err != nil {
			t.Fatal(err)
		}
		p.Verified = true
		for what, list := range resources(s, p) {
			out[kind+" "+what] = string(toYAML(t, list))
		}
	}
	return out
}

// alsMesh is a mesh that logs to defaultConfig.envoyAccessLogService, of which more is said.
func alsMesh(more string) string {
	return "enableEnvoyAccessLogService: true\ndefaultConfig: {envoyAccessLogService: {address: 'als.example:9001'" + more + "}}\n"
}

// byProvider is a mesh whose spans go to a provider.
func byProvider(kind string) string {
	return "extensionProviders: [{name: p, " + kind + "}]\ndefaultProviders: {tracing: [p]}"
}

// The standard metrics stay where Prometheus is among the providers of metrics, by its own name or by that of a provider of its kind.
func TestStandardMetrics(t *testing.T) {
	const none = "extensionProviders: [{name: prometheus, zipkin: {service: web.shop.svc.cluster.local, port: 80}}]\n"
	for mesh, want := range map[string]bool{
		"":                                true,
		"defaultProviders: {metrics: []}": true,
		"defaultProviders: {metrics: [prometheus]}": true,
		"extensionProviders: [{name: z, zipkin: {service: z.ns, port: 1}}]\ndefaultProviders: {metrics: [z, prometheus]}": true,
		"extensionProviders: [{name: p, prometheus: {}}]\ndefaultProviders: {metrics: [p]}":                               true,
		none + "defaultProviders: {metrics: [prometheus]}":                                                                false,
	} {
		for where, text := range meshText(t, mesh) {
			if strings.HasSuffix(where, "listeners") && strings.Contains(text, "istio.stats") != want {
				t.Errorf("%q: %s, want %v", mesh, where, want)
			}
		}
	}
}

// Each field of MeshConfig that says how traffic is handled, and what becomes of it: something that is not there by default.
func TestMeshConfig(t *testing.T) {
	byDefault := meshText(t, "")
	for _, c := range []struct{ mesh, where, want string }{
		{"pathNormalization: {normalization: NONE}", "sidecar listeners", "normalizePath: false"},
		{"pathNormalization: {normalization: MERGE_SLASHES}", "gateway listeners", "mergeSlashes: true"},
		{"pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}", "sidecar listeners", "pathWithEscapedSlashesAction: UNESCAPE_AND_FORWARD"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}", "sidecar clusters", "name: AllowAnyDynamicDNSCluster_dfp_dns_cache"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}", "sidecar routes", "cluster: AllowAnyDynamicDNSCluster"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, insecureSkipVerify: true}}", "sidecar clusters", "allowInsecureClusterOptions: true"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, caCertificates: /ca.pem, caCrl: /crl.pem, sni: a.example, subjectAltNames: [b.example]}}", "sidecar clusters", "filename: /crl.pem"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, caCertificates: /ca.pem, sni: a.example, subjectAltNames: [b.example]}}", "sidecar clusters", "sni: a.example"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, caCertificates: /ca.pem, subjectAltNames: [b.example]}}", "sidecar clusters", "exact: b.example"},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: MUTUAL, clientCertificate: /cert.pem, privateKey: /key.pem}}", "sidecar clusters", "filename: /key.pem"},
		{"proxyListenPort: 16001", "sidecar listeners", "destinationPort: 16001"},
		{"proxyListenPort: 16001", "sidecar listeners", "portValue: 16001"},
		{"proxyInboundListenPort: 16006", "sidecar listeners", "destinationPort: 16006"},
		{"proxyInboundListenPort: 16006", "sidecar listeners", "portValue: 16006"},
		{"trustDomain: mesh.example", "sidecar listeners", "prefix: spiffe://mesh.example/"},
		{"trustDomain: mesh.example", "sidecar clusters", "exact: spiffe://mesh.example/ns/shop/sa/web"},
		{"trustDomainAliases: [old.example]", "sidecar listeners", "prefix: spiffe://old.example/"},
		{"trustDomainAliases: [old.example]", "sidecar clusters", "exact: spiffe://old.example/ns/shop/sa/web"},
		{"defaultConfig: {proxyHeaders: {forwardedClientCert: FORWARD_ONLY}}", "sidecar listeners", "forwardClientCertDetails: FORWARD_ONLY"},
		{"defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {cert: true}}}", "sidecar listeners", "cert: true"},
		{"defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {chain: true}}}", "sidecar listeners", "chain: true"},
		{"defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {subject: false}}}", "sidecar listeners", "subject: false"},
		{"defaultConfig: {proxyHeaders: {requestId: {disabled: true}}}", "sidecar listeners", "generateRequestId: false"},
		{"defaultConfig: {proxyHeaders: {requestId: {disabled: true}}}", "gateway listeners", "generateRequestId: false"},
		{"defaultConfig: {proxyHeaders: {server: {disabled: true}}}", "gateway listeners", "serverHeaderTransformation: PASS_THROUGH"},
		{"defaultConfig: {proxyHeaders: {server: {value: mine}}}", "sidecar listeners", "serverName: mine"},
		{"defaultConfig: {proxyHeaders: {envoyDebugHeaders: {disabled: true}}}", "sidecar listeners", "suppressEnvoyHeaders: true"},
		{"defaultConfig: {proxyHeaders: {preserveHttp1HeaderCase: true}}", "sidecar listeners", "PreserveCaseFormatterConfig"},
		{"defaultConfig: {proxyHeaders: {preserveHttp1HeaderCase: true}}", "gateway listeners", "PreserveCaseFormatterConfig"},
		{"defaultConfig: {proxyHeaders: {preserveHttp1HeaderCase: true}}", "sidecar clusters", "PreserveCaseFormatterConfig"},
		{"defaultConfig: {proxyHeaders: {preserveHttp1HeaderCase: true}}", "gateway clusters", "PreserveCaseFormatterConfig"},
		{"defaultConfig: {proxyHeaders: {xForwardedPort: {enabled: true}}}", "gateway listeners", "appendXForwardedPort: true"},
		{"defaultConfig: {proxyHeaders: {xForwardedHost: {enabled: true}}}", "gateway routes", "appendXForwardedHost: true"},
		{"defaultConfig: {connectionSettings: {listenerPerConnectionBufferLimitBytes: 4097}}", "sidecar listeners", "perConnectionBufferLimitBytes: 4097"},
		{"defaultConfig: {connectionSettings: {listenerPerConnectionBufferLimitBytes: 4097}}", "gateway listeners", "perConnectionBufferLimitBytes: 4097"},
		{"defaultConfig: {connectionSettings: {clusterPerConnectionBufferLimitBytes: 4097}}", "sidecar clusters", "perConnectionBufferLimitBytes: 4097"},
		{"defaultConfig: {connectionSettings: {httpIdleTimeout: 31s}}", "sidecar listeners", "idleTimeout: 31s"},
		{"defaultConfig: {connectionSettings: {httpMaxConnectionDuration: 31s}}", "sidecar listeners", "maxConnectionDuration: 31s"},
		{"defaultConfig: {connectionSettings: {httpDrainTimeout: 31s}}", "sidecar listeners", "drainTimeout: 31s"},
		{"defaultConfig: {connectionSettings: {httpRequestTimeout: 31s}}", "sidecar listeners", "requestTimeout: 31s"},
		{"defaultConfig: {connectionSettings: {httpRequestHeadersTimeout: 31s}}", "sidecar listeners", "requestHeadersTimeout: 31s"},
		{"defaultConfig: {connectionSettings: {httpStreamIdleTimeout: 31s}}", "sidecar listeners", "streamIdleTimeout: 31s"},
		{"defaultConfig: {connectionSettings: {httpMaxStreamDuration: 31s}}", "sidecar listeners", "maxStreamDuration: 31s"},
		{"defaultConfig: {connectionSettings: {httpMaxConcurrentStreams: 31}}", "gateway listeners", "maxConcurrentStreams: 31"},
		{"defaultConfig: {connectionSettings: {http2InitialStreamWindowSize: 70000}}", "gateway listeners", "initialStreamWindowSize: 70000"},
		{"defaultConfig: {connectionSettings: {http2InitialConnectionWindowSize: 70000}}", "gateway listeners", "initialConnectionWindowSize: 70000"},
		{"defaultConfig: {connectionSettings: {httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_DROP_HEADER}}", "sidecar listeners", "headersWithUnderscoresAction: DROP_HEADER"},
		{"defaultConfig: {connectionSettings: {httpMergeSlashes: true}}", "sidecar listeners", "mergeSlashes: true"},
		{"defaultConfig: {connectionSettings: {httpPathWithEscapedSlashesAction: REJECT_REQUEST}}", "sidecar listeners", "pathWithEscapedSlashesAction: REJECT_REQUEST"},
		{"defaultConfig: {connectionSettings: {profile: EDGE}}", "gateway listeners", "headersWithUnderscoresAction: REJECT_REQUEST"},
		{"defaultConfig: {connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 31}}", "gateway listeners", "maxConcurrentStreams: 31"},
		{"defaultConfig: {connectionSettings: {profile: EDGE}}", "gateway clusters", "perConnectionBufferLimitBytes: 32768"},
		{"meshMTLS: {minProtocolVersion: TLSV1_3}", "sidecar listeners", "tlsMinimumProtocolVersion: TLSv1_3"},
		{"meshMTLS: {cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}", "sidecar listeners", "- ECDHE-RSA-AES256-GCM-SHA384"},
		{"tlsDefaults: {ecdhCurves: [P-256]}", "gateway listeners", "ecdhCurves:\n"},
		{"tlsDefaults: {ecdhCurves: [P-256]}", "sidecar clusters", "- P-256"},
		{"tlsDefaults: {cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}", "sidecar clusters", "- ECDHE-RSA-AES256-GCM-SHA384"},
		{"tlsDefaults: {cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}", "gateway listeners", "- ECDHE-RSA-AES256-GCM-SHA384"},
		{"tlsDefaults: {minProtocolVersion: TLSV1_3}", "gateway listeners", "tlsMinimumProtocolVersion: TLSv1_3"},
		{"inboundClusterStatName: '%SERVICE%_%SERVICE_PORT%_%TARGET_PORT%_%SERVICE_PORT_NAME%'", "sidecar clusters", "altStatName: web.shop_80_8080_http-web"},
		{"outboundClusterStatName: '%SERVICE_FQDN%.%SUBSET_NAME%.%SERVICE_PORT%'", "sidecar clusters", "altStatName: web.shop.svc.cluster.local.v1.80"},
		{"outboundClusterStatName: '%SERVICE%.%SUBSET_NAME%'", "gateway clusters", "altStatName: api.example"},
		{"inboundTrafficPolicy: {mode: LOCALHOST}", "sidecar clusters", "address: 127.0.0.1\n"},
		{"accessLogFile: /dev/stdout", "sidecar listeners", "path: /dev/stdout"},
		{"accessLogFile: /x\naccessLogFormat: one", "sidecar listeners", "inlineString: |\n"},
		{"accessLogFile: /x\naccessLogEncoding: JSON", "sidecar listeners", "jsonFormat:"},
		{"extensionProviders: [{name: a, envoyFileAccessLog: {path: /here, logFormat: {text: x}, omitEmptyValues: true}}]\ndefaultProviders: {accessLogging: [a]}",
			"sidecar listeners", "omitEmptyValues: true"},
		{"extensionProviders: [{name: a, envoyFileAccessLog: {path: /here, logFormat: {labels: {k: v}}}}]\ndefaultProviders: {accessLogging: [a]}",
			"sidecar listeners", "k: v"},
		{"protocolDetectionTimeout: 3s", "sidecar listeners", "listenerFiltersTimeout: 3s"},
		{"tcpKeepalive: {time: 31s, interval: 32s, probes: 7}", "sidecar clusters", "keepaliveInterval: 32\n"},
		{"tcpKeepalive: {time: 31s, interval: 32s, probes: 7}", "sidecar clusters", "keepaliveProbes: 7\n"},
		{"zoneAwareLbSetting: {minClusterSize: 3}\ndefaultTrafficPolicy: {outlierDetection: {}}", "sidecar clusters", "minClusterSize: \"3\""},
		{"zoneAwareLbSetting: {enabled: true, failover: [{from: eu, to: asia}], failoverPriority: [topology.kubernetes.io/region]}\n" +
			"defaultTrafficPolicy: {outlierDetection: {}}", "sidecar endpoints", "priority: 2"},
		{"localityLbSetting: {distribute: [{from: eu/*, to: {us/*: 70, eu/*: 30}}]}", "sidecar endpoints", "loadBalancingWeight: 70"},
		{"localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}\ndefaultTrafficPolicy: {outlierDetection: {}}", "sidecar endpoints", "priority: 1"},
		{"defaultHttpRetryPolicy: {attempts: 5}", "sidecar routes", "numRetries: 5"},
		{"defaultHttpRetryPolicy: {attempts: 1, perTryTimeout: 4s}", "sidecar routes", "perTryTimeout: 4s"},
		{"defaultHttpRetryPolicy: {attempts: 1, retryOn: gateway-error}", "sidecar routes", "retryOn: gateway-error"},
		{"defaultHttpRetryPolicy: {attempts: 1, backoff: 1s}", "sidecar routes", "baseInterval: 1s"},
		{"defaultConfig: {tracing: {sampling: 25}}", "sidecar listeners", "value: 25\n"},
		{"proxyHttpPort: 15099", "sidecar listeners", "name: 127.0.0.1_15099\n"},
		{"proxyHttpPort: 15099", "sidecar routes", "name: http_proxy\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}}}", "sidecar clusters", "name: zipkin\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}}}", "gateway clusters", "name: zipkin\n  respectDnsTtl: true\n  type: STRICT_DNS\n"},
		{"defaultConfig: {tracing: {zipkin: {address: '10.9.9.9:9411'}}}", "gateway clusters", "address: 10.9.9.9\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, tlsSettings: {mode: SIMPLE}}}", "gateway clusters", "exact: z.example\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, tlsSettings: {mode: SIMPLE}}}", "sidecar clusters", "sni: z.example\n"},
		{"defaultConfig: {tracing: {zipkin: {address: '10.9.9.9:9411'}, tlsSettings: {mode: SIMPLE, caCertificates: /ca.pem}}}", "sidecar clusters", "filename: /ca.pem\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, tlsSettings: {mode: SIMPLE, sni: other.example, subjectAltNames: [san.example]}}}", "sidecar clusters", "exact: san.example\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, tlsSettings: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem}}}", "sidecar clusters", "filename: /k.pem\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'web.shop:9411'}, tlsSettings: {mode: ISTIO_MUTUAL}}}", "sidecar listeners", "collectorCluster: zipkin\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'web.shop:80'}, tlsSettings: {mode: DISABLE}}}", "sidecar listeners", "collectorCluster: outbound|80||web.shop.svc.cluster.local"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}}}", "sidecar listeners", "collectorCluster: zipkin\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}}}", "gateway listeners", "collectorHostname: z.example\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'web.shop:80'}}}", "sidecar listeners", "collectorCluster: outbound|80||web.shop.svc.cluster.local"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, maxPathTagLength: 77}}", "gateway listeners", "maxPathTagLength: 77"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, customTags: {a: {literal: {value: one}}}}}", "gateway listeners", "value: one\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, customTags: {a: {environment: {name: VAR, defaultValue: two}}}}}", "gateway listeners", "name: VAR\n"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, customTags: {a: {header: {name: x-user, defaultValue: three}}}}}", "gateway listeners", "name: x-user\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80}"), "sidecar listeners", "clusterName: outbound|80||web.shop.svc.cluster.local"},
		{byProvider("opentelemetry: {service: shop/web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "gateway listeners", "maxPathTagLength: 78"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 3s}}"), "sidecar listeners", "timeout: 3s"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {initialMetadata: [{name: x-key, value: k}]}}"), "sidecar listeners", "key: x-key"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces}}"), "sidecar listeners",
			"uri: http://web.shop.svc.cluster.local/v1/traces"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {timeout: 4s}}"), "sidecar listeners", "timeout: 4s"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {headers: [{name: x-key, value: k}]}}"), "sidecar listeners", "key: x-key"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, resourceDetectors: {dynatrace: {}}}"), "gateway listeners", "DynatraceResourceDetectorConfig"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, resourceDetectors: {environment: {}}}"), "sidecar listeners", "EnvironmentResourceDetectorConfig"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces, timeout: 4s, headers: [{name: x-key, value: k}]}, dynatraceSampler: {tenant: abc, clusterId: -5, rootSpansPerMinute: 77}}"), "sidecar listeners", "tenant: abc\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces, timeout: 4s, headers: [{name: x-key, value: k}]}, dynatraceSampler: {tenant: abc, clusterId: -5, rootSpansPerMinute: 77}}"), "sidecar listeners", "clusterId: -5\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces, timeout: 4s, headers: [{name: x-key, value: k}]}, dynatraceSampler: {tenant: abc, clusterId: -5, rootSpansPerMinute: 77}}"), "sidecar listeners", "rootSpansPerMinute: 77\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces, timeout: 4s, headers: [{name: x-key, value: k}]}, dynatraceSampler: {tenant: abc, clusterId: -5, rootSpansPerMinute: 77}}"), "sidecar listeners", "uri: http://web.shop.svc.cluster.local/api/v2/samplingConfiguration\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {path: v1/traces, timeout: 4s, headers: [{name: x-key, value: k}]}, dynatraceSampler: {tenant: abc, clusterId: -5, rootSpansPerMinute: 77}}"), "sidecar listeners", "name: envoy.tracers.opentelemetry.samplers.dynatrace\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 9s}, dynatraceSampler: {tenant: abc, httpService: {service: web.shop.svc.cluster.local, port: 80, http: {path: /own, timeout: 6s, headers: [{name: x-own, value: o}, {name: x-env, envName: COLLECTOR_KEY}]}}}}"), "gateway listeners", "uri: http://web.shop.svc.cluster.local/own\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 9s}, dynatraceSampler: {tenant: abc, httpService: {service: web.shop.svc.cluster.local, port: 80, http: {path: /own, timeout: 6s, headers: [{name: x-own, value: o}, {name: x-env, envName: COLLECTOR_KEY}]}}}}"), "gateway listeners", "timeout: 6s\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 9s}, dynatraceSampler: {tenant: abc, httpService: {service: web.shop.svc.cluster.local, port: 80, http: {path: /own, timeout: 6s, headers: [{name: x-own, value: o}, {name: x-env, envName: COLLECTOR_KEY}]}}}}"), "gateway listeners", "key: x-own\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 9s}, dynatraceSampler: {tenant: abc, httpService: {service: web.shop.svc.cluster.local, port: 80, http: {path: /own, timeout: 6s, headers: [{name: x-own, value: o}, {name: x-env, envName: COLLECTOR_KEY}]}}}}"), "gateway listeners", "value: from-the-environment\n"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {timeout: 9s}, dynatraceSampler: {tenant: abc, httpService: {service: web.shop.svc.cluster.local, port: 80, http: {path: /own, timeout: 6s, headers: [{name: x-own, value: o}, {name: x-env, envName: COLLECTOR_KEY}]}}}}"), "gateway listeners", "randomSampling:\n            value: 100\n"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"), "sidecar listeners", "collectorEndpoint: /api/v2/spans"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"), "sidecar listeners", "traceId128bit: true"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80, traceContextOption: USE_B3_WITH_W3C_PROPAGATION}"), "sidecar listeners",
			"traceContextOption: USE_B3_WITH_W3C_PROPAGATION"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80, timeout: 4s, path: /s}"), "sidecar listeners", "uri: http://web.shop.svc.cluster.local/s"},
		{alsMesh(""), "sidecar clusters", "name: envoy_accesslog_service"},
		{alsMesh(""), "gateway clusters", "address: als.example"},
		{alsMesh(""), "sidecar listeners", "HttpGrpcAccessLogConfig\n"},
		{alsMesh(""), "sidecar listeners", "logName: http_envoy_accesslog"},
		{alsMesh(""), "sidecar listeners", "logName: tcp_envoy_accesslog"},
		{alsMesh(""), "gateway listeners", "logName: listener_envoy_accesslog"},
		{alsMesh(", tcpKeepalive: {time: 77s, probes: 3}"), "sidecar clusters", "keepaliveTime: 77"},
		{alsMesh(", tlsSettings: {mode: ISTIO_MUTUAL}"), "sidecar clusters", "sni: envoy_accesslog_service"},
		{alsMesh(", tlsSettings: {mode: SIMPLE, caCertificates: /als.pem}"), "sidecar clusters", "exact: als.example"},
		{alsMesh(", tlsSettings: {mode: SIMPLE, caCertificates: /als.pem}"), "sidecar clusters", "filename: /als.pem"},
		{alsMesh(", tlsSettings: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, subjectAltNames: [other.example], sni: s.example}"), "sidecar clusters", "exact: other.example"},
		{alsMesh(", tlsSettings: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, sni: s.example}"), "gateway clusters", "sni: s.example"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}"), "sidecar listeners", "service.instance.id: shop.web-1"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}"), "gateway listeners", "serviceName: gw"},
		{byProvider("lightstep: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret, maxTagLength: 78}"), "sidecar listeners", "- key: lightstep-access-token"},
		{byProvider("lightstep: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret, maxTagLength: 78}"), "sidecar listeners", "value: secret\n"},
		{byProvider("lightstep: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret, maxTagLength: 78}"), "gateway listeners", "maxPathTagLength: 78"},
		{byProvider("lightstep: {service: web.shop.svc.cluster.local, port: 80}"), "sidecar listeners", "authority: web.shop.svc.cluster.local"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "type.googleapis.com/envoy.config.trace.v3.SkyWalkingConfig"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "name: envoy.tracers.skywalking"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "spawnUpstreamSpan: true"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "clusterName: outbound|80||web.shop.svc.cluster.local"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "authority: web.shop.svc.cluster.local"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "gateway listeners", "backendToken: secret"},
		{byProvider("datadog: {service: web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "sidecar listeners", "collectorCluster: outbound|80||web.shop.svc.cluster.local\n"},
		{byProvider("datadog: {service: web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "sidecar listeners", "collectorHostname: web.shop.svc.cluster.local\n"},
		{byProvider("datadog: {service: web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "sidecar listeners", "DatadogConfig\n"},
		{byProvider("datadog: {service: web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "gateway listeners", "serviceName: istio-proxy\n"},
		{byProvider("datadog: {service: web.shop.svc.cluster.local, port: 80, maxTagLength: 78}"), "gateway listeners", "maxPathTagLength: 78"},
		{"defaultConfig: {tracing: {datadog: {address: 'dd.example:8126'}}}", "sidecar clusters", "name: datadog_agent\n"},
		{"defaultConfig: {tracing: {datadog: {address: 'dd.example:8126'}}}", "gateway clusters", "address: dd.example\n"},
		{"defaultConfig: {tracing: {datadog: {address: '10.9.9.9:8126'}}}", "gateway clusters", "address: 10.9.9.9\n"},
		{"defaultConfig: {tracing: {datadog: {address: 'dd.example:8126'}}}", "gateway listeners", "collectorCluster: datadog_agent\n"},
		{"defaultConfig: {tracing: {datadog: {address: 'dd.example:8126'}, maxPathTagLength: 77}}", "sidecar listeners", "maxPathTagLength: 77"},
		{"defaultConfig: {tracing: {datadog: {address: 'dd.example:8126'}, tlsSettings: {mode: SIMPLE}}}", "sidecar clusters", "sni: dd.example\n"},
		{"defaultConfig: {tracing: {datadog: {address: 'web.shop:80'}}}", "sidecar listeners", "collectorCluster: outbound|80||web.shop.svc.cluster.local"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360', accessToken: secret}}}", "sidecar clusters", "name: lightstep\n"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360', accessToken: secret}}}", "gateway clusters", "address: ls.example\n"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360', accessToken: secret}}}", "gateway listeners", "clusterName: lightstep\n"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360', accessToken: secret}}}", "sidecar listeners", "- key: lightstep-access-token\n"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360', accessToken: secret}}}", "sidecar listeners", "value: secret\n"},
		{"defaultConfig: {tracing: {lightstep: {address: 'ls.example:8360'}, tlsSettings: {mode: SIMPLE}}}", "sidecar clusters", "sni: ls.example\n"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80, headers: [{name: x-key, value: k}]}"), "sidecar listeners", "key: x-key"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80, headers: [{name: x-key, envName: COLLECTOR_KEY}]}"), "sidecar listeners", "value: from-the-environment"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, http: {headers: [{name: x-key, envName: COLLECTOR_KEY}]}}"), "sidecar listeners", "value: from-the-environment"},
		{byProvider("opentelemetry: {service: web.shop.svc.cluster.local, port: 80, grpc: {initialMetadata: [{name: x-key, envName: COLLECTOR_KEY}]}}"), "gateway listeners", "value: from-the-environment"},
	} {
		got := meshText(t, c.mesh)
		if strings.Contains(byDefault[c.where], c.want) {
			t.Errorf("%s: %q is there by default", c.mesh, c.want)
		}
		if !strings.Contains(got[c.where], c.want) {
			t.Errorf("%s: no %q in %s:\n%.6000s", c.mesh, c.want, c.where, got[c.where])
		}
	}
	// What takes something away.
	for _, c := range []struct{ mesh, without, where, gone string }{
		{"enableTracing: false", "", "sidecar listeners", "randomSampling"},
		{alsMesh("") + "disableEnvoyListenerLog: true", alsMesh(""), "sidecar listeners", "listener_envoy_accesslog"},
		{alsMesh("") + "defaultProviders: {accessLogging: [envoy]}", alsMesh(""), "sidecar listeners", "http_envoy_accesslog"},
		{"defaultConfig: {envoyAccessLogService: {address: 'als.example:9001'}}", alsMesh(""), "sidecar listeners", "http_envoy_accesslog"},
		{"enableAutoMtls: false", "", "sidecar clusters", "tlsMode-istio"},
		{"extensionProviders: [{name: p, zipkin: {service: web.shop.svc.cluster.local, port: 80}}]\ndefaultProviders: {metrics: [p]}", "", "sidecar listeners", "istio.stats"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80, enable64bitTraceId: true}"),
			byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"), "sidecar listeners", "traceId128bit"},
		{"defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}, enableIstioTags: false}}", "defaultConfig: {tracing: {zipkin: {address: 'z.example:9411'}}}",
			"sidecar listeners", "istio.canonical_service"},
		{byProvider("zipkin: {service: nobody.shop.svc.cluster.local, port: 80}"), byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"),
			"sidecar listeners", "ZipkinConfig"},
		{byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 81}"), byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"),
			"sidecar listeners", "ZipkinConfig"},
		{byProvider("zipkin: {service: other/web.shop.svc.cluster.local, port: 80}"), byProvider("zipkin: {service: web.shop.svc.cluster.local, port: 80}"),
			"sidecar listeners", "ZipkinConfig"},
		{byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80}"), byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "clientConfig"},
		{byProvider("skywalking: {service: nobody.shop.svc.cluster.local, port: 80}"), byProvider("skywalking: {service: web.shop.svc.cluster.local, port: 80, accessToken: secret}"), "sidecar listeners", "SkyWalkingConfig"},
		{"defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}", "", "sidecar routes", "includeRequestAttemptCount: true"},
		{"defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}", "", "gateway routes", "includeRequestAttemptCount: true"},
		{"defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {uri: false}}}", "", "sidecar listeners", "uri: true"},
		{"defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {dns: false}}}", "", "sidecar listeners", "dns: true"},
		{"defaultConfig: {connectionSettings: {profile: EDGE}}", "defaultConfig: {connectionSettings: {httpRequestTimeout: 300s}}", "sidecar listeners", "requestTimeout: 300s"},
		{"accessLogFile: /x\ndisableEnvoyListenerLog: true", "accessLogFile: /x", "sidecar listeners", "responseFlagFilter"},
		{"defaultServiceExportTo: ['~']", "", "sidecar clusters", "outbound|80||web.shop"},
		{"defaultVirtualServiceExportTo: ['.']", "", "sidecar routes", "name: own-route"},
		{"defaultDestinationRuleExportTo: ['.']", "", "sidecar clusters", "outbound|81|far|ext.example"},
	} {
		if text := meshText(t, c.without)[c.where]; !strings.Contains(text, c.gone) {
			t.Errorf("without %s there is no %q in %s", c.mesh, c.gone, c.where)
		}
		if text := meshText(t, c.mesh)[c.where]; strings.Contains(text, c.gone) {
			t.Errorf("%s: there is %q in %s", c.mesh, c.gone, c.where)
		}
	}
}

// Names that a proxy or a pattern does not know are refused, or left out by name.
func TestMeshConfigRefused(t *testing.T) {
	for mesh, want := range map[string]string{
		"tlsDefaults: {ecdhCurves: [P-1]}":                                                                                                 "tlsDefaults.ecdhCurves[0]: \"P-1\" is not a curve",
		"tlsDefaults: {cipherSuites: [NONE]}":                                                                                              "tlsDefaults.cipherSuites",
		"meshMTLS: {cipherSuites: [NONE]}":                                                                                                 "meshMTLS.cipherSuites",
		"outboundClusterStatName: '%TARGET_PORT%'":                                                                                         "outboundClusterStatName: %TARGET_PORT% has no meaning here",
		"inboundClusterStatName: '%SUBSET_NAME%'":                                                                                          "inboundClusterStatName: %SUBSET_NAME% has no meaning here",
		"outboundTrafficPolicy: {mode: REGISTRY_ONLY, tls: {mode: SIMPLE}}":                                                                "outboundTrafficPolicy.tls: has no effect: it is for mode ALLOW_ANY_DYNAMIC_DNS",
		"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: MUTUAL, credentialName: c}}":                                     "outboundTrafficPolicy.tls.credentialName: has no effect",
		"extensionProviders: [{name: z, skywalking: {port: 11800}}]":                                                                       "extensionProviders[0].skywalking.service: missing",
		"extensionProviders: [{name: z, skywalking: {service: z.ns}}]":                                                                     "extensionProviders[0].skywalking.port: 0 is not a port",
		"extensionProviders: [{name: z, skywalking: {service: z.ns, port: 1, accessToken: \"a\\nb\"}}]":                                    "extensionProviders[0].skywalking.accessToken: has a character",
		"defaultProviders: {metrics: [prometheus, z]}":                                                                                     "defaultProviders.metrics[1]: there is no provider \"z\" in extensionProviders",
		"extensionProviders: [{name: z, sds: {service: z.ns, port: 1}}]":                                                                   "extensionProviders[0].sds.name: missing",
		"extensionProviders: [{name: z, sds: {name: z, service: z.ns}}]":                                                                   "extensionProviders[0].sds.port: 0 is not a port",
		"extensionProviders: [{name: z, lightstep: {port: 9411}}]":                                                                         "extensionProviders[0].lightstep.service: missing",
		"extensionProviders: [{name: z, lightstep: {service: z.ns, port: 1, accessToken: \"a\\nb\"}}]":                                     "extensionProviders[0].lightstep.accessToken: has a character",
		"defaultConfig: {tracing: {tlsSettings: {mode: MUTUAL, privateKey: /k}}}":                                                          "defaultConfig.tracing.tlsSettings.clientCertificate: missing",
		"defaultConfig: {tracing: {tlsSettings: {mode: SIMPLE, credentialName: a}}}":                                                       "defaultConfig.tracing.tlsSettings.credentialName: is for DestinationRules",
		"extensionProviders: [{name: z, zipkin: {port: 9411}}]":                                                                            "extensionProviders[0].zipkin.service: missing",
		"extensionProviders: [{name: z, zipkin: {service: z.ns}}]":                                                                         "extensionProviders[0].zipkin.port: 0 is not a port",
		"extensionProviders: [{name: z, envoyOtelAls: {service: z.ns, port: 1, logFormat: {labels: {n: 1}}}}]":                             "envoyOtelAls.logFormat.labels.n: is no text",
		"extensionProviders: [{name: z, zipkin: {service: z.ns, port: 1, headers: [{name: a, value: '%B%'}]}}]":                            "zipkin.headers[0].value: has a percent sign",
		"defaultProviders: {tracing: [z]}":                                                                                                 "defaultProviders.tracing[0]: there is no provider \"z\"",
		"extensionProviders: [{name: z, zipkin: {service: z.ns, port: 1}}]\ndefaultProviders: {accessLogging: [z]}":                        "defaultProviders.accessLogging[0]: provider \"z\" is not for that",
		"defaultConfig: {tracing: {datadog: {address: z}}}":                                                                                "defaultConfig.tracing.datadog.address: \"z\" is not HOST:PORT",
		"defaultConfig: {tracing: {lightstep: {address: 'z:0'}}}":                                                                          "defaultConfig.tracing.lightstep.address: \"0\" is not a port",
		"defaultConfig: {tracing: {lightstep: {address: 'z:1', accessToken: \"a\\nb\"}}}":                                                  "defaultConfig.tracing.lightstep.accessToken: has a character",
		"defaultConfig: {tracing: {stackdriver: {}}}":                                                                                      "defaultConfig.tracing.stackdriver: has no effect: the proxy has no such tracer",
		"extensionProviders: [{name: z, datadog: {port: 8126}}]":                                                                           "extensionProviders[0].datadog.service: missing",
		"extensionProviders: [{name: z, datadog: {service: z.ns}}]":                                                                        "extensionProviders[0].datadog.port: 0 is not a port",
		"defaultConfig: {tracing: {zipkin: {address: z}}}":                                                                                 "defaultConfig.tracing.zipkin.address: \"z\" is not HOST:PORT",
		"defaultConfig: {connectionSettings: {http2InitialStreamWindowSize: 65534}}":                                                       "http2InitialStreamWindowSize: 65534 is too small; the least is 65535",
		"defaultConfig: {connectionSettings: {globalDownstreamConnectionLimit: -1}}":                                                       "globalDownstreamConnectionLimit: -1 is too small",
		"defaultConfig: {connectionSettings: {httpIdleTimeout: -1s}}":                                                                      "httpIdleTimeout: -1s is negative",
		"defaultConfig: {statsdUdpAddress: 'statsd:9125'}":                                                                                 "defaultConfig.statsdUdpAddress: \"statsd:9125\" is not IP:PORT",
		"trustDomain: My.example":                                                                                                          "trustDomain: trust domain \"My.example\" has the character 'M'",
		"proxyListenPort: 15006":                                                                                                           "proxyInboundListenPort: port 15006 is that of proxyListenPort",
		"proxyInboundListenPort: 15021":                                                                                                    "proxyInboundListenPort: port 15021 is that of the proxy's health",
		"{proxyHttpPort: 16001, proxyListenPort: 16001}":                                                                                   "proxyListenPort: port 16001 is that of proxyHttpPort",
		"defaultConfig: {drainDuration: -1s}":                                                                                              "defaultConfig.drainDuration: -1s is negative",
		"defaultConfig: {terminationDrainDuration: 25h}":                                                                                   "defaultConfig.terminationDrainDuration: 25h0m0s is longer than a day",
		"defaultConfig: {fileFlushMinSizeKb: 2049}":                                                                                        "defaultConfig.fileFlushMinSizeKb: 2049 is too much",
		"defaultConfig: {concurrency: -1}":                                                                                                 "defaultConfig.concurrency: -1 is negative",
		"caCertificates: [{}]":                                                                                                             "caCertificates[0]: says no root; set pem or spiffeBundleUrl",
		"caCertificates: [{pem: x}]":                                                                                                       "caCertificates[0].pem: has no certificate in PEM",
		"caCertificates: [{pem: \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}]":                                   "caCertificates[0].pem: has a \"PRIVATE KEY\" where certificates belong",
		"caCertificates: [{pem: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\"}]":                                   "caCertificates[0].pem: certificate 1 cannot be read",
		"caCertificates: [{spiffeBundleUrl: 'http://a'}]":                                                                                  "caCertificates[0].spiffeBundleUrl: \"http://a\" is no https URL",
		"caCertificates: [{spiffeBundleUrl: a, trustDomains: [A]}]":                                                                        "caCertificates[0].trustDomains[0]: trust domain \"A\"",
		"caCertificates: [{spiffeBundleUrl: a, certSigners: [x]}]":                                                                         "caCertificates[0].certSigners: has no effect",
		"defaultConfig: {caCertificatesPem: [x]}":                                                                                          "defaultConfig.caCertificatesPem[0]: has no certificate in PEM",
		"trustDomainAliases: [a, A]":                                                                                                       "trustDomainAliases[1]: trust domain \"A\" has the character 'A'",
		"trustDomainAliases: [\"\"]":                                                                                                       "trustDomainAliases[0]: trust domain is empty",
		"extensionProviders: [{name: z, zipkin: {service: z.ns, port: 1, headers: [{name: a, envName: B}]}}]":                              "zipkin.headers[0].envName: there is no variable \"B\" in the control plane's environment",
		"extensionProviders: [{name: z, zipkin: {service: z.ns, port: 1, headers: [{name: a, envName: LINES}]}}]":                          "zipkin.headers[0].envName: has the end of a line in it",
		"extensionProviders: [{name: z, opentelemetry: {service: z.ns, port: 1, http: {path: /, headers: [{name: a, envName: FORMAT}]}}}]": "opentelemetry.http.headers[0].envName: has a percent sign",
		"enableEnvoyAccessLogService: true":                                                                                                "enableEnvoyAccessLogService: has no effect: defaultConfig.envoyAccessLogService.address is missing",
		"defaultConfig: {envoyAccessLogService: {address: als}}":                                                                           "defaultConfig.envoyAccessLogService.address: \"als\" is not HOST:PORT",
		"defaultConfig: {envoyAccessLogService: {address: 'als:0'}}":                                                                       "defaultConfig.envoyAccessLogService.address: \"0\" is not a port",
		"defaultConfig: {envoyAccessLogService: {address: 'als:1', tcpKeepalive: {time: 0s}}}":                                             "defaultConfig.envoyAccessLogService.tcpKeepalive.time",
		"defaultConfig: {envoyAccessLogService: {address: 'als:1', tlsSettings: {mode: MUTUAL}}}":                                          "defaultConfig.envoyAccessLogService.tlsSettings.clientCertificate: missing",
		"defaultConfig: {envoyAccessLogService: {address: 'als:1', tlsSettings: {mode: SIMPLE, credentialName: c}}}":                       "defaultConfig.envoyAccessLogService.tlsSettings.credentialName: is not for this service",
		"defaultConfig: {statusPort: 15090}":                                                                                               "defaultConfig.statusPort: port 15090 is that of the proxy's metrics",
		"defaultConfig: {proxyAdminPort: 15020}":                                                                                           "defaultConfig.statusPort: port 15020 is that of proxyAdminPort",
		"defaultConfig: {customConfigFile: \"/a\\nb\"}":                                                                                    "defaultConfig.customConfigFile: must have no control characters",
		"defaultConfig: {readinessProbe: {periodSeconds: 3}}":                                                                              "defaultConfig.readinessProbe: no way to probe",
		"defaultConfig: {readinessProbe: {httpGet: {port: 0}}}":                                                                            "defaultConfig.readinessProbe.httpGet.port",
		"defaultConfig: {serviceCluster: \"a\\nb\"}":                                                                                       "defaultConfig.serviceCluster: must have no control characters",
		"defaultConfig: {proxyAdminPort: 70000}":                                                                                           "defaultConfig.proxyAdminPort: 70000",
	} {
		_, found, err := snapshot.ParseMesh(config.File{Name: "mesh.yaml", Data: []byte(mesh)}, environment)
		text := ""
		if err != nil {
			text = err.Error()
		}
		for _, p := range found {
			text += p.String()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q", mesh, text)
		}
	}
}

// defaultTrafficPolicy says of every service what a DestinationRule with the same fields says of its own.
func TestMeshTrafficPolicy(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}\n"
	const rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\nspec: {host: web, trafficPolicy: "
	cluster := func(mesh, objects string) *clusterv3.Cluster {
		s := meshSnapshot(t, mesh, objects)
		p, err := model.ParseProxy("sidecar~10.1.0.1~web-1.shop~shop.svc.cluster.local", "", nil, model.Locality{})
		if err != nil {
			t.Fatal(err)
		}
		c := find[*clusterv3.Cluster](t, Clusters(s, p), "outbound|80||web.shop.svc.cluster.local")
		c.Metadata = nil // which rule it is of
		return c
	}
	plain := cluster("", service)
	for _, policy := range []string{
		"connectionPool: {tcp: {maxConnections: 1}}", "connectionPool: {tcp: {connectTimeout: 3s}}", "connectionPool: {tcp: {maxConnectionDuration: 3s}}",
		"connectionPool: {tcp: {idleTimeout: 3s}, http: {h2UpgradePolicy: UPGRADE}}",
		"connectionPool: {tcp: {tcpKeepalive: {probes: 3, time: 4s, interval: 5s}}}",
		"connectionPool: {http: {http1MaxPendingRequests: 3}}", "connectionPool: {http: {http2MaxRequests: 3}}", "connectionPool: {http: {maxRequestsPerConnection: 3}}",
		"connectionPool: {http: {maxRetries: 3}}", "connectionPool: {http: {idleTimeout: 3s}}", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}",
		"connectionPool: {http: {useClientProtocol: true}}", "connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 3}}",
		"outlierDetection: {consecutive5xxErrors: 3}", "outlierDetection: {consecutiveGatewayErrors: 3}", "outlierDetection: {consecutiveErrors: 3}",
		"outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}", "outlierDetection: {interval: 3s}",
		"outlierDetection: {baseEjectionTime: 3s}", "outlierDetection: {maxEjectionPercent: 33}", "outlierDetection: {minHealthPercent: 33}",
	} {
		of, is := cluster("", service+rule+"{"+policy+"}}\n"), cluster("defaultTrafficPolicy: {"+policy+"}", service)
		if !proto.Equal(of, is) {
			t.Errorf("%s:\nof the mesh %v\nof a rule   %v", policy, is, of)
		}
		if proto.Equal(is, plain) {
			t.Errorf("%s changes nothing", policy)
		}
	}
}

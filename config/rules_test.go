package config

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// rule is one object and what is wrong with it: "field: text", where text is part of the
// message. Empty means nothing is wrong.
type rule struct {
	name, spec, want string
}

func checkRules(t *testing.T, head string, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			doc := head + "\nmetadata: {name: x}\n" + r.spec + "\n"
			_, err := Load([]File{{Name: "f.yaml", Data: []byte(doc)}}, LoadOptions{})
			if r.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("taken, want %s", r.want)
			}
			field, text, _ := strings.Cut(r.want, ": ")
			for _, p := range AsProblems(err) {
				if p.Field == field && strings.Contains(p.Text, text) {
					if p.Line < 1 {
						t.Errorf("no line: %v", p)
					}
					return
				}
			}
			t.Errorf("want %s, got\n%v", r.want, err)
		})
	}
}

func TestVirtualServiceRules(t *testing.T) {
	route := "route: [{destination: {host: a}}]"
	http := func(s string) string { return "spec: {hosts: [a], http: [" + s + "]}" }
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: VirtualService", []rule{
		{"smallest", http("{" + route + "}"), ""},
		{"no routes", "spec: {hosts: [a]}", "spec: no routes"},
		{"no hosts", "spec: {gateways: [g], http: [{" + route + "}]}", "spec.hosts: missing"},
		{"delegate", "spec: {http: [{" + route + "}]}", ""},
		{"star in the mesh", "spec: {hosts: ['*'], http: [{" + route + "}]}", `spec.hosts[0]: "*" is not allowed for the mesh`},
		{"star at a gateway", "spec: {hosts: ['*'], gateways: [g], http: [{" + route + "}]}", ""},
		{"star for tcp", "spec: {hosts: ['*'], tcp: [{route: [{destination: {host: a}}]}]}", ""},
		{"wildcard", "spec: {hosts: ['*.a.com'], gateways: [g], http: [{" + route + "}]}", ""},
		{"half wildcard", "spec: {hosts: ['*a.com'], http: [{" + route + "}]}", "spec.hosts[0]: a wildcard stands for a whole label"},
		{"address", "spec: {hosts: [10.0.0.1], http: [{" + route + "}]}", ""},
		{"host with port", "spec: {hosts: ['a:80'], http: [{" + route + "}]}", "spec.hosts[0]: holds a port"},
		{"host is url", "spec: {hosts: ['http://a'], http: [{" + route + "}]}", "spec.hosts[0]: is a URL"},
		{"bad host", "spec: {hosts: ['a b'], http: [{" + route + "}]}", "spec.hosts[0]: not a host name"},
		{"host twice", "spec: {hosts: [a, a], http: [{" + route + "}]}", "spec.hosts[1]: given twice"},
		{"bad gateway", "spec: {hosts: [a], gateways: [A_B], http: [{" + route + "}]}", "spec.gateways[0]: not the name of a gateway"},
		{"gateway namespace", "spec: {hosts: [a], gateways: [istio-system/g, ./h, mesh], http: [{" + route + "}]}", ""},
		{"gateway bad namespace", "spec: {hosts: [a], gateways: [A/g], http: [{" + route + "}]}", "spec.gateways[0]: not a namespace"},
		{"no action", http("{timeout: 1s}"), "spec.http[0]: no destination"},
		{"two actions", http("{" + route + ", redirect: {uri: /}}"), "spec.http[0]: only one of"},
		{"relative weights", http("{route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 9}]}"), ""},
		{"single weight of 80", http("{route: [{destination: {host: a}, weight: 80}]}"), ""},
		{"weights over 100", http("{route: [{destination: {host: a}, weight: 300}, {destination: {host: b}, weight: 700}]}"), ""},
		{"no weights", http("{route: [{destination: {host: a}}, {destination: {host: b}}]}"), "spec.http[0].route: add up to 0"},
		{"negative weight", http("{route: [{destination: {host: a}, weight: -1}]}"), "spec.http[0].route[0].weight: negative"},
		{"no destination", http("{route: [{weight: 1}]}"), "spec.http[0].route[0].destination: missing"},
		{"no host", http("{route: [{destination: {subset: v1}}]}"), "spec.http[0].route[0].destination.host: missing"},
		{"wildcard destination", http("{route: [{destination: {host: '*.a.com'}}]}"), "spec.http[0].route[0].destination.host: wildcard is not allowed"},
		{"port 0", http("{route: [{destination: {host: a, port: {number: 0}}}]}"), "spec.http[0].route[0].destination.port.number: not a port"},
		{"port too high", http("{route: [{destination: {host: a, port: {number: 70000}}}]}"), "spec.http[0].route[0].destination.port.number: 70000 is not a port"},
		{"bad subset", http("{route: [{destination: {host: a, subset: 'v 1'}}]}"), "spec.http[0].route[0].destination.subset: not a subset's name"},
		{"bad uri regex", http("{match: [{uri: {regex: 'a('}}], " + route + "}"), "spec.http[0].match[0].uri.regex: not a regular expression"},
		{"bad header regex", http("{match: [{headers: {x-a: {regex: '*'}}}], " + route + "}"), "spec.http[0].match[0].headers.x-a.regex: not a regular expression"},
		{"empty regex", http("{match: [{uri: {regex: ''}}], " + route + "}"), "spec.http[0].match[0].uri.regex: empty"},
		{"look-ahead", http("{match: [{uri: {regex: '(?=a)'}}], " + route + "}"), "spec.http[0].match[0].uri.regex: not a regular expression"},
		{"bad header name", http("{match: [{headers: {'a b': {exact: x}}}], " + route + "}"), "spec.http[0].match[0].headers.a b: not a header name"},
		{"presence", http("{match: [{headers: {x-a: {}}}], " + route + "}"), ""},
		{"bad without regex", http("{match: [{withoutHeaders: {x: {regex: '['}}}], " + route + "}"), "spec.http[0].match[0].withoutHeaders.x.regex: not a regular expression"},
		{"bad query regex", http("{match: [{queryParams: {q: {regex: '['}}}], " + route + "}"), "spec.http[0].match[0].queryParams.q.regex: not a regular expression"},
		{"two ways to match", http("{match: [{uri: {prefix: /, exact: /a}}], " + route + "}"), "spec.http[0].match[0].uri.exact: only one of prefix and exact"},
		{"match port", http("{match: [{port: 99999}], " + route + "}"), "spec.http[0].match[0].port: not a port"},
		{"case of regex", http("{match: [{uri: {regex: a}, ignoreUriCase: true}], " + route + "}"), "spec.http[0].match[0].ignoreUriCase: no meaning for a regex"},
		{"source label", http("{match: [{sourceLabels: {app: 'a b'}}], " + route + "}"), "spec.http[0].match[0].sourceLabels.app: not a label's value"},
		{"source namespace", http("{match: [{sourceNamespace: 'A'}], " + route + "}"), "spec.http[0].match[0].sourceNamespace: not a namespace"},
		{"match gateway", http("{match: [{gateways: ['']}], " + route + "}"), "spec.http[0].match[0].gateways[0]: empty"},
		{"empty redirect", http("{redirect: {}}"), "spec.http[0].redirect: says nothing"},
		{"redirect code", http("{redirect: {uri: /, redirectCode: 200}}"), "spec.http[0].redirect.redirectCode: 200 is not a redirect"},
		{"redirect scheme", http("{redirect: {scheme: ftp}}"), "spec.http[0].redirect.scheme: not a scheme"},
		{"redirect port", http("{redirect: {port: 0}}"), "spec.http[0].redirect.port: not a port"},
		{"redirect and fault", http("{redirect: {uri: /}, fault: {abort: {httpStatus: 500}}}"), "spec.http[0].fault: cannot be combined with redirect"},
		{"redirect and timeout", http("{redirect: {uri: /}, timeout: 1s}"), "spec.http[0].timeout: cannot be combined"},
		{"direct response", http("{directResponse: {status: 503, body: {string: sorry}}}"), ""},
		{"direct status", http("{directResponse: {status: 99}}"), "spec.http[0].directResponse.status: not a status"},
		{"empty rewrite", http("{rewrite: {}, " + route + "}"), "spec.http[0].rewrite: says nothing"},
		{"rewrite twice", http("{rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}, " + route + "}"), "spec.http[0].rewrite.uriRegexRewrite: cannot be combined with uri"},
		{"rewrite regex", http("{rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}, " + route + "}"), "spec.http[0].rewrite.uriRegexRewrite.match: not a regular expression"},
		{"rewrite group", http(`{rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\2'}}, ` + route + "}"), "spec.http[0].rewrite.uriRegexRewrite.rewrite: refers to a group"},
		{"rewrite group 1", http(`{rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '/\1'}}, ` + route + "}"), ""},
		{"negative timeout", http("{timeout: -1s, " + route + "}"), "spec.http[0].timeout: negative"},
		{"timeout off", http("{timeout: 0s, " + route + "}"), ""},
		{"bare timeout", http("{timeout: 5, " + route + "}"), "spec.http[0].timeout: did you mean 5s"},
		{"word timeout", http("{timeout: soon, " + route + "}"), "spec.http[0].timeout: expected a duration"},
		{"retries", http("{retries: {attempts: 3, retryOn: '5xx,gateway-error, 503', perTryTimeout: 2s}, " + route + "}"), ""},
		{"negative retries", http("{retries: {attempts: -1}, " + route + "}"), "spec.http[0].retries.attempts: negative"},
		{"retry token", http("{retries: {attempts: 3, retryOn: '5x'}, " + route + "}"), `spec.http[0].retries.retryOn: (did you mean 5xx?)`},
		{"retry code", http("{retries: {attempts: 3, retryOn: '700'}, " + route + "}"), "spec.http[0].retries.retryOn: not a status code"},
		{"no retries but more", http("{retries: {attempts: 0, retryOn: 5xx}, " + route + "}"), "spec.http[0].retries.attempts: zero retries"},
		{"empty fault", http("{fault: {}, " + route + "}"), "spec.http[0].fault: says nothing"},
		{"delay percent", http("{fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}, " + route + "}"), "spec.http[0].fault.delay.percentage.value: not a percentage"},
		{"no delay", http("{fault: {delay: {percentage: {value: 1}}}, " + route + "}"), "spec.http[0].fault.delay.fixedDelay: missing"},
		{"delay of nothing", http("{fault: {delay: {fixedDelay: 0s}}, " + route + "}"), "spec.http[0].fault.delay.fixedDelay: too short"},
		{"abort status", http("{fault: {abort: {httpStatus: 42}}, " + route + "}"), "spec.http[0].fault.abort.httpStatus: not a status"},
		{"abort of nothing", http("{fault: {abort: {percentage: {value: 1}}}, " + route + "}"), "spec.http[0].fault.abort: no error"},
		{"abort grpc", http("{fault: {abort: {grpcStatus: NOPE}}, " + route + "}"), "spec.http[0].fault.abort.grpcStatus: not a gRPC status"},
		{"mirror", http("{mirror: {host: b, subset: v2}, mirrorPercentage: {value: 12.5}, " + route + "}"), ""},
		{"mirror without host", http("{mirror: {subset: v2}, " + route + "}"), "spec.http[0].mirror.host: missing"},
		{"mirror percent", http("{mirror: {host: b}, mirrorPercentage: {value: 200}, " + route + "}"), "spec.http[0].mirrorPercentage.value: not a percentage"},
		{"mirror twice", http("{mirror: {host: b}, mirrors: [{destination: {host: c}}], " + route + "}"), "spec.http[0].mirrors: either mirror or mirrors"},
		{"percentage without mirror", http("{mirrorPercentage: {value: 20}, " + route + "}"), "spec.http[0].mirrorPercentage: there is no mirror"},
		{"cors", http("{corsPolicy: {allowOrigins: [{regex: '['}]}, " + route + "}"), "spec.http[0].corsPolicy.allowOrigins[0].regex: not a regular expression"},
		{"cors method", http("{corsPolicy: {allowMethods: [get]}, " + route + "}"), "spec.http[0].corsPolicy.allowMethods[0]: capitals"},
		{"cors age", http("{corsPolicy: {maxAge: 1500ms}, " + route + "}"), "spec.http[0].corsPolicy.maxAge: whole number of seconds"},
		{"header operation", http("{headers: {request: {set: {'a:b': c}}}, " + route + "}"), "spec.http[0].headers.request.set.a:b: not a header name"},
		{"remove host", http("{headers: {request: {remove: [Host]}}, " + route + "}"), "spec.http[0].headers.request.remove[0]: cannot be removed"},
		{"tls without match", "spec: {hosts: [a.com], tls: [{route: [{destination: {host: a}}]}]}", "spec.tls[0].match: missing"},
		{"sni not a host", "spec: {hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}", "spec.tls[0].match[0].sniHosts[0]: not one of spec.hosts"},
		{"sni of a wildcard", "spec: {hosts: ['*.com'], gateways: [g], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}", ""},
		{"tcp without route", "spec: {hosts: [a], tcp: [{match: [{port: 1}]}]}", "spec.tcp[0].route: missing"},
		{"tcp subnet", "spec: {hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], route: [{destination: {host: a}}]}]}", "spec.tcp[0].match[0].destinationSubnets[0]: neither an address nor a subnet"},
		{"export", "spec: {hosts: [a], exportTo: ['.', '*'], http: [{" + route + "}]}", "spec.exportTo: stand alone"},
		{"export nowhere", "spec: {hosts: [a], exportTo: [A], http: [{" + route + "}]}", "spec.exportTo[0]: neither a namespace"},
	})
}

func TestDestinationRuleRules(t *testing.T) {
	policy := func(s string) string { return "spec: {host: a, trafficPolicy: {" + s + "}}" }
	checkRules(t, "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule", []rule{
		{"smallest", "spec: {host: a}", ""},
		{"no host", "spec: {}", "spec.host: missing"},
		{"wildcard", "spec: {host: '*.local'}", ""},
		{"subset without name", "spec: {host: a, subsets: [{labels: {version: v1}}]}", "spec.subsets[0].name: missing"},
		{"subset twice", "spec: {host: a, subsets: [{name: v1}, {name: v1}]}", "spec.subsets[1].name: subsets[0] as well"},
		{"subset label", "spec: {host: a, subsets: [{name: v1, labels: {version: 'a/b'}}]}", "spec.subsets[0].labels.version: not a label's value"},
		{"outlier", policy("outlierDetection: {consecutive5xxErrors: 10, interval: 5s, baseEjectionTime: 3m, maxEjectionPercent: 100}"), ""},
		{"ejection percent", policy("outlierDetection: {maxEjectionPercent: 101}"), "spec.trafficPolicy.outlierDetection.maxEjectionPercent: not a percentage"},
		{"outlier interval", policy("outlierDetection: {interval: 0s}"), "spec.trafficPolicy.outlierDetection.interval: too short"},
		{"negative errors", policy("outlierDetection: {consecutive5xxErrors: -1}"), "spec.trafficPolicy.outlierDetection.consecutive5xxErrors: out of range"},
		{"local origin", policy("outlierDetection: {consecutiveLocalOriginFailures: 5}"), "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: splitExternalLocalOriginErrors"},
		{"balancer", policy("loadBalancer: {simple: ROUND_ROBBIN}"), "spec.trafficPolicy.loadBalancer.simple: ROUND_ROBIN"},
		{"hash of nothing", policy("loadBalancer: {consistentHash: {}}"), "spec.trafficPolicy.loadBalancer.consistentHash: nothing to hash"},
		{"hash of two", policy("loadBalancer: {consistentHash: {httpHeaderName: x, useSourceIp: true}}"), "spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: only one of"},
		{"cookie", policy("loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}"), "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: missing"},
		{"maglev", policy("loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 100}}}"), "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: not a prime"},
		{"locality shares", policy("loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}"), "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: add up to 50"},
		{"failover", policy("loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}"), "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: another region"},
		{"empty pool", policy("connectionPool: {}"), "spec.trafficPolicy.connectionPool: says nothing"},
		{"connect timeout", policy("connectionPool: {tcp: {connectTimeout: 1us}}"), "spec.trafficPolicy.connectionPool.tcp.connectTimeout: too short"},
		{"pool size", policy("connectionPool: {tcp: {maxConnections: -1}}"), "spec.trafficPolicy.connectionPool.tcp.maxConnections: negative"},
		{"two protocols", policy("connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}"), "spec.trafficPolicy.connectionPool.http.useClientProtocol: cannot be combined"},
		{"mutual without files", policy("tls: {mode: MUTUAL}"), "spec.trafficPolicy.tls.clientCertificate: missing"},
		{"istio mutual with files", policy("tls: {mode: ISTIO_MUTUAL, privateKey: /k}"), "spec.trafficPolicy.tls.privateKey: no meaning with mode ISTIO_MUTUAL"},
		{"port settings without port", policy("portLevelSettings: [{loadBalancer: {simple: RANDOM}}]"), "spec.trafficPolicy.portLevelSettings[0].port: missing"},
		{"selector", "spec: {host: a, workloadSelector: {matchLabels: {app: 'a*'}}}", "spec.workloadSelector.matchLabels.app: wildcards"},
	})
}

func TestGatewayRules(t *testing.T) {
	server := func(s string) string { return "spec: {servers: [{" + s + "}]}" }
	tls := func(s string) string {
		return server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {" + s + "}")
	}
	checkRules(t, "apiVersion: networking.istio.io/v1alpha3\nkind: Gateway", []rule{
		{"smallest", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']"), ""},
		{"no servers", "spec: {selector: {istio: ingressgateway}}", "spec.servers: missing"},
		{"no port", server("hosts: ['*']"), "spec.servers[0].port: missing"},
		{"no hosts", server("port: {number: 80, name: http, protocol: HTTP}"), "spec.servers[0].hosts: missing"},
		{"port 0", server("port: {number: 0, name: http, protocol: HTTP}, hosts: ['*']"), "spec.servers[0].port.number: not a port"},
		{"protocol", server("port: {number: 80, name: http, protocol: HTP}, hosts: ['*']"), "spec.servers[0].port.protocol: not a protocol"},
		{"no name", server("port: {number: 80, protocol: HTTP}, hosts: ['*']"), "spec.servers[0].port.name: missing"},
		{"namespaced host", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['./a.com', 'prod/*.b.com', '*/*']"), ""},
		{"bad host", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['A/B/c']"), "spec.servers[0].hosts[0]: must be a namespace"},
		{"https without tls", server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']"), "spec.servers[0].tls: missing"},
		{"simple without certificate", server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}"), "spec.servers[0].tls.credentialName: missing"},
		{"simple", server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}"), ""},
		{"mutual without ca", server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k}"), "spec.servers[0].tls.caCertificates: missing"},
		{"passthrough with secret", server("port: {number: 443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH, credentialName: c}"), ""},
		{"mesh mutual with secret", tls("mode: ISTIO_MUTUAL, credentialName: c"), "spec.servers[0].tls.credentialName: no meaning with mode ISTIO_MUTUAL"},
		{"mesh mutual with roots", tls("mode: ISTIO_MUTUAL, caCertificates: /ca"), "spec.servers[0].tls.caCertificates: no meaning with mode ISTIO_MUTUAL"},
		{"optional mutual without ca", tls("mode: OPTIONAL_MUTUAL, serverCertificate: /c, privateKey: /k"), "spec.servers[0].tls.caCertificates: missing; mode OPTIONAL_MUTUAL"},
		{"two secrets", tls("mode: SIMPLE, credentialNames: [rsa, ecdsa]"), ""},
		{"three secrets", tls("mode: SIMPLE, credentialNames: [a, b, c]"), "spec.servers[0].tls.credentialNames: at most 2"},
		{"secret without a name", tls("mode: SIMPLE, credentialNames: ['']"), "spec.servers[0].tls.credentialNames[0]: empty"},
		{"two ways", tls("mode: SIMPLE, credentialName: a, credentialNames: [b]"), "spec.servers[0].tls: set one of"},
		{"several files", tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /a, privateKey: /b}, {serverCertificate: /c, privateKey: /d}]"), ""},
		{"file without key", tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /a}]"), "spec.servers[0].tls.tlsCertificates[0].privateKey: missing"},
		{"no file", tls("mode: SIMPLE, tlsCertificates: [{}]"), "spec.servers[0].tls.tlsCertificates[0]: names neither"},
		{"roots of a file", tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /a, privateKey: /b, caCertificates: /c}]"), "spec.servers[0].tls.tlsCertificates[0].caCertificates: no meaning"},
		{"pins", tls("mode: MUTUAL, credentialName: c, verifyCertificateSpki: ['" + strings.Repeat("A", 43) + "='], verifyCertificateHash: ['" + strings.Repeat("ab:", 31) + "ab', '" + strings.Repeat("ab", 32) + "']"), ""},
		{"bad key pin", tls("mode: MUTUAL, credentialName: c, verifyCertificateSpki: [abc]"), "spec.servers[0].tls.verifyCertificateSpki[0]: is not the SHA-256"},
		{"bad certificate pin", tls("mode: MUTUAL, credentialName: c, verifyCertificateHash: [abcd]"), "spec.servers[0].tls.verifyCertificateHash[0]: is not the SHA-256"},
		{"http3", server("port: {number: 443, name: h3, protocol: HTTP3}, hosts: ['*']"), "spec.servers[0].port.protocol: HTTP/3 is not supported"},
		{"default endpoint", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], defaultEndpoint: '127.0.0.1:80'"), ""},
		{"redirect", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}"), ""},
		{"tls on http", server("port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}"), "spec.servers[0].tls: no meaning with protocol HTTP"},
		{"tls versions", server("port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}"), "spec.servers[0].tls.minProtocolVersion: above maxProtocolVersion"},
		{"port names", "spec: {servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 81, name: a, protocol: HTTP}, hosts: ['*']}]}", "spec.servers[1].port.name: as well"},
		{"bind", server("bind: here, port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']"), "spec.servers[0].bind: not an address"},
	})
}

func TestSecretRules(t *testing.T) {
	ca := certtest.New(t)
	a, b := ca.Issue(t, nil), ca.Issue(t, nil)
	entry := func(name string, value []byte) string {
		return "  " + name + ": " + base64.StdEncoding.EncodeToString(value) + "\n"
	}
	checkRules(t, "apiVersion: v1\nkind: Secret", []rule{
		{"anything", "data: {password: c2VjcmV0}", ""},
		{"tls", "type: kubernetes.io/tls\ndata:\n" + entry("tls.crt", a.Chain) + entry("tls.key", a.Key) + entry("ca.crt", ca.PEM), ""},
		{"no key", "type: kubernetes.io/tls\ndata:\n" + entry("tls.crt", a.Chain), "data[tls.key]: missing"},
		{"key of another", "type: kubernetes.io/tls\ndata:\n" + entry("tls.crt", a.Chain) + entry("tls.key", b.Key), "data[tls.crt]: private key does not match"},
		{"key of another as text", "type: kubernetes.io/tls\nstringData: {tls.crt: x, tls.key: y}", "stringData[tls.crt]: certificate and key cannot be used"},
		{"bad roots", "type: kubernetes.io/tls\ndata:\n" + entry("tls.crt", a.Chain) + entry("tls.key", a.Key) + entry("ca.crt", []byte("x")), "data[ca.crt]: holds no certificate"},
		// Whatever an Opaque Secret holds is for its users to judge.
		{"opaque", "type: Opaque\ndata:\n" + entry("tls.crt", []byte("x")) + entry("tls.key", []byte("y")), ""},
	})
}

func TestServiceEntryRules(t *testing.T) {
	port := "ports: [{number: 80, name: http, protocol: HTTP}]"
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry", []rule{
		{"smallest", "spec: {hosts: [a.com], " + port + ", resolution: DNS}", ""},
		{"no hosts", "spec: {" + port + "}", "spec.hosts: missing"},
		{"address as host", "spec: {hosts: [10.0.0.1], " + port + "}", "spec.hosts[0]: is an address"},
		{"star", "spec: {hosts: ['*'], " + port + "}", `spec.hosts[0]: "*" alone`},
		{"no ports", "spec: {hosts: [a.com]}", "spec.ports: missing"},
		{"port name", "spec: {hosts: [a.com], ports: [{number: 80}]}", "spec.ports[0].name: missing"},
		{"port twice", "spec: {hosts: [a.com], ports: [{number: 80, name: a}, {number: 80, name: b}]}", "spec.ports[1].number: given twice"},
		{"protocol", "spec: {hosts: [a.com], ports: [{number: 80, name: a, protocol: FOO}]}", "spec.ports[0].protocol: not a protocol"},
		{"address", "spec: {hosts: [a.com], addresses: [nope], " + port + "}", "spec.addresses[0]: neither an address nor a subnet"},
		{"static without endpoints", "spec: {hosts: [a.com], " + port + ", resolution: STATIC}", "spec.endpoints: missing"},
		{"static with name", "spec: {hosts: [a.com], " + port + ", resolution: STATIC, endpoints: [{address: b.com}]}", "spec.endpoints[0].address: not an IP address"},
		{"none with endpoints", "spec: {hosts: [a.com], " + port + ", endpoints: [{address: 1.2.3.4}]}", "spec.endpoints: no meaning with resolution NONE"},
		{"wildcard dns", "spec: {hosts: ['*.a.com'], " + port + ", resolution: DNS}", "spec.hosts: cannot be resolved"},
		{"unknown port", "spec: {hosts: [a.com], " + port + ", resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {grpc: 80}}]}", "spec.endpoints[0].ports.grpc: no port of this name"},
		{"selector and endpoints", "spec: {hosts: [a.com], " + port + ", resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.2.3.4}]}", "spec.workloadSelector: cannot be combined"},
		{"resolution", "spec: {hosts: [a.com], " + port + ", resolution: dns}", "spec.resolution: NONE, STATIC, DNS"},
	})
}

func TestWorkloadRules(t *testing.T) {
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry", []rule{
		{"smallest", "spec: {address: 127.77.1.1, ports: {http: 8080}, labels: {app: a}}", ""},
		{"no address", "spec: {labels: {app: a}}", "spec.address: missing"},
		{"name", "spec: {address: vm.example.com}", ""},
		{"port", "spec: {address: 1.2.3.4, ports: {http: 0}}", "spec.ports.http: not a port"},
		{"socket", "spec: {address: 'unix://a'}", "spec.address: must be absolute"},
	})
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup", []rule{
		{"no template", "spec: {}", "spec.template: missing"},
		{"probe", "spec: {template: {labels: {a: b}}, probe: {periodSeconds: 1}}", "spec.probe: no way to probe"},
	})
}

func TestSidecarRules(t *testing.T) {
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: Sidecar", []rule{
		{"target port of egress", "spec: {egress: [{port: {number: 80, protocol: HTTP, targetPort: 81}, hosts: ['./*']}]}", "spec.egress[0].port.targetPort: has no effect"},
		{"target port of ingress", "spec: {ingress: [{port: {number: 80, protocol: HTTP, targetPort: 81}}]}", "spec.ingress[0].port.targetPort: has no effect"},
		{"egress", "spec: {egress: [{hosts: ['./*', istio-system/*]}]}", ""},
		{"host without namespace", "spec: {egress: [{hosts: [catalog]}]}", "spec.egress[0].hosts[0]: lacks a namespace"},
		{"ingress", "spec: {ingress: [{port: {number: 80, protocol: HTTP, name: a}, defaultEndpoint: '127.0.0.1'}]}", "spec.ingress[0].defaultEndpoint: has no port"},
	})
}

func TestSidecarTLSRules(t *testing.T) {
	ingress := func(tls string) string {
		return "spec: {ingress: [{port: {number: 443, protocol: HTTPS, name: a}, tls: {" + tls + "}}]}"
	}
	files := "serverCertificate: /a, privateKey: /b"
	at := "spec.ingress[0].tls"
	checkRules(t, "apiVersion: networking.istio.io/v1\nkind: Sidecar", []rule{
		{"simple", ingress("mode: SIMPLE, " + files), ""},
		{"mutual", ingress("mode: MUTUAL, caCertificates: /c, " + files), ""},
		{"all that is had", ingress("mode: MUTUAL, caCertificates: /c, caCrl: /d, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256], verifyCertificateSpki: [a], verifyCertificateHash: [b], insecureSkipVerify: false, " + files), ""},
		{"no roots", ingress("mode: MUTUAL, " + files), at + ".caCertificates: missing"},
		{"no files", ingress("mode: SIMPLE"), at + ": serverCertificate and privateKey are missing"},
		{"redirect", ingress("mode: SIMPLE, httpsRedirect: true, " + files), at + ".httpsRedirect: is for gateways alone"},
		{"credential", ingress("mode: SIMPLE, credentialName: a, " + files), at + ".credentialName: is for gateways alone"},
		{"credentials", ingress("mode: SIMPLE, credentialNames: [a], " + files), at + ".credentialNames: is for gateways alone"},
		{"roots of a secret", ingress("mode: SIMPLE, caCertCredentialName: a, " + files), at + ".caCertCredentialName: is for gateways alone"},
		{"certificates", ingress("mode: SIMPLE, tlsCertificates: [{" + files + "}], " + files), at + ".tlsCertificates: is for gateways alone"},
		{"names", ingress("mode: MUTUAL, caCertificates: /c, subjectAltNames: [a], " + files), at + ".subjectAltNames: is for gateways alone"},
		{"passthrough", ingress("mode: PASSTHROUGH"), at + ".mode: PASSTHROUGH is for gateways alone"},
	})
}

func TestPolicyRules(t *testing.T) {
	checkRules(t, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication", []rule{
		{"strict", "spec: {mtls: {mode: STRICT}}", ""},
		{"mode", "spec: {mtls: {mode: ENABLED}}", "spec.mtls.mode: UNSET, DISABLE, PERMISSIVE, STRICT"},
		{"ports without selector", "spec: {portLevelMtls: {8080: {mode: DISABLE}}}", "spec.portLevelMtls: needs a selector"},
		{"ports", "spec: {selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}}}", ""},
		{"quoted port", `spec: {selector: {matchLabels: {app: a}}, portLevelMtls: {"8080": {mode: DISABLE}}}`, ""},
	})
	checkRules(t, "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy", []rule{
		{"deny by address", "spec: {action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}", ""},
		{"address", "spec: {rules: [{from: [{source: {notIpBlocks: [10.0.0.300]}}]}]}", "spec.rules[0].from[0].source.notIpBlocks[0]: neither an address"},
		{"custom", "spec: {action: CUSTOM, rules: [{}]}", "spec.provider: missing"},
		{"deny nothing", "spec: {action: DENY}", "spec.rules: nothing is denied"},
		{"operation port", "spec: {rules: [{to: [{operation: {ports: ['http']}}]}]}", "spec.rules[0].to[0].operation.ports[0]: not a port"},
		{"condition", "spec: {rules: [{when: [{key: source.ipp, values: [a]}]}]}", "spec.rules[0].when[0].key: did you mean source.ip?"},
		{"selector and target", "spec: {selector: {matchLabels: {a: b}}, targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io}]}", "spec.selector: either selector or targetRefs"},
		{"target elsewhere", "spec: {targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io, namespace: other}]}", "spec.targetRefs[0].namespace: cannot be meant"},
		{"one target elsewhere", "spec: {targetRef: {kind: Gateway, name: g, group: gateway.networking.k8s.io, namespace: other}}", "spec.targetRef.namespace: cannot be meant"},
	})
	checkRules(t, "apiVersion: security.istio.io/v1\nkind: RequestAuthentication", []rule{
		{"target elsewhere", "spec: {targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io, namespace: other}]}", "spec.targetRefs[0].namespace: cannot be meant"},
		{"issuer", "spec: {jwtRules: [{jwksUri: 'https://a/b'}]}", "spec.jwtRules[0].issuer: missing"},
		{"url", "spec: {jwtRules: [{issuer: a, jwksUri: 'a/b'}]}", "spec.jwtRules[0].jwksUri: not an http or https URL"},
	})
	checkRules(t, "apiVersion: telemetry.istio.io/v1alpha1\nkind: Telemetry", []rule{
		{"access log", "spec: {selector: {matchLabels: {app: a}}, accessLogging: [{providers: [{name: envoy}], disabled: false}]}", ""},
		{"sampling", "spec: {tracing: [{randomSamplingPercentage: 200}]}", "spec.tracing[0].randomSamplingPercentage: not a percentage"},
		{"provider", "spec: {accessLogging: [{providers: [{}]}]}", "spec.accessLogging[0].providers[0].name: missing"},
		{"filter", "spec: {accessLogging: [{filter: {}}]}", "spec.accessLogging[0].filter.expression: missing"},
	})
	checkRules(t, "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter", []rule{
		{"buffer", "spec: {configPatches: [{applyTo: HTTP_FILTER, match: {context: ANY}, patch: {operation: INSERT_BEFORE, value: {name: envoy.filters.http.buffer, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 50485760}}}}]}", ""},
		{"apply to", "spec: {configPatches: [{patch: {operation: MERGE, value: {}}}]}", "spec.configPatches[0].applyTo: missing"},
		{"no value", "spec: {configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE}}]}", "spec.configPatches[0].patch.value: missing"},
		{"wrong match", "spec: {configPatches: [{applyTo: CLUSTER, match: {listener: {portNumber: 1}}, patch: {operation: MERGE, value: {}}}]}", "spec.configPatches[0].match: matched by cluster"},
		{"unknown field", "spec: {configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {conect_timeout: 1s}}}]}", `spec.configPatches[0].patch.value: is not a valid envoy.config.cluster.v3.Cluster: unknown field "conect_timeout"`},
		{"unknown type", "spec: {configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {name: a, typed_config: {'@type': type.googleapis.com/envoy.config.filter.http.lua.v2.Lua}}}}]}", "spec.configPatches[0].patch.value: there is no type"},
		{"own type of Istio's", "spec: {configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {name: istio.stats, typed_config: {'@type': type.googleapis.com/stats.PluginConfig, debug: 'false'}}}}]}", ""},
		{"no filter", "spec: {configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {}}}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener.filterChain.filter.name: missing"},
		{"sub filter of a network filter", "spec: {configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener.filterChain.filter.subFilter: HTTP_FILTER only"},
		{"sub filter of another filter", "spec: {configPatches: [{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener.filterChain.filter.name: has no filters in it"},
	})
	checkRules(t, "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin", []rule{
		{"no url", "spec: {}", "spec.url: missing"},
		{"scheme", "spec: {url: 'ftp://a/b'}", "spec.url: not supported"},
	})
	checkRules(t, "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator", []rule{
		{"operator", "spec: {profile: demo, components: {pilot: {k8s: {env: [{name: A, value: 'true'}]}}}, meshConfig: {accessLogFile: /dev/stdout}, values: {global: {a: 1}}}", ""},
		{"profile", "spec: {profile: big}", "spec.profile: not a profile"},
		{"policy", "spec: {meshConfig: {outboundTrafficPolicy: {mode: ALLOW_LIST}}}", "spec.meshConfig.outboundTrafficPolicy.mode: REGISTRY_ONLY"},
		{"unknown", "spec: {profil: demo}", "spec.profil: did you mean profile?"},
	})
}

func TestServiceRules(t *testing.T) {
	checkRules(t, "apiVersion: v1\nkind: Service", []rule{
		{"smallest", "spec: {ports: [{port: 80}]}", ""},
		{"from a cluster", "spec: {type: NodePort, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, sessionAffinity: None, internalTrafficPolicy: Cluster, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30000, targetPort: http, protocol: TCP}]}\nstatus: {loadBalancer: {}}", ""},
		{"no ports", "spec: {selector: {app: a}}", "spec.ports: missing"},
		{"headless", "spec: {clusterIP: None}", ""},
		{"names", "spec: {ports: [{port: 80}, {port: 81, name: b}]}", "spec.ports[0].name: each needs a name"},
		{"port twice", "spec: {ports: [{port: 80, name: a}, {port: 80, name: b}]}", "spec.ports[1].port: as well"},
		{"protocol", "spec: {ports: [{port: 80, protocol: HTTP}]}", "spec.ports[0].protocol: use TCP, UDP or SCTP"},
		{"target", "spec: {ports: [{port: 80, targetPort: 99999}]}", "spec.ports[0].targetPort: not a port"},
		{"type", "spec: {type: Cluster, ports: [{port: 80}]}", "spec.type: not a type"},
		{"quoted port", "spec: {ports: [{port: '80'}]}", "spec.ports[0].port: remove the quotes"},
		{"unknown field", "spec: {port: 80}", "spec.port: did you mean ports?"},
		{"external name", "spec: {type: ExternalName, externalName: '10.0.0.1'}", "spec.externalName: is an address"},
	})
}

package extauthz_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestAfterShadowPolicy is how Istio asks an external authorizer (action CUSTOM): the rbac filter
// finds out which requests are meant, and leaves a note in the dynamic metadata.
func TestAfterShadowPolicy(t *testing.T) {
	s := startService(t)
	s.do["no"] = answer(deny(401, ""))
	const rbac = `- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    shadow_rules_stat_prefix: istio_ext_authz_
    shadow_rules: {action: DENY, policies: {istio-ext-authz-ns-foo-0: {permissions: [{url_path: {path: {prefix: /admin}}}], principals: [{any: true}]}}}
`
	const enabled = "filter_enabled_metadata: {filter: envoy.filters.http.rbac, path: [{key: istio_ext_authz_shadow_effective_policy_id}], value: {string_match: {prefix: istio-ext-authz}}}"
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: rbac + overGRPC(enabled), Clusters: authz("authz", s.addr, true)})
	for path, want := range map[string]int{"/admin/x": 401, "/": 200} {
		if r := p.Get(path, "x-do", "no"); r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	p.WantStats(map[string]int64{"http.t.ext_authz.denied": 1, "http.t.ext_authz.disabled": 1})
}

// TestMetadataContext: the service is told what filters before this one have noted.
func TestMetadataContext(t *testing.T) {
	s := startService(t)
	const rbac = `- name: envoy.filters.http.rbac
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}
`
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Filters: rbac + overGRPC("metadata_context_namespaces: [envoy.filters.http.rbac, none]"), Clusters: authz("authz", s.addr, true),
	})
	p.Get("/")
	md := s.told().GetAttributes().GetMetadataContext().GetFilterMetadata()
	if got := md["envoy.filters.http.rbac"].GetFields()["enforced_engine_result"].GetStringValue(); len(md) != 1 || got != "allowed" {
		t.Errorf("told %v", md)
	}
}

// TestTrace: what the service does belongs to the request's trace.
func TestTrace(t *testing.T) {
	heard := make(chan string, 1)
	authorizer := proxytest.Server(t, func(_ http.ResponseWriter, r *http.Request) {
		heard <- r.Header.Get("X-B3-Traceid") + " " + r.Header.Get("X-B3-Sampled")
	})
	collector := proxytest.Server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) })
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo), Filters: overHTTP("", ""), Clusters: authz("authz", authorizer, false) + authz("zipkin", collector, false),
		HCM: "tracing: {provider: {name: envoy.tracers.zipkin, typed_config: {'@type': type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: zipkin, collector_endpoint: /spans, collector_endpoint_version: HTTP_JSON}}}",
	})
	r := p.Get("/")
	_, id, _ := strings.Cut(r.Text, "x-b3-traceid: ")
	id, _, _ = strings.Cut(id, "\n")
	if told := <-heard; told != id+" 1" || len(id) < 16 {
		t.Errorf("the service is told %q, the upstream %q", told, id)
	}
}

// TestTLS: the service is reached as its cluster says.
func TestTLS(t *testing.T) {
	heard := make(chan string, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.TLS.ServerName + " " + r.Host }))
	defer srv.Close()
	cluster := authz("authz", srv.Listener.Addr().String(), false) +
		"  transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: authz.example}}\n"
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overHTTP("", ""), Clusters: cluster})
	if r := p.Get("/", "Host", "a.example"); r.StatusCode != 200 {
		t.Fatalf("%d", r.StatusCode)
	}
	if got := <-heard; got != "authz.example a.example" {
		t.Errorf("%q", got)
	}
	p.WantStats(map[string]int64{"cluster.authz.upstream_rq_200": 1})
}

package extauthz_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

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

// TestNoted: calls are noted of the authorizer's hosts and cluster as requests of clients are.
func TestNoted(t *testing.T) {
	s := startService(t)
	s.do["no"] = answer(deny(401, ""))
	s.do["error"] = func(context.Context) (*authv3.CheckResponse, error) { return nil, errors.New("oh") }
	cluster := authz("authz", s.addr, true) + "  track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}\n"
	p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), Filters: overGRPC(""), Clusters: cluster})
	p.Get("/")
	p.Get("/", "x-do", "no")
	p.Get("/", "x-do", "error")
	ask := func(path, want string) {
		proxytest.Eventually(t, func() error {
			resp, err := http.Get("http://" + p.Admin + path)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(b), want) {
				return fmt.Errorf("%w: no %s in %s", err, want, b)
			}
			return nil
		})
	}
	ask("/clusters", "authz::"+s.addr+"::rq_success::2\n")
	ask("/clusters", "authz::"+s.addr+"::rq_error::1\n")
	for _, name := range []string{"rq_headers_size", "rq_headers_count", "rq_body_size", "rs_headers_size", "rs_headers_count", "rs_body_size", "rq_timeout_budget_percent_used"} {
		ask("/stats?usedonly&filter=cluster.authz", "cluster.authz.upstream_"+name+": P0(")
	}
}

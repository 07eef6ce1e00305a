package router_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestClusterPolicies: a cluster's own policies of retries and hashing come before those of routes, and its balancer's before them.
func TestClusterPolicies(t *testing.T) {
	var tries atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer up.Close()
	options := func(policies string) string {
		return "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, " + policies + "}}\n"
	}
	const retries = "retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [418], num_retries: 2, retry_back_off: {base_interval: 0.001s}}"
	const hash = "hash_policy: [{cookie: {name: of-the-cluster, ttl: 10s}}]"
	const route = "- {match: {prefix: /}, route: {cluster: up, retry_policy: {retry_on: 5xx, num_retries: 5}, hash_policy: [{cookie: {name: of-the-route, ttl: 10s}}]}}"
	for name, test := range map[string]struct {
		cluster string
		tries   int32
		cookie  string
	}{
		"none":             {"lb_policy: RING_HASH\n", 1, "of-the-route="},
		"of the cluster":   {"lb_policy: RING_HASH\n" + options(retries+", "+hash), 3, "of-the-cluster="},
		"no table to hash": {options(hash), 1, ""},
		"of the balancer": {options(hash) + "load_balancing_policy: {policies: [{typed_extension_config: {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash, " +
			"consistent_hashing_lb_config: {hash_policy: [{cookie: {name: of-the-balancer, ttl: 10s}}]}}}}]}\n", 1, "of-the-balancer="},
	} {
		t.Run(name, func(t *testing.T) {
			tries.Store(0)
			p := proxytest.Start(t, proxytest.Config{Routes: route, Upstream: up.Listener.Addr().String(), UpstreamCluster: test.cluster})
			r := p.Get("/")
			cookie := fmt.Sprint(r.Header.Values("set-cookie"))
			if n := tries.Load(); n != test.tries || test.cookie == "" && cookie != "[]" || !strings.Contains(cookie, test.cookie) {
				t.Errorf("%d tries, want %d; cookies %s, want %q", n, test.tries, cookie, test.cookie)
			}
		})
	}
}

// TestSNIHeader: the name that a header gives goes to the host in TLS, and without the header the authority does.
func TestSNIHeader(t *testing.T) {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) }))
	up.StartTLS()
	defer up.Close()
	p := proxytest.Start(t, proxytest.Config{Upstream: up.Listener.Addr().String(), UpstreamCluster: "transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}\n" +
		"typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, " +
		"upstream_http_protocol_options: {auto_sni: true, override_auto_sni_header: X-Name}}}\n"})
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{[]string{"Host", "a.example", "x-name", "b.example"}, "b.example"},
		{[]string{"Host", "a.example", "x-name", ""}, "a.example"},
		{[]string{"Host", "c.example"}, "c.example"},
	} {
		if r := p.Get("/", c.headers...); r.Text != c.want {
			t.Errorf("%v: the host was asked for %q, want %q", c.headers, r.Text, c.want)
		}
	}
}

package dynamicforward_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nameServer answers for a.test with 127.0.0.1, and for nothing else until it is let go on. It returns its address.
func nameServer(t *testing.T) (address string, letGo func()) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Name != "a.test." {
			<-held
		}
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	open := true
	letGo = func() {
		if open {
			open = false
			close(held)
		}
	}
	t.Cleanup(func() {
		letGo()
		_ = srv.Shutdown()
		<-done
	})
	return pc.LocalAddr().String(), letGo
}

// start is a proxy with the filter, which asks a name server.
func start(t *testing.T, address string) *proxytest.Proxy {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	cache := fmt.Sprintf(`{name: c, dns_lookup_family: V4_ONLY, dns_query_timeout: 60s, dns_cache_circuit_breaker: {max_pending_requests: 2}, typed_dns_resolver_config: {name: cares,
  typed_config: {"@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, query_timeout_seconds: 60, query_tries: 1,
    resolvers: [{socket_address: {address: %s, port_value: %s}}], dns_resolver_options: {no_default_search_domain: true}}}}`, host, port)
	return proxytest.Start(t, proxytest.Config{
		Filters: `- name: envoy.filters.http.dynamic_forward_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig
    save_upstream_address: true
    dns_cache_config: ` + cache,
		Routes: `- {match: {prefix: /}, route: {cluster: dynamic}}`,
		Clusters: `- name: dynamic
  lb_policy: CLUSTER_PROVIDED
  cluster_type:
    name: envoy.clusters.dynamic_forward_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
      dns_cache_config: ` + cache,
		Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST_NAME% %FILTER_STATE(envoy.stream.upstream_address:PLAIN)%",
	})
}

// TestHeld: a request waits for its name with its body, and goes on when it is there; one whose client goes waits no more.
func TestHeld(t *testing.T) {
	proxytest.Differs(t, "the log's filter state")
	names, letGo := nameServer(t)
	up := proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s got %q", r.Host, b)
	})
	_, port, _ := net.SplitHostPort(up)
	p := start(t, names)
	if got := p.Get("/", "Host", "a.test:"+port); got.StatusCode != 200 || got.Text != "a.test:"+port+` got ""` {
		t.Fatalf("%d %s", got.StatusCode, got.Text)
	}
	request := func(host string) *proxytest.Conn {
		return p.Dial().Send("POST / HTTP/1.1\r\nHost: " + host + ":" + port + "\r\nContent-Length: 5\r\n\r\nhello")
	}
	waiting := func(n int64) {
		t.Helper()
		proxytest.Eventually(t, func() error {
			if got := 2 - p.Stat("dns_cache.c.circuit_breakers.rq_pending_remaining"); got != n {
				return fmt.Errorf("%d requests wait, want %d", got, n)
			}
			return nil
		})
	}
	stays, goes := request("slow.test"), request("slow.test")
	waiting(2)
	if got := p.Get("/", "Host", "other.test"); got.StatusCode != 503 || got.Text != "Dynamic forward proxy pending request overflow" {
		t.Errorf("one more than may wait: %d %s", got.StatusCode, got.Text)
	}
	goes.Close()
	waiting(1)
	letGo()
	if got := stays.Read("POST"); got.StatusCode != 200 || !strings.HasSuffix(got.Text, `got "hello"`) {
		t.Errorf("once the name is there: %d %s", got.StatusCode, got.Text)
	}
	waiting(0)
	lines := strings.Join(p.Log(4), "\n")
	for _, want := range []string{"200 via_upstream slow.test:" + port + " 127.0.0.1:" + port, "503 dynamic_forward_proxy_pending_request_overflow - -"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in the log\n%s", want, lines)
		}
	}
}

// TestConfig: what is not done is refused by name, and what cannot be is refused.
func TestConfig(t *testing.T) {
	filter := func(fields string) string {
		return "- name: d\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig, " + fields + "}"
	}
	cluster := func(config, fields string) string {
		return "- {name: dynamic, lb_policy: CLUSTER_PROVIDED, " + fields + ` cluster_type: {name: d, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, ` + config + "}}}"
	}
	const cache = "dns_cache_config: {name: c}"
	for _, tt := range []struct{ name, filters, clusters, want string }{
		{"both", filter(cache), cluster(cache, ""), ""},
		{"a cache with other settings", filter(cache), cluster("dns_cache_config: {name: c, max_hosts: 5}", ""), ""}, // is known where it is made: TestDynamic of the cluster manager
		{"no cache", filter(""), "", "dns_cache_config: is required"},
		{"a nameless cache", filter("dns_cache_config: {}"), "", "dns_cache_config.name"},
		{"sub clusters", filter("sub_cluster_config: {}"), "", "sub_cluster_config: this field is not supported"},
		{"sub clusters of the cluster", "", cluster("sub_clusters_config: {}", ""), "sub_clusters_config: this field is not supported"},
		{"coalesced connections", "", cluster(cache+", allow_coalesced_connections: true", ""), "allow_coalesced_connections: this field is not supported"},
		{"a store", filter("dns_cache_config: {name: c, key_value_config: {config: {name: x}}}"), "", "key_value_config: this field is not supported"},
		{"more names than hosts", filter("dns_cache_config: {name: c, max_hosts: 1, preresolve_hostnames: [{address: a, port_value: 1}, {address: b, port_value: 1}]}"), "", "2 names are more than max_hosts allows, 1"},
		{"a name without a port", filter("dns_cache_config: {name: c, preresolve_hostnames: [{address: a, port_value: 0}]}"), "", "port_value: 0 is not a port"},
		{"another policy", "", strings.Replace(cluster(cache, ""), "CLUSTER_PROVIDED", "ROUND_ROBIN", 1), "CLUSTER_PROVIDED goes with"},
		{"endpoints", "", cluster(cache, "load_assignment: {cluster_name: dynamic},"), "load_assignment: has no place"},
		{"names that are not checked", "", cluster(cache, "upstream_http_protocol_options: {auto_sni: true},"), "must have auto_sni and auto_san_validation, unless allow_insecure_cluster_options"},
		{"names that need not be", "", cluster(cache+", allow_insecure_cluster_options: true", "upstream_http_protocol_options: {},"), ""},
		{"options of HTTP without them", "", cluster(cache, `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}},`), "must have auto_sni"},
	} {
		err := proxytest.Check(proxytest.Config{Filters: tt.filters, Clusters: tt.clusters})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

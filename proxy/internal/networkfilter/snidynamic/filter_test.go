package snidynamic_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestHeld: a connection waits for its name, and waits no more when its client goes. What becomes of those that get an answer is
// test/differential's, dynamic.txtar.
func TestHeld(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // a name server that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	host, port, _ := net.SplitHostPort(silent.LocalAddr().String())
	p := proxytest.Start(t, proxytest.Config{
		Listener: `listener_filters:
- name: envoy.filters.listener.tls_inspector
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}`,
		Network: fmt.Sprintf(`- name: envoy.filters.network.sni_dynamic_forward_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig
    port_value: 443
    dns_cache_config: {name: c, dns_query_timeout: 60s, typed_dns_resolver_config: {name: cares, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, query_timeout_seconds: 60,
      resolvers: [{socket_address: {address: %s, port_value: %s}}]}}}`, host, port),
		Terminal: `- name: envoy.filters.network.tcp_proxy
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: up}`,
	})
	waiting := func(n int64) {
		t.Helper()
		proxytest.Eventually(t, func() error {
			if got := 1024 - p.Stat("dns_cache.c.circuit_breakers.rq_pending_remaining"); got != n {
				return fmt.Errorf("%d connections wait, want %d", got, n)
			}
			return nil
		})
	}
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- tls.Client(c, &tls.Config{ServerName: "slow.test", InsecureSkipVerify: true}).Handshake() //nolint:gosec // it is never answered
	}()
	waiting(1)
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	if err := <-done; err == nil {
		t.Error("somebody answered")
	}
	waiting(0)
}

// TestConfig: what cannot be is refused.
func TestConfig(t *testing.T) {
	for fields, want := range map[string]string{
		"port_value: 443": "dns_cache_config: is required",
		"dns_cache_config: {name: c}, port_value: 443":   "",
		"dns_cache_config: {name: c}, port_value: 65536": "port_value",
		"dns_cache_config: {name: c}":                    "port_value: 0 is not a port",
	} {
		err := proxytest.Check(proxytest.Config{Network: `- name: sni
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, ` + fields + "}"})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", fields, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
}

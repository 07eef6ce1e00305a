// Package h2spec runs the cases of summerwind/h2spec, which hold RFC 7540 and 7541 against a server, on lateen-proxy. It is
// a module of its own, because nothing of h2spec belongs into the product. `make conformance` runs it.
package h2spec

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/conformance/runproxy"
	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// least is how many cases there are at least: a suite that finds nothing to run must not pass.
const least = 140

func TestH2spec(t *testing.T) {
	bin := runproxy.Build(t, "../../..")
	t.Run("plaintext", func(t *testing.T) { run(t, bin, false) })
	t.Run("TLS", func(t *testing.T) { run(t, bin, true) })
}

func run(t *testing.T, bin string, tls bool) {
	port, admin := runproxy.FreePort(t), runproxy.FreePort(t)
	runproxy.Start(t, bin, bootstrap(t, port, admin, tls), admin)
	cfg := &config.Config{
		Host: "127.0.0.1", Port: port, Path: "/", Timeout: 5 * time.Second, MaxHeaderLen: 4000, TLS: tls, Insecure: true, Strict: true,
	}
	passed := 0
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		g.Test(cfg)
		passed += g.PassedCount
		if g.FailedCount > 0 || g.SkippedCount > 0 {
			t.Errorf("%s: %d passed, %d failed, %d skipped", g.Name, g.PassedCount, g.FailedCount, g.SkippedCount)
		}
		report(t, g)
	}
	if passed < least {
		t.Errorf("%d cases passed, expected at least %d", passed, least)
	}
	t.Logf("%d cases passed", passed)
}

// report names the cases that did not pass.
func report(t *testing.T, g *spec.TestGroup) {
	for _, sub := range g.Groups {
		report(t, sub)
	}
	for _, c := range g.Tests {
		if c.Result != nil && (c.Result.Failed || c.Result.Skipped) {
			t.Errorf("%s %q: %v", g.ID(), c.Desc, c.Result.Error)
		}
	}
}

// bootstrap is a proxy of HTTP/2 before an upstream of HTTP/1.1.
func bootstrap(t *testing.T, port, admin int, tls bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat("conformance ", 100))
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	// Without TLS nothing agrees on the version: AUTO would answer what is no HTTP/2 in HTTP/1.
	codec, socket := "HTTP2", ""
	if tls {
		codec = "AUTO"
		cert, key := runproxy.Certificate(t, "localhost")
		socket = fmt.Sprintf(`
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: {filename: %q}, private_key: {filename: %q}}]`, cert, key)
	}
	return fmt.Sprintf(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          codec_type: %s
          http2_protocol_options: {max_concurrent_streams: 100}
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: back}}]}]
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]%s
  clusters:
  - name: back
    type: STATIC
    load_assignment:
      cluster_name: back
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`, admin, port, codec, socket, ln.Addr().(*net.TCPAddr).Port)
}

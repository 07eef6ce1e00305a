package istioalpn_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream speaks TLS and notes what its clients offer and ask for.
type upstream struct {
	addr string
	cert string // PEM; it is its own authority
	mu   sync.Mutex
	seen []string
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(proxytest.Echo))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		u.mu.Lock()
		u.seen = append(u.seen, strings.Join(h.SupportedProtos, ",")+" "+h.ServerName)
		u.mu.Unlock()
		return nil, nil
	}}
	s.StartTLS()
	s.TLS.NextProtos = []string{"istio-h2", "istio-http/1.1", "h2", "http/1.1"} // by now nobody has connected
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	u.addr = s.Listener.Addr().String()
	u.cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return u
}

func (u *upstream) clients() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

const (
	istio = "{name: istio.alpn, typed_config: {'@type': type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig, alpn_override: [" +
		"{upstream_protocol: HTTP10, alpn_override: [istio-http/1.0]}, {upstream_protocol: HTTP11, alpn_override: [istio-http/1.1, istio, http/1.1]}, {upstream_protocol: HTTP2, alpn_override: [istio-h2, istio, h2]}]}}"
	typed = "{name: istio.alpn, typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig, value: {alpn_override: [{upstream_protocol: HTTP11, alpn_override: [x]}]}}}"
)

func set(key, value string) string {
	return "{name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: " + key + ", format_string: {text_format_source: {inline_string: '" + value + "'}}}]}}"
}

func secure(more string) string {
	return "transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, " + more + "}}"
}

func version(of string) string {
	return "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, " + of + "}}\n"
}

func TestOffers(t *testing.T) {
	for name, test := range map[string]struct {
		filter, cluster string
		want            string // protocols and server name
		istio           bool   // Envoy does not know the filter
	}{
		"HTTP/1":                     {istio, secure("common_tls_context: {alpn_protocols: [mine]}"), "istio-http/1.1,istio,http/1.1 ", true},
		"HTTP/2":                     {istio, version("explicit_http_config: {http2_protocol_options: {}}") + secure("common_tls_context: {}"), "istio-h2,istio,h2 ", true},
		"auto":                       {istio, version("auto_config: {}") + secure("common_tls_context: {}"), "istio-h2,istio,h2 ", true},
		"as the client":              {istio, version("use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}") + secure("common_tls_context: {}"), "istio-http/1.1,istio,http/1.1 ", true},
		"a TypedStruct":              {typed, secure("common_tls_context: {alpn_protocols: [mine]}"), "x ", true},
		"as configured":              {"", secure("common_tls_context: {alpn_protocols: [mine]}, sni: here"), "mine here", false},
		"auto, as configured":        {"", version("auto_config: {}") + secure("common_tls_context: {alpn_protocols: [mine, http/1.1]}"), "mine,http/1.1 ", false},
		"auto, nothing configured":   {"", version("auto_config: {}") + secure("common_tls_context: {}"), "h2,http/1.1 ", false},
		"HTTP/2, nothing configured": {"", version("explicit_http_config: {http2_protocol_options: {}}") + secure("common_tls_context: {}"), "h2 ", false},
		"filter state":               {set("envoy.network.application_protocols", "a,http/1.1"), secure("common_tls_context: {alpn_protocols: [mine]}"), "a,http/1.1 ", false},
		"server name":                {set("envoy.network.upstream_server_name", "%REQ(x-name)%.example"), secure("common_tls_context: {}, sni: here"), "http/1.1 n.example", false},
		"server name, auto_sni":      {set("envoy.network.upstream_server_name", "set.example"), version("upstream_http_protocol_options: {auto_sni: true}, explicit_http_config: {http_protocol_options: {}}") + secure("common_tls_context: {}"), "http/1.1 set.example", false},
		"auto_sni":                   {"", version("upstream_http_protocol_options: {auto_sni: true}, explicit_http_config: {http_protocol_options: {}}") + secure("common_tls_context: {}, sni: here"), "http/1.1 a", false},
	} {
		t.Run(name, func(t *testing.T) {
			if test.istio && proxytest.Envoy() {
				t.Skip("a filter of Istio's")
			}
			u := newUpstream(t)
			filters := ""
			if test.filter != "" {
				filters = "- " + test.filter
			}
			p := proxytest.Start(t, proxytest.Config{Upstream: u.addr, UpstreamCluster: test.cluster, Filters: filters})
			p.Get("/", "x-name", "n")
			if got := u.clients(); len(got) == 0 || got[0] != test.want {
				t.Errorf("%q, want %q first", got, test.want)
			}
		})
	}
}

// TestNames: the certificate of httptest is for example.com, 127.0.0.1 and ::1.
func TestNames(t *testing.T) {
	for names, code := range map[string]int{
		"example.com": 200, "other.example,example.com": 200, "EXAMPLE.com": 200, "127.0.0.1": 200, "other.example": 503, "spiffe://a/b,127.0.0.2": 503,
	} {
		u := newUpstream(t)
		p := proxytest.Start(t, proxytest.Config{
			Upstream: u.addr, UpstreamCluster: secure(fmt.Sprintf("common_tls_context: {validation_context: {trusted_ca: {inline_string: %q}}}", u.cert)),
			Filters: "- " + set("envoy.network.upstream_subject_alt_names", names),
		})
		if r := p.Get("/"); r.StatusCode != code {
			t.Errorf("%s: %d, want %d", names, r.StatusCode, code)
		}
	}
}

// TestTCP: a TCP proxy's connections are made the same way, from the connection's filter state.
func TestTCP(t *testing.T) {
	u := newUpstream(t)
	object := func(key, value string) string {
		return "{object_key: " + key + ", format_string: {text_format_source: {inline_string: '" + value + "'}}}"
	}
	p := proxytest.Start(t, proxytest.Config{
		Upstream: u.addr, UpstreamCluster: secure("common_tls_context: {alpn_protocols: [mine]}, sni: here"),
		Network: "- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config, on_new_connection: [" +
			object("envoy.network.upstream_server_name", "tcp.example") + ", " + object("envoy.network.application_protocols", "http/1.1") + "]}}",
		Terminal: "- {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: up}}",
	})
	p.Get("/")
	if got := u.clients(); len(got) == 0 || got[0] != "http/1.1 tcp.example" {
		t.Errorf("%q", got)
	}
}

func TestRefused(t *testing.T) {
	bad := strings.Replace(typed, "alpn_override: [{", "nothing: 1, alpn_override: [{", 1)
	if err := proxytest.Check(proxytest.Config{Filters: "- " + bad}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("%v", err)
	}
}

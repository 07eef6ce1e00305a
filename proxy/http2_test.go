package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// alpnYAML is a proxy of TLS on both sides, where handshakes agree on the version of HTTP, both times.
const alpnYAML = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /old}, route: {cluster: old}}, {match: {prefix: /}, route: {cluster: new}}]
          http_filters: [{name: envoy.filters.http.router}]
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{certificate_chain: {filename: %[1]q}, private_key: {filename: %[2]q}}]
  clusters:
  - {name: new, type: STATIC, load_assignment: {cluster_name: new, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]s}}}}]}]}, transport_socket: &tls {name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}, typed_extension_protocol_options: &auto {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, auto_config: {}}}}
  - {name: old, type: STATIC, load_assignment: {cluster_name: old, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[4]s}}}}]}]}, transport_socket: *tls, typed_extension_protocol_options: *auto}
`

// TestALPN: a client and a host of either version meet by ALPN.
func TestALPN(t *testing.T) {
	host := func(http2 bool) (string, *httptest.Server) {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		t.Cleanup(srv.Close)
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		return port, srv
	}
	newPort, srv := host(true)
	oldPort, _ := host(false)
	certFile, keyFile := writePair(t, srv.TLS.Certificates[0])
	r := runWith(t, Config{Overlay: fmt.Appendf(nil, alpnYAML, certFile, keyFile, newPort, oldPort)})
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	for _, client := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var p http.Protocols
		p.SetHTTP1(client == "HTTP/1.1")
		p.SetHTTP2(client == "HTTP/2.0")
		tr := &http.Transport{Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
		for path, want := range map[string]string{"/": "HTTP/2.0", "/old": "HTTP/1.1"} {
			resp, err := (&http.Client{Transport: tr}).Get("https://" + r.ListenerAddrs()["front"] + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.Proto != client || string(body) != want {
				t.Errorf("client of %s at %s: answer of %s from a host of %q, %v; want %s", client, path, resp.Proto, body, err, want)
			}
		}
		tr.CloseIdleConnections()
	}
}

// writePair writes a certificate and its key to files.
func writePair(t *testing.T, c tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", key)
}

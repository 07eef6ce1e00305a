package cel

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func quote(dst, s []byte) []byte { return strconv.AppendQuote(dst, string(s)) }

// stream has something of everything.
func stream(t testing.TB) *Stream {
	t.Helper()
	u, err := url.Parse("spiffe://cluster.local/ns/a/sa/b")
	if err != nil {
		t.Fatal(err)
	}
	peer := &x509.Certificate{Raw: []byte("x"), URIs: []*url.URL{u}, DNSNames: []string{"a.test", "b.test"}}
	peer.Subject.CommonName = "leaf"
	s := &Stream{
		Request: &header.Map{}, Response: &header.Map{}, Trailers: &header.Map{},
		Info: &streaminfo.Info{
			StartWall: time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC), Start: 1e9, End: 3e9 + 5e8,
			UpstreamTxFirst: 2e9, UpstreamRxLast: 3e9, BytesReceived: 11, BytesSent: 22, Protocol: streaminfo.HTTP2,
			ResponseCode: 503, Details: "via_upstream", ConnectionID: 7, Attempts: 2, TerminationDetails: "gone", UpstreamFailure: "reset",
			RouteName: "r", VirtualHost: "vh", RouteMetadata: xdsresource.Metadata{"m": {"k": "v"}},
			Cluster: &xdsresource.Cluster{Name: "c", Metadata: xdsresource.Metadata{"cm": {"n": 1.0}}},
			Host: &cluster.Host{
				Name: "10.0.0.1:80", Address: xdsresource.Address{IP: netip.MustParseAddr("10.0.0.1"), Port: 80},
			},
			UpstreamLocal: netip.MustParseAddrPort("10.0.0.9:1234"),
			Downstream: &conn.Info{
				LocalAddr: netip.MustParseAddrPort("[::1]:443"), RemoteAddr: netip.MustParseAddrPort("10.1.1.1:5555"), SNI: "a.example",
				FilterChain: "fc", ListenerDirection: 1, ListenerMetadata: xdsresource.Metadata{"lm": {"a": "b"}}, TLS: &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{peer}},
			},
		},
	}
	s.Info.Set(streaminfo.UpstreamConnectionFailure)
	s.Request.AddString(header.Method, "GET")
	s.Request.AddString(header.Path, "/a/b?c=d#e")
	s.Request.AddString(header.Authority, "a.example")
	s.Request.AddString(header.Scheme, "https")
	for _, f := range [][2]string{{"x-a", "1"}, {"x-a", "2"}, {"user-agent", "ua"}, {"referer", "ref"}, {"x-request-id", "id"}, {"content-length", "5"}} {
		s.Request.AddName(f[0], []byte(f[1]))
	}
	s.Response.AddName("x-b", []byte("3"))
	s.Trailers.AddName("grpc-status", []byte("14"))
	s.Info.SetMetadata("f", "s", "text")
	s.Info.SetMetadata("f", "l", []any{1.0, "x", nil, true, map[string]any{"a": "b"}})
	s.Info.State.Put("plain", filterstate.Text("p"))
	s.Info.State.Put("fields", filterstate.Fields{"a": "b"})
	return s
}

func TestAttributes(t *testing.T) {
	s := stream(t)
	for in, want := range map[string]string{ // "text JSON"; "-": none
		"request.path": `/a/b?c=d#e "/a/b?c=d#e"`, "request.url_path": `/a/b "/a/b"`, "request.query": `c=d "c=d"`,
		"request.method": `GET "GET"`, "request.host": `a.example "a.example"`, "request.scheme": `https "https"`,
		"request.useragent": `ua "ua"`, "request.referer": `ref "ref"`, "request.id": `id "id"`,
		"request.headers['x-a']": `1,2 "1,2"`, "request.headers['X-A']": `1,2 "1,2"`, "request.headers['no']": "-", "request.headers[1]": "-",
		"'x-a' in request.headers": "true true", "request.size": "5 5", "request.protocol": `HTTP/2 "HTTP/2"`,
		"request.time":     `2024-05-06T07:08:09.123456+00:00 "2024-05-06T07:08:09.123456Z"`,
		"request.duration": `2.5s "2.500s"`, "request.headers == request.headers": "true true", "request == response": "false false",
		"request": "CelMap value null", "has(request.path)": "true true", "has(request.no)": "false false", "request.no": "-", "request[1]": "-",
		"size(request)": "0 0", "no": "-", "request.total_size - request.headers_bytes": "11 11",
		"response.code": "503 503", "response.code_details": `via_upstream "via_upstream"`, "response.size": "22 22", "response.flags": "32 32",
		"response.grpc_status": "14 14", "response.backend_latency": `1s "1s"`, "response.headers": `CelMap value {"x-b":"3"}`,
		"response.headers_bytes": "4 4", "response.total_size": "39 39", "response.trailers['grpc-status']": `14 "14"`,
		"connection.id": "7 7", "connection.mtls": "true true", "connection.requested_server_name": `a.example "a.example"`,
		"connection.tls_version": `TLSv1.3 "TLSv1.3"`, "connection.subject_peer_certificate": `CN=leaf "CN=leaf"`,
		"connection.subject_local_certificate": ` ""`, "connection.uri_san_local_certificate": "-", "connection.dns_san_local_certificate": "-",
		"connection.uri_san_peer_certificate":       `spiffe://cluster.local/ns/a/sa/b "spiffe://cluster.local/ns/a/sa/b"`,
		"connection.dns_san_peer_certificate":       `a.test "a.test"`,
		"connection.sha256_peer_certificate_digest": `2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"`,
		"connection.termination_details":            `gone "gone"`, "connection.transport_failure_reason": "-", "connection.no": "-",
		"connection.peer_certificate": "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n \"-----BEGIN CERTIFICATE-----\\neA==\\n-----END CERTIFICATE-----\\n\"",
		"source.address":              `10.1.1.1:5555 "10.1.1.1:5555"`, "source.port": "5555 5555", "destination.address": `[::1]:443 "[::1]:443"`,
		"destination.port": "443 443", "source.no": "-",
		"upstream.address": `10.0.0.1:80 "10.0.0.1:80"`, "upstream.port": "80 80", "upstream.local_address": `10.0.0.9:1234 "10.0.0.9:1234"`,
		"upstream.request_attempt_count": "2 2", "upstream.transport_failure_reason": `reset "reset"`, "upstream.cx_pool_ready_duration": `1s "1s"`,
		"upstream.tls_version":             "-",
		"metadata.filter_metadata.f.s":     `text "text"`,
		"metadata.filter_metadata['f'].l":  `CelList value [1,"x",null,true,{"a":"b"}]`,
		"metadata.filter_metadata.no":      "-",
		"metadata.no":                      "-",
		"has(metadata.no)":                 "-",
		"has(metadata.filter_metadata)":    "true true",
		"size(metadata.filter_metadata)":   "1 1",
		"metadata.typed_filter_metadata":   "CelMap value {}",
		"metadata == metadata":             "true true",
		"type(metadata) == type(metadata)": "true true",
		"metadata": `filter_metadata { key: "f" value { fields { key: "l" value { list_value { values { number_value: 1 } ` +
			`values { string_value: "x" } values { null_value: NULL_VALUE } values { bool_value: true } ` +
			`values { struct_value { fields { key: "a" value { string_value: "b" } } } } } } } ` +
			`fields { key: "s" value { string_value: "text" } } } }  {"filter_metadata":{"f":{"l":[1,"x",null,true,{"a":"b"}],"s":"text"}}}`,
		"filter_state['plain']": `p "cA=="`, "filter_state.fields.a": `b "b"`, "filter_state['fields']": "CelMap value null",
		"filter_state.fields.no": "-", "filter_state['no']": "-", "upstream_filter_state": "CelMap value null", "upstream_filter_state.x": "-",
		"xds.cluster_name": `c "c"`, "xds.cluster_metadata.filter_metadata.cm.n": "1 1", "xds.route_name": `r "r"`,
		"xds.route_metadata":     `filter_metadata { key: "m" value { fields { key: "k" value { string_value: "v" } } } }  {"filter_metadata":{"m":{"k":"v"}}}`,
		"xds.listener_direction": "1 1", "xds.listener_metadata.filter_metadata.lm.a": `b "b"`, "xds.virtual_host_name": `vh "vh"`, "xds.filter_chain_name": `fc "fc"`, "xds.upstream_host_metadata": "-",
	} {
		if got := show(t, in, s); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func show(t *testing.T, expression string, s *Stream) string {
	t.Helper()
	e, err := Compile(expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	v, ok := e.Eval(s)
	if !ok {
		return "-"
	}
	typed, ok := v.AppendJSON(nil, quote)
	if !ok {
		typed = []byte("null")
	}
	return string(v.AppendText(nil)) + " " + string(typed)
}

// TestNothingIsKnown: no attribute needs anything of a stream.
func TestNothingIsKnown(t *testing.T) {
	s := &Stream{Info: &streaminfo.Info{}}
	for group, names := range map[string]map[string]attribute{
		"request": requestAttributes, "response": responseAttributes, "connection": connectionAttributes, "upstream": upstreamAttributes, "xds": xdsAttributes,
	} {
		for name := range names {
			show(t, group+"."+name, s)
			show(t, group+"."+name, &Stream{})
		}
	}
	for _, in := range []string{"source.address", "destination.port", "metadata", "filter_state.x"} {
		show(t, in, s)
		show(t, in, &Stream{})
	}
}

func TestMatch(t *testing.T) {
	s := stream(t)
	for in, want := range map[string]bool{
		"response.code >= 500": true, "response.code < 500": false, "request.no": false, "request.no || true": true, "'true'": false, "1": false,
		"request.path.startsWith('/a') && 'x-a' in request.headers": true, "request.path.matches('^/[a-z]/b')": true,
	} {
		e, err := Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Match(s); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	s := stream(b)
	for _, in := range []string{"response.code >= 500", "request.path.startsWith('/a') && request.headers['x-a'] == '1,2'", "request.no == 'a'"} {
		b.Run(in, func(b *testing.B) {
			e, err := Compile(in)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Match(s)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	for _, in := range []string{"upstream.num_endpoints > 1", "upstream['num_endpoints']", "has(upstream.num_endpoints)", "xds.node.id", "1 + xds.virtual_host_metadata"} {
		if _, err := Compile(in); err == nil || !strings.Contains(err.Error(), "is not supported: a") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

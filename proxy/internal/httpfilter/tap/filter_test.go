package tap_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configcorev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/tap/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// filter is a tap; more are further fields of the static configuration, top of the filter's own.
func filter(match, format, prefix, output, more, top string) string {
	return "- {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap, " + top + "common_config: {static_config: {" + match + ", " + more +
		"output_config: {" + output + "sinks: [{format: " + format + ", file_per_tap: {path_prefix: '" + prefix + "'}}]}}}}}"
}

const anyMatch = "match: {any_match: true}"

// service answers as the path says.
func service(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	switch r.URL.Path {
	case "/trailers":
		w.Header().Set("Trailer", "x-end")
		_, _ = io.WriteString(w, "the answer")
		w.Header().Set("x-end", "over")
	case "/binary":
		_, _ = w.Write([]byte("a\xff\x00b"))
	case "/empty":
		w.WriteHeader(204)
	default:
		w.WriteHeader(418)
		_, _ = io.WriteString(w, "the answer")
	}
}

func start(t *testing.T, filters string) *proxytest.Proxy {
	return proxytest.Start(t, proxytest.Config{
		Filters: filters, Upstream: proxytest.Server(t, service), HCM: "http_protocol_options: {enable_trailers: true}",
		UpstreamCluster: `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}`,
	})
}

// files waits for that many files of a prefix.
func files(t *testing.T, prefix string, n int) []string {
	t.Helper()
	var out []string
	proxytest.Eventually(t, func() error {
		var err error
		if out, err = filepath.Glob(prefix + "_*"); err != nil || len(out) != n {
			return fmt.Errorf("%d files, want %d: %v", len(out), n, err)
		}
		for _, f := range out {
			if st, err := os.Stat(f); err != nil || st.Size() == 0 {
				return fmt.Errorf("%s is empty: %v", f, err)
			}
		}
		return nil
	})
	return out
}

// parse reads a file by its format.
func parse(t *testing.T, format, file string) []*datav3.TraceWrapper {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []*datav3.TraceWrapper
	add := func(m *datav3.TraceWrapper, err error) {
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, b)
		}
		out = append(out, m)
	}
	suffix := filepath.Ext(file)
	switch format {
	case "JSON_BODY_AS_BYTES", "JSON_BODY_AS_STRING":
		if suffix != ".json" {
			t.Errorf("%s ends otherwise", file)
		}
		for part := range strings.SplitSeq(strings.ReplaceAll(string(b), "\n}\n{", "\n}\n\x00{"), "\x00") {
			m := &datav3.TraceWrapper{}
			add(m, protojson.Unmarshal([]byte(part), m))
		}
	case "PROTO_BINARY":
		m := &datav3.TraceWrapper{}
		add(m, proto.Unmarshal(b, m))
	case "PROTO_TEXT":
		m := &datav3.TraceWrapper{}
		add(m, prototext.Unmarshal(b, m))
	case "PROTO_BINARY_LENGTH_DELIMITED":
		for r := bytes.NewReader(b); r.Len() > 0; {
			m := &datav3.TraceWrapper{}
			add(m, protodelim.UnmarshalFrom(r, m))
		}
	}
	if want := map[string]string{"PROTO_BINARY": ".pb", "PROTO_TEXT": ".pb_text", "PROTO_BINARY_LENGTH_DELIMITED": ".pb_length_delimited"}[format]; want != "" && suffix != want {
		t.Errorf("%s ends otherwise than %s", file, want)
	}
	return out
}

func pick(hs []*configcorev3.HeaderValue, names ...string) string {
	var out []string
	for _, name := range names {
		for _, h := range hs {
			if h.GetKey() == name {
				out = append(out, h.GetValue())
			}
		}
	}
	return strings.Join(out, " ")
}

func text(b *datav3.Body) string {
	out := fmt.Sprintf("%q", b.GetAsString()+string(b.GetAsBytes()))
	if b.GetTruncated() {
		out += "..."
	}
	return out
}

// line is a trace in short: "POST /path "body" [trailers] -> status "body" [trailers]", or its pieces.
func line(traces []*datav3.TraceWrapper) string {
	var out []string
	for _, m := range traces {
		side := func(x *datav3.HttpBufferedTrace_Message, names ...string) string {
			s := pick(x.GetHeaders(), names...)
			if x.GetBody() != nil {
				s += " " + text(x.GetBody())
			}
			if tr := pick(x.GetTrailers(), "x-end", "x-t"); tr != "" {
				s += " [" + tr + "]"
			}
			return s
		}
		if b := m.GetHttpBufferedTrace(); b != nil {
			out = append(out, side(b.GetRequest(), ":method", ":path")+" -> "+side(b.GetResponse(), ":status"))
		}
		switch p := m.GetHttpStreamedTraceSegment().GetMessagePiece().(type) {
		case *datav3.HttpStreamedTraceSegment_RequestHeaders:
			out = append(out, pick(p.RequestHeaders.GetHeaders(), ":method", ":path"))
		case *datav3.HttpStreamedTraceSegment_RequestBodyChunk:
			out = append(out, "> "+text(p.RequestBodyChunk))
		case *datav3.HttpStreamedTraceSegment_RequestTrailers:
			out = append(out, "> ["+pick(p.RequestTrailers.GetHeaders(), "x-t")+"]")
		case *datav3.HttpStreamedTraceSegment_ResponseHeaders:
			out = append(out, pick(p.ResponseHeaders.GetHeaders(), ":status"))
		case *datav3.HttpStreamedTraceSegment_ResponseBodyChunk:
			if len(p.ResponseBodyChunk.GetAsBytes())+len(p.ResponseBodyChunk.GetAsString()) == 0 {
				continue // the end, where it comes alone
			}
			out = append(out, "< "+text(p.ResponseBodyChunk))
		case *datav3.HttpStreamedTraceSegment_ResponseTrailers:
			out = append(out, "< ["+pick(p.ResponseTrailers.GetHeaders(), "x-end")+"]")
		}
	}
	return strings.Join(out, "; ")
}

func TestFormats(t *testing.T) {
	for _, format := range []string{"JSON_BODY_AS_BYTES", "JSON_BODY_AS_STRING", "PROTO_BINARY", "PROTO_TEXT", "PROTO_BINARY_LENGTH_DELIMITED"} {
		prefix := filepath.Join(t.TempDir(), "tap")
		p := start(t, filter(anyMatch, format, prefix, "", "", ""))
		p.Do("POST", "/trailers", nil, "question")
		if got, want := line(parse(t, format, files(t, prefix, 1)[0])), `POST /trailers "question" -> 200 "the answer" [over]`; got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
		p.WantStats(map[string]int64{"http.t.tap.rq_tapped": 1, "http.t.tap.rq_sampled_out": 0})
	}
}

func TestStreaming(t *testing.T) {
	for match, want := range map[string]string{
		anyMatch: `POST /trailers; > "quest"...; 200; < "the "...; < [over]`,
		"match: {http_request_headers_match: {headers: [{name: ':path', string_match: {exact: /trailers}}]}}": `POST /trailers; > "quest"...; 200; < "the "...; < [over]`,
		"match: {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '200'}}]}}":  `POST /trailers; > "quest"...; 200; < "the "...; < [over]`,
		"match: {http_response_trailers_match: {headers: [{name: x-end, present_match: true}]}}":              `POST /trailers; > "quest"...; 200; < "the "...; < [over]`,
		"match: {http_request_generic_body_match: {patterns: [{string_match: ion}]}}":                         `POST /trailers; > "quest"...; 200; < "the "...; < [over]`,
	} {
		if strings.Contains(match, "body_match") && proxytest.Envoy() {
			continue // it loses the piece by which the stream matches
		}
		for _, format := range []string{"JSON_BODY_AS_STRING", "PROTO_BINARY_LENGTH_DELIMITED"} {
			prefix := filepath.Join(t.TempDir(), "tap")
			p := start(t, filter(match, format, prefix, "streaming: true, max_buffered_rx_bytes: 5, max_buffered_tx_bytes: 4, ", "", ""))
			p.Do("POST", "/trailers", nil, "question")
			p.WantStats(map[string]int64{"http.t.tap.rq_tapped": 1})
			proxytest.Eventually(t, func() error {
				if got := line(parse(t, format, files(t, prefix, 1)[0])); got != want {
					return fmt.Errorf("%s, %s: %s, want %s", match, format, got, want)
				}
				return nil
			})
		}
	}
}

// TestMatch: which requests are tapped.
func TestMatch(t *testing.T) {
	for match, want := range map[string]string{ // the paths that are
		"match_config: {any_match: true}": "/a /b /trailers /empty",
		"match: {http_request_headers_match: {headers: [{name: ':path', string_match: {prefix: /a}}, {name: x-none, present_match: true, invert_match: true}]}}":                                                            "/a",
		"match: {not_match: {http_request_headers_match: {headers: [{name: ':path', string_match: {prefix: /a}}]}}}":                                                                                                        "/b /trailers /empty",
		"match: {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '418'}}]}}":                                                                                                                "/a /b",
		"match: {http_request_trailers_match: {headers: [{name: x-t, present_match: true}]}}":                                                                                                                               "/b",
		"match: {http_response_trailers_match: {headers: [{name: x-end, string_match: {exact: over}}]}}":                                                                                                                    "/trailers",
		"match: {not_match: {http_response_trailers_match: {headers: [{name: x-end, present_match: true}]}}}":                                                                                                               "/a /b /empty",
		"match: {or_match: {rules: [{http_response_trailers_match: {headers: [{name: x-end, present_match: true}]}}, {http_request_headers_match: {headers: [{name: ':path', string_match: {exact: /a}}]}}]}}":              "/a /trailers",
		"match: {and_match: {rules: [{http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '418'}}]}}, {http_request_headers_match: {headers: [{name: ':path', string_match: {exact: /a}}]}}]}}": "/a",
		"match: {http_request_generic_body_match: {patterns: [{string_match: wor}, {binary_match: aGVs}]}}":                                                                                                                 "/b",
		"match: {http_request_generic_body_match: {bytes_limit: 4, patterns: [{string_match: wor}]}}":                                                                                                                       "",
		"match: {http_response_generic_body_match: {patterns: [{string_match: answer}]}}":                                                                                                                                   "/a /b /trailers",
		"match_config: {http_request_generic_body_match: {patterns: [{string_match: hello}]}}":                                                                                                                              "/b",
	} {
		prefix := filepath.Join(t.TempDir(), "tap")
		p := start(t, filter(match, "JSON_BODY_AS_STRING", prefix, "", "", ""))
		p.Get("/a")
		c := p.Dial()
		c.Send("POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nhell\r\n").Send("7\r\no world\r\n0\r\nx-t: 1\r\n\r\n").Read("POST")
		p.Get("/trailers")
		p.Get("/empty")
		p.WantStats(map[string]int64{"http.t.downstream_rq_completed": 4, "http.t.tap.rq_tapped": int64(len(strings.Fields(want)))})
		got := map[string]bool{}
		for _, f := range files(t, prefix, len(strings.Fields(want))) {
			got[strings.Fields(line(parse(t, "JSON_BODY_AS_STRING", f)))[1]] = true
		}
		for path := range strings.FieldsSeq(want) {
			if !got[path] {
				t.Errorf("%s: %v, want %s", match, got, want)
			}
		}
	}
}

func TestDetails(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "tap")
	p := start(t, filter(anyMatch, "PROTO_BINARY", prefix, "max_buffered_rx_bytes: 0, max_buffered_tx_bytes: 10, ", "tap_enabled: {default_value: {numerator: 1000000, denominator: MILLION}}, ",
		"record_headers_received_time: true, record_downstream_connection: true, record_upstream_connection: true, "))
	p.Do("POST", "/a", []string{"x-odd", "a\xffb"}, "question")
	m := parse(t, "PROTO_BINARY", files(t, prefix, 1)[0])
	if got, want := line(m), `POST /a ""... -> 418 "the answer"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b := m[0].GetHttpBufferedTrace()
	if m[0].GetConfiguredSampleRate().GetNumerator() != 1000000 || b.GetRequest().GetHeadersReceivedTime().GetSeconds() == 0 || b.GetResponse().GetHeadersReceivedTime().GetSeconds() == 0 {
		t.Errorf("%v", m[0])
	}
	port := func(a *configcorev3.Address) string {
		return fmt.Sprint(a.GetSocketAddress().GetAddress(), ":", a.GetSocketAddress().GetPortValue())
	}
	if d := b.GetDownstreamConnection(); port(d.GetLocalAddress()) != p.Addr || d.GetRemoteAddress().GetSocketAddress().GetPortValue() == 0 {
		t.Errorf("%v", d)
	}
	if u := b.GetUpstreamConnection(); u.GetLocalAddress().GetSocketAddress().GetPortValue() == 0 || u.GetRemoteAddress().GetSocketAddress().GetPortValue() == 0 {
		t.Errorf("%v", u)
	}
	if !proxytest.Envoy() && pick(b.GetRequest().GetHeaders(), "x-odd") != "a\uFFFDb" {
		t.Errorf("%v", b.GetRequest())
	}
}

func TestSampling(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "tap")
	p := start(t, filter(anyMatch, "PROTO_BINARY", prefix, "", "tap_enabled: {default_value: {numerator: 0}}, ", ""))
	p.Get("/a")
	p.WantStats(map[string]int64{"http.t.tap.rq_tapped": 0, "http.t.tap.rq_sampled_out": 1, "http.t.downstream_rq_completed": 1})
	files(t, prefix, 0)
}

// TestText: a body that is not UTF-8 is one that JSON can hold.
func TestText(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("Envoy escapes such bytes otherwise")
	}
	prefix := filepath.Join(t.TempDir(), "tap")
	p := start(t, filter(anyMatch, "JSON_BODY_AS_STRING", prefix, "", "", ""))
	p.Get("/binary")
	if got, want := line(parse(t, "JSON_BODY_AS_STRING", files(t, prefix, 1)[0])), `GET /binary -> 200 "a`+"\uFFFD"+`\x00b"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestBadDisk: a file that cannot be written costs a request nothing, and is counted.
func TestBadDisk(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("Envoy counts nothing")
	}
	p := start(t, filter(anyMatch, "PROTO_TEXT", filepath.Join(t.TempDir(), "none", "tap"), "", "", ""))
	for range 3 {
		if r := p.Get("/a"); r.StatusCode != 418 {
			t.Errorf("%d", r.StatusCode)
		}
	}
	p.WantStats(map[string]int64{"filesystem.write_failed": 3, "http.t.tap.rq_tapped": 3})
}

// TestCut: a request whose client goes away is tapped as far as it has come.
func TestCut(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "tap")
	p := start(t, filter(anyMatch, "JSON_BODY_AS_STRING", prefix, "", "", ""))
	c := p.Dial()
	c.Send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nquest")
	p.WantStats(map[string]int64{"cluster.up.upstream_rq_total": 1})
	c.Close()
	if got, want := line(parse(t, "JSON_BODY_AS_STRING", files(t, prefix, 1)[0])), `POST /a "quest" -> `; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	sink := func(s string) string {
		return "- {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap, common_config: {static_config: {match: {any_match: true}, output_config: {sinks: [" + s + "]}}}}}"
	}
	for config, want := range map[string]string{
		"- {name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap, common_config: {admin_config: {config_id: a}}}}": "admin_config",
		sink("{streaming_admin: {}}"):                                                                                                                  "streaming_admin",
		sink("{buffered_admin: {max_traces: 1}}"):                                                                                                      "buffered_admin",
		sink("{streaming_grpc: {tap_id: a, grpc_service: {envoy_grpc: {cluster_name: up}}}}"):                                                          "streaming_grpc",
		sink("{file_per_tap: {path_prefix: a}}, {file_per_tap: {path_prefix: b}}"):                                                                     "sinks",
		filter("match: {and_match: {rules: [{any_match: true}]}}", "PROTO_TEXT", "a", "", "", ""):                                                      "rules",
		filter("match: {http_request_generic_body_match: {patterns: []}}", "PROTO_TEXT", "a", "", "", ""):                                              "patterns",
		filter("tap_enabled: {default_value: {numerator: 1}}", "PROTO_TEXT", "a", "", "", ""):                                                          "match",
		filter(anyMatch, "PROTO_TEXT", "a", "min_streamed_sent_bytes: 1, ", "", ""):                                                                    "min_streamed_sent_bytes",
		filter(anyMatch, "PROTO_BINARY", "a", "streaming: true, ", "", ""):                                                                             "PROTO_BINARY_LENGTH_DELIMITED",
		filter("match: {http_request_headers_match: {headers: [{name: a, string_match: {safe_regex: {regex: '('}}}]}}", "PROTO_TEXT", "a", "", "", ""): "regex",
	} {
		if err := proxytest.Check(proxytest.Config{Filters: config}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// tracingProxy starts a proxy whose HTTP listener has a tracing configuration.
func tracingProxy(t *testing.T, port, tracing string) (*running, chan http.Header) {
	t.Helper()
	seen := make(chan http.Header, 16)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		if r.URL.Path == "/fail" {
			w.WriteHeader(503)
		}
	}))
	t.Cleanup(backend.Close)
	text := strings.Replace(logging(backend.Listener.Addr().String(), port, "", ""), "          stat_prefix: in\n", "          stat_prefix: in\n          tracing: "+tracing+"\n", 1)
	return run(t, text), seen
}

type zipkinSpan struct {
	TraceID, ID, ParentID, Kind, Name string
	Timestamp, Duration               int64
	Tags                              map[string]string
	Annotations                       []struct{ Value string }
	LocalEndpoint                     struct{ ServiceName string }
	Shared                            bool
}

func TestZipkin(t *testing.T) {
	type post struct {
		kind, host, path string
		body             []byte
	}
	posts := make(chan post, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posts <- post{r.Header.Get("Content-Type"), r.Host, r.URL.Path, body}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	const provider = `{random_sampling: {value: 100}, verbose: true, max_path_tag_length: 5, spawn_upstream_span: %s,
            custom_tags: [{tag: who, request_header: {name: x-who}}, {tag: lit, literal: {value: v}}, {tag: none, request_header: {name: x-none}}],
            provider: {name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: collector,
              collector_endpoint: /api/v2/spans, collector_endpoint_version: %s, collector_hostname: zipkin.test, trace_id_128bit: true}}}`
	r, seen := tracingProxy(t, port, fmt.Sprintf(provider, "false", "HTTP_JSON"))
	url := "http://" + r.ListenerAddrs()["http"]
	do(t, "GET", url+"/fail/", "X-Who", "me", "X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c", "X-B3-SpanId", "b7ad6b7169203331", "X-B3-Sampled", "1", "Host", "shop.test")
	<-seen
	p := receive(t, posts)
	if p.kind != "application/json" || p.host != "zipkin.test" || p.path != "/api/v2/spans" {
		t.Errorf("post = %+v", p)
	}
	var spans []zipkinSpan
	if err := json.Unmarshal(p.body, &spans); err != nil || len(spans) != 1 {
		t.Fatalf("%v: %s", err, p.body)
	}
	s := spans[0]
	if s.TraceID != "0af7651916cd43dd8448eb211c80319c" || s.ID != "b7ad6b7169203331" || !s.Shared || s.Kind != "SERVER" || s.Name != "shop.test" || s.LocalEndpoint.ServiceName != "c1" || s.Duration < 1 {
		t.Errorf("span = %+v", s)
	}
	for k, want := range map[string]string{
		"component": "proxy", "http.method": "GET", "http.url": "http://shop.test/fail", "http.status_code": "200", "upstream_cluster": "backend", "node_id": "n1",
		"zone": "z1", "who": "me", "lit": "v", "response_flags": "-", "http.protocol": "HTTP/1.1", "downstream_cluster": "-",
	} {
		if s.Tags[k] != want {
			t.Errorf("tag %s = %q, want %q", k, s.Tags[k], want)
		}
	}
	if _, ok := s.Tags["none"]; ok || len(s.Annotations) == 0 || s.Annotations[0].Value != "last_downstream_rx_byte_received" {
		t.Errorf("tags %v, annotations %v", s.Tags, s.Annotations)
	}

	r, seen = tracingProxy(t, port, fmt.Sprintf(provider, "true", "HTTP_PROTO"))
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/fail")
	h := <-seen
	p = receive(t, posts)
	if p.kind != "application/x-protobuf" {
		t.Errorf("content type %q", p.kind)
	}
	ids := map[string]string{}
	for b := p.body; len(b) > 0; {
		_, _, n := protowire.ConsumeTag(b)
		span, m := protowire.ConsumeBytes(b[n:])
		b = b[n+m:]
		id, parent := "", ""
		for len(span) > 0 {
			num, typ, n := protowire.ConsumeTag(span)
			switch num {
			case 2, 3:
				v, _ := protowire.ConsumeBytes(span[n:])
				if num == 3 {
					id = fmt.Sprintf("%x", v)
				} else {
					parent = fmt.Sprintf("%x", v)
				}
			}
			span = span[n+protowire.ConsumeFieldValue(num, typ, span[n:]):]
		}
		ids[id] = parent
	}
	call := h.Get("X-B3-Spanid")
	if len(ids) != 2 || ids[call] == "" || ids[call] != h.Get("X-B3-Parentspanid") {
		t.Errorf("spans %v, the upstream was told %s below %s", ids, call, h.Get("X-B3-Parentspanid"))
	}
	if _, ok := ids[ids[call]]; !ok {
		t.Errorf("the parent %s of the call was not reported: %v", ids[call], ids)
	}
}

func TestOpenTelemetryTracing(t *testing.T) {
	bodies := make(chan []byte, 16)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b, service.name = corner")
	grpcPort, httpPort := otlpCollector(t, bodies)
	for transport, port := range map[string]string{
		"grpc_service: {envoy_grpc: {cluster_name: collector}}, resource_detectors: [{name: fixed, typed_config: {'@type': " +
			"type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig, attributes: {team: c, own: d}}}, {name: env, typed_config: {'@type': " +
			"type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig}}]": grpcPort,
		"http_service: {http_uri: {uri: 'http://otel.test/v1/traces', cluster: collector, timeout: 1s}, request_headers_to_add: [{header: {key: x-key, value: k}}]}": httpPort,
	} {
		r, seen := tracingProxy(t, port, `{provider: {name: otel, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: shop, `+transport+`}}}`)
		do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/fail", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate", "a=b")
		h := <-seen
		var d tracepb.TracesData
		if err := proto.Unmarshal(receive(t, bodies), &d); err != nil {
			t.Fatal(err)
		}
		rs := d.GetResourceSpans()[0]
		s := rs.GetScopeSpans()[0].GetSpans()[0]
		resource := map[string]string{}
		for _, a := range rs.GetResource().GetAttributes() {
			resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		name, team, own := "shop", "", ""
		if strings.Contains(transport, "resource_detectors") {
			name, team, own = "corner", "a b", "d" // of two detectors the later one wins
		}
		if resource["service.name"] != name || resource["team"] != team || resource["own"] != own || s.GetKind() != tracepb.Span_SPAN_KIND_SERVER || s.GetName() != "ingress" ||
			fmt.Sprintf("%x", s.GetTraceId()) != "0af7651916cd43dd8448eb211c80319c" || fmt.Sprintf("%x", s.GetParentSpanId()) != "b7ad6b7169203331" ||
			s.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || s.GetTraceState() != "a=b" {
			t.Errorf("%s: span %v", transport, s)
		}
		if want := fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319c-%x-01", s.GetSpanId()); h.Get("Traceparent") != want {
			t.Errorf("the upstream was told %q, want %q", h.Get("Traceparent"), want)
		}
	}
}

// TestDynatraceSampling: what Dynatrace's sampler decides goes on in tracestate and is told with the spans; what it decided before is kept to.
func TestDynatraceSampling(t *testing.T) {
	bodies := make(chan []byte, 16)
	_, port := otlpCollector(t, bodies)
	r, seen := tracingProxy(t, port, `{provider: {name: otel, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: shop,
            http_service: {http_uri: {uri: otel.test/v1/traces, cluster: collector, timeout: 1s}, request_headers_to_add: [{header: {key: x-key, value: k}}]},
            sampler: {name: dynatrace, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig, tenant: "9712ad40", cluster_id: 980957,
              http_service: {http_uri: {uri: dynatrace.test/api, cluster: collector, timeout: 1s}}}}}}}`)
	url := "http://" + r.ListenerAddrs()["http"]
	const parent = "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-0"
	do(t, "GET", url+"/", "Traceparent", parent+"1", "Tracestate", "100f8eb3-ef7dd@dt=fw4;0;0;0;0;1;2;1f")
	if h := <-seen; !strings.HasSuffix(h.Get("Traceparent"), "-00") || h.Get("Tracestate") != "100f8eb3-ef7dd@dt=fw4;0;0;0;0;1;2;1f" {
		t.Errorf("decided against: the upstream was told %v", h)
	}
	for state, want := range map[string][2]string{
		"vendor=1":                             {"100f8eb3-ef7dd@dt=fw4;0;0;0;0;0;0;5f;3b1a;8h0101,vendor=1", "[1] [atm]"},
		"100f8eb3-ef7dd@dt=fw4;0;0;0;0;0;3;1f": {"100f8eb3-ef7dd@dt=fw4;0;0;0;0;0;3;1f", "[8 63050394783186944] []"},
	} {
		do(t, "GET", url+"/", "Traceparent", parent+"0", "Tracestate", state) // what the caller says of itself does not count
		h := <-seen
		var d tracepb.TracesData
		if err := proto.Unmarshal(receive(t, bodies), &d); err != nil {
			t.Fatal(err)
		}
		s := d.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
		numbers, reasons := []int64{}, []string{}
		for _, a := range s.GetAttributes() {
			switch a.GetKey() {
			case "supportability.atm_sampling_ratio", "sampling.threshold":
				numbers = append(numbers, a.GetValue().GetIntValue())
			case "trace.capture.reasons":
				for _, v := range a.GetValue().GetArrayValue().GetValues() {
					reasons = append(reasons, v.GetStringValue())
				}
			}
		}
		if told := fmt.Sprint(numbers, " ", reasons); told != want[1] || s.GetTraceState() != want[0] || h.Get("Tracestate") != want[0] || !strings.HasSuffix(h.Get("Traceparent"), "-01") {
			t.Errorf("%s: the span tells %s and %q, the upstream was told %q, %q", state, told, s.GetTraceState(), h.Get("Traceparent"), h.Get("Tracestate"))
		}
	}
}

// What goes with spans to a collector is often a credential: it is in no dump.
func TestHeadersOfCollectorsAreNotShown(t *testing.T) {
	r, _ := tracingProxy(t, "1", `{provider: {name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_endpoint_version: HTTP_JSON,
              collector_service: {http_uri: {uri: "http://zipkin.test/api/v2/spans", cluster: collector, timeout: 1s},
                request_headers_to_add: [{header: {key: authorization, value: the-credential}}]}}}}`)
	for _, path := range []string{"/config_dump", "/config_dump?resource=static_listeners", "/config_dump?resource=bootstrap"} {
		_, dump := r.admin("GET", path)
		if strings.Contains(dump, "the-credential") || !strings.Contains(dump, `"[redacted]"`) || !strings.Contains(dump, `"authorization"`) {
			t.Errorf("%s: %s", path, dump)
		}
	}
}

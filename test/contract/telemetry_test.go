package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/tinylib/msgp/msgp"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// collectors take what a mesh's proxies send, each on a port of its own.
type collectors struct {
	requests chan *alspb.StreamAccessLogsMessage
	records  chan []byte // of OpenTelemetry's logs
	spans    chan []byte // of its traces
	zipkin   chan []byte
	segments chan *agentpb.SegmentObject
	datadog  chan []byte

	agentpb.UnimplementedTraceSegmentReportServiceServer
	alspb.UnimplementedAccessLogServiceServer
}

func (c *collectors) StreamAccessLogs(st alspb.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := st.Recv()
		if err != nil {
			return nil
		}
		c.requests <- m
	}
}

// Collect takes segments of who shows the token.
func (c *collectors) Collect(st agentpb.TraceSegmentReportService_CollectServer) error {
	if v := metadata.ValueFromIncomingContext(st.Context(), "authentication"); len(v) != 1 || v[0] != "secret" {
		return status.Error(codes.Unauthenticated, "no token")
	}
	for {
		m, err := st.Recv()
		if err != nil {
			return nil
		}
		c.segments <- m
	}
}

// start serves them and returns a ServiceEntry for each: als.example, otlp.example, skywalking.example, zipkin.example and datadog.example.
func (c *collectors) start(t *testing.T) string {
	t.Helper()
	als := grpc.NewServer()
	alspb.RegisterAccessLogServiceServer(als, c)
	sky := grpc.NewServer()
	agentpb.RegisterTraceSegmentReportServiceServer(sky, c)
	otlp := grpc.NewServer(grpc.ForceServerCodec(asBytes{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		var body []byte
		if err := st.RecvMsg(&body); err != nil {
			return err
		}
		if method, _ := grpc.MethodFromServerStream(st); strings.HasSuffix(method, ".TraceService/Export") {
			c.spans <- body
		} else {
			c.records <- body
		}
		return st.SendMsg(&[]byte{})
	}))
	zipkin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/api/v2/spans" {
			c.zipkin <- body
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(zipkin.Close)
	datadog := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v0.4/traces" && r.Host == "datadog.example" {
			c.datadog <- body
		}
	}))
	t.Cleanup(datadog.Close)
	out := serviceEntry("zipkin", "HTTP", zipkin.Listener.Addr()) + serviceEntry("datadog", "HTTP", datadog.Listener.Addr())
	for name, srv := range map[string]*grpc.Server{"als": als, "otlp": otlp, "skywalking": sky} {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(lis) }()
		t.Cleanup(func() { srv.Stop(); <-done })
		out += serviceEntry(name, "GRPC", lis.Addr())
	}
	return out
}

func serviceEntry(name, protocol string, at net.Addr) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: observability}
spec:
  hosts: [%s.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 9000, name: x, protocol: %s}]
  endpoints: [{address: 127.0.0.1, ports: {x: %d}}]
`, name, name, protocol, at.(*net.TCPAddr).Port)
}

// asBytes passes gRPC messages as they are.
type asBytes struct{}

func (asBytes) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (asBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (asBytes) Name() string { return "bytes" }

// Access logs and spans go where a Telemetry and the mesh's providers say. The sidecar asks for hosts on demand, and is told of the
// collectors without asking: its listeners name them.
func TestTelemetryProviders(t *testing.T) {
	const mesh = `
extensionProviders:
- {name: requests, envoyHttpAls: {service: als.example, port: 9000, additionalRequestHeadersToLog: [x-user]}}
- {name: records, envoyOtelAls: {service: observability/otlp.example, port: 9000, logFormat: {text: "%REQ(:METHOD)% %RESPONSE_CODE%", labels: {to: "%UPSTREAM_CLUSTER%"}}}}
- {name: spans, opentelemetry: {service: otlp.example, port: 9000}}
- {name: zipkin, zipkin: {service: zipkin.example, port: 9000}}
- {name: segments, skywalking: {service: skywalking.example, port: 9000, accessToken: secret}}
- {name: datadog, datadog: {service: datadog.example, port: 9000}}
`
	const logs = `---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: all, namespace: istioinaction}
spec:
  accessLogging: [{providers: [{name: requests}, {name: records}]}]
  tracing:
  - randomSamplingPercentage: 100
    providers: [{name: %s}]
    customTags: {user: {header: {name: x-user}}, shop: {literal: {value: corner}}}
`
	start := func(t *testing.T, tracer string) *collectors {
		c := &collectors{requests: make(chan *alspb.StreamAccessLogsMessage, 16), records: make(chan []byte, 16), spans: make(chan []byte, 16), zipkin: make(chan []byte, 16),
			segments: make(chan *agentpb.SegmentObject, 16), datadog: make(chan []byte, 16)}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "config.yaml"), c.start(t)+fmt.Sprintf(logs, tracer))
		write(t, filepath.Join(dir, "mesh.yaml"), mesh)
		m := startMesh(t, dir)
		through(t, m.sidecar, "http://catalog.istioinaction/p", "ann")
		return c
	}
	t.Run("logs and Zipkin", func(t *testing.T) {
		c := start(t, "zipkin")
		e := next(t, c.requests).GetHttpLogs().GetLogEntry()
		if len(e) != 1 || e[0].GetRequest().GetPath() != "/p" || e[0].GetRequest().GetRequestHeaders()["x-user"] != "ann" ||
			e[0].GetCommonProperties().GetUpstreamCluster() != "outbound|80||catalog.istioinaction.svc.cluster.local" {
			t.Errorf("access log service: %v", e)
		}
		var records logspb.LogsData
		if err := proto.Unmarshal(next(t, c.records), &records); err != nil {
			t.Fatal(err)
		}
		record := records.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()[0]
		if a := record.GetAttributes(); record.GetBody().GetStringValue() != "GET 200" || len(a) != 1 || a[0].GetKey() != "to" ||
			a[0].GetValue().GetStringValue() != "outbound|80||catalog.istioinaction.svc.cluster.local" {
			t.Errorf("record: %v", record)
		}
		var spans []struct {
			Kind          string
			LocalEndpoint struct{ ServiceName string }
			Tags          map[string]string
		}
		if err := json.Unmarshal(next(t, c.zipkin), &spans); err != nil {
			t.Fatal(err)
		}
		if s := spans[0]; len(spans) != 1 || s.Kind != "CLIENT" || s.LocalEndpoint.ServiceName != "client-1.istioinaction" || s.Tags["user"] != "ann" ||
			s.Tags["shop"] != "corner" || s.Tags["istio.namespace"] != "istioinaction" || s.Tags["istio.canonical_revision"] != "latest" {
			t.Errorf("spans: %+v", spans)
		}
	})
	t.Run("Datadog", func(t *testing.T) {
		c := start(t, "datadog")
		var text bytes.Buffer
		if _, err := msgp.UnmarshalAsJSON(&text, next(t, c.datadog)); err != nil {
			t.Fatal(err)
		}
		var traces [][]struct {
			Service, Resource string
			Meta              map[string]string
			Metrics           map[string]float64
		}
		if err := json.Unmarshal(text.Bytes(), &traces); err != nil || len(traces) != 1 || len(traces[0]) != 1 {
			t.Fatalf("%v: %s", err, text.Bytes())
		}
		if s := traces[0][0]; s.Service != "client-1.istioinaction" || s.Meta["user"] != "ann" || s.Meta["shop"] != "corner" || s.Meta["istio.namespace"] != "istioinaction" ||
			s.Metrics["_sampling_priority_v1"] != 1 {
			t.Errorf("span: %+v", s)
		}
	})
	t.Run("OpenTelemetry", func(t *testing.T) {
		c := start(t, "spans")
		var data tracepb.TracesData
		if err := proto.Unmarshal(next(t, c.spans), &data); err != nil {
			t.Fatal(err)
		}
		s := data.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
		tags := map[string]string{}
		for _, a := range s.GetAttributes() {
			tags[a.GetKey()] = a.GetValue().GetStringValue()
		}
		if tags["user"] != "ann" || tags["istio.namespace"] != "istioinaction" {
			t.Errorf("span: %v", s)
		}
	})
	t.Run("SkyWalking", func(t *testing.T) {
		s := next(t, start(t, "segments").segments)
		if s.Service != "client-1.istioinaction" || !strings.HasPrefix(s.ServiceInstance, "sidecar~") || len(s.Spans) != 2 {
			t.Fatalf("segment: %v", s)
		}
		tags := map[string]string{}
		for _, a := range s.Spans[0].Tags {
			tags[a.Key] = a.Value
		}
		if tags["user"] != "ann" || tags["istio.namespace"] != "istioinaction" || s.Spans[0].OperationName != "/p" || s.Spans[1].SpanType != agentpb.SpanType_Exit {
			t.Errorf("segment: %v", s)
		}
	})
}

// through asks a URL by an explicit proxy.
func through(t *testing.T, proxy, target, user string) {
	t.Helper()
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-user", user)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", target, resp.Status)
	}
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing was sent")
	}
	panic("unreachable")
}

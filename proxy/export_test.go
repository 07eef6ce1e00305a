package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	accesslogpb "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// collector takes access logs by gRPC.
type collector struct {
	alspb.UnimplementedAccessLogServiceServer
	messages chan *alspb.StreamAccessLogsMessage
}

func (c *collector) StreamAccessLogs(st alspb.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := st.Recv()
		if err == io.EOF {
			return st.SendAndClose(&alspb.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		c.messages <- m
	}
}

// serveGRPC runs a server with some services and returns its port.
func serveGRPC(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(opts...)
	register(srv)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	return port
}

// logging is a bootstrap with an HTTP and a TCP listener before a backend, with an access log each,
// and a cluster "collector".
func logging(backend, port, httpLog, tcpLog string) string {
	host, backendPort, _ := net.SplitHostPort(backend)
	return fmt.Sprintf(`
node: {id: n1, cluster: c1, locality: {zone: z1}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters: [{name: envoy.filters.http.router}]
          access_log: [%[1]s]
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{name: r, match: {prefix: /}, route: {cluster: backend}}]}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: backend
          access_log: [%[2]s]
  clusters:
  - name: backend
    connect_timeout: 1s
    load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %[3]s, port_value: %[4]s}}}}]}]}
  - name: collector
    connect_timeout: 1s
    load_assignment: {cluster_name: collector, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[5]s}}}}]}]}
`, httpLog, tcpLog, host, backendPort, port)
}

const grpcLog = `{name: als, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.%sGrpcAccessLogConfig,
            common_config: {log_name: %s, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: collector}}, buffer_flush_interval: 0.05s,
              custom_tags: [{tag: who, request_header: {name: user-agent, default_value: nobody}}, {tag: fixed, literal: {value: x}}]}%s}}`

func receive[T any](t *testing.T, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing was exported")
		panic("unreachable")
	}
}

func TestGRPCAccessLog(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Back", "b")
		_, _ = io.WriteString(w, "hello")
	}))
	defer backend.Close()
	c := &collector{messages: make(chan *alspb.StreamAccessLogsMessage, 16)}
	port := serveGRPC(t, func(s *grpc.Server) { alspb.RegisterAccessLogServiceServer(s, c) })
	r := run(t, strings.Replace(logging(backend.Listener.Addr().String(), port,
		fmt.Sprintf(strings.Replace(grpcLog, "common_config: {", "common_config: {filter_state_objects_to_log: [cart, none], ", 1), "Http", "web", ", additional_request_headers_to_log: [x-a], additional_response_headers_to_log: [x-back]"),
		fmt.Sprintf(grpcLog, "Tcp", "raw", "")), "http_filters: [", `http_filters: [{name: set, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config,
            on_request_headers: [{object_key: cart, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "full"}}}]}}, `, 1))
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/p?q=1", "X-A", "1", "User-Agent", "test")
	m := receive(t, c.messages)
	if m.GetIdentifier().GetLogName() != "web" || m.GetIdentifier().GetNode().GetId() != "n1" {
		t.Errorf("identifier = %v", m.GetIdentifier())
	}
	e := m.GetHttpLogs().GetLogEntry()[0]
	req, resp, common := e.GetRequest(), e.GetResponse(), e.GetCommonProperties()
	if e.GetProtocolVersion() != accesslogpb.HTTPAccessLogEntry_HTTP11 || req.GetPath() != "/p?q=1" || req.GetRequestMethod().String() != "GET" ||
		req.GetRequestHeaders()["x-a"] != "1" || req.GetUserAgent() != "test" || req.GetRequestId() == "" {
		t.Errorf("request = %v", req)
	}
	if resp.GetResponseCode().GetValue() != 200 || resp.GetResponseBodyBytes() != 5 || resp.GetResponseHeaders()["x-back"] != "b" || resp.GetResponseCodeDetails() != "via_upstream" {
		t.Errorf("response = %v", resp)
	}
	if common.GetUpstreamCluster() != "backend" || common.GetRouteName() != "r" || common.GetCustomTags()["who"] != "test" || common.GetCustomTags()["fixed"] != "x" ||
		common.GetAccessLogType() != accesslogpb.AccessLogType_DownstreamEnd || common.GetDuration() == nil || common.GetUpstreamRequestAttemptCount() != 1 {
		t.Errorf("common = %v", common)
	}
	var cart wrapperspb.StringValue
	if o := common.GetFilterStateObjects(); len(o) != 1 || o["cart"].UnmarshalTo(&cart) != nil || cart.GetValue() != "full" {
		t.Errorf("filter state = %v", o)
	}
	// The stream stays: the next message has no identifier.
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/2")
	if m := receive(t, c.messages); m.GetIdentifier() != nil || m.GetHttpLogs().GetLogEntry()[0].GetRequest().GetPath() != "/2" {
		t.Errorf("second message = %v", m)
	}
	do(t, "GET", "http://"+r.ListenerAddrs()["tcp"]+"/")
	m = receive(t, c.messages)
	if e := m.GetTcpLogs().GetLogEntry(); m.GetIdentifier().GetLogName() != "raw" || len(e) != 1 || e[0].GetConnectionProperties().GetSentBytes() == 0 ||
		e[0].GetCommonProperties().GetCustomTags()["who"] != "nobody" || e[0].GetCommonProperties().GetAccessLogType() != accesslogpb.AccessLogType_TcpConnectionEnd {
		t.Errorf("TCP message = %v", m)
	}
	eventually(t, "entries are counted", func() bool {
		_, text := r.admin("GET", "/stats?filter=access_logs")
		return strings.Contains(text, "access_logs.grpc_access_log.logs_written: 3\n") && strings.Contains(text, "logs_dropped: 0\n")
	})
}

// TestCollectorGone holds that a collector that is not there costs requests nothing, and that what
// is dropped is counted.
func TestCollectorGone(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer backend.Close()
	r := run(t, logging(backend.Listener.Addr().String(), "1", fmt.Sprintf(grpcLog, "Http", "web", ""), ""))
	for range 5 {
		if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/"); code != 200 {
			t.Fatalf("status %d", code)
		}
	}
	eventually(t, "drops are counted", func() bool {
		_, text := r.admin("GET", "/stats?filter=access_logs")
		return strings.Contains(text, "access_logs.grpc_access_log.logs_dropped: 5\n")
	})
}

// raw passes gRPC messages as bytes, for services whose generated code this program does not have.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

// otlpCollector serves the collector by gRPC and by HTTP, and sends what it gets to a channel.
func otlpCollector(t *testing.T, bodies chan<- []byte) (grpcPort, httpPort string) {
	t.Helper()
	grpcPort = serveGRPC(t, func(*grpc.Server) {}, grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		var body []byte
		if err := st.RecvMsg(&body); err != nil {
			return err
		}
		bodies <- body
		empty := []byte{}
		return st.SendMsg(&empty)
	}))
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Type") == "application/x-protobuf" && r.Header.Get("X-Key") == "k" {
			bodies <- body
		}
	}))
	t.Cleanup(srv.Close)
	_, httpPort, _ = net.SplitHostPort(srv.Listener.Addr().String())
	return grpcPort, httpPort
}

func TestOpenTelemetryAccessLog(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer backend.Close()
	bodies := make(chan []byte, 16)
	grpcPort, httpPort := otlpCollector(t, bodies)
	for transport, port := range map[string]string{
		"grpc_service: {envoy_grpc: {cluster_name: collector}}": grpcPort,
		"http_service: {http_uri: {uri: 'http://otel.test/v1/logs', cluster: collector, timeout: 1s}, request_headers_to_add: [{header: {key: x-key, value: k}}]}": httpPort,
	} {
		r := run(t, logging(backend.Listener.Addr().String(), port, `{name: otel, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig,
            log_name: web, buffer_flush_interval: 0.05s, `+transport+`,
            resource_attributes: {values: [{key: service.name, value: {string_value: shop}}]},
            body: {string_value: "%REQ(:METHOD)% %RESPONSE_CODE%"},
            attributes: {values: [{key: path, value: {string_value: "%REQ(:PATH)%"}}, {key: list, value: {array_value: {values: [{string_value: "%PROTOCOL%"}]}}}]}}}`, ""))
		do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/p")
		var d logspb.LogsData
		if err := proto.Unmarshal(receive(t, bodies), &d); err != nil {
			t.Fatal(err)
		}
		res := map[string]string{}
		for _, kv := range d.GetResourceLogs()[0].GetResource().GetAttributes() {
			res[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		if res["service.name"] != "shop" || res["log_name"] != "web" || res["zone_name"] != "z1" || res["cluster_name"] != "c1" || res["node_name"] != "n1" {
			t.Errorf("%s: resource %v", transport, res)
		}
		rec := d.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()[0]
		if rec.GetBody().GetStringValue() != "GET 200" || rec.GetAttributes()[1].GetValue().GetStringValue() != "/p" ||
			rec.GetAttributes()[0].GetValue().GetArrayValue().GetValues()[0].GetStringValue() != "HTTP/1.1" || rec.GetTimeUnixNano() == 0 {
			t.Errorf("%s: record %v", transport, rec)
		}
	}
}

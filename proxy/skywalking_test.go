package proxy

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	commonpb "skywalking.apache.org/repo/goapi/collect/common/v3"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// skyWalking is a backend that takes segments.
type skyWalking struct {
	segments chan *agentpb.SegmentObject
	tokens   chan string

	agentpb.UnimplementedTraceSegmentReportServiceServer
}

func newSkyWalking() *skyWalking {
	return &skyWalking{segments: make(chan *agentpb.SegmentObject, 16), tokens: make(chan string, 16)}
}

// Collect implements agentpb.TraceSegmentReportServiceServer.
func (s *skyWalking) Collect(st agentpb.TraceSegmentReportService_CollectServer) error {
	s.tokens <- strings.Join(metadata.ValueFromIncomingContext(st.Context(), "authentication"), ",")
	for {
		m, err := st.Recv()
		if err != nil {
			return st.SendAndClose(&commonpb.Commands{})
		}
		s.segments <- m
	}
}

func (s *skyWalking) register(srv *grpc.Server) {
	agentpb.RegisterTraceSegmentReportServiceServer(srv, s)
}

const skyWalkingTracing = `{spawn_upstream_span: true, provider: {name: envoy.tracers.skywalking, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.SkyWalkingConfig,
            grpc_service: {envoy_grpc: {cluster_name: collector}}, client_config: {%s}}}}`

// TestSkyWalking holds what a caller, the host and the backend see of a request.
func TestSkyWalking(t *testing.T) {
	b := newSkyWalking()
	r, seen := tracingProxy(t, serveGRPC(t, b.register), fmt.Sprintf(skyWalkingTracing, "service_name: shop, backend_token: secret"))
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/fail?x=1", "sw8", "1-"+text("a trace")+"-"+text("a part")+"-2-"+text("web")+"-"+text("web-1")+"-"+text("/")+"-"+text("shop:80"))
	told := strings.Split((<-seen).Get("sw8"), "-")
	s := receive(t, b.segments)
	if token := receive(t, b.tokens); token != "secret" {
		t.Errorf("token %q", token)
	}
	if s.TraceId != "a trace" || s.Service != "shop" || s.ServiceInstance != "n1" || len(s.Spans) != 2 {
		t.Fatalf("segment %v", s)
	}
	entry, exit := s.Spans[0], s.Spans[1]
	if ref := entry.Refs; len(ref) != 1 || ref[0].ParentTraceSegmentId != "a part" || ref[0].ParentSpanId != 2 || ref[0].ParentService != "web" || ref[0].NetworkAddressUsedAtPeer != "shop:80" {
		t.Errorf("refs %v", ref)
	}
	if entry.SpanType != agentpb.SpanType_Entry || entry.SpanId != 0 || entry.ParentSpanId != -1 || entry.OperationName != "/fail?x=1" || !entry.IsError || entry.Peer != "127.0.0.1" {
		t.Errorf("entry span %v", entry)
	}
	if exit.SpanType != agentpb.SpanType_Exit || exit.SpanId != 1 || exit.ParentSpanId != 0 || !exit.IsError || len(exit.Refs) != 0 || exit.StartTime < entry.StartTime || exit.EndTime > entry.EndTime {
		t.Errorf("exit span %v", exit)
	}
	want := []string{"1", text("a trace"), text(s.TraceSegmentId), "1", text("shop"), text("n1"), text("/fail?x=1"), text(exit.Peer)}
	if strings.Join(told, "-") != strings.Join(want, "-") {
		t.Errorf("the host was told %v, want %v", told, want)
	}
	if _, dump := r.admin("GET", "/config_dump"); strings.Contains(dump, `"secret"`) || !strings.Contains(dump, "[redacted]") {
		t.Error("the token is in a dump")
	}
}

// TestSkyWalkingGone: of segments that were made while the backend was away the latest come when it is back.
func TestSkyWalkingGone(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = lis.Close()
	r, seen := tracingProxy(t, port, fmt.Sprintf(skyWalkingTracing, "max_cache_size: 2"))
	for i := range 5 {
		do(t, "GET", fmt.Sprintf("http://%s/%d", r.ListenerAddrs()["http"], i))
		<-seen
	}
	eventually(t, "three are dropped", func() bool { return strings.Contains(r.stats("skywalking"), "segments_dropped: 3\n") })
	if lis, err = net.Listen("tcp", addr); err != nil {
		t.Fatalf("the address that the backend is to come back at: %v", err)
	}
	b := newSkyWalking()
	srv := grpc.NewServer()
	b.register(srv)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	defer func() { srv.Stop(); <-done }()
	one, other := receive(t, b.segments).Spans[0], receive(t, b.segments).Spans[0]
	if one.OperationName == other.OperationName || one.EndTime > other.EndTime {
		t.Errorf("segments of %s and %s", one.OperationName, other.OperationName)
	}
	eventually(t, "they are counted", func() bool {
		text := r.stats("skywalking")
		for _, want := range []string{"cache_flushed: 1", "segments_dropped: 3", "segments_flushed: 2", "segments_sent: 2"} {
			if !strings.Contains(text, "tracing.skywalking."+want+"\n") {
				return false
			}
		}
		return true
	})
}

// TestSkyWalkingOfOtherCalls: a mirror, which has no span, is told of the request's.
func TestSkyWalkingOfOtherCalls(t *testing.T) {
	b := newSkyWalking()
	copies := make(chan http.Header, 1)
	mirror := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { copies <- r.Header }))
	defer mirror.Close()
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer backend.Close()
	text := logging(backend.Listener.Addr().String(), serveGRPC(t, b.register), "", "")
	text = strings.Replace(text, "stat_prefix: in\n", "stat_prefix: in\n          tracing: "+fmt.Sprintf(skyWalkingTracing, "")+"\n", 1)
	text = strings.Replace(text, "route: {cluster: backend}", "route: {cluster: backend, request_mirror_policies: [{cluster: copies}]}", 1)
	host, port, _ := net.SplitHostPort(mirror.Listener.Addr().String())
	text += fmt.Sprintf("  - {name: copies, connect_timeout: 1s, load_assignment: {cluster_name: copies, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}}\n", host, port)
	r := run(t, text)
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/", "Host", "shop.test")
	s := receive(t, b.segments)
	told := strings.Split(receive(t, copies).Get("sw8"), "-")
	if len(told) != 8 || told[2] != base64.StdEncoding.EncodeToString([]byte(s.TraceSegmentId)) || told[3] != "0" || told[7] != base64.StdEncoding.EncodeToString([]byte("shop.test-shadow")) {
		t.Errorf("the mirror was told %v of segment %v", told, s)
	}
}

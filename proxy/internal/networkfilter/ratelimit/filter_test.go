package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter/ratelimit"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a rate limit service that answers always the same.
type service struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	addr string

	mu     sync.Mutex
	answer *ratelimitv3.RateLimitResponse // nil: an error
	last   *ratelimitv3.RateLimitRequest
	asked  chan struct{} // when set, calls report here and hang
	gone   chan struct{} // calls that were cancelled
}

// ShouldRateLimit implements ratelimitv3.RateLimitServiceServer.
func (s *service) ShouldRateLimit(ctx context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	s.mu.Lock()
	s.last = r
	answer, asked := s.answer, s.asked
	s.mu.Unlock()
	if asked != nil {
		asked <- struct{}{}
		<-ctx.Done()
		s.gone <- struct{}{}
	}
	if answer == nil {
		return nil, errors.New("oh")
	}
	return answer, nil
}

func start(t *testing.T) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String(), gone: make(chan struct{}, 1)}
	srv := grpc.NewServer()
	ratelimitv3.RegisterRateLimitServiceServer(srv, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return s
}

const message = "type.googleapis.com/envoy.extensions.filters.network."

// config is an echo behind the filter.
func config(s *service, fields string) proxytest.Config {
	host, port, _ := net.SplitHostPort(s.addr)
	return proxytest.Config{
		Network: "- {name: rls, typed_config: {'@type': " + message + "ratelimit.v3.RateLimit, stat_prefix: a, domain: d, timeout: 5s, " +
			"descriptors: [{entries: [{key: from, value: 'of %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}, {key: k, value: v}]}], " +
			"rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: rls}}}, " + fields + "}}\n",
		Terminal: "- {name: echo, typed_config: {'@type': " + message + "echo.v3.Echo}}\n",
		Clusters: fmt.Sprintf("- name: rls\n  connect_timeout: 1s\n  load_assignment: {cluster_name: rls, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}\n", host, port) +
			"  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}\n",
	}
}

// echo sends a line and returns what comes back, "" for a connection that was closed.
func echo(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write([]byte("hello\n"))
	b := make([]byte, 6)
	n, _ := c.Read(b)
	return strings.TrimSuffix(string(b[:n]), "\n")
}

// TestAnswers: what each answer does to a connection, and what is counted.
func TestAnswers(t *testing.T) {
	s := start(t)
	of := func(c ratelimitv3.RateLimitResponse_Code) *ratelimitv3.RateLimitResponse {
		return &ratelimitv3.RateLimitResponse{OverallCode: c, DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"k": structpb.NewStringValue("v")}}}
	}
	for _, c := range []struct {
		name   string
		answer *ratelimitv3.RateLimitResponse
		fields string
		want   string
		stats  map[string]int64
	}{
		{"ok", of(ratelimitv3.RateLimitResponse_OK), "", "hello", map[string]int64{"ok": 1}},
		{"over the limit", of(ratelimitv3.RateLimitResponse_OVER_LIMIT), "", "", map[string]int64{"over_limit": 1, "cx_closed": 1}},
		{"error", nil, "", "hello", map[string]int64{"error": 1, "failure_mode_allowed": 1}},
		{"error, deny", nil, "failure_mode_deny: true", "", map[string]int64{"error": 1, "cx_closed": 1}},
	} {
		s.mu.Lock()
		s.answer = c.answer
		s.mu.Unlock()
		p := proxytest.Start(t, config(s, c.fields))
		if got := echo(p.Dial().Conn); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		want := map[string]int64{"ratelimit.a.total": 1, "ratelimit.a.active": 0}
		for _, n := range []string{"ok", "over_limit", "error", "failure_mode_allowed", "cx_closed"} {
			want["ratelimit.a."+n] = c.stats[n]
		}
		p.WantStats(want)
	}
	r := s.last
	if d := r.GetDescriptors(); r.GetDomain() != "d" || len(d) != 1 || len(d[0].GetEntries()) != 2 || d[0].GetEntries()[0].GetValue() != "of 127.0.0.1" || d[0].GetEntries()[1].GetValue() != "v" {
		t.Errorf("asked %v", r)
	}
}

// TestClientLeaves: a client that breaks off ends the call.
func TestClientLeaves(t *testing.T) {
	s := start(t)
	s.asked = make(chan struct{}, 1)
	p := proxytest.Start(t, config(s, ""))
	c := p.Dial()
	<-s.asked
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	<-s.gone
	p.WantStats(map[string]int64{"ratelimit.a.total": 1, "ratelimit.a.active": 0, "ratelimit.a.ok": 0, "ratelimit.a.error": 0})
}

// TestRefusals holds what is not taken.
func TestRefusals(t *testing.T) {
	const rest = `"stat_prefix": "a", "domain": "d", "rate_limit_service": {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "c"}}}`
	for _, c := range [][2]string{
		{`{"descriptors": [{"entries": [{"key": "k", "value": "%NONE%"}]}], ` + rest + `}`, "descriptors[0].entries[0].value:"},
		{`{"descriptors": [{"entries": [{"key": "k", "value": "v"}], "hits_addend": 2}], ` + rest + `}`, "descriptors[0].hits_addend: this field is not supported"},
		{`{"descriptors": [{"entries": [{"key": "k", "value": "v"}], "limit": {"requests_per_unit": 1, "unit": "DAY"}}], ` + rest + `}`, "descriptors[0].limit: this field is not supported"},
		{`{` + rest + `}`, "descriptors: value must contain at least 1 item"},
	} {
		m := &filterv3.RateLimit{}
		if err := protojson.Unmarshal([]byte(c[0]), m); err != nil {
			t.Fatal(err)
		}
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = ratelimit.ParseConfig(xdsresource.NewDecoder(xdsresource.Extensions{}), a); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("no %q in: %v", c[1], err)
		}
	}
}

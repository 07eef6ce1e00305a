package extauthz_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is an authorizer over gRPC: a function for each path.
type service struct {
	authv3.UnimplementedAuthorizationServer
	addr string
	do   map[string]func(context.Context) (*authv3.CheckResponse, error)

	mu   sync.Mutex
	last *authv3.CheckRequest
	left int // calls that were cancelled
}

// Check implements authv3.AuthorizationServer. A path that is not in the script may pass.
func (s *service) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.mu.Lock()
	s.last = r
	s.mu.Unlock()
	http := r.GetAttributes().GetRequest().GetHttp()
	if name := http.GetHeaders()["x-do"]; name != "" {
		return s.do[name](ctx)
	}
	return &authv3.CheckResponse{}, nil
}

func (s *service) told() *authv3.CheckRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// hang waits until the caller gives up.
func (s *service) hang(ctx context.Context) (*authv3.CheckResponse, error) {
	<-ctx.Done()
	s.mu.Lock()
	s.left++
	s.mu.Unlock()
	return nil, ctx.Err()
}

func startService(t *testing.T) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{addr: ln.Addr().String(), do: map[string]func(context.Context) (*authv3.CheckResponse, error){}}
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return s
}

func answer(r *authv3.CheckResponse) func(context.Context) (*authv3.CheckResponse, error) {
	return func(context.Context) (*authv3.CheckResponse, error) { return r, nil }
}

func ok(r *authv3.OkHttpResponse) *authv3.CheckResponse {
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: r}}
}

func deny(code int, body string, headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &status.Status{Code: 7}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
		DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}, Body: body, Headers: headers},
	}}
}

// by makes a header with an append_action; appending one with the older field.
func by(a corev3.HeaderValueOption_HeaderAppendAction, name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: a}
}

func appending(yes bool, name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, Append: wrapperspb.Bool(yes)}
}

const (
	appendOrAdd = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	ifAbsent    = corev3.HeaderValueOption_ADD_IF_ABSENT
	overwrite   = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	ifPresent   = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS
)

// authz is a cluster for the authorizer.
func authz(name, addr string, http2 bool) string {
	host, port, _ := net.SplitHostPort(addr)
	s := fmt.Sprintf("- name: %s\n  connect_timeout: 1s\n  load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}\n", name, name, host, port)
	if http2 {
		s += "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}\n"
	}
	return s
}

const (
	message = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3."
	// logFormat is that of the access log in these tests.
	logFormat = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"
)

// overGRPC and overHTTP are the filter with further fields.
func overGRPC(fields string) string {
	return "- {name: envoy.filters.http.ext_authz, typed_config: {'@type': " + message + "ExtAuthz, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: authz}, timeout: 2s}, " + fields + "}}\n"
}

func overHTTP(service, fields string) string {
	return "- {name: envoy.filters.http.ext_authz, typed_config: {'@type': " + message + "ExtAuthz, transport_api_version: V3, http_service: {server_uri: {uri: 'http://authz.example/ignored', cluster: authz, timeout: 2s}, " + service + "}, " + fields + "}}\n"
}

// perRoute is the filter's part of a route.
func perRoute(fields string) string {
	return "typed_per_filter_config: {envoy.filters.http.ext_authz: {'@type': " + message + "ExtAuthzPerRoute, " + fields + "}}"
}

// headersOf are the response's headers that begin with a prefix, in order of name.
func headersOf(h http.Header, prefix string) string {
	var out []string
	for name, values := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, prefix) {
			out = append(out, name+"="+strings.Join(values, "+"))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// seen are the lines of an echo that begin with a prefix, and its request line before them.
func seen(text, prefix string) string {
	head, _, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	out := []string{lines[0]}
	for _, l := range lines[1:] {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return strings.Join(out, ", ")
}

// wantLog compares the last line of the access log.
func wantLog(t *testing.T, p *proxytest.Proxy, n int, want string) {
	t.Helper()
	if lines := p.Log(n); lines[n-1] != want {
		t.Errorf("log %q, want %q", lines[n-1], want)
	}
}

package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// requirements says which test shows what people have seen a stand-alone Envoy do, item by item (section A of the
// requirements). An item with several parts has a line for each.
var requirements = []struct{ item, what, test string }{
	{"A1", "--config-yaml alone", "proxy/standalone_test.go TestPostsTimeout"},
	{"A2", "the admin API's address as a flow map", "proxy/standalone_test.go TestPostsTimeout"},
	{"A3", "a named listener", "proxy/standalone_test.go TestPostsTimeout"},
	{"A4", "the HTTP connection manager", "proxy/standalone_test.go TestPostsTimeout"},
	{"A5", "stat_prefix", "proxy/handover_test.go TestHandOver"},
	{"A6", "a router without typed_config", "proxy/standalone_test.go TestPostsTimeout"},
	{"A7", "inline route_config", "proxy/requirements_test.go TestConceptsInOrder"},
	{"A8", "auto_host_rewrite", "proxy/standalone_test.go TestPostsTimeout"},
	{"A9", "a route's timeout", "proxy/standalone_test.go TestPostsTimeout"},
	{"A10", "LOGICAL_DNS, V4_ONLY, ROUND_ROBIN", "proxy/standalone_test.go TestPostsTimeout"},
	{"A11", "a cluster_name that differs", "proxy/standalone_test.go TestPostsTimeout"},
	{"A12", "comments in Korean", "proxy/standalone_test.go TestPostsTimeout"},
	{"A13", "expected time-out and request id", "proxy/standalone_test.go TestPostsTimeout"},
	{"A13", "the default of 15 seconds", "proxy/standalone_test.go TestPostsRetry"},
	{"A14", "the body of a time-out", "proxy/standalone_test.go TestPostsTimeout"},
	{"A15", "/logging", "proxy/standalone_test.go TestPostsTimeout"},
	{"A16", "/stats/prometheus", "proxy/standalone_test.go TestPostsTimeout"},
	{"A17", "/stats", "proxy/standalone_test.go TestPostsRetry"},
	{"A18", "three retries of a 500", "proxy/standalone_test.go TestPostsRetry"},
	{"A19", "data and admin ports from elsewhere", "proxy/requirements_test.go TestOtherAddress"},
	{"A20", "curl as the client, a server like httpbin", "proxy/requirements_test.go TestCurl"},
	{"A21", "configuration from files", "proxy/standalone_test.go TestFileXDS"},
	{"A21", "configuration from a control plane", "proxy/xds_test.go TestDynamicResources"},
	{"A21", "changes under load", "proxy/changes_test.go TestChangesUnderLoad"},
	{"A21", "secrets", "proxy/sds_test.go TestSecretsRotate"},
	{"A22", "listener, route, cluster, endpoint", "proxy/requirements_test.go TestConceptsInOrder"},
	{"A23", "automatic retries", "proxy/standalone_test.go TestPostsRetry"},
	{"A23", "circuit breakers", "proxy/internal/connpool/pool_test.go TestBreakers"},
	{"A23", "global rate limits", "proxy/internal/httpfilter/ratelimit/filter_test.go TestAnswers"},
	{"A23", "outlier detection", "proxy/internal/cluster/outlier_test.go TestManagerEjects"},
	{"A23", "metrics", "proxy/standalone_test.go TestPostsTimeout"},
	{"A23", "service discovery", "proxy/xds_test.go TestDynamicResources"},
	{"A23", "load balancing", "proxy/internal/lb/lb_test.go TestShares"},
	{"A23", "TLS termination", "proxy/sds_test.go TestSecretsRotate"},
	{"A23", "HTTP/2", "proxy/internal/hcm/http2_test.go TestHTTP2"},
	{"A23", "gRPC", "test/conformance/grpcinterop/grpcinterop_test.go TestInterop"},
	{"A23", "health checks", "proxy/internal/cluster/health_test.go TestActiveHealthChecks"},
	{"A23", "traffic split by percentage", "proxy/internal/hcm/routing_test.go TestWeights"},
	{"A23", "fault injection", "proxy/internal/hcm/routing_test.go TestFault"},
	{"A23", "WebSocket", "proxy/internal/hcm/manage_test.go TestWebSocket"},
	{"A23", "TCP", "proxy/xds_test.go TestDynamicResources"},
	{"A24", "HEAD, JSON and chunked bodies, expectations", "proxy/requirements_test.go TestCurl"},
	{"A25", "a listener's buffer limit", "proxy/requirements_test.go TestBufferLimit"},
}

func TestRequirements(t *testing.T) {
	shown := map[string]bool{}
	for _, r := range requirements {
		shown[r.item] = true
		file, name, _ := strings.Cut(r.test, " ")
		if !hasTest(t, filepath.Join("../..", file), name) {
			t.Errorf("%s (%s): %s has no %s", r.item, r.what, file, name)
		}
	}
	for i := 1; i <= 25; i++ {
		if item := "A" + strconv.Itoa(i); !shown[item] {
			t.Errorf("no test shows %s", item)
		}
	}
}

func hasTest(t *testing.T, file, name string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Error(err)
		return false
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
			return true
		}
	}
	return false
}

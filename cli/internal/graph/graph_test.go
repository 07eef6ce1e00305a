package graph

import (
	"strings"
	"testing"
)

const gateway = `# TYPE istio_requests_total counter
istio_requests_total{reporter="source",source_workload="gw",source_workload_namespace="istio-system",destination_workload="page-v1",destination_workload_namespace="default",destination_service_name="page",request_protocol="http",response_code="200",connection_security_policy="unknown"} 9
istio_requests_total{reporter="source",source_workload="gw",source_workload_namespace="istio-system",destination_workload="page-v1",destination_workload_namespace="default",destination_service_name="page",request_protocol="http",response_code="503",connection_security_policy="unknown"} 1
# TYPE envoy_other counter
envoy_other{a="b"} 7
`

const page = `# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_workload="gw",source_workload_namespace="istio-system",destination_workload="page-v1",destination_workload_namespace="default",destination_service_name="page",request_protocol="http",response_code="200",connection_security_policy="mutual_tls"} 9
istio_requests_total{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",destination_workload="page-v1",destination_workload_namespace="default",destination_service_name="page",request_protocol="grpc",response_code="200",grpc_response_status="14",connection_security_policy="none"} 2
istio_requests_total{reporter="destination",source_workload="never",source_workload_namespace="a",destination_workload="page-v1",destination_workload_namespace="default",destination_service_name="page",request_protocol="http",response_code="200"} 0
# TYPE istio_tcp_connections_opened_total counter
istio_tcp_connections_opened_total{reporter="source",source_workload="page-v1",source_workload_namespace="default",destination_workload="db",destination_workload_namespace="default",destination_service_name="db",request_protocol="tcp",response_flags="-"} 3
`

func TestGraph(t *testing.T) {
	var c Counts
	for _, text := range []string{gateway, page} {
		if err := c.Read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	var table, dot strings.Builder
	if err := Table(&table, c.Edges()); err != nil {
		t.Fatal(err)
	}
	if err := Dot(&dot, c.Edges()); err != nil {
		t.Fatal(err)
	}
	wantTable := `SOURCE            DESTINATION       SERVICE   PROTOCOL   REQUESTS   ERRORS   SECURITY
gw.istio-system   page-v1.default   page      http       10         10.0%    mutual_tls
page-v1.default   db.default        db        tcp        3          0%       unknown
unknown           page-v1.default   page      grpc       2          100.0%   none
`
	if table.String() != wantTable {
		t.Errorf("got\n%s\nwant\n%s", table.String(), wantTable)
	}
	wantDot := `digraph mesh {
  rankdir=LR;
  node [shape=box];
  "gw.istio-system" -> "page-v1.default" [label="10 http, 10.0% errors", color=red];
  "page-v1.default" -> "db.default" [label="3 tcp, 0% errors", color=black];
  "unknown" -> "page-v1.default" [label="2 grpc, 100.0% errors", color=red];
}
`
	if dot.String() != wantDot {
		t.Errorf("got\n%s\nwant\n%s", dot.String(), wantDot)
	}
	if err := c.Read(strings.NewReader("no metrics {")); err == nil {
		t.Error("what is no text of metrics was taken")
	}
}

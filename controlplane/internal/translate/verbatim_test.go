package translate

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// The exact forms that requirements quote from Istio's own output. Items are those of
// REQUIREMENTS.

func find[T proto.Message](t *testing.T, list []Resource, name string) T {
	t.Helper()
	for _, r := range list {
		if r.Name == name {
			return r.Build().(T)
		}
	}
	t.Fatalf("there is no %s", name)
	panic("unreachable")
}

// fJSON compares a message, or one field of its JSON form, with JSON as quoted.
func fJSON(t *testing.T, m proto.Message, field, want string) {
	t.Helper()
	js, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got, exp any
	if err := json.Unmarshal(js, &got); err != nil {
		t.Fatal(err)
	}
	if field != "" {
		for _, f := range strings.Split(field, ".") {
			got = got.(map[string]any)[f]
		}
	}
	if err := json.Unmarshal([]byte(want), &exp); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, exp) {
		g, _ := json.MarshalIndent(got, "", "  ")
		t.Errorf("%s:\n%s\nwant\n%s", field, g, want)
	}
}

func subsets(t *testing.T, interception string) (*model.Snapshot, *model.Proxy) {
	t.Helper()
	_, s := load(t, "testdata/subsets")
	n := readNode(t, "testdata/subsets/node.json")
	n.Metadata["INTERCEPTION_MODE"] = interception
	return s, n.proxy(t)
}

func TestVerbatimClusters(t *testing.T) {
	s, p := subsets(t, model.InterceptNone)
	all := Clusters(s, p)
	const v1 = "outbound|80|version-v1|catalog.istioinaction.svc.cluster.local"
	c := find[*clusterv3.Cluster](t, all, v1)
	// D11, D12, D13
	fJSON(t, c, "lbPolicy", `"LEAST_REQUEST"`)
	fJSON(t, c, "commonLbConfig", `{"localityWeightedLbConfig": {}}`)
	fJSON(t, c, "connectTimeout", `"10s"`)
	fJSON(t, c, "circuitBreakers", `{"thresholds": [{"maxConnections": 4294967295, "maxPendingRequests": 4294967295,
		"maxRequests": 4294967295, "maxRetries": 4294967295, "trackRemaining": true}]}`)
	fJSON(t, c, "type", `"EDS"`)
	fJSON(t, c, "edsClusterConfig", `{"edsConfig": {"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"},
		"serviceName": "`+v1+`"}`)
	// D14
	fJSON(t, c, "metadata.filterMetadata.istio", `{
		"config": "/apis/networking.istio.io/v1alpha3/namespaces/istioinaction/destination-rule/catalog",
		"default_original_port": 80,
		"services": [{"host": "catalog.istioinaction.svc.cluster.local", "name": "catalog", "namespace": "istioinaction"}],
		"subset": "version-v1"}`)
	// D22
	fJSON(t, find[*clusterv3.Cluster](t, all, BlackHoleCluster), "", `{"name": "BlackHoleCluster", "type": "STATIC", "connectTimeout": "10s"}`)
	// B11
	tls, err := c.TransportSocketMatches[0].TransportSocket.GetTypedConfig().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	fJSON(t, tls, "sni", `"outbound_.80_.version-v1_.catalog.istioinaction.svc.cluster.local"`)
	for _, name := range []string{"inbound|8080||", PassthroughCluster, "outbound|80||catalog.istioinaction.svc.cluster.local"} {
		find[*clusterv3.Cluster](t, all, name) // B13
	}
}

func vhost(t *testing.T, rc *routev3.RouteConfiguration, name string) *routev3.VirtualHost {
	t.Helper()
	for _, v := range rc.VirtualHosts {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("there is no virtual host %s", name)
	return nil
}

func TestVerbatimRoutes(t *testing.T) {
	s, p := subsets(t, model.InterceptRedirect)
	rc := find[*routev3.RouteConfiguration](t, Routes(s, p, []string{"80"}), "80")
	v := vhost(t, rc, "catalog.istioinaction.svc.cluster.local:80")
	// D15
	fJSON(t, v, "domains", `["catalog.istioinaction.svc.cluster.local", "catalog", "catalog.istioinaction.svc", "catalog.istioinaction", "10.200.1.254"]`)
	fJSON(t, v.Routes[0].Match, "", `{"prefix": "/", "caseSensitive": true, "headers": [{"name": "x-istio-cohort", "stringMatch": {"exact": "internal"}}]}`)
	fJSON(t, v.Routes[2].Match, "", `{"prefix": "/"}`)
	// D16
	fJSON(t, v.Routes[0], "route.timeout", `"0s"`)
	fJSON(t, v.Routes[0], "route.retryPolicy", `{"retryOn": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", "numRetries": 2,
		"retryHostPredicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typedConfig":
			{"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
		"hostSelectionRetryMaxAttempts": "5", "retriableStatusCodes": [503]}`)
	// D8
	fJSON(t, v.Routes[1], "route.requestMirrorPolicies", `[{"cluster": "outbound|80|version-v2|catalog.istioinaction.svc.cluster.local",
		"runtimeFraction": {"defaultValue": {"numerator": 100}}, "traceSampled": false}]`)
	// D7
	fJSON(t, v.Routes[2], "route.weightedClusters", `{"clusters": [
		{"name": "outbound|80|version-v1|catalog.istioinaction.svc.cluster.local", "weight": 90},
		{"name": "outbound|80|version-v2|catalog.istioinaction.svc.cluster.local", "weight": 10}], "totalWeight": 100}`)
	// D18, F6, B1
	def := vhost(t, rc, "webapp.istioinaction.svc.cluster.local:80").Routes[0]
	fJSON(t, def, "name", `"default"`)
	fJSON(t, def, "route.cluster", `"outbound|80||webapp.istioinaction.svc.cluster.local"`)
	fJSON(t, def, "decorator.operation", `"webapp.istioinaction.svc.cluster.local:80/*"`)
	// D20
	fJSON(t, vhost(t, rc, "allow_any"), "routes", `[{"name": "allow_any", "match": {"prefix": "/"},
		"route": {"cluster": "PassthroughCluster", "timeout": "0s", "maxGrpcTimeout": "0s"}}]`)
}

// TestVerbatimGateway: the port of the Gateway's Service is mapped (C4), a virtual host is
// named by the port as written (D15), and a rule bound to a gateway that does not exist makes
// no route (D30).
func TestVerbatimGateway(t *testing.T) {
	_, s := load(t, "testdata/shop")
	p := readNode(t, "testdata/shop/node-gateway.json").proxy(t)
	if got := RouteNames(s, p); !reflect.DeepEqual(got, []string{"http.8080"}) {
		t.Errorf("route names %v", got)
	}
	rc := find[*routev3.RouteConfiguration](t, Routes(s, p, []string{"http.8080"}), "http.8080")
	v := vhost(t, rc, "webapp.istioinaction.io:80")
	fJSON(t, v, "domains", `["webapp.istioinaction.io"]`)
	for _, v := range rc.VirtualHosts {
		if strings.HasPrefix(v.Name, "lost") {
			t.Errorf("%s is bound to a gateway that does not exist", v.Name)
		}
	}
}

// TestServiceEntryAddsTwoRows: a ServiceEntry for port 80 adds one cluster and one virtual
// host and touches nothing else (D23, D24).
func TestServiceEntryAddsTwoRows(t *testing.T) {
	_, before := load(t, "testdata/subsets")
	_, after := load(t, "testdata/egress")
	p := readNode(t, "testdata/egress/node.json").proxy(t)
	c := find[*clusterv3.Cluster](t, Clusters(after, p), "outbound|80||jsonplaceholder.typicode.com")
	fJSON(t, c, "type", `"STRICT_DNS"`)
	for _, r := range Clusters(before, p) {
		if strings.Contains(r.Name, "jsonplaceholder") {
			t.Error("the host is known before it is declared")
		}
	}
	rc := find[*routev3.RouteConfiguration](t, Routes(after, p, []string{"http_proxy"}), "http_proxy")
	vhost(t, rc, "jsonplaceholder.typicode.com:80")
	// D20, D21: REGISTRY_ONLY refuses the rest.
	fJSON(t, vhost(t, rc, "block_all"), "routes", `[{"name": "block_all", "match": {"prefix": "/"}, "directResponse": {"status": 502}}]`)
}

// TestLogFormat holds the operators of Istio's default line in their order (F3).
func TestLogFormat(t *testing.T) {
	const want = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
		`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ` +
		`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
		`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
		`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"
	if DefaultLogFormat != want {
		t.Errorf("got %q", DefaultLogFormat)
	}
}

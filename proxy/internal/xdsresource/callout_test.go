package xdsresource

import (
	"reflect"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func fromJSON[M proto.Message](t *testing.T, m M, json string) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// problems runs f and returns what it refused.
func problems(f func(r *FilterReader)) string {
	r := &FilterReader{}
	f(r)
	if err := r.Err(); err != nil {
		return err.Error()
	}
	return ""
}

func TestGRPCTarget(t *testing.T) {
	for in, want := range map[string]GRPCTarget{
		`{"envoyGrpc": {"clusterName": "c"}}`: {Cluster: "c"},
		`{"envoyGrpc": {"clusterName": "c", "authority": "a", "maxReceiveMessageLength": 9, "skipEnvoyHeaders": true}, "timeout": "0.2s",
		  "initialMetadata": [{"key": "X-A", "value": "1"}]}`: {Cluster: "c", Authority: "a", MaxMessage: 9, SkipEnvoyHeaders: true,
			Timeout: 200 * time.Millisecond, Metadata: map[string]string{"x-a": "1"}},
	} {
		m := fromJSON(t, &corev3.GrpcService{}, in)
		if bad := problems(func(r *FilterReader) {
			r.Check("s", m)
			if got := r.GRPCTarget("s", m); !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ngot  %+v\nwant %+v", in, got, want)
			}
		}); bad != "" {
			t.Errorf("%s: %s", in, bad)
		}
	}
	for in, want := range map[string]string{
		`{"googleGrpc": {"targetUri": "x", "statPrefix": "x"}}`:                                           "s.google_grpc: this field is not supported",
		`{"envoyGrpc": {"clusterName": "c"}, "retryPolicy": {"numRetries": 1}}`:                           "s.retry_policy: this field is not supported",
		`{"envoyGrpc": {"clusterName": "c", "retryPolicy": {}}}`:                                          "s.envoy_grpc.retry_policy: this field is not supported",
		`{"envoyGrpc": {"clusterName": "c"}, "initialMetadata": [{"key": "a", "value": "%START_TIME%"}]}`: "s.initial_metadata[0].value: \"%START_TIME%\": format strings",
		`{"envoyGrpc": {"clusterName": "c"}, "initialMetadata": [{"key": "a", "rawValue": "AA=="}]}`:      "s.initial_metadata[0].raw_value: this field is not supported",
		`{"envoyGrpc": {}}`: "s.envoy_grpc.cluster_name: is required",
	} {
		m := fromJSON(t, &corev3.GrpcService{}, in)
		bad := problems(func(r *FilterReader) { r.Check("s", m); r.GRPCTarget("s", m) })
		if !strings.Contains(bad, want) {
			t.Errorf("%s: %q does not say %q", in, bad, want)
		}
	}
}

func TestHTTPTarget(t *testing.T) {
	for uri, want := range map[string][2]string{
		"http://host":                  {"host", "/"},
		"http://host/":                 {"host", "/"},
		"https://host:8443/a/b?c=d#no": {"host:8443", "/a/b?c=d"},
		"host/a":                       {"host", "/a"},
		"host":                         {"host", "/"},
		"127.0.0.1:80/x":               {"127.0.0.1:80", "/x"},
	} {
		m := &corev3.HttpUri{Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: "c"}}
		if bad := problems(func(r *FilterReader) {
			if got := r.HTTPTarget("u", m); got.Authority != want[0] || got.Path != want[1] || got.Cluster != "c" || got.URL != uri {
				t.Errorf("%s: %+v, want %q", uri, got, want)
			}
		}); bad != "" {
			t.Errorf("%s: %s", uri, bad)
		}
	}
	for uri, want := range map[string]string{"": "u.uri: ", "http://%zz": "u.uri: ", "/path": `u.uri: "/path" has no host`} {
		m := &corev3.HttpUri{Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: "c"}}
		if bad := problems(func(r *FilterReader) { r.HTTPTarget("u", m) }); !strings.Contains(bad, want) {
			t.Errorf("%q: %q does not say %q", uri, bad, want)
		}
	}
	if bad := problems(func(r *FilterReader) { r.HTTPTarget("u", &corev3.HttpUri{Uri: "http://x"}) }); !strings.Contains(bad, "u.cluster: is required") {
		t.Error(bad)
	}
}

func TestRetry(t *testing.T) {
	for in, want := range map[string]Retry{
		`{}`: {0, 1, time.Second, 10 * time.Second, 10 * time.Second},
		`{"numRetries": 3, "retryOn": "5xx,connect-failure"}`:               {Retry5xx | RetryConnectFailure, 3, time.Second, 10 * time.Second, 10 * time.Second},
		`{"retryBackOff": {"baseInterval": "0.1s", "maxInterval": "0.3s"}}`: {0, 1, 100 * time.Millisecond, 300 * time.Millisecond, 300 * time.Millisecond},
		`{"retryBackOff": {"baseInterval": "0.1s"}}`:                        {0, 1, 100 * time.Millisecond, time.Second, time.Second},
	} {
		m := fromJSON(t, &corev3.RetryPolicy{}, in)
		if bad := problems(func(r *FilterReader) {
			r.Check("p", m)
			if got := r.Retry("p", m); *got != want {
				t.Errorf("%s: %+v, want %+v", in, *got, want)
			}
		}); bad != "" {
			t.Errorf("%s: %s", in, bad)
		}
	}
	m := fromJSON(t, &corev3.RetryPolicy{}, `{"retryOn": "5xx,retriable-headers,never", "hostSelectionRetryMaxAttempts": 2, "retryBackOff": {"baseInterval": "3s", "maxInterval": "1s"}}`)
	bad := problems(func(r *FilterReader) { r.Check("p", m); r.Retry("p", m) })
	for _, want := range []string{
		"p.host_selection_retry_max_attempts: this field is not supported", "p.retry_back_off.max_interval: 1s is shorter than base_interval 3s",
		`p.retry_on: "never" is no retry condition`, "p.retry_on: only 5xx,",
	} {
		if !strings.Contains(bad, want) {
			t.Errorf("%q does not say %q", bad, want)
		}
	}
}

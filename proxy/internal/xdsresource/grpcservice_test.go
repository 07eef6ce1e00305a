package xdsresource

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

func TestGRPCCall(t *testing.T) {
	dec := NewDecoder(Extensions{})
	for in, want := range map[string]GRPCCall{
		`{"envoyGrpc": {"clusterName": "c"}}`: {},
		`{"envoyGrpc": {"clusterName": "c", "authority": "a", "maxReceiveMessageLength": 9, "skipEnvoyHeaders": true}, "timeout": "0.2s",
		  "initialMetadata": [{"key": "X-A", "value": "1"}, {"key": "x-b", "value": "2: 3"}, {"key": "x-a", "value": ""}]}`: {
			Authority: "a", MaxMessage: 9, Metadata: "x-a: 1\nx-b: 2: 3\nx-a: \n",
		},
		`{"envoyGrpc": {"clusterName": "c", "retryPolicy": {"retryBackOff": {"baseInterval": "1s"}}}}`: {BackOffBase: time.Second, BackOffMax: 10 * time.Second},
		`{"envoyGrpc": {"clusterName": "c", "retryPolicy": {"retryBackOff": {"baseInterval": "1s", "maxInterval": "2s"}}}}`: {
			BackOffBase: time.Second, BackOffMax: 2 * time.Second,
		},
	} {
		got, err := dec.GRPCCall(fromJSON(t, &corev3.GrpcService{}, in))
		if err != nil || got != want {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", in, got, err, want)
		}
		src := ConfigSource{Cluster: "c", Call: got}
		if back := SourceOfSecret(src.SecretSource()); back != src {
			t.Errorf("%s: as a secret's source %q it becomes %+v", in, src.SecretSource(), back)
		}
	}
	if got := (GRPCCall{Metadata: "x-a: 1\nx-b: 2: 3\nx-a: \n"}).Pairs(); !slices.Equal(got, []string{"x-a", "1", "x-b", "2: 3", "x-a", ""}) {
		t.Errorf("pairs: %q", got)
	}
	for in, want := range map[string]string{
		`{"envoyGrpc": {"clusterName": "c"}, "retryPolicy": {"numRetries": 1}}`:                  "retry_policy: this field is not supported",
		`{"envoyGrpc": {"clusterName": "c", "retryPolicy": {"numRetries": 1}}}`:                  "envoy_grpc.retry_policy: only retry_back_off is read",
		`{"envoyGrpc": {"clusterName": "c"}, "initialMetadata": [{"key": "a", "value": "%A%"}]}`: "initial_metadata[0].value: \"%A%\": format strings",
	} {
		if _, err := dec.GRPCCall(fromJSON(t, &corev3.GrpcService{}, in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestSecretSource(t *testing.T) {
	for _, src := range []ConfigSource{
		{}, {Cluster: "sds"}, {Cluster: "sds", Delta: true}, {Path: "/a"}, {Path: "/a", WatchedDirectory: "/b"},
	} {
		if back := SourceOfSecret(src.SecretSource()); back != src {
			t.Errorf("%+v: %q becomes %+v", src, src.SecretSource(), back)
		}
	}
}

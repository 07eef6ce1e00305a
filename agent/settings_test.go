package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshpb "istio.io/api/mesh/v1alpha1"
)

func TestReadSettings(t *testing.T) {
	for _, c := range []struct {
		in   *meshpb.ProxyConfig
		want string
	}{
		{&meshpb.ProxyConfig{}, "0 map[]"},
		{&meshpb.ProxyConfig{Concurrency: wrapperspb.Int32(0)}, "0 map[]"},
		{&meshpb.ProxyConfig{ConfigPath: "before", Concurrency: wrapperspb.Int32(3), StatusPort: 5, ProxyMetadata: map[string]string{"A": "1", "B": ""}, MeshId: "m"}, "3 map[A:1 B:]"},
		{&meshpb.ProxyConfig{ProxyAdminPort: 65536}, "ProxyConfig: not valid: proxy_admin_port 65536: want 0 to 65535"},
		{&meshpb.ProxyConfig{StatusPort: -1}, "ProxyConfig: not valid: status_port -1: want 0 to 65535"},
		{&meshpb.ProxyConfig{FileFlushMinSizeKb: 2049}, "ProxyConfig: not valid: file_flush_min_size_kb 2049: want 0 to 2048"},
		{&meshpb.ProxyConfig{DrainDuration: durationpb.New(25 * time.Hour)}, "ProxyConfig: not valid: drain_duration: want 0 to 24h0m0s"},
		{&meshpb.ProxyConfig{FileFlushInterval: durationpb.New(-time.Second)}, "ProxyConfig: not valid: file_flush_interval: want 0 to 24h0m0s"},
		{&meshpb.ProxyConfig{TerminationDrainDuration: &durationpb.Duration{Nanos: -1}}, "ProxyConfig: not valid: termination_drain_duration: want 0 to 24h0m0s"},
		{&meshpb.ProxyConfig{CustomConfigFile: "/a\tb"}, "ProxyConfig: not valid: custom_config_file: want up to 4096 bytes and no control characters"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_ServiceCluster{ServiceCluster: "a\nb"}}, "ProxyConfig: not valid: service_cluster: want up to 1024 bytes and no control characters"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_ServiceCluster{ServiceCluster: strings.Repeat("x", 1025)}}, "ProxyConfig: not valid: service_cluster: want up to 1024 bytes and no control characters"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_TracingServiceName_{TracingServiceName: 3}}, "ProxyConfig: not valid: tracing_service_name 3 is not known"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_TracingServiceName_{TracingServiceName: -1}}, "ProxyConfig: not valid: tracing_service_name -1 is not known"},
		{&meshpb.ProxyConfig{Concurrency: wrapperspb.Int32(-1)}, "ProxyConfig: not valid: concurrency -1: want 0 to 1024"},
		{&meshpb.ProxyConfig{Concurrency: wrapperspb.Int32(1025)}, "ProxyConfig: not valid: concurrency 1025: want 0 to 1024"},
	} {
		raw, err := proto.Marshal(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readSettings(raw)
		text := fmt.Sprint(got.concurrency, " ", got.variables)
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%v: %s, want %s", c.in, text, c.want)
		}
	}
	whole, err := proto.Marshal(&meshpb.ProxyConfig{ProxyMetadata: map[string]string{"A": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(whole); n++ {
		if s, err := readSettings(whole[:n]); err == nil {
			t.Errorf("%x, which is cut off, is read as %v", whole[:n], s)
		}
	}
}

// What may be said as false, and what may be said one way or another.
func TestReadSettingsThatAreSaid(t *testing.T) {
	for _, tt := range []struct {
		in   *meshpb.ProxyConfig
		want string
	}{
		{&meshpb.ProxyConfig{}, " 0 <nil>"},
		{&meshpb.ProxyConfig{StatsCompression: wrapperspb.Bool(false)}, " 0 false"},
		{&meshpb.ProxyConfig{StatsCompression: wrapperspb.Bool(true)}, " 0 true"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_ServiceCluster{ServiceCluster: "a b"}}, "a b 0 <nil>"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_TracingServiceName_{}}, " 1 <nil>"},
		{&meshpb.ProxyConfig{ClusterName: &meshpb.ProxyConfig_TracingServiceName_{TracingServiceName: meshpb.ProxyConfig_CANONICAL_NAME_AND_NAMESPACE}}, " 3 <nil>"},
	} {
		raw, err := proto.Marshal(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readSettings(raw)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(got.cluster, " ", got.clusterRule, " <nil>")
		if got.compression != nil {
			text = fmt.Sprint(got.cluster, " ", got.clusterRule, " ", *got.compression)
		}
		if text != tt.want {
			t.Errorf("%v: %s, want %s", tt.in, text, tt.want)
		}
	}
}

// FuzzReadSettings: whatever comes, what is read is what the generated type reads, or an error.
func FuzzReadSettings(f *testing.F) {
	raw, err := proto.Marshal(&meshpb.ProxyConfig{Concurrency: wrapperspb.Int32(2), ProxyMetadata: map[string]string{"A": "1"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readSettings(b)
		if err != nil {
			return
		}
		var in meshpb.ProxyConfig
		if proto.Unmarshal(b, &in) != nil {
			return // text that is not UTF-8, and fields that are not looked at
		}
		for name, value := range in.ProxyMetadata {
			if got.variables[name] != value {
				t.Errorf("%s is %q, want %q", name, got.variables[name], value)
			}
		}
	})
}

// What cannot have an effect is left out, and the rest stays.
func TestApplySettings(t *testing.T) {
	c := Config{Metadata: map[string]any{"A": "own"}, Logger: quiet()}
	got := c.apply(settings{variables: map[string]string{"ISTIO_META_A": "1", "ISTIO_META_B": "2", "ISTIO_METAJSON_C": "[3]", "SECRET_TTL": "1h"}})
	if text := fmt.Sprint(got.Metadata); text != "map[A:own B:2 C:[3]]" {
		t.Errorf("metadata %s", text)
	}
	if got = c.apply(settings{variables: map[string]string{"ISTIO_METAJSON_C": "no JSON"}}); len(got.Metadata) != 1 {
		t.Errorf("metadata %v", got.Metadata)
	}
}

package xdsresource

import (
	"reflect"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// TestForceLocalZone: how many healthy hosts of the own zone get all requests.
func TestForceLocalZone(t *testing.T) {
	for fields, want := range map[string]uint32{
		"":                                    0,
		"force_locality_direct_routing: true": 1,
		"force_local_zone: {}":                1,
		"force_local_zone: {min_size: 3}":     3,
		"force_local_zone: {min_size: 3}, force_locality_direct_routing: true": 3,
	} {
		v, err := decode(t, &clusterv3.Cluster{}, `{name: c, type: STATIC, load_balancing_policy: {policies: [{typed_extension_config: {name: r, typed_config: {
			"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin, locality_lb_config: {zone_aware_lb_config: {`+fields+`}}}}}]}}`)
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if got := v.(*Cluster).LB.Zone.ForceMin; got != want {
			t.Errorf("%s: %d, want %d", fields, got, want)
		}
	}
}

// TestLogResource: what an OpenTelemetry log knows of its process.
func TestLogResource(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,region=eu%20west")
	read := func(fields string) (*OTLPAccessLog, error) {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
access_log: [{name: o, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, grpc_service: {envoy_grpc: {cluster_name: c}}, `+fields+`}}]
filter_chains: [{filters: [{name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}]}]`)
		if err != nil {
			return nil, err
		}
		return v.(*Listener).AccessLogs[0].Service.(*OTLPAccessLog), nil
	}
	o, err := read(`filter_state_objects_to_log: [x], resource_detectors: [{name: e, typed_config: {"@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig}}],
		attributes: {values: [{key: b, value: {bool_value: true}}, {key: i, value: {int_value: 7}}, {key: d, value: {double_value: 0.5}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][2]string{{"service.name", "a"}, {"region", "eu west"}}; !reflect.DeepEqual(o.Detected, want) || len(o.FilterState) != 1 {
		t.Errorf("%+v", o)
	}
	if want := map[string]any{"b": true, "i": int64(7), "d": 0.5}; !reflect.DeepEqual(o.Attributes, want) {
		t.Errorf("%v, want %v", o.Attributes, want)
	}
	if _, err := read(`resource_detectors: [{name: e, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]`); err == nil || !strings.Contains(err.Error(), "resource_detectors[0]: resource detector") {
		t.Errorf("another detector: %v", err)
	}
}

package xdsresource

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

func TestDatadogConfig(t *testing.T) {
	read := func(fields string) (*Datadog, error) {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains: [{filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s,
  route_config: {}, http_filters: [{name: envoy.filters.http.router}],
  tracing: {provider: {name: envoy.tracers.datadog, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.DatadogConfig, `+fields+`}}}}}]}]`)
		if err != nil {
			return nil, err
		}
		return v.(*Listener).FilterChains[0].Filters[0].Config.(*HTTPConnectionManager).Tracing.Provider.(*Datadog), nil
	}
	for fields, want := range map[string]Datadog{
		"collector_cluster: agent, service_name: shop":                                   {Cluster: "agent", Host: "agent", Service: "shop"},
		"collector_cluster: agent, service_name: shop, collector_hostname: dd.example:1": {Cluster: "agent", Host: "dd.example:1", Service: "shop"},
	} {
		if d, err := read(fields); err != nil || *d != want {
			t.Errorf("%s: %+v, %v", fields, d, err)
		}
	}
	for fields, want := range map[string]string{
		"service_name: shop":       "collector_cluster",
		"collector_cluster: agent": "service_name",
		"collector_cluster: agent, service_name: shop, remote_config: {}":                     "remote_config",
		"collector_cluster: agent, service_name: shop, remote_config: {polling_interval: 5s}": "remote_config",
	} {
		if _, err := read(fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s named", fields, err, want)
		}
	}
	t.Setenv("DD_SERVICE", "corner")
	t.Setenv("DD_ENV", "prod")
	t.Setenv("DD_VERSION", "7")
	if d, err := read("collector_cluster: agent, service_name: shop"); err != nil || *d != (Datadog{Cluster: "agent", Host: "agent", Service: "corner", Env: "prod", Version: "7"}) {
		t.Errorf("%+v, %v", d, err)
	}
}

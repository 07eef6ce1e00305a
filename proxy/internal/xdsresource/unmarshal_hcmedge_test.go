package xdsresource

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// TestHCMEdge: who the client is, and what is said of it.
func TestHCMEdge(t *testing.T) {
	const xff = `{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, `
	const custom = `{name: c, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: X-Client, `
	for _, c := range []struct {
		fields string
		want   HTTPConnectionManager // of the fields that hcmEdge sets
		refuse string
	}{
		{fields: "original_ip_detection_extensions: [" + xff + "xff_num_trusted_hops: 2, skip_xff_append: false}}]", want: HTTPConnectionManager{Detection: []IPDetection{{TrustedHops: 2, AppendXFF: true}}}},
		{fields: "original_ip_detection_extensions: [" + xff + "xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}]",
			want: HTTPConnectionManager{Detection: []IPDetection{{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}},
		{fields: "original_ip_detection_extensions: [" + xff + "xff_num_trusted_hops: 2, xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}]", refuse: "xff_trusted_cidrs: stands beside"},
		{fields: "original_ip_detection_extensions: [" + custom + "reject_with_status: {code: 429}}}]", want: HTTPConnectionManager{Detection: []IPDetection{{Header: "x-client", RejectStatus: 429}}}},
		{fields: "original_ip_detection_extensions: [" + custom + "reject_with_status: {code: 302}}}]", want: HTTPConnectionManager{Detection: []IPDetection{{Header: "x-client", RejectStatus: 403}}}},
		{fields: "original_ip_detection_extensions: [" + custom + "allow_extension_to_set_address_as_trusted: true}}]", want: HTTPConnectionManager{Detection: []IPDetection{{Header: "x-client", Trusted: true}}}},
		{fields: "use_remote_address: true, original_ip_detection_extensions: [" + custom + "}}]", refuse: "original_ip_detection_extensions: stand beside use_remote_address"},
		{fields: "xff_num_trusted_hops: 1, original_ip_detection_extensions: [" + custom + "}}]", refuse: "original_ip_detection_extensions: stand beside"},
		{fields: `original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Empty}}]`, refuse: "original_ip_detection_extensions[0].typed_config: type google.protobuf.Empty is not supported here"},
		{fields: `early_header_mutation_extensions: [{name: e, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{remove: x-a}]}}]`,
			want: HTTPConnectionManager{EarlyMutations: []HeaderMutation{{Change: HeaderOps{Remove: []string{"x-a"}}}}}},
		{fields: "add_user_agent: true, append_local_overload: true, http1_safe_max_connection_duration: true", want: HTTPConnectionManager{AddUserAgent: true, AppendLocalOverload: true, EndWithRequest: true}},
		{fields: "forward_proto_config: {https_destination_ports: [443], http_destination_ports: [80]}", want: HTTPConnectionManager{HTTPSPorts: []uint16{443}, HTTPPorts: []uint16{80}}},
		{fields: "forward_proto_config: {https_destination_ports: [70000]}", refuse: "https_destination_ports[0]"},
		{fields: "drain_timeout_jitter: {value: 25}, common_http_protocol_options: {max_connection_duration_jitter: {value: 50}}", want: HTTPConnectionManager{DrainJitter: 0.25, DurationJitter: 0.5}},
		{fields: "drain_timeout_jitter: {value: 101}", refuse: "drain_timeout_jitter"},
		{fields: "proxy_status_config: {literal_proxy_name: a, remove_details: true, set_recommended_response_code: true}", want: HTTPConnectionManager{ProxyStatus: &ProxyStatus{Name: "a", NoDetails: true, SetsCode: true}}},
	} {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains: [{filters: [{name: h, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, route_config: {},
  http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], `+c.fields+`}}]}]`)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%s: no %q in: %v", c.fields, c.refuse, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.fields, err)
			continue
		}
		h := v.(*Listener).FilterChains[0].Filters[0].Config.(*HTTPConnectionManager)
		got := HTTPConnectionManager{
			Detection: h.Detection, EarlyMutations: h.EarlyMutations, AddUserAgent: h.AddUserAgent, AppendLocalOverload: h.AppendLocalOverload, EndWithRequest: h.EndWithRequest,
			HTTPSPorts: h.HTTPSPorts, HTTPPorts: h.HTTPPorts, DrainJitter: h.DrainJitter, DurationJitter: h.DurationJitter, ProxyStatus: h.ProxyStatus,
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.fields, got, c.want)
		}
	}
}

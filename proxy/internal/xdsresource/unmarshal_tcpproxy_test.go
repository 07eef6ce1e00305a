package xdsresource

import (
	"reflect"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
)

// TestTCPHashPolicy: a client's address or an object of the filter state can choose the backend.
func TestTCPHashPolicy(t *testing.T) {
	for _, c := range []struct {
		policy string
		hash   []HashPolicy
		refuse string
	}{
		{"[]", nil, ""},
		{"[{source_ip: {}}]", []HashPolicy{{SourceIP: true}}, ""},
		{"[{}]", nil, "hash_policy[0]"},
		{"[{filter_state: {key: k}}]", []HashPolicy{{State: "k"}}, ""},
		{"[{source_ip: {}}, {source_ip: {}}]", nil, "hash_policy"},
	} {
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains:
- filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: s
      cluster: c
      hash_policy: `+c.policy)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%s: no %q in: %v", c.policy, c.refuse, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.policy, err)
			continue
		}
		if p, ok := v.(*Listener).FilterChains[0].Filters[0].Config.(*TCPProxy); !ok || !reflect.DeepEqual(p.Hash, c.hash) {
			t.Errorf("%s: %+v", c.policy, v.(*Listener).FilterChains[0].Filters[0])
		}
	}
}

// TestTCPOptions: what a TCP proxy may be asked for, and what is refused of it.
func TestTCPOptions(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   TCPProxy // of the fields that the case is about
		refuse string
	}{
		{fields: "access_log_options: {flush_access_log_on_start: true, access_log_flush_interval: 2s}", want: TCPProxy{LogOnStart: true, LogInterval: 2 * time.Second}},
		{fields: "access_log_options: {flush_access_log_on_connected: true}", want: TCPProxy{LogOnConnected: true}},
		{fields: "{flush_access_log_on_connected: true, access_log_flush_interval: 0.5s}", want: TCPProxy{LogOnConnected: true, LogInterval: time.Second / 2}},
		{fields: "{flush_access_log_on_connected: true, access_log_options: {}}", refuse: "flush_access_log_on_connected: stands beside access_log_options"},
		{fields: "{access_log_flush_interval: 1s, access_log_options: {}}", refuse: "access_log_flush_interval: stands beside access_log_options"},
		{fields: "access_log_options: {access_log_flush_interval: 0.0001s}", refuse: "access_log_flush_interval"},
		{fields: "max_downstream_connection_duration_jitter_percentage: {value: 50}", want: TCPProxy{DurationJitter: 0.5}},
		{fields: "max_downstream_connection_duration_jitter_percentage: {value: 101}", refuse: "max_downstream_connection_duration_jitter_percentage"},
		{fields: "check_drain_close: true", want: TCPProxy{CheckDrain: true}},
		{fields: "{upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 7}", want: TCPProxy{ConnectOnData: true, EarlyData: true, EarlyDataMax: 7}},
		{fields: "{upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE, max_early_data_bytes: 0}", want: TCPProxy{EarlyData: true}},
		{fields: "upstream_connect_mode: ON_DOWNSTREAM_DATA", refuse: "max_early_data_bytes: is required by upstream_connect_mode"},
		{fields: "{proxy_protocol_tlvs: [{type: 226, value: YQ==}], proxy_protocol_tlv_merge_policy: APPEND_IF_EXISTS_OR_ADD}",
			want: TCPProxy{TLVs: []proxyprotocol.TLV{{Type: 226, Value: []byte("a")}}, TLVMerge: TLVsAppend}},
		{fields: "proxy_protocol_tlvs: [{type: 256, value: YQ==}]", refuse: "proxy_protocol_tlvs[0].type"},
		{fields: "on_demand: {odcds_config: {ads: {}}, timeout: 3s}", want: TCPProxy{OnDemand: &OnDemandClusters{Timeout: 3 * time.Second}}},
		{fields: "on_demand: {odcds_config: {ads: {}}}", want: TCPProxy{OnDemand: &OnDemandClusters{Timeout: 5 * time.Second}}},
		{fields: "on_demand: {}"},
		{fields: "on_demand: {odcds_config: {path: /dev/null}}", refuse: "on_demand.odcds_config: a file cannot be asked"},
		{fields: "tunneling_config: {hostname: a:1, propagate_response_headers: true, request_id_extension: {typed_config: {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}, request_id_header: X-Trace}",
			want: TCPProxy{Tunnel: &TCPTunnel{Host: "a:1", PostPath: "/", RequestIDHeader: "x-trace", RequestIDKey: "tunnel_request_id"}}},
		{fields: "tunneling_config: {hostname: a:1, request_id_extension: {typed_config: {'@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}, request_id_metadata_key: k}",
			want: TCPProxy{Tunnel: &TCPTunnel{Host: "a:1", PostPath: "/", RequestIDHeader: "x-request-id", RequestIDKey: "k"}}},
	} {
		fields := c.fields
		if inner, ok := strings.CutPrefix(fields, "{"); ok { // several
			fields = strings.TrimSuffix(inner, "}")
		}
		v, err := decode(t, &listenerv3.Listener{}, `
name: l
address: {socket_address: {address: 1.2.3.4, port_value: 80}}
filter_chains: [{filters: [{name: envoy.filters.network.tcp_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c, `+fields+`}}]}]`)
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
		want := c.want
		want.StatPrefix, want.Cluster, want.MaxConnectAttempts, want.IdleTimeout = "s", "c", 1, time.Hour
		if got := v.(*Listener).FilterChains[0].Filters[0].Config.(*TCPProxy); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.fields, *got, want)
		}
	}
}

// TestTLVMerge: whose extensions go upstream.
func TestTLVMerge(t *testing.T) {
	a, b, own := proxyprotocol.TLV{Type: 1, Value: []byte("a")}, proxyprotocol.TLV{Type: 2, Value: []byte("b")}, proxyprotocol.TLV{Type: 1, Value: []byte("own")}
	for _, c := range []struct {
		how          TLVMerge
		client, want []proxyprotocol.TLV
	}{
		{TLVsIfAbsent, nil, []proxyprotocol.TLV{own}},
		{TLVsIfAbsent, []proxyprotocol.TLV{}, []proxyprotocol.TLV{}},
		{TLVsIfAbsent, []proxyprotocol.TLV{a, b}, []proxyprotocol.TLV{a, b}},
		{TLVsOverwrite, []proxyprotocol.TLV{a, b}, []proxyprotocol.TLV{own, b}},
		{TLVsOverwrite, []proxyprotocol.TLV{}, []proxyprotocol.TLV{own}},
		{TLVsAppend, []proxyprotocol.TLV{a, b}, []proxyprotocol.TLV{a, b, own}},
	} {
		p := &TCPProxy{TLVs: []proxyprotocol.TLV{own}, TLVMerge: c.how}
		if got := p.Merge(c.client); !reflect.DeepEqual(got, c.want) {
			t.Errorf("policy %d, client's %v: %v, want %v", c.how, c.client, got, c.want)
		}
	}
}

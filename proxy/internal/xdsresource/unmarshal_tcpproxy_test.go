package xdsresource

import (
	"reflect"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
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

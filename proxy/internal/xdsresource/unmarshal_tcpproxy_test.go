package xdsresource

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// TestTCPHashPolicy: a client's address can choose the backend, and nothing else can.
func TestTCPHashPolicy(t *testing.T) {
	for _, c := range []struct {
		policy string
		hash   bool
		refuse string
	}{
		{"[]", false, ""},
		{"[{source_ip: {}}]", true, ""},
		{"[{}]", false, "hash_policy[0]"},
		{"[{filter_state: {key: k}}]", false, "hash_policy[0].filter_state"},
		{"[{source_ip: {}}, {source_ip: {}}]", false, "hash_policy"},
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
		if p, ok := v.(*Listener).FilterChains[0].Filters[0].Config.(*TCPProxy); !ok || p.HashSourceIP != c.hash {
			t.Errorf("%s: %+v", c.policy, v.(*Listener).FilterChains[0].Filters[0])
		}
	}
}

package proxy

import (
	"fmt"
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// discoveringConnections is vhdsBootstrap with inline routes, and a network filter "gate" before the connection manager whose
// configuration comes from a source.
func discoveringConnections(cp, source, more string) string {
	boot := strings.Replace(vhdsBootstrap(&ads{addr: cp}, ""), `rds: {route_config_name: "80", config_source: {ads: {}}}`,
		`route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}`, 1)
	return strings.Replace(boot, "    - filters:\n", fmt.Sprintf(`    - filters:
      - name: gate
        config_discovery:
          config_source: %s
          type_urls: [type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC]
          %s
`, source, more), 1)
}

// gate lets all connections through, or none.
func gate(t *testing.T, open bool) *corev3.TypedExtensionConfig {
	action := rbacconfigv3.RBAC_DENY
	if open {
		action = rbacconfigv3.RBAC_ALLOW
	}
	raw, err := anypb.New(&networkrbacv3.RBAC{StatPrefix: "gate", Rules: &rbacconfigv3.RBAC{Action: action, Policies: map[string]*rbacconfigv3.Policy{"all": {
		Permissions: []*rbacconfigv3.Permission{{Rule: &rbacconfigv3.Permission_Any{Any: true}}},
		Principals:  []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_Any{Any: true}}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.TypedExtensionConfig{Name: "gate", TypedConfig: raw}
}

// lets reports whether a connection is served.
func (r *running) lets() bool {
	r.t.Helper()
	c, err := net.Dial("tcp", r.ListenerAddrs()["main"])
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	b := make([]byte, 12)
	n, _ := c.Read(b)
	return string(b[:n]) == "HTTP/1.1 200"
}

// TestNetworkFilterDiscovery: connections are judged by the newest configuration, and closed where there is none.
func TestNetworkFilterDiscovery(t *testing.T) {
	cp := startADS(t)
	cp.acks()
	cp.set(xdsresource.TypeExtension, "gate", gate(t, true))
	p := run(t, discoveringConnections(cp.addr, "{ads: {}}", ""))
	if !p.lets() {
		t.Fatal("the first connection is refused")
	}
	cp.set(xdsresource.TypeExtension, "gate", gate(t, false))
	eventually(t, "refusals", func() bool { return !p.lets() })
	cp.set(xdsresource.TypeExtension, "gate", gate(t, true))
	eventually(t, "no refusals", p.lets)
	missing := func(n int) bool {
		_, all := p.admin("GET", "/stats?filter=network_extension_config_missing")
		return strings.HasSuffix(strings.TrimSpace(all), fmt.Sprintf("network_extension_config_missing: %d", n))
	}
	if !missing(0) {
		t.Error("connections are counted as without a filter")
	}
	cp.remove(xdsresource.TypeExtension, "gate")
	eventually(t, "connections without a filter", func() bool { return !p.lets() })
	eventually(t, "their count", func() bool { return missing(1) })
	cp.set(xdsresource.TypeExtension, "gate", gate(t, true))
	eventually(t, "connections again", p.lets)
	if _, all := p.admin("GET", "/stats?filter=extension_config_discovery.network_filter.gate"); !strings.Contains(all, "config_reload: 4") {
		t.Errorf("statistics:\n%s", all)
	}
}

// TestNetworkFilterDiscoveryRefusals: what may not come by discovery is named.
func TestNetworkFilterDiscoveryRefusals(t *testing.T) {
	const here = "filter_chains[0].filters[0]"
	for name, tc := range map[string]struct{ source, more, typ, want string }{
		"default": {"{ads: {}}", `default_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: d}`, "", ""},
		"a terminal filter": {"{ads: {}}", "", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
			here + ".config_discovery.type_urls[0]: a network filter that ends a chain cannot come by discovery"},
		"an HTTP filter": {"{ads: {}}", "", "envoy.extensions.filters.http.buffer.v3.Buffer",
			here + ".config_discovery.type_urls[0]: envoy.extensions.filters.http.buffer.v3.Buffer is a filter of another kind"},
		"one that others are made by": {"{ads: {}}", "", "envoy.tcp.metadataexchange.config.MetadataExchange", "cannot come by discovery: other filters of its chain are made by it"},
		"unknown":                     {"{ads: {}}", "", "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy", "filters of type envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy are not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			boot := discoveringConnections("127.0.0.1:1", tc.source, tc.more)
			if tc.typ != "" {
				boot = strings.Replace(boot, "envoy.extensions.filters.network.rbac.v3.RBAC", tc.typ, 1)
			}
			err := Validate(Config{Bootstrap: []byte(boot)})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

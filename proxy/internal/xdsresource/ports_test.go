package xdsresource

import (
	"fmt"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

func TestPortPredicate(t *testing.T) {
	const (
		port80   = `{"destination_port_range": {"start": 80, "end": 81}}`
		port81   = `{"destination_port_range": {"start": 81, "end": 82}}`
		port3306 = `{"destination_port_range": {"start": 3306, "end": 3307}}`
	)
	for _, c := range []struct{ predicate, want string }{
		{port80, "[{80 80}]"},
		{`{"or_match": {"rules": [` + port80 + `, ` + port81 + `, ` + port3306 + `]}}`, "[{80 81} {3306 3306}]"},
		{`{"not_match": ` + port80 + `}`, "[{0 79} {81 65535}]"},
		{`{"and_match": {"rules": [{"destination_port_range": {"start": 1, "end": 100}}, {"not_match": ` + port80 + `}]}}`, "[{1 79} {81 99}]"},
		{`{"any_match": true}`, "[{0 65535}]"},
		{`{"not_match": {"any_match": true}}`, "[]"},
		{`{"destination_port_range": {"start": 0, "end": 65536}}`, "[{0 65535}]"},
		{`{"destination_port_range": {"start": 80, "end": 80}}`, "[]"},
		{`{"destination_port_range": {"start": 80, "end": 65537}}`, "is no range of ports"},
		{`{"destination_port_range": {"start": -1, "end": 80}}`, "is no range of ports"},
		{`{"or_match": {"rules": [` + port80 + `]}}`, "at least two"},
		{strings.Repeat(`{"not_match": `, 40) + port80 + strings.Repeat(`}`, 40), "nested"},
		{`{}`, "is required"},
	} {
		got, err := decode(t, &listenerv3.Listener{}, fmt.Sprintf(`{
			"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
			"listener_filters": [{"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}, "filter_disabled": %s}],
			"filter_chains": [{"filters": [{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "c"}}]}]}`, c.predicate))
		said := fmt.Sprint(err)
		if err == nil {
			said = fmt.Sprint(got.(*Listener).TLSInspectorOff)
		}
		if said != c.want && (err == nil || strings.HasPrefix(c.want, "[") || !strings.Contains(said, c.want)) {
			t.Errorf("%s: %s, want %s", c.predicate, said, c.want)
		}
	}
	_, err := decode(t, &listenerv3.Listener{}, `{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
		"listener_filters": [{"name": "envoy.filters.listener.original_dst", "filter_disabled": `+port80+`}],
		"filter_chains": [{"filters": [{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "c"}}]}]}`)
	if err == nil || !strings.Contains(err.Error(), "filter_disabled: is supported for tls_inspector") {
		t.Errorf("on another filter: %v", err)
	}
}

func TestPortRanges(t *testing.T) {
	r := PortRanges{{1, 79}, {81, 81}, {100, 65535}}
	for port, want := range map[uint16]bool{0: false, 1: true, 79: true, 80: false, 81: true, 82: false, 99: false, 100: true, 65535: true} {
		if r.Has(port) != want {
			t.Errorf("%d: %v", port, !want)
		}
	}
	if PortRanges(nil).Has(80) {
		t.Error("none has 80")
	}
}

// TestTunnelFields: tunneling_config as it is written, and what cannot be.
func TestTunnelFields(t *testing.T) {
	read := func(fields string) (any, error) {
		return decode(t, &listenerv3.Listener{}, `{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}, "filter_chains": [{"filters": [{"name": "t", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "c", "tunneling_config": {`+fields+`}}}]}]}`)
	}
	l, err := read(`"hostname": "a.example:1", "headers_to_add": [{"header": {"key": "X-One", "value": "1"}}]`)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.(*Listener).FilterChains[0].Filters[0].Config.(*TCPProxy).Tunnel; got.Host != "a.example:1" || got.Post || got.PostPath != "/" || len(got.Headers) != 1 || got.Headers[0].Name != "x-one" {
		t.Errorf("%+v", got)
	}
	for fields, want := range map[string]string{
		`"hostname": "a", "post_path": "/x"`:                                             "stands without use_post",
		`"hostname": "a", "use_post": true, "post_path": "x"`:                            "does not begin with a slash",
		`"hostname": "a", "headers_to_add": [{"header": {"key": "host", "value": "b"}}]`: `"host" is made of hostname`,
		`"use_post": false`: "hostname",
	} {
		if _, err := read(fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
}

package listener_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

const (
	request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
	sig     = "\r\n\r\n\x00\r\nQUIT\n"
	from4   = "\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb"
)

func proxied(more string) proxytest.Config {
	return proxytest.Config{
		Listener: "listener_filters: [{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" + more + "}}]",
		Routes:   "- {match: {prefix: /}, direct_response: {status: 200}}",
		HCM:      "use_remote_address: true",
		Log:      "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%",
	}
}

func TestProxyProtocol(t *testing.T) {
	for name, test := range map[string]struct {
		more, header string
		want         string // the first line of the answer
		log          string // of the access log, "" for nothing particular
		stats        map[string]int64
	}{
		"v1":              {"", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "HTTP/1.1 200 OK", "1.2.3.4:80 5.6.7.8:443", map[string]int64{"proxy_proto.versions.v1.found": 1}},
		"v2":              {"", sig + "\x21\x11" + from4, "HTTP/1.1 200 OK", "1.2.3.4:80 5.6.7.8:443", map[string]int64{"proxy_proto.versions.v2.found": 1}},
		"local":           {"", sig + "\x20\x00\x00\x00", "HTTP/1.1 200 OK", "", map[string]int64{"proxy_proto.versions.v2.found": 1}},
		"unknown":         {"", "PROXY UNKNOWN\r\n", "HTTP/1.1 200 OK", "", map[string]int64{"proxy_proto.versions.v1.found": 1}},
		"none":            {"", "", "", "", map[string]int64{"proxy_proto.not_found_disallowed": 1, "downstream_cx_proxy_proto_error": 1}},
		"bad v1":          {"", "PROXY TCP9 1.2.3.4 5.6.7.8 80 443\r\n", "", "", map[string]int64{"proxy_proto.versions.v1.error": 1, "downstream_cx_proxy_proto_error": 1}},
		"bad v2":          {", allow_requests_without_proxy_protocol: true", sig + "\x22\x11" + from4, "", "", map[string]int64{"proxy_proto.versions.v2.error": 1}},
		"none, allowed":   {", allow_requests_without_proxy_protocol: true", "", "HTTP/1.1 200 OK", "", map[string]int64{"proxy_proto.not_found_allowed": 1, "downstream_cx_proxy_proto_error": 0}},
		"v1 disallowed":   {", disallowed_versions: [V1]", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "", "", map[string]int64{"proxy_proto.versions.v1.disallowed": 1}},
		"v1, or none":     {", disallowed_versions: [V1], allow_requests_without_proxy_protocol: true", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "HTTP/1.1 400 Bad Request", "", map[string]int64{"proxy_proto.not_found_allowed": 1}},
		"v2 beside no v1": {", disallowed_versions: [V1], stat_prefix: own", sig + "\x21\x11" + from4, "HTTP/1.1 200 OK", "1.2.3.4:80 5.6.7.8:443", map[string]int64{"proxy_proto.own.versions.v2.found": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := proxytest.Start(t, proxied(test.more))
			c := p.Dial()
			for i := range len(test.header) { // as slowly as can be
				c.Send(test.header[i : i+1])
			}
			got, _, _ := strings.Cut(c.Send(request).All(), "\r\n")
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if test.log != "" {
				if line := p.Log(1)[0]; line != test.log {
					t.Errorf("log %q, want %q", line, test.log)
				}
			}
			p.WantStats(test.stats)
		})
	}
}

// TestProxyProtocolTLVs: extensions go to the connection's metadata, where network filters see them.
func TestProxyProtocolTLVs(t *testing.T) {
	cfg := proxied(", rules: [{tlv_type: 2, on_tlv_present: {key: authority}}]")
	cfg.Network = "- {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: r, rules: {action: DENY, policies: {p: {permissions: [{any: true}], " +
		"principals: [{metadata: {filter: envoy.filters.listener.proxy_protocol, path: [{key: authority}], value: {string_match: {exact: bad}}}}]}}}}}"
	p := proxytest.Start(t, cfg)
	for value, want := range map[string]string{"bad": "", "god": "HTTP/1.1 200 OK"} {
		header := sig + "\x21\x11\x00\x12" + from4[2:] + "\x02\x00\x03" + value
		if got, _, _ := strings.Cut(p.Dial().Send(header+request).All(), "\r\n"); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

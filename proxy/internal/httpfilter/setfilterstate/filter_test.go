package setfilterstate_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const typ = "'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"

func value(key, more string) string {
	return "{object_key: " + key + ", " + more + "}"
}

func text(s string) string {
	return "format_string: {text_format_source: {inline_string: '" + s + "'}}"
}

func TestSet(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		Filters: "- {name: s, typed_config: {" + typ + ", on_request_headers: [" +
			value("own.key", "factory_key: envoy.string, "+text("%REQ(:method)%-%REQ(x-a)%")) + ", " +
			value("empty", "factory_key: envoy.string, skip_if_empty: true, "+strings.Replace(text("%REQ(x-none)%"), "{", "{omit_empty_values: true, ", 1)) + ", " +
			value("ip", "factory_key: envoy.network.ip, "+text("%REQ(x-ip)%")) + "]}}\n" +
			"- {name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {action: DENY, policies: {p: {permissions: [{any: true}], principals: [{filter_state: {key: own.key, string_match: {exact: GET-bad}}}]}}}}}",
		Routes: "- {match: {path: /more}, route: {cluster: up}, typed_per_filter_config: {s: {" + typ + ", on_request_headers: [" + value("own.key", "factory_key: envoy.string, "+text("route")) + "]}}}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
		Log: "%RESPONSE_CODE% %FILTER_STATE(own.key:PLAIN)% %FILTER_STATE(own.key)% %FILTER_STATE(empty)% %FILTER_STATE(ip:PLAIN)%",
	})
	p.Get("/", "x-a", "good", "x-ip", "1.2.3.4")
	p.Get("/", "x-a", "bad", "x-ip", "no address")
	p.Get("/more", "x-a", "bad")
	for i, want := range []string{`200 GET-good "GET-good" - 1.2.3.4:0`, `403 GET-bad "GET-bad" - -`, `200 route "route" - -`} {
		if got := p.Log(3)[i]; got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for v, want := range map[string]string{
		value("a", text("x")): "no object factory",
		value("envoy.tcp_proxy.cluster", "shared_with_upstream: ONCE, "+text("x")): "shared_with_upstream",
	} {
		err := proxytest.Check(proxytest.Config{Filters: "- {name: s, typed_config: {" + typ + ", on_request_headers: [" + v + "]}}"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", v, err, want)
		}
	}
}

package buffer_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuffer(t *testing.T) {
	perRoute := func(body string) string {
		return "typed_per_filter_config: {b: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute, " + body + "}}"
	}
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, proxytest.Echo),
		HCM:      "http_protocol_options: {enable_trailers: true}",
		Filters:  "- {name: b, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 10}}",
		Routes: "- {match: {path: /more}, route: {cluster: up}, " + perRoute("buffer: {max_request_bytes: 3000000}") + "}\n" +
			"- {match: {path: /off}, route: {cluster: up}, " + perRoute("disabled: true") + "}\n- {match: {prefix: /}, route: {cluster: up}}",
		Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED%",
	})
	r := p.Do("POST", "/", nil, "12345", "6789", "0")
	if r.StatusCode != 200 || !strings.Contains(r.Text, "content-length: 10\n") || !strings.HasSuffix(r.Text, "\n\n1234567890") {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if r = p.Do("POST", "/", nil, "12345", "678901"); r.StatusCode != 413 || r.Text != "Payload Too Large" {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	big := strings.Repeat("x", 2<<20) // beyond the connection's own limit
	if r = p.Do("POST", "/more", nil, big, "y"); r.StatusCode != 200 || !strings.HasSuffix(r.Text, "xy") || len(r.Text) < len(big) {
		t.Errorf("%d with %d bytes", r.StatusCode, len(r.Text))
	}
	if r = p.Do("POST", "/off", nil, "12345", "678901"); r.StatusCode != 200 || strings.Contains(r.Text, "content-length") {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if r = p.Get("/"); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	c := p.Dial()
	r = c.Send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n").Read("POST")
	if r.StatusCode != 200 || !strings.HasSuffix(r.Text, "abc") {
		t.Errorf("with trailers: %d %q", r.StatusCode, r.Text)
	}
	if got := p.Log(2)[1]; got != "413 request_payload_too_large - 11" {
		t.Errorf("log %q", got)
	}
	p.WantStats(map[string]int64{"http.t.downstream_rq_too_large": 1})
}

package compressor_test

import (
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/compression"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var libraries = map[string]string{
	"gzip": "compressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}",
	"br":   "compressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli}}",
	"zstd": "compressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.zstd.compressor.v3.Zstd}}",
}

func filter(name, more string) string {
	return "- {name: c-" + name + ", typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor, " + libraries[name] + more + "}}\n"
}

var text = strings.Repeat("all work and no play ", 500)

// upstream answers with the headers that the query names.
func upstream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/plain")
	for k, v := range r.URL.Query() {
		if k != "code" && k != "short" && k != "flush" {
			w.Header()[http.CanonicalHeaderKey(k)] = v
		}
	}
	if r.URL.Query().Has("code") {
		w.WriteHeader(418)
	}
	w.Header().Set("x-accept", r.Header.Get("accept-encoding"))
	body := text
	if r.URL.Query().Has("short") {
		body = "short"
	}
	_, _ = w.Write([]byte(body[:len(body)/2]))
	if r.URL.Query().Has("flush") {
		w.(http.Flusher).Flush()
	}
	_, _ = w.Write([]byte(body[len(body)/2:]))
}

// plain decompresses a body.
func plain(t *testing.T, encoding, body string) string {
	t.Helper()
	e, ok := map[string]compression.Encoding{"gzip": compression.Gzip, "br": compression.Brotli, "zstd": compression.Zstd}[encoding]
	if !ok {
		return body
	}
	d := compression.NewDecoder(e, &compression.Room{})
	defer d.Close()
	var b strings.Builder
	if err := d.Decode([]byte(body), true, func(p []byte) { b.Write(p) }); err != nil {
		t.Error(err)
	}
	return b.String()
}

func TestResponse(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, upstream),
		Filters:  filter("gzip", "") + filter("br", "") + filter("zstd", ""),
	})
	for _, test := range []struct{ accept, query, encoding, vary string }{
		{"", "", "", "Accept-Encoding"},
		{"gzip", "", "gzip", "Accept-Encoding"},
		{"GZIP", "", "", "Accept-Encoding"},
		{"br", "", "br", "Accept-Encoding"},
		{"zstd", "", "zstd", "Accept-Encoding"},
		{"gzip, br", "", "gzip", "Accept-Encoding"},
		{"br, gzip", "", "br", "Accept-Encoding"},
		{"gzip;q=0.5, br;q=0.7, zstd;q=0.6", "", "br", "Accept-Encoding"},
		{"gzip;q=0, br;q=0", "", "", "Accept-Encoding"},
		{"deflate", "", "", "Accept-Encoding"},
		{"deflate, gzip;q=0.1", "", "gzip", "Accept-Encoding"},
		{"identity", "", "", "Accept-Encoding"},
		{"identity;q=0.5, gzip;q=0.4", "", "", "Accept-Encoding"},
		{"*", "", "gzip", "Accept-Encoding"},
		{"gzip", "short", "", ""},
		{"gzip", "flush", "gzip", "Accept-Encoding"},
		{"gzip", "content-type=image/png", "", ""},
		{"gzip", "content-type=text/html;charset=utf-8", "gzip", "Accept-Encoding"},
		{"gzip", "content-encoding=x", "x", ""},
		{"gzip", "cache-control=no-transform", "", ""},
		{"gzip", "vary=Origin", "gzip", "Origin, Accept-Encoding"},
		{"gzip", "vary=accept-encoding", "gzip", "accept-encoding, Accept-Encoding"},
		{"gzip", "etag=\"a\"", "gzip", "Accept-Encoding"},
		{"gzip", "etag=W/\"a\"", "gzip", "Accept-Encoding"},
	} {
		var headers []string
		if test.accept != "" {
			headers = []string{"accept-encoding", test.accept}
		}
		r := p.Get("/?"+strings.ReplaceAll(test.query, "\"", "%22"), headers...)
		if got := r.Header.Get("content-encoding"); got != test.encoding || r.Header.Get("vary") != test.vary {
			t.Errorf("%q %q: encoding %q, vary %q, want %q and %q", test.accept, test.query, got, r.Header.Get("vary"), test.encoding, test.vary)
		}
		if got := plain(t, test.encoding, r.Text); got != text && test.query != "short" {
			t.Errorf("%q %q: %d bytes, want %d", test.accept, test.query, len(got), len(text))
		}
		if etag := r.Header.Get("etag"); test.query == "etag=\"a\"" && etag != "" || test.query == "etag=W/\"a\"" && etag != "W/\"a\"" {
			t.Errorf("%q: etag %q", test.query, etag)
		}
		if test.encoding == "gzip" && len(r.Text) > len(text)/10 {
			t.Errorf("%d bytes are not compressed", len(r.Text))
		}
	}
	if r := p.Do("HEAD", "/", []string{"accept-encoding", "gzip"}); r.StatusCode != 200 {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
	p.WantStats(map[string]int64{
		"http.t.compressor.lib.brotli.compressed": 3, "http.t.compressor.lib.gzip.compressed": 10, "http.t.compressor.lib.gzip.content_length_too_small": 1,
		"http.t.compressor.lib.gzip.no_accept_header": 1, "http.t.compressor.lib.gzip.header_wildcard": 1,
	})
}

func TestDirectionsAndRoutes(t *testing.T) {
	perRoute := func(body string) string {
		return "typed_per_filter_config: {c-gzip: {'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute, " + body + "}}"
	}
	var got []string
	p := proxytest.Start(t, proxytest.Config{
		Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				b := make([]byte, 1<<16)
				n := 0
				for {
					k, err := r.Body.Read(b[n:])
					if n += k; err != nil {
						break
					}
				}
				got = append(got, r.Header.Get("content-encoding")+":"+plain(t, r.Header.Get("content-encoding"), string(b[:n])))
			}
			upstream(w, r)
		}),
		Filters: filter("gzip", ", request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: a}}}, "+
			"response_direction_config: {disable_on_etag_header: true, remove_accept_encoding_header: true, uncompressible_response_codes: [418], common_config: {min_content_length: 100, content_type: [a/b]}}"),
		Routes: "- {match: {path: /off}, route: {cluster: up}, " + perRoute("disabled: true") + "}\n" +
			"- {match: {path: /keep}, route: {cluster: up}, " + perRoute("overrides: {response_direction_config: {remove_accept_encoding_header: false}}") + "}\n" +
			"- {match: {prefix: /}, route: {cluster: up}}",
	})
	for path, want := range map[string]string{
		"/?content-type=a/b": "gzip ", "/?content-type=text/html": " ", "/?content-type=a/b&code=1": " ", "/?content-type=a/b&etag=x": " ",
		"/off?content-type=a/b": " gzip", "/keep?content-type=a/b": "gzip gzip",
	} {
		r := p.Get(path, "accept-encoding", "gzip")
		if got := r.Header.Get("content-encoding") + " " + r.Header.Get("x-accept"); got != want && !(strings.Contains(path, "code") && r.Header.Get("content-encoding") == "") {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	p.Do("POST", "/", []string{"content-type", "text/plain"}, text)
	p.Do("POST", "/", []string{"content-type", "text/plain"}, text[:100], text[100:])
	p.Do("POST", "/", []string{"content-type", "text/plain"}, "short")
	want := []string{"gzip:" + text, "gzip:" + text, ":short"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("request %d arrived as %.60q", i, got[i])
		}
	}
	p.WantStats(map[string]int64{
		"http.t.compressor.lib.gzip.request.compressed": 2, "http.t.compressor.lib.gzip.request.content_length_too_small": 1,
		"http.t.compressor.lib.gzip.response.compressed": 2, "http.t.compressor.lib.gzip.not_compressed_etag": 1,
	})
}

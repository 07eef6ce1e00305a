package decompressor_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/compression"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filter(more string) string {
	return "- {name: d, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor, decompressor_library: {name: lib, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip}}" + more + "}}\n"
}

func gzipped(t *testing.T, s string) string {
	e, err := compression.NewPool(compression.Settings{}).Get()
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Encode([]byte(s), true)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// text is compressible, but not so much that it looks like a bomb.
var text = func() string {
	var b strings.Builder
	for i := range 3000 {
		b.WriteString("all work and no play " + strconv.Itoa(i*i))
	}
	return b.String()
}()

func TestDecompress(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter(""),
		Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			for k, v := range r.URL.Query() {
				w.Header()[http.CanonicalHeaderKey(k)] = v
			}
			w.Header().Set("content-type", "text/plain")
			w.Header().Set("x-accept", r.Header.Get("accept-encoding"))
			w.Header().Set("x-encoding", r.Header.Get("content-encoding"))
			if len(b) > 0 {
				_, _ = w.Write(b)
				return
			}
			_, _ = io.WriteString(w, gzipped(t, text))
		}),
	})
	r := p.Get("/?content-encoding=gzip", "accept-encoding", "br")
	if r.Text != text || r.Header.Get("content-encoding") != "" || r.Header.Get("x-accept") != "br,gzip" || r.Header.Get("content-length") != "" {
		t.Errorf("%d bytes, %v", len(r.Text), r.Header)
	}
	if r = p.Get("/?content-encoding=gzip,br"); r.Text != text || r.Header.Get("content-encoding") != "br" {
		t.Errorf("%d bytes, %v", len(r.Text), r.Header)
	}
	for _, q := range []string{"content-encoding=br", "content-encoding=gzip&cache-control=no-transform", "x=1"} {
		if r = p.Get("/?" + q); r.Text == text {
			t.Errorf("%s: was decompressed", q)
		}
	}
	small := "a request's body"
	z := gzipped(t, small)
	if r = p.Do("POST", "/", []string{"content-encoding", "gzip"}, z[:5], z[5:]); r.Text != small || r.Header.Get("x-encoding") != "" {
		t.Errorf("%q, %v", r.Text, r.Header)
	}
	p.WantStats(map[string]int64{
		"http.t.decompressor.lib.gzip.response.decompressed": 2, "http.t.decompressor.lib.gzip.request.decompressed": 1,
		"http.t.decompressor.lib.gzip.response.total_uncompressed_bytes": int64(2 * len(text)),
	})
}

// TestHostile: what is no gzip, or grows beyond measure, ends the stream.
func TestHostile(t *testing.T) {
	proxytest.Differs(t, "it passes on what is no gzip, and has a ratio as its only bound")
	bomb := gzipped(t, strings.Repeat("\x00", 50<<20))
	p := proxytest.Start(t, proxytest.Config{
		Filters: filter(""),
		Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/bomb" {
				w.Header().Set("content-encoding", "gzip")
				_, _ = io.WriteString(w, bomb)
			}
		}),
	})
	for name, body := range map[string]string{"garbage": "certainly no gzip", "bomb": bomb, "cut": bomb[:1000]} {
		c := p.Dial().Send("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
		// The upstream may have had the head already: then it is cut off there, and we are told 400 all the same.
		if got := c.All(); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%s: %.200q", name, got)
		}
	}
	c := p.Dial().Send("GET /bomb HTTP/1.1\r\nhost: a\r\n\r\n")
	if got := c.All(); strings.HasSuffix(got, "0\r\n\r\n") || len(got) > 20<<20 {
		t.Errorf("a bomb of a response was passed on as a whole one of %d bytes", len(got))
	}
}

// TestEndWithin: a later filter that ends the stream while a piece is being decompressed leaves
// nothing behind for the next stream that the filter serves.
func TestEndWithin(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Filters:  filter("") + "- {name: b, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 100}}\n",
		Upstream: proxytest.Server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }),
	})
	if r := p.Do("POST", "/", []string{"content-encoding", "gzip"}, gzipped(t, text)); r.StatusCode != 413 {
		t.Fatalf("%d %q", r.StatusCode, r.Text)
	}
	for range 4 {
		if r := p.Do("POST", "/", []string{"content-encoding", "gzip"}, gzipped(t, "small")); r.StatusCode != 200 || r.Text != "small" {
			t.Errorf("%d %q", r.StatusCode, r.Text)
		}
	}
}

// TestWindows: clients that ask for large windows and send no more hold a bounded amount of memory:
// further ones are told to come again, until one of them is gone.
func TestWindows(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("Envoy has no such bound")
	}
	// A zstd frame with a window of 8 MiB and a block of one byte; the last block is yet to come.
	const begin = "\x28\xb5\x2f\xfd\x00\x68\x08\x00\x00a"
	p := proxytest.Start(t, proxytest.Config{
		Filters:  strings.ReplaceAll(strings.ReplaceAll(filter(""), "gzip", "zstd"), "Gzip", "Zstd"),
		Upstream: proxytest.Server(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }),
		Log:      "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
	})
	request := "POST / HTTP/1.1\r\nhost: a\r\ncontent-encoding: zstd\r\ntransfer-encoding: chunked\r\n\r\na\r\n" + begin + "\r\n"
	var open []*proxytest.Conn
	for range 32 {
		open = append(open, p.Dial().Send(request))
	}
	p.WantStats(map[string]int64{"http.t.decompressor.lib.zstd.request.total_uncompressed_bytes": 32})
	if r := p.Dial().Send(request).Read("POST"); r.StatusCode != 503 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
	if got := p.Log(1)[0]; got != "503 request_decompression_overloaded" {
		t.Error(got)
	}
	open[0].Close()
	p.WantStats(map[string]int64{"http.t.downstream_cx_destroy_remote": 1})
	if r := p.Dial().Send(request + "3\r\n\x01\x00\x00\r\n0\r\n\r\n").Read("POST"); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.Text)
	}
}

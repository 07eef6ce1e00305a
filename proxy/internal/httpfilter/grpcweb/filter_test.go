package grpcweb_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const filter = "- {name: w, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}"

const (
	web  = "application/grpc-web"
	text = "application/grpc-web-text"
)

// message is a frame.
func message(s string) string {
	return string([]byte{0, 0, 0, byte(len(s) >> 8), byte(len(s))}) + s
}

func trailer(s string) string { return "\x80" + message(s)[1:] }

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// service is a server of gRPC: what it does is in the path.
func service(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("X-Seen", fmt.Sprintf("%s %s %s %s %q", r.Header.Get("content-type"), r.Header.Get("te"), r.Header.Get("grpc-accept-encoding"), r.Header.Get("content-length"), body))
	switch r.URL.Path {
	case "/x.Y/Echo":
		for _, s := range []string{"hello", "", "wörld"} { // a piece each
			_, _ = io.WriteString(w, message(s))
			w.(http.Flusher).Flush()
		}
		h.Set(http.TrailerPrefix+"Grpc-Status", "0")
		h.Set(http.TrailerPrefix+"X-More", "a, b")
	case "/x.Y/Cut": // frames in pieces that are none
		m := message("0123456789")
		for _, s := range []string{m[:1], m[1:6], m[6:] + m[:7], m[7:]} {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
		h.Set(http.TrailerPrefix+"Grpc-Status", "7")
		h.Set(http.TrailerPrefix+"Grpc-Message", "no")
	case "/x.Y/Only":
		h.Set("Grpc-Status", "5")
	case "/x.Y/Silent": // no trailers
		_, _ = io.WriteString(w, message("m"))
	case "/x.Y/Page", "/x.Y/Long":
		h.Set("Content-Type", "text/html")
		w.WriteHeader(404)
		_, _ = io.WriteString(w, "<b>100%</b>\n")
		if r.URL.Path == "/x.Y/Long" {
			for range 100 {
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, strings.Repeat("z", 10000))
			}
		}
	}
}

func start(t *testing.T, more proxytest.Config) *proxytest.Proxy {
	more.Filters = filter
	more.Upstream, more.UpstreamCluster = proxytest.HTTP2Server(t, service), proxytest.HTTP2
	return proxytest.Start(t, more)
}

func TestCalls(t *testing.T) {
	p := start(t, proxytest.Config{})
	echo := []string{message("hello"), message(""), message("wörld"), trailer("grpc-status:0\r\nx-more:a, b\r\n")}
	cut := []string{message("0123456789"), message("0123456789"), trailer("grpc-message:no\r\ngrpc-status:7\r\n")}
	for _, test := range []struct {
		path, kind, accept string
		body               []string
		status             int
		answer             string
		headers            map[string]string
	}{
		{"/x.Y/Echo", web, "", []string{message("q")}, 200, strings.Join(echo, ""),
			map[string]string{"content-type": web + "+proto", "x-seen": `application/grpc trailers identity  "\x00\x00\x00\x00\x01q"`}},
		{"/x.Y/Echo", web + "+proto", text, []string{message("q")}, 200, encoded(echo[0]) + encoded(echo[1]) + encoded(echo[2]) + encoded(echo[3]),
			map[string]string{"content-type": text + "+proto"}},
		{"/x.Y/Echo", text, "", []string{encoded(message("long enough"))}, 200, strings.Join(echo, ""),
			map[string]string{"x-seen": `application/grpc trailers identity  "\x00\x00\x00\x00\vlong enough"`}},
		{"/x.Y/Echo", text + "+proto", "", []string{"A", "AA", "AAA", "Fx", "", "Mg=", "="}, 200, strings.Join(echo, ""),
			map[string]string{"x-seen": `application/grpc trailers identity  "\x00\x00\x00\x00\x01q2"`}},
		{"/x.Y/Cut", text, text, []string{""}, 200, encoded(cut[0]) + encoded(cut[1]) + encoded(cut[2]), nil},
		{"/x.Y/Only", text, text, []string{""}, 200, "", map[string]string{"content-type": text + "+proto", "grpc-status": "5"}},
		{"/x.Y/Silent", web, text, []string{""}, 200, encoded(message("m")), nil},
		{"/x.Y/Page", web, "", []string{""}, 404, "", map[string]string{"content-type": web + "+proto", "grpc-status": "12", "grpc-message": "<b>100%25</b>%0A"}},
		{"/x.Y/Page", text, text, []string{""}, 404, "", map[string]string{"content-type": text + "+proto", "grpc-status": "12"}},
		// What is not gRPC-Web passes as it is.
		{"/x.Y/Page", "application/grpc", "", []string{""}, 404, "<b>100%</b>\n", map[string]string{"content-type": "text/html", "grpc-status": ""}},
		{"/x.Y/Echo", web + "+json", text, []string{""}, 200, strings.Join(echo[:3], ""), map[string]string{"content-type": "application/grpc"}},
	} {
		headers := []string{"content-type", test.kind, "accept", test.accept}
		if test.accept == "" {
			headers = headers[:2]
		}
		r := p.Do("POST", test.path, headers, test.body...)
		if r.StatusCode != test.status || r.Text != test.answer {
			t.Errorf("%s %s: %d %q, want %d %q", test.path, test.kind, r.StatusCode, r.Text, test.status, test.answer)
		}
		for name, want := range test.headers {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", test.path, test.kind, name, got, want)
			}
		}
	}
	p.WantStats(map[string]int64{
		"cluster.up.grpc-web.x.Y.Echo.0": 4, "cluster.up.grpc-web.x.Y.Echo.success": 4, "cluster.up.grpc-web.x.Y.Echo.total": 4,
		"cluster.up.grpc-web.x.Y.Cut.7": 1, "cluster.up.grpc-web.x.Y.Cut.failure": 1, "cluster.up.grpc-web.x.Y.Only.5": 1, "cluster.up.grpc-web.x.Y.Page.total": 0,
	})
}

// TestLongMessage: of a page of a megabyte, no more than 16 KiB is kept.
func TestLongMessage(t *testing.T) {
	p := start(t, proxytest.Config{Listener: "per_connection_buffer_limit_bytes: 8192"})
	proxytest.Differs(t, "its limit is that of the buffers, and depends on how the body comes")
	r := p.Do("POST", "/x.Y/Long", []string{"content-type", web}, "")
	if n := len(strings.NewReplacer("%25", "%", "%0A", "\n").Replace(r.Header.Get("grpc-message"))); r.StatusCode != 404 || n != 16<<10 {
		t.Errorf("%d with a message of %d bytes", r.StatusCode, n)
	}
}

// TestBadText: a request that is not base64 is refused, and the answer is one of gRPC-Web.
func TestBadText(t *testing.T) {
	p := start(t, proxytest.Config{Log: "%RESPONSE_CODE_DETAILS%"})
	const data, size = "grpc_base_64_decode_failed", "grpc_base_64_decode_failed_bad_size"
	var want []string
	for _, test := range []struct {
		details string
		body    []string
	}{
		{data, []string{"AA!A"}}, {data, []string{"===="}}, {data, []string{"A==="}}, {data, []string{"AA\r\n"}},
		{data, []string{"AAAA", "-_-_"}}, {size, []string{"AAAAA"}}, {size, []string{"AAAA", "AA", "A"}},
	} {
		r := p.Do("POST", "/x.Y/Echo", []string{"content-type", text}, test.body...)
		if r.StatusCode != 400 || r.Header.Get("grpc-status") != "13" || r.Header.Get("grpc-message") != "Bad gRPC-web request, invalid base64 data." || r.Text != "" {
			t.Errorf("%q: %d %q %v", test.body, r.StatusCode, r.Text, r.Header)
		}
		want = append(want, test.details)
		if got := p.Log(len(want)); got[len(got)-1] != test.details {
			t.Errorf("%q: details %s, want %s", test.body, got[len(got)-1], test.details)
		}
	}
}

// TestLocalReply: answers of the proxy are no gRPC, since the request was none.
func TestLocalReply(t *testing.T) {
	p := start(t, proxytest.Config{Routes: "- {match: {prefix: /}, direct_response: {status: 403, body: {inline_string: no way}}}", Log: "%RESPONSE_CODE% %GRPC_STATUS%"})
	r := p.Do("POST", "/x.Y/Echo", []string{"content-type", web})
	if r.StatusCode != 403 || r.Header.Get("grpc-status") != "7" || r.Header.Get("grpc-message") != "no way" || r.Header.Get("content-type") != web+"+proto" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	r = p.Do("POST", "/x.Y/Echo", []string{"content-type", "application/grpc"})
	if r.StatusCode != 200 || r.Header.Get("grpc-status") != "7" {
		t.Errorf("gRPC: %d %v", r.StatusCode, r.Header)
	}
}

// TestHTTP2: over HTTP/2 nothing follows the body, no empty trailers either.
func TestHTTP2(t *testing.T) {
	p := start(t, proxytest.Config{})
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	for range 3 { // the filter is used again
		req, err := http.NewRequest("POST", "http://"+p.Addr+"/x.Y/Echo", strings.NewReader(encoded(message("q"))))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", text)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := message("hello") + message("") + message("wörld") + trailer("grpc-status:0\r\nx-more:a, b\r\n"); string(b) != want || err != nil || len(resp.Trailer) != 0 {
			t.Errorf("%q %v, trailers %v", b, err, resp.Trailer)
		}
	}
}

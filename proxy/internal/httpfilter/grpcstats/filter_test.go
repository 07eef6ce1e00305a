package grpcstats_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filter(more string) string {
	return "- {name: g, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig, " + more + "}}"
}

func message(s string) string { return string([]byte{0, 0, 0, 0, byte(len(s))}) + s }

// service answers with as many messages as the request's header says, and a status.
func service(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	status := r.Header.Get("x-status")
	if r.Header.Get("x-messages") == "" {
		h.Set("Grpc-Status", status)
		return
	}
	var n int
	_, _ = fmt.Sscan(r.Header.Get("x-messages"), &n)
	for range n {
		_, _ = io.WriteString(w, message("answer"))
		w.(http.Flusher).Flush()
	}
	h.Set(http.TrailerPrefix+"Grpc-Status", status)
}

func start(t *testing.T, c proxytest.Config) *proxytest.Proxy {
	c.Upstream, c.UpstreamCluster = proxytest.HTTP2Server(t, service), proxytest.HTTP2
	return proxytest.Start(t, c)
}

func call(p *proxytest.Proxy, path, status, messages string, body ...string) {
	headers := []string{"content-type", "application/grpc", "x-status", status}
	if messages != "" {
		headers = append(headers, "x-messages", messages)
	}
	p.Do("POST", path, headers, body...)
}

func TestAllMethods(t *testing.T) {
	p := start(t, proxytest.Config{Filters: filter("stats_for_all_methods: true, enable_upstream_stats: true")})
	call(p, "/shop.Cart/Add?x=/y", "0", "2", message("a"), message("b")[:3], message("b")[3:]+message("c"))
	call(p, "//shop.Cart//Add/", "0", "1", message("a"))
	call(p, "/shop.Cart/Add", "13", "")
	call(p, "/shop.Cart/Get", "77", "3")
	call(p, "/shop.Cart", "0", "1", message("a"))       // no method
	call(p, "/shop.Cart/Add/x", "0", "1", message("a")) // nor here
	p.Do("POST", "/shop.Cart/Add", []string{"content-type", "application/grpc-web"}, message("a"))
	const add, get = "cluster.up.grpc.shop.Cart.Add.", "cluster.up.grpc.shop.Cart.Get."
	p.WantStats(map[string]int64{
		add + "0": 2, add + "success": 2, add + "13": 1, add + "failure": 1, add + "total": 3, add + "request_message_count": 4, add + "response_message_count": 3,
		get + "77": 1, get + "failure": 1, get + "total": 1, get + "response_message_count": 3, get + "success": 0,
		"cluster.up.grpc.total": 0, "cluster.up.grpc.request_message_count": 0,
	})
	if text := p.Stats("grpc.*upstream_rq_time"); !strings.Contains(text, add+"upstream_rq_time: ") || !strings.Contains(text, get+"upstream_rq_time: ") {
		t.Errorf("no histograms: %s", text)
	}
}

func TestSomeMethods(t *testing.T) {
	p := start(t, proxytest.Config{Filters: filter("individual_method_stats_allowlist: {services: [{name: shop.Cart, method_names: [Add, Get]}, {name: shop.Till, method_names: [Pay]}]}, replace_dots_in_grpc_service_name: true")})
	call(p, "/shop.Cart/Add", "0", "1", message("a"))
	call(p, "/shop.Till/Pay", "1", "1", message("a"))
	call(p, "/shop.Till/Add", "2", "1", message("a"))
	call(p, "/other.Till/Pay", "0", "2", message("a"))
	p.WantStats(map[string]int64{
		"cluster.up.grpc.shop.Cart.Add.success": 1, "cluster.up.grpc.shop.Till.Pay.failure": 1, "cluster.up.grpc.total": 2, "cluster.up.grpc.success": 1,
		"cluster.up.grpc.2": 1, "cluster.up.grpc.request_message_count": 2, "cluster.up.grpc.response_message_count": 3,
		"cluster.up.grpc.shop.Till.Add.total": 0, "cluster.up.grpc.shop.Cart.Add.upstream_rq_time": 0,
	})
}

func TestDots(t *testing.T) {
	p := start(t, proxytest.Config{Filters: filter("stats_for_all_methods: true, replace_dots_in_grpc_service_name: true")})
	call(p, "/a.b.Cart/Add.x", "0", "1", message("a"))
	p.WantStats(map[string]int64{"cluster.up.grpc.a_b_Cart.Add.x.total": 1})
}

func TestFilterState(t *testing.T) {
	const name = "envoy.filters.http.grpc_stats"
	p := start(t, proxytest.Config{
		Filters: filter("emit_filter_state: true"),
		Log:     "%FILTER_STATE(" + name + ")% %FILTER_STATE(" + name + ":PLAIN)%",
	})
	for i, test := range []struct{ messages, want string }{
		{"2", `{"requestMessageCount":"1","responseMessageCount":"2"} 1,2`},
		{"", `{"requestMessageCount":"1"} 1,0`},
	} {
		call(p, "/x.Y/Z", "0", test.messages, message("a"))
		if got := p.Log(i + 1)[i]; got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
	p.Get("/") // no gRPC
	if got := p.Log(3)[2]; got != "- -" {
		t.Errorf("%s for a request that is no gRPC", got)
	}
}

// TestBounds: names that clients make up are counted by name up to a number and a length.
func TestBounds(t *testing.T) {
	proxytest.Differs(t, "it counts any number of names")
	p := start(t, proxytest.Config{Filters: filter("stats_for_all_methods: true")})
	c := p.Dial()
	const n = 1010
	for i := range n {
		c.Send(fmt.Sprintf("POST /s/m%d HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nx-status: %d\r\ncontent-length: 0\r\n\r\n", i, i)).Read("POST")
	}
	call(p, "/s/"+strings.Repeat("m", 300), "0", "")
	call(p, "/s/m0", "0", "") // is known
	call(p, "/s/m0", "no status", "")
	p.WantStats(map[string]int64{"cluster.up.grpc.total": n - 1000 + 1, "cluster.up.grpc.s.m999.total": 1, "cluster.up.grpc.s.m1000.total": 0, "cluster.up.grpc.s.m0.total": 3, "cluster.up.grpc.s.m0.failure": 1})
	for i := range 40 { // statuses, too
		call(p, "/s/m1", fmt.Sprint(100+i), "")
	}
	p.WantStats(map[string]int64{"cluster.up.grpc.s.m1.total": 41, "cluster.up.grpc.s.m1.115": 1, "cluster.up.grpc.s.m1.116": 0})
}

// TestHosts: a host has done well when its trailers say so; that is the router's part of the
// statistics of gRPC.
func TestHosts(t *testing.T) {
	p := start(t, proxytest.Config{Filters: filter("")})
	good, bad := 0, 0
	for _, test := range []struct {
		status, messages string
		good             bool
	}{
		{"0", "1", true}, {"7", "1", true}, {"13", "1", false}, {"", "1", false}, {"99", "1", false}, {"x", "1", false}, {"14", "", false}, {"5", "", true}, {"", "", false},
	} {
		call(p, "/x.Y/Z", test.status, test.messages)
		if test.good {
			good++
		} else {
			bad++
		}
		proxytest.Eventually(t, func() error {
			resp, err := http.Get("http://" + p.Admin + "/clusters")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if text := string(b); err != nil || !strings.Contains(text, fmt.Sprintf("::rq_success::%d\n", good)) || !strings.Contains(text, fmt.Sprintf("::rq_error::%d\n", bad)) {
				return fmt.Errorf("status %q, messages %q: not %d good and %d bad ones: %s %v", test.status, test.messages, good, bad, text, err)
			}
			return nil
		})
	}
}

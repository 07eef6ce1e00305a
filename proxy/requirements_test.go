package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestOtherAddress (A19): bound to every address, the admin API and the listener answer at others than
// the one that the machine calls itself by, as they do to another container.
func TestOtherAddress(t *testing.T) {
	text := strings.ReplaceAll(fmt.Sprintf(posts, "timeout: 1s", httpbin(t)), "127.0.0.1", "0.0.0.0")
	r := runWith(t, Config{Overlay: []byte(text)})
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	for _, host := range []string{"127.0.0.1", "127.0.0.7", "localhost"} {
		if code, _, body := do(t, "GET", "http://"+host+":"+port(r.ListenerAddrs()["httpbin-demo"])+"/headers"); code != 200 || !strings.Contains(body, "X-Request-Id") {
			t.Errorf("%s: %d %s", host, code, body)
		}
		if code, _, body := do(t, "GET", "http://"+host+":"+port(r.AdminAddr())+"/ready"); code != 200 || body != "LIVE\n" {
			t.Errorf("admin at %s: %d %s", host, code, body)
		}
	}
}

// TestCurl (A20, A24): the client of the posts, in all the ways that they use it.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("no curl here (%v); this makes the test run: apt-get install curl", err)
	}
	_, url := startPosts(t, "timeout: 1s")
	for _, tt := range []struct {
		name string
		args []string
		want string // in what curl prints
	}{
		{"get", []string{url + "/headers"}, `"X-Envoy-Expected-Rq-Timeout-Ms":["1000"]`},
		{"head", []string{"-I", url + "/headers"}, "HTTP/1.1 200 OK\r\n"},
		{"JSON body", []string{"-H", "Content-Type: application/json", "-d", `{"a": 1}`, url + "/echo"}, `{"a": 1}`},
		{"chunked body", []string{"-H", "Transfer-Encoding: chunked", "-d", "in chunks", url + "/echo"}, "in chunks"},
		{"expectation", []string{"-H", "Expect: 100-continue", "-d", "after all", url + "/echo"}, "after all"},
		{"late answer", []string{url + "/delay/2"}, "upstream request timeout"},
		{"failure", []string{"-o", "/dev/null", "-w", "%{http_code} %{size_download}", url + "/status/500"}, "500 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), curl, append([]string{"-s", "--noproxy", "*", "--max-time", "20"}, tt.args...)...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("curl printed %q, not %q: %v", out, tt.want, err)
			}
		})
	}
}

// TestConceptsInOrder (A22): the admin API leads from a listener by its route to a cluster, and from that
// to the endpoint that a request ends at.
func TestConceptsInOrder(t *testing.T) {
	r, url := startPosts(t, "timeout: 1s")
	var dump struct {
		Configs []struct {
			Listener struct {
				Name   string `json:"name"`
				Chains []struct {
					Filters []struct {
						Config struct {
							Routes struct {
								Name  string `json:"name"`
								Hosts []struct {
									Routes []struct {
										Route struct {
											Cluster string `json:"cluster"`
										} `json:"route"`
									} `json:"routes"`
								} `json:"virtual_hosts"`
							} `json:"route_config"`
						} `json:"typed_config"`
					} `json:"filters"`
				} `json:"filter_chains"`
			} `json:"listener"`
		} `json:"configs"`
	}
	if _, text := r.admin("GET", "/config_dump?resource=static_listeners"); json.Unmarshal([]byte(text), &dump) != nil || len(dump.Configs) != 1 {
		t.Fatalf("config dump:\n%s", text)
	}
	l := dump.Configs[0].Listener
	routes := l.Chains[0].Filters[0].Config.Routes
	cluster := routes.Hosts[0].Routes[0].Route.Cluster
	if l.Name != "httpbin-demo" || routes.Name != "httpbin_local_route" || cluster != "httpbin_service" {
		t.Errorf("listener %q, route configuration %q, cluster %q", l.Name, routes.Name, cluster)
	}
	if code, _, _ := do(t, "GET", url+"/headers"); code != 200 {
		t.Fatal(code)
	}
	endpoint := ""
	_, text := r.admin("GET", "/clusters")
	for line := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSpace(line), "::"); len(f) == 4 && f[0] == cluster && f[2] == "rq_success" && f[3] == "1" {
			endpoint = f[1]
		}
	}
	if host, _, err := net.SplitHostPort(endpoint); err != nil || host != "127.0.0.1" {
		t.Errorf("no endpoint of %s has answered:\n%s", cluster, text)
	}
}

// TestBufferLimit (A25): of a page that its client does not read, the proxy takes what the listener's
// per_connection_buffer_limit_bytes allows, and leaves the rest with the origin.
func TestBufferLimit(t *testing.T) {
	small, large := taken(t, 32<<10), taken(t, 64<<20)
	t.Logf("%d bytes under a limit of 32 KiB, %d under one of 64 MiB", small, large)
	// The kernel's buffers, which hold some of both, make no difference of this size.
	if d := large - small; d < 48<<20 || d > 80<<20 {
		t.Errorf("%d bytes more are taken under a limit of 64 MiB than under one of 32 KiB", d)
	}
}

// taken is how much the proxy takes from the origin of a page that nobody reads.
func taken(t *testing.T, limit int) int64 {
	t.Helper()
	const size = 512 << 20
	var written atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 32<<10)
		for n := 0; n < size; n += len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
			written.Add(int64(len(block)))
		}
	}))
	defer backend.Close()
	text := strings.Replace(staticBootstrap(backend.Listener.Addr().String()), "    filter_chains:", fmt.Sprintf("    per_connection_buffer_limit_bytes: %d\n    filter_chains:", limit), 1)
	// No time-out, which would end the response while a busy machine is still at it.
	r := run(t, strings.Replace(text, "timeout: 1s}", "timeout: 0s}", 1))
	c, err := net.Dial("tcp", r.ListenerAddrs()["main"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	last, since := int64(-1), time.Now()
	eventually(t, "the origin is held up", func() bool {
		if n := written.Load(); n != last {
			last, since = n, time.Now()
		}
		return last >= int64(limit) && time.Since(since) > 300*time.Millisecond // with less taken, the machine is busy
	})
	return last
}

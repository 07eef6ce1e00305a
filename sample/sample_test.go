package sample

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// start serves an app for the length of the test and returns its address.
func start(t *testing.T, kind string, getenv func(string) string) string {
	t.Helper()
	return startWith(t, Config{Kind: kind, Getenv: getenv})
}

func startWith(t *testing.T, cfg Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	go func() { done <- Serve(ctx, cfg, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return ln.Addr().String()
}

func get(t *testing.T, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestCatalogVersions(t *testing.T) {
	for _, tc := range []struct {
		name, show string
		image      bool
	}{{"v1", "", false}, {"v2", "true", true}} {
		t.Run(tc.name, func(t *testing.T) {
			addr := start(t, "catalog", env("SHOW_IMAGE", tc.show))
			code, body, _ := get(t, "http://"+addr+"/items")
			var items []item
			if err := json.Unmarshal([]byte(body), &items); err != nil || code != 200 || len(items) != len(stock) {
				t.Fatalf("%d %s (%v)", code, body, err)
			}
			if strings.Contains(body, "imageUrl") != tc.image {
				t.Errorf("imageUrl: want %v in %s", tc.image, body)
			}
			if code, body, _ := get(t, "http://"+addr+"/items/2"); code != 200 || !strings.Contains(body, `"id":2`) {
				t.Errorf("/items/2: %d %s", code, body)
			}
			for _, path := range []string{"/items/0", "/items/99", "/items/x", "/elsewhere"} {
				if code, _, _ := get(t, "http://"+addr+path); code != 404 {
					t.Errorf("%s: %d, want 404", path, code)
				}
			}
		})
	}
}

// The whole shop without a mesh: webapp to catalog, webapp to forum to users, through the proxy that HTTP_PROXY names.
func TestShopThroughAProxy(t *testing.T) {
	hosts := map[string]string{}
	var authorities []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorities = append(authorities, r.Host)
		out := r.Clone(r.Context())
		out.URL.Host, out.RequestURI = hosts[r.Host], ""
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("X-Envoy-Upstream-Service-Time", "1")
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer proxy.Close()
	catalogAddr := start(t, "catalog", env())
	hosts["catalog.istioinaction:80"] = catalogAddr
	hosts["127.77.2.1:8000"] = start(t, "users", env())
	hosts["forum.istioinaction:80"] = start(t, "forum", env("http_proxy", proxy.URL, "USERS_URL", "http://127.77.2.1:8000/users"))
	web := "http://" + start(t, "webapp", env("HTTP_PROXY", proxy.URL))

	code, body, header := get(t, web+"/api/catalog", "x-istio-cohort", "internal", "x-request-id", "r1", "b3", "0", "x-secret", "no")
	if code != 200 || !strings.Contains(body, "Harbour Lateen") || header.Get("X-Envoy-Upstream-Service-Time") != "" {
		t.Errorf("%d %s %v", code, body, header)
	}
	seen, err := Requests(t.Context(), catalogAddr, 1)
	if err != nil || len(seen) != 1 {
		t.Fatalf("%v %v", seen, err)
	}
	h := seen[0].Header
	if h.Get("X-Istio-Cohort") != "internal" || h.Get("X-Request-Id") != "r1" || h.Get("B3") != "0" || h.Get("X-Secret") != "" || seen[0].Host != "catalog.istioinaction:80" {
		t.Errorf("catalog saw %+v", seen[0])
	}
	for path, want := range map[string]string{"/api/catalog/3": "Braided Sheet", "/api/users": "amina@users.example", "/": "<h1>The shop</h1>"} {
		if code, body, _ := get(t, web+path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _, _ := get(t, web+"/api/catalog/77"); code != 404 {
		t.Errorf("a 404 of catalog became %d", code)
	}
	delete(hosts, "catalog.istioinaction:80")
	if code, _, _ := get(t, web+"/api/catalog"); code != 503 {
		t.Errorf("a 503 on the way became %d", code)
	}
}

func TestFault(t *testing.T) {
	addr := start(t, "catalog", env())
	if err := SetFault(t.Context(), addr, Fault{Rate: 1, Status: 503}); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get(t, "http://"+addr+"/items"); code != 503 {
		t.Errorf("got %d", code)
	}
	if f, err := GetFault(t.Context(), addr); err != nil || f != (Fault{Rate: 1, Status: 503}) {
		t.Errorf("got %+v %v", f, err)
	}
	if err := SetFault(t.Context(), addr, Fault{Rate: 1, Delay: 30 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if code, _, _ := get(t, "http://"+addr+"/items"); code != 200 || time.Since(begun) < 30*time.Millisecond {
		t.Errorf("got %d after %v", code, time.Since(begun))
	}
	for _, bad := range []Fault{{Rate: 2, Status: 500}, {Rate: -1}, {Rate: 1}, {Rate: 1, Status: 99}, {Rate: 1, Delay: -1}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v accepted", bad)
		}
		if err := SetFault(t.Context(), addr, bad); bad.Delay >= 0 && err == nil {
			t.Errorf("%+v accepted by the app", bad)
		}
	}
}

func TestFaultRate(t *testing.T) {
	f := Fault{Rate: 0.25, Status: 500}
	for draw, want := range map[float64]bool{0: true, 0.2499: true, 0.25: false, 0.99: false} {
		if got := f.apply(t.Context(), httptest.NewRecorder(), draw); got != want {
			t.Errorf("draw %v: %v, want %v", draw, got, want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := newControl()
	for i := range keptRequests + 10 {
		c.remember(Seen{Path: fmt.Sprint(i)})
	}
	all := c.last(keptRequests * 2)
	if len(all) != keptRequests || all[0].Path != "10" || all[len(all)-1].Path != fmt.Sprint(keptRequests+9) {
		t.Errorf("kept %d, from %s to %s", len(all), all[0].Path, all[len(all)-1].Path)
	}
	if two := c.last(2); len(two) != 2 || two[1].Path != fmt.Sprint(keptRequests+9) {
		t.Errorf("last two: %+v", two)
	}
}

func TestEchoGreetsFirst(t *testing.T) {
	addr := start(t, "tcp-echo", env("NODE_NAME", "laptop", "POD_NAME", "tcp-echo-1", "POD_NAMESPACE", "istioinaction", "POD_IP", "127.77.1.9", "SERVICE_ACCOUNT", "default"))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, want := range []string{"Welcome, you are connected to node laptop.", "Running on Pod tcp-echo-1.", "In namespace istioinaction.", "With IP address 127.77.1.9.", "Service default."} {
		if line, err := r.ReadString('\n'); err != nil || line != want+"\n" {
			t.Fatalf("got %q (%v), want %q", line, err, want)
		}
	}
	fmt.Fprintln(conn, "ahoy")
	if line, err := r.ReadString('\n'); err != nil || line != "ahoy\n" {
		t.Errorf("got %q (%v)", line, err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, tc := range []struct{ kind, proxy, want string }{
		{"bakery", "", "bakery"},
		{"webapp", "nonsense", "HTTP_PROXY"},
	} {
		_, err := NewHandler(Config{Kind: tc.kind, Getenv: env("HTTP_PROXY", tc.proxy)})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.kind, err)
		}
	}
}

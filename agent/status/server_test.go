package status

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxyText is what the proxy of the tests has counted.
const proxyText = "# TYPE envoy_server_live gauge\nenvoy_server_live 1\n"

// world is a status port between a proxy and an application.
type world struct {
	server *Server
	url    string
	logged *bytes.Buffer // to be read when nothing runs any more
}

// serve is a server of one handler; its address is HOST:PORT.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// start makes a status port; the application is at an address, "" for none.
func start(t *testing.T, proxy http.HandlerFunc, app string) *world {
	t.Helper()
	return startWith(t, proxy, app, func(*Config) {})
}

// startWith does, with a change.
func startWith(t *testing.T, proxy http.HandlerFunc, app string, change func(*Config)) *world {
	t.Helper()
	w := &world{logged: &bytes.Buffer{}}
	cfg := Config{
		Address: netip.MustParseAddrPort("127.0.0.1:0"), Proxy: netip.MustParseAddrPort(serve(t, proxy)), Target: app,
		Ready: func(context.Context) error { return errors.New("it drains") }, Logger: slog.New(slog.NewTextHandler(w.logged, nil)),
	}
	if app != "" {
		cfg.Application = &Application{Port: 9102, Path: "/metrics?own=1"}
	}
	change(&cfg)
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.server, w.url = s, "http://"+s.Addr().String()
	return w
}

func proxyMetrics(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/stats/prometheus" {
		_, _ = io.WriteString(w, proxyText)
	}
}

// get asks without keeping the connection.
func (w *world) get(t *testing.T, path string, header ...string) (code int, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
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
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
}

// counted are the agent's own lines.
func counted(scrapes, application, envoy string) string {
	return "# TYPE istio_agent_scrapes_total counter\nistio_agent_scrapes_total " + scrapes + "\n# TYPE istio_agent_scrape_failures_total counter\n" +
		"istio_agent_scrape_failures_total{type=\"application\"} " + application + "\nistio_agent_scrape_failures_total{type=\"envoy\"} " + envoy + "\n"
}

func TestMerged(t *testing.T) {
	var asked atomic.Pointer[http.Request]
	w := start(t, func(rw http.ResponseWriter, r *http.Request) {
		proxyMetrics(rw, r)
		if r.URL.RawQuery != "" {
			_, _ = io.WriteString(rw, "# "+r.URL.RawQuery+"\n")
		}
	}, serve(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Store(r)
		if strings.Contains(r.Header.Get("Accept"), "openmetrics") {
			rw.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
			_, _ = io.WriteString(rw, "app 1\n# EOF\n")
			return
		}
		_, _ = io.WriteString(rw, "app 1")
	}))
	code, kind, body := w.get(t, "/stats/prometheus?usedonly", "User-Agent", "Prometheus/3", timeoutHeader, "5")
	if want := counted("1", "0", "0") + proxyText + "# usedonly\napp 1\n"; code != 200 || kind != textFormat || body != want {
		t.Errorf("%d %s\n%s\nwant\n%s", code, kind, body, want)
	}
	r := asked.Load()
	if r.RequestURI != "/metrics?own=1" || r.Header.Get("User-Agent") != "Prometheus/3" || r.Header.Get(timeoutHeader) != "4" {
		t.Errorf("the application was asked for %s with %v", r.RequestURI, r.Header)
	}
	_, kind, body = w.get(t, "/metrics", "Accept", "application/vnd.google.protobuf,application/openmetrics-text;version=1.0.0")
	if want := counted("2", "0", "0") + proxyText + "app 1\n# EOF\n"; kind != openMetrics100 || body != want {
		t.Errorf("%s\n%s\nwant\n%s", kind, body, want)
	}
	w.server.SetMerge(false) // while it runs
	if _, kind, body = w.get(t, "/stats/prometheus"); kind != textFormat || body != counted("3", "0", "0")+proxyText {
		t.Errorf("switched off: %s\n%s", kind, body)
	}
	w.server.SetMerge(true)
	if _, _, body = w.get(t, "/stats/prometheus"); !strings.HasSuffix(body, "app 1\n") {
		t.Errorf("switched on again:\n%s", body)
	}
	for path, want := range map[string]int{"/healthz/ready": 503, "/config_dump": 404, "/quitquitquit": 404, "/": 404} {
		if code, _, _ := w.get(t, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

// Whatever the application does, the proxy's metrics are there, and it is counted.
func TestApplicationsThatFail(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other := serve(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "elsewhere 1\n") })
	for name, h := range map[string]http.HandlerFunc{
		"not there":       nil,
		"500":             func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) },
		"a page":          func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "<html>") },
		"sends elsewhere": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "http://"+other, http.StatusFound) },
		"sends in a circle": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, r.URL.Path+"x", http.StatusFound)
		},
		"breaks off": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "app 12")
		},
		"no end": func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, "app 1\n")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		},
		"too much": func(rw http.ResponseWriter, _ *http.Request) {
			line := bytes.Repeat([]byte("app 1\n"), 1<<16)
			for n := 0; n <= maxMetrics; n += len(line) {
				if _, err := rw.Write(line); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := closed.Addr().String()
			if h != nil {
				at = serve(t, h)
			}
			w := start(t, proxyMetrics, at)
			if _, kind, body := w.get(t, "/stats/prometheus", timeoutHeader, "2"); kind != textFormat || body != counted("1", "1", "0")+proxyText {
				t.Errorf("%s\n%.400s", kind, body)
			}
		})
	}
}

func TestRedirectWithinTheApplication(t *testing.T) {
	w := start(t, proxyMetrics, serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			http.Redirect(rw, r, "/metrics/", http.StatusMovedPermanently)
			return
		}
		_, _ = io.WriteString(rw, "app 1\n")
	}))
	if _, _, body := w.get(t, "/stats/prometheus"); body != counted("1", "0", "0")+proxyText+"app 1\n" {
		t.Error(body)
	}
}

func TestProxiesThatFail(t *testing.T) {
	app := func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "app 1\n") }
	w := start(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) }, serve(t, app))
	if _, _, body := w.get(t, "/stats/prometheus"); body != counted("1", "0", "1")+"app 1\n" {
		t.Errorf("the application alone: %s", body)
	}
	w = start(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(rw, "envoy_server_live 1")
	}, serve(t, app))
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/stats/prometheus", nil))
	if err == nil {
		var text []byte
		text, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Errorf("half of a number is no answer: %s", text)
		}
	}
}

// An application that asks the agent in turn comes to an end.
func TestCircle(t *testing.T) {
	var at atomic.Pointer[string]
	w := start(t, proxyMetrics, serve(t, func(rw http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, *at.Load()+"/stats/prometheus", nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			rw.WriteHeader(502)
			return
		}
		defer resp.Body.Close()
		rw.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(rw, resp.Body)
	}))
	at.Store(&w.url)
	if code, _, body := w.get(t, "/stats/prometheus"); code != 200 || !strings.Contains(body, proxyText) {
		t.Errorf("%d %s", code, body)
	}
	if got := w.server.scrapes.Load(); got != maxScrapes {
		t.Errorf("it was asked %d times, want %d", got, maxScrapes)
	}
}

func TestScrapeTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 10 * time.Second, "1.5": 1500 * time.Millisecond, "3600": time.Minute, "1e300": time.Minute, "0": 10 * time.Second, "-1": 10 * time.Second, "NaN": 10 * time.Second, "x": 10 * time.Second,
	} {
		if got := scrapeTimeout(http.Header{timeoutHeader: {text}}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

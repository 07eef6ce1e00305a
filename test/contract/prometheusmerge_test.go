package contract

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/proxy"
)

// TestPrometheusMerge: whether an agent merges its application's metrics with its proxy's the mesh says (enablePrometheusMerge), before the agent starts and while it runs; what the host
// says wins.
func TestPrometheusMerge(t *testing.T) {
	serve := func(text string) netip.AddrPort {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
		t.Cleanup(s.Close)
		return netip.MustParseAddrPort(s.Listener.Addr().String())
	}
	proxy, app := serve("proxy 1\n"), serve("app 1\n")
	told := startAgents(t, "", "enablePrometheusMerge: false\n")
	start := func(at string, own map[string]any) (url string) {
		t.Helper()
		cfg := told.agent(t, agent.Config{}, "shop", "")
		cfg.IP, cfg.AdminIP, cfg.AdminPort, cfg.StatusPort = netip.MustParseAddr(at), proxy.Addr(), proxy.Port(), freePort(t, at)
		cfg.Metrics, cfg.Metadata = &status.Application{Port: app.Port(), Path: "/metrics"}, own
		runs := make(chan struct{})
		cfg.RunProxy = func(ctx context.Context, _ agent.ProxyRun) error { close(runs); <-ctx.Done(); return nil }
		a, err := agent.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		run(t, "agent", a.Run, runs)
		return fmt.Sprintf("http://%s:%d/stats/prometheus", at, cfg.StatusPort)
	}
	merged := func(url string) bool {
		t.Helper()
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(text), "proxy 1\n") {
			t.Fatalf("%q, %v", text, err)
		}
		return strings.Contains(string(text), "app 1\n")
	}
	mesh, own := start("127.80.0.1", nil), start("127.80.0.2", map[string]any{"LATEEN_PROMETHEUS_MERGE": "true"})
	if merged(mesh) || !merged(own) {
		t.Errorf("as the mesh says: %t, as the host says: %t", merged(mesh), merged(own))
	}
	for _, text := range []string{"enablePrometheusMerge: true\n", "enablePrometheusMerge: false\n", ""} {
		if err := os.WriteFile(told.mesh, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		want := !strings.Contains(text, "false")
		for deadline := time.Now().Add(time.Minute); merged(mesh) != want; {
			if time.Now().After(deadline) {
				t.Fatalf("%q does not reach the agent", text)
			}
			time.Sleep(10 * time.Millisecond) // it hears of it in its own time
		}
		if !merged(own) {
			t.Errorf("%q: the host does not win", text)
		}
	}
}

// TestMetricsAreCompressed: a scraper that takes gzip gets it at the proxy's port and at the agent's, unless the mesh (statsCompression) or the host has it otherwise.
func TestMetricsAreCompressed(t *testing.T) {
	yes := true
	for _, c := range []struct {
		name, mesh string
		own        *bool
		want       string
	}{
		{"nobody says", "{}\n", nil, "gzip"},
		{"the mesh", "defaultConfig: {statsCompression: false}\n", nil, ""},
		{"the host", "defaultConfig: {statsCompression: false}\n", &yes, "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			const at = "127.80.0.3"
			cfg := startAgents(t, "", c.mesh).agent(t, agent.Config{StatsCompression: c.own}, "shop", "")
			cfg.IP = netip.MustParseAddr(at)
			cfg.AdminPort, cfg.StatsPort, cfg.HealthPort, cfg.StatusPort = freePort(t, at), freePort(t, at), freePort(t, at), freePort(t, at)
			runs := make(chan struct{})
			cfg.RunProxy = func(ctx context.Context, p agent.ProxyRun) error {
				log := slog.New(slog.DiscardHandler)
				x, err := proxy.New(proxy.Config{Bootstrap: p.Bootstrap, Concurrency: 1, Logger: log, LogLevel: "warning"})
				if err != nil {
					return err
				}
				close(runs)
				return x.Run(ctx)
			}
			a, err := agent.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			run(t, "agent", a.Run, runs)
			for _, port := range []uint16{cfg.StatsPort, cfg.StatusPort} {
				url := fmt.Sprintf("http://%s:%d/stats/prometheus", at, port)
				var encoded, text string
				for deadline := time.Now().Add(time.Minute); !strings.Contains(text, "envoy_server_live"); {
					if encoded, text, err = scrape(t, url); time.Now().After(deadline) {
						t.Fatalf("%s: %q, %v", url, text, err)
					}
				}
				if encoded != c.want {
					t.Errorf("%s: encoded %q, want %q", url, encoded, c.want)
				}
			}
		})
	}
}

// scrape asks for metrics as Prometheus does.
func scrape(t *testing.T, url string) (encoded, text string, err error) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var body io.Reader = resp.Body
	if encoded = resp.Header.Get("Content-Encoding"); encoded == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return encoded, "", err
		}
	}
	raw, err := io.ReadAll(body)
	return encoded, string(raw), err
}

func freePort(t *testing.T, at string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", at+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// Package proxytest runs a whole proxy for the tests of filters: from YAML as people write it,
// through parsing, wiring and real sockets on the loopback, to statistics as the admin API shows
// them.
//
// What a test here expects is Envoy's behaviour, and so can be asked of Envoy itself: with
// PROXYTEST_ENVOY=/path/to/envoy in the environment the same tests run against that program.
//
// It holds no test of its own and knows no filter. Only tests below proxy import it, from
// packages with the suffix _test, because it links what they test.
package proxytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy"
)

// Config describes a proxy with one listener "main". Every part is YAML in flow form or indented
// by nothing; what is empty gets a default that passes requests to Upstream.
type Config struct {
	// Filters are HTTP filters before the router, a list.
	Filters string
	// Routes is the list of routes; default: everything to the cluster "up".
	Routes string
	// HCM, VirtualHost, RouteConfig, Listener and FilterChain are further fields of theirs.
	HCM, VirtualHost, RouteConfig, Listener, FilterChain string
	// Network are network filters before the connection manager; a list.
	Network string
	// Terminal replaces the connection manager: one network filter.
	Terminal string
	// Upstream is the cluster's host, "IP:PORT".
	Upstream string
	// UpstreamCluster are further fields of the cluster "up".
	UpstreamCluster string
	// Clusters are further clusters, a list.
	Clusters string
	// Log is the format of the connection manager's access log, without line end.
	Log string
}

// Proxy is a running proxy.
type Proxy struct {
	t     testing.TB
	Addr  string // of the listener
	Admin string
	log   string
}

// Envoy reports whether tests run against Envoy itself.
func Envoy() bool { return os.Getenv("PROXYTEST_ENVOY") != "" }

// Differs skips a test against Envoy of which Envoy is known to differ, and says how.
func Differs(t testing.TB, how string) {
	t.Helper()
	if Envoy() {
		t.Skipf("Envoy differs: %s. Without PROXYTEST_ENVOY the test runs, on this proxy: env -u PROXYTEST_ENVOY go test -run '^%s$' .", how, t.Name())
	}
}

func shift(yaml, indent string) string {
	var b strings.Builder
	if strings.TrimSpace(yaml) == "" {
		return ""
	}
	for line := range strings.Lines(strings.Trim(yaml, "\n") + "\n") {
		b.WriteString(indent + line)
	}
	return b.String()
}

// YAML is the bootstrap.
func (c *Config) YAML(logPath string) string {
	var b strings.Builder
	b.WriteString("node: {id: test, cluster: test}\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n")
	b.WriteString("static_resources:\n  listeners:\n  - name: main\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    stat_prefix: main\n")
	b.WriteString(shift(c.Listener, "    "))
	b.WriteString("    filter_chains:\n    - filters:\n")
	b.WriteString(shift(c.Network, "      "))
	if c.Terminal != "" {
		b.WriteString(shift(c.Terminal, "      "))
	} else {
		b.WriteString("      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n")
		b.WriteString("          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: t\n")
		b.WriteString(shift(c.HCM, "          "))
		if c.Log != "" {
			fmt.Fprintf(&b, "          access_log:\n          - name: file\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n              path: %s\n              log_format: {text_format_source: {inline_string: %q}}\n", logPath, c.Log+"\n")
		}
		b.WriteString("          http_filters:\n")
		b.WriteString(shift(c.Filters, "          "))
		b.WriteString("          - name: envoy.filters.http.router\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n")
		b.WriteString("          route_config:\n            name: r\n")
		b.WriteString(shift(c.RouteConfig, "            "))
		b.WriteString("            virtual_hosts:\n            - name: all\n              domains: [\"*\"]\n")
		b.WriteString(shift(c.VirtualHost, "              "))
		b.WriteString("              routes:\n")
		routes := c.Routes
		if routes == "" {
			routes = "- {match: {prefix: /}, route: {cluster: up}}"
		}
		b.WriteString(shift(routes, "              "))
	}
	b.WriteString(shift(c.FilterChain, "      "))
	host, port, _ := net.SplitHostPort(c.Upstream)
	if c.Upstream == "" {
		host, port = "127.0.0.1", "1"
	}
	fmt.Fprintf(&b, "  clusters:\n  - name: up\n    connect_timeout: 5s\n    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}\n", host, port)
	b.WriteString(shift(c.UpstreamCluster, "    "))
	b.WriteString(shift(c.Clusters, "  "))
	return b.String()
}

// Check parses the configuration and returns what is wrong with it.
func Check(c Config) error {
	return proxy.Validate(proxy.Config{Bootstrap: []byte(c.YAML("/dev/null"))})
}

// Start runs a proxy until the test ends.
func Start(t testing.TB, c Config) *Proxy {
	t.Helper()
	dir := t.TempDir()
	p := &Proxy{t: t, log: filepath.Join(dir, "access.log")}
	yaml := c.YAML(p.log)
	if bin := os.Getenv("PROXYTEST_ENVOY"); bin != "" {
		p.startEnvoy(bin, dir, yaml)
		return p
	}
	x, err := proxy.New(proxy.Config{Bootstrap: []byte(yaml), Concurrency: 1, FileFlushInterval: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatalf("%v\n%s", err, yaml)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-x.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("Run ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy did not become ready")
	}
	p.Addr, p.Admin = x.ListenerAddrs()["main"], x.AdminAddr()
	return p
}

func (p *Proxy) startEnvoy(bin, dir, yaml string) {
	p.t.Helper()
	cmd := exec.Command(bin, "--config-yaml", yaml, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning",
		"--admin-address-path", filepath.Join(dir, "admin"), "--file-flush-interval-msec", "10")
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		p.t.Logf("%s", out.String())
	})
	Eventually(p.t, func() error {
		select {
		case <-ended:
			p.t.Fatalf("Envoy ended: %s", out.String())
		default:
		}
		b, err := os.ReadFile(filepath.Join(dir, "admin"))
		if err != nil {
			return err
		}
		p.Admin = string(b)
		resp, err := http.Get("http://" + p.Admin + "/listeners?format=json")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var v struct {
			Statuses []struct {
				Addr struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"local_address"`
			} `json:"listener_statuses"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || len(v.Statuses) == 0 {
			return fmt.Errorf("no listener yet: %w", err)
		}
		p.Addr = net.JoinHostPort(v.Statuses[0].Addr.Socket.Address, strconv.Itoa(v.Statuses[0].Addr.Socket.Port))
		return nil
	})
}

// Eventually waits until f returns nil.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// Stat returns a statistic's value, -1 when it does not exist.
func (p *Proxy) Stat(name string) int64 {
	p.t.Helper()
	v, ok := p.stats("^" + regexp.QuoteMeta(name) + "$")[name]
	if !ok {
		return -1
	}
	return v
}

// Stats is what the admin API writes of the statistics whose names match.
func (p *Proxy) Stats(filter string) string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.Admin + "/stats?filter=" + url.QueryEscape(filter))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// stats returns the counters and gauges whose names match.
func (p *Proxy) stats(filter string) map[string]int64 {
	p.t.Helper()
	out := map[string]int64{}
	for line := range strings.Lines(p.Stats(filter)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			out[k] = n
		}
	}
	return out
}

// WantStats waits for statistics to have values; a missing one counts as 0.
func (p *Proxy) WantStats(want map[string]int64) {
	p.t.Helper()
	for name, v := range want {
		Eventually(p.t, func() error {
			if got := max(p.Stat(name), 0); got != v {
				last := name[strings.LastIndexByte(name, '.')+1:]
				return fmt.Errorf("%s is %d, want %d; of that name there are %v", name, got, v, p.stats(last))
			}
			return nil
		})
	}
}

// Log waits for that many lines of the access log and returns them.
func (p *Proxy) Log(lines int) []string {
	p.t.Helper()
	var out []string
	Eventually(p.t, func() error {
		b, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		out = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(b) == 0 || len(out) < lines {
			return fmt.Errorf("%d lines of the access log, want %d", len(out), lines)
		}
		return nil
	})
	return out
}

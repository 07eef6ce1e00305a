package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sidecarUses is how many services a real sidecar's workload calls.
const sidecarUses = 5

// sidecarRest is how long the sidecar is left alone before its memory is read, which the Go runtime gives back by and by.
const sidecarRest = 10 * time.Second

// sidecarMemory starts a real sidecar under the server, calls some services through it, and returns its memory in bytes once it is at rest.
func sidecarMemory(ctx context.Context, o options, s *server, services int, dir string) (int64, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	token, err := exec.CommandContext(ctx, o.program, "create", "token", "default", "--ca-dir", s.caDir).Output()
	if err != nil {
		return 0, fmt.Errorf("create token: %w", err)
	}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, token, 0o600); err != nil {
		return 0, err
	}
	var proxy, admin, health, stats string
	for _, addr := range []*string{&proxy, &admin, &health, &stats} {
		if *addr, err = freeAddr(); err != nil {
			return 0, err
		}
	}
	portOf := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	cmd := exec.CommandContext(ctx, o.sidecar, "sidecar", "--ip", "127.0.0.1", "--name", "caller-1", "--namespace", "default", "--workload", "caller",
		"--label", "app=caller", "--concurrency", "2", "--http-proxy", proxy, "--discovery-address", s.secure, "--token-file", tokenFile,
		"--root-cert", filepath.Join(s.caDir, "root-cert.pem"), "--config-path", filepath.Join(dir, "proxy"),
		"--admin-port", portOf(admin), "--health-port", portOf(health), "--stats-port", portOf(stats))
	cmd.Env = append(os.Environ(), "ISTIO_META_INTERCEPTION_MODE=NONE")
	log := filepath.Join(dir, "sidecar.log")
	var p process
	if err := p.start(cmd, log); err != nil {
		return 0, err
	}
	defer p.stop()
	fail := func(err error) (int64, error) {
		text, _ := os.ReadFile(log)
		return 0, fmt.Errorf("%w; the sidecar said:\n%s", err, text[max(0, len(text)-2000):])
	}
	if err := until(ctx, func() bool {
		resp, err := http.Get("http://" + health + "/healthz/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}); err != nil {
		return fail(fmt.Errorf("ready: %w", err))
	}
	// Nobody is at the services' addresses. What counts is that the proxy was told of them: each answer is its own.
	via := &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})}}
	defer via.CloseIdleConnections()
	for i := range sidecarUses {
		ask, stop := context.WithTimeout(ctx, 2*time.Second)
		req, err := http.NewRequestWithContext(ask, http.MethodGet, "http://"+host(i*services/sidecarUses)+"/", nil)
		if err == nil {
			var resp *http.Response
			if resp, err = via.Do(req); err == nil {
				resp.Body.Close()
			}
		}
		stop()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fail(err)
		}
	}
	if err := until(ctx, func() bool { return knows(admin, services) }); err != nil {
		return fail(fmt.Errorf("the proxy was not told of the services: %w", err))
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(sidecarRest):
	}
	return p.resident(), nil
}

// knows says that the proxy has the endpoints of the services that were called.
func knows(admin string, services int) bool {
	resp, err := http.Get("http://" + admin + "/clusters")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	for i := range sidecarUses {
		if !strings.Contains(string(text), "|"+host(i*services/sidecarUses)+"::10.") {
			return false
		}
	}
	return true
}

// until waits for a condition, a minute at most.
func until(ctx context.Context, ok func() bool) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idleConnections is how many keep-alive connections the memory of idle ones is measured with.
const idleConnections = 10_000

// measureIdle opens connections, has each make one request, and returns the peer's resident bytes while they are all idle.
func measureIdle(ctx context.Context, p *process) (int64, error) {
	var d net.Dialer
	conns := make([]net.Conn, 0, idleConnections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range idleConnections {
		c, err := d.DialContext(ctx, "tcp", p.plain)
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", len(conns), err)
		}
		conns = append(conns, c)
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return 0, err
		}
		if _, err := c.Write([]byte("GET /items HTTP/1.1\r\nhost: bench\r\n\r\n")); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", len(conns), err)
		}
		resp.Body.Close()
	}
	// What the requests needed and an idle connection does not may be given back after a while.
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(8 * time.Second):
	}
	return p.rss(), nil
}

// Sizes of the large configuration.
const (
	largeServices  = 1000
	largeEndpoints = 10
	largeRoutes    = 5000
)

// measureLarge starts a proxy on a configuration of many services. It returns how long it took until the proxy was ready, and its
// resident bytes some seconds later.
func measureLarge(ctx context.Context, p peer, dir string) (time.Duration, int64, error) {
	prog, err := p.find(ctx)
	if err != nil {
		return 0, 0, err
	}
	admin := freeAddr()
	file := filepath.Join(dir, p.name+"-large.yaml")
	if err := os.WriteFile(file, []byte(largeConfig(freeAddr(), admin, largeServices, largeEndpoints, largeRoutes)), 0o644); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	proc, err := launch(ctx, p.name+"-large", dir, p.env, p.args(prog, file)...)
	if err != nil {
		return 0, 0, err
	}
	defer proc.stop()
	if err := proc.await(ctx, "http://"+admin+"/ready", dir); err != nil {
		return 0, 0, err
	}
	took := time.Since(begun)
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(8 * time.Second):
	}
	return took, proc.rss(), nil
}

// memoryReport measures and renders what is measured once and not in rounds. What a peer cannot do is said in its line.
func memoryReport(ctx context.Context, o options, running []*process, dir string) string {
	var b strings.Builder
	if contains(strings.Split(o.rows, ","), "idle") {
		fmt.Fprintf(&b, "\n### %d idle keep-alive connections\n\n| proxy | resident MB |\n|---|---|\n", idleConnections)
		for _, p := range running {
			rss, err := measureIdle(ctx, p)
			if err != nil {
				fmt.Fprintf(&b, "| %s | %v |\n", p.name, err)
				continue
			}
			fmt.Fprintf(&b, "| %s | %.1f |\n", p.name, float64(rss)/(1<<20))
		}
	}
	if contains(strings.Split(o.rows, ","), "large") {
		fmt.Fprintf(&b, "\n### %d services of %d endpoints, %d routes\n\n| proxy | ready after ms | resident MB |\n|---|---|---|\n",
			largeServices, largeEndpoints, largeRoutes)
		for _, p := range envoyLike(o) {
			took, rss, err := measureLarge(ctx, p, dir)
			if err != nil {
				fmt.Fprintf(&b, "| %s | %v | |\n", p.name, err)
				continue
			}
			fmt.Fprintf(&b, "| %s | %d | %.1f |\n", p.name, took.Milliseconds(), float64(rss)/(1<<20))
		}
	}
	return b.String()
}

package hcm_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// moody is an upstream that does anything: answers well, badly, early, late, in pieces, not
// at all, and goes away at any point.
func moody(t *testing.T) string {
	return server(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			early := rand.IntN(8) == 0
			if !early {
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					return
				}
			}
			size := []int{0, 1, 100, 5000, 70_000}[rand.IntN(5)]
			body := strings.Repeat("b", size)
			var answer string
			switch rand.IntN(12) {
			case 0:
				return
			case 1:
				answer = "garbage\r\n\r\n"
			case 2:
				answer = "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
			case 3:
				answer = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"
			case 4, 5, 6:
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\nx%s\r\n0\r\n\r\n", size+1, body)
			case 7:
				answer = "HTTP/1.1 200 OK\r\n\r\n" + body
			default:
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", size, body)
			}
			if req.Method == "HEAD" {
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size)
			}
			if rand.IntN(6) == 0 {
				answer = answer[:rand.IntN(len(answer))]
				_, _ = io.WriteString(c, answer)
				return
			}
			for len(answer) > 0 {
				n := len(answer)
				if rand.IntN(3) == 0 {
					n = 1 + rand.IntN(n)
				}
				if _, err := io.WriteString(c, answer[:n]); err != nil {
					return
				}
				answer = answer[n:]
			}
			if early || rand.IntN(10) == 0 || strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n\r\n") {
				return
			}
		}
	})
}

// TestMonkey drives the proxy with random clients against moody hosts, with retries, time-outs,
// mirrors and pausing filters on, and holds that nothing crashes, hangs or leaks.
func TestMonkey(t *testing.T) {
	s := base(moody(t), moody(t), deadAddr(t))
	s.limit = 32 << 10
	s.clusters[0].BufferLimit = 32 << 10
	s.clusters[0].Breakers[0].MaxConnections = 6
	s.clusters = append(s.clusters, staticCluster("shadow", moody(t)))
	f := s.routes[0].Forward
	f.Timeout = 300 * time.Millisecond
	f.Mirrors = []xdsresource.MirrorPolicy{{Cluster: "shadow", Fraction: &xdsresource.FractionalPercent{Numerator: 30, Denominator: 100}}}
	f.Retry = &xdsresource.RetryPolicy{
		On: xdsresource.Retry5xx | xdsresource.RetryConnectFailure, NumRetries: 2, PerTryTimeout: 100 * time.Millisecond, AvoidPreviousHosts: true,
		HostSelectionMaxAttempts: 3, BackOffBase: time.Millisecond, BackOffMax: 3 * time.Millisecond,
	}
	s.filters = chain(
		factoryFunc(func() httpfilter.Filter { return &sometimes{} }),
		factoryFunc(func() httpfilter.Filter { return &sometimes{} }),
	)
	p := s.start(t)
	pieces := []string{
		get, get, get, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 70000\r\n\r\n" + strings.Repeat("x", 70_000),
		"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n" + strings.Repeat("y", 0xffff) + "\r\n0\r\nx: y\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\nhalf",
		"GET / HTTP/1.1\r\nhost : a\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "nonsense\r\n\r\n",
		"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
	}
	var wg sync.WaitGroup
	end := time.Now().Add(3 * time.Second)
	if testing.Short() {
		end = time.Now().Add(300 * time.Millisecond)
	}
	for range 16 {
		wg.Go(func() {
			for time.Now().Before(end) {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(3 * time.Second))
				drained := make(chan bool)
				go func() { // a client that reads everything, or nothing
					defer close(drained)
					if rand.IntN(5) > 0 {
						_, _ = io.Copy(io.Discard, c)
					}
				}()
				for range 1 + rand.IntN(6) {
					piece := pieces[rand.IntN(len(pieces))]
					for len(piece) > 0 {
						n := len(piece)
						if rand.IntN(3) == 0 {
							n = 1 + rand.IntN(n)
						}
						if _, err := io.WriteString(c, piece[:n]); err != nil {
							break
						}
						piece = piece[n:]
					}
				}
				if rand.IntN(2) == 0 {
					<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
				}
				c.Close()
				<-drained
			}
		})
	}
	h2 := http2Client(t)
	for range 8 {
		wg.Go(func() {
			for time.Now().Before(end) {
				monkeyHTTP2(h2, p.url("/"))
			}
		})
	}
	wg.Wait()
	// A connection is idle to its client only when what was given up on it has been told to the proxy.
	eventually(t, func() error {
		h2.CloseIdleConnections()
		if n := p.stat("http.t.downstream_cx_active"); n != 0 {
			return fmt.Errorf("%d connections are left", n)
		}
		return nil
	})
	for _, name := range []string{
		"http.t.downstream_rq_active", "http.t.downstream_cx_active", "cluster.up.upstream_rq_active",
		"cluster.up.upstream_rq_pending_active", "cluster.shadow.upstream_rq_active",
	} {
		p.waitStat(name, 0)
	}
	t.Logf("%d requests, %d 2xx, %d retries", p.stat("http.t.downstream_rq_total"), p.stat("http.t.downstream_rq_2xx"), p.stat("cluster.up.upstream_rq_retry"))
	// An answer, whole or not, which is the host's mood: it may also break off before a client has seen its beginning.
	eventually(t, func() error {
		_, err := http.ReadResponse(p.dial().send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").r, nil)
		return err
	})
}

// monkeyHTTP2 sends one request, gives it up at any point or reads it to the end, whatever that is.
func monkeyHTTP2(c *http.Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(400))*time.Millisecond)
	defer cancel()
	var body io.Reader
	switch rand.IntN(3) {
	case 0:
		body = strings.NewReader(strings.Repeat("h", rand.IntN(100_000)))
	case 1:
		body = io.MultiReader(strings.NewReader(strings.Repeat("h", rand.IntN(100_000))), strings.NewReader("2"))
	}
	req := newRequest([]string{"GET", "POST", "HEAD"}[rand.IntN(3)], url, body).WithContext(ctx)
	resp, err := c.Do(req)
	if err != nil {
		return
	}
	if rand.IntN(4) > 0 {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
}

package stress

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// clients send requests at a steady rate, in every way that a client may go about it. None of them
// sends anything a second time: what fails, fails.
type clients struct {
	t     *testing.T
	rate  int // answers a second, that of what is slow included
	stop  context.CancelFunc
	wg    sync.WaitGroup
	sent  atomic.Int64 // and answered
	dials atomic.Int64
	fails atomic.Int64
	all   []client

	// The round that runs: when it began, and what was answered before it.
	began  time.Time
	before int64
}

// requestTime is how long an answer may take on a machine that does much else.
const requestTime = 20 * time.Second

// startClients splits the rate: six tenths on connections that are kept, three on HTTP/2, the last on
// connections that are made for one request, a few of them with TLS. A twentieth more is sent than is
// asked for, since a round ends at a moment of its own and not with a period.
//
// Those that ask for what takes its time are clients of their own: one that waits sends nothing else
// meanwhile, and the others would not keep their rate.
func startClients(t *testing.T, plain, secure string, rate int) *clients {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &clients{t: t, rate: rate, began: time.Now(), stop: stop}
	t.Cleanup(c.halt)
	with := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} //nolint:gosec // its certificate is not what is looked at
	with2 := with.Clone()
	with2.NextProtos = []string{"h2"}
	aim := rate + rate/20
	for _, k := range []struct {
		what string
		rate int // of quick requests
		n    int // clients that share it
		slow int // clients that ask for slow answers
		make func() client
	}{
		{"HTTP/1.1, connections kept", aim * 6 / 10, 12, 12, func() client { return &http1Client{c: c, addr: plain, keep: true} }},
		{"HTTP/2, connections kept", aim * 3 / 10, 12, 12, c.sharing(3, func() client { return &http2Client{c: c, addr: plain} })},
		{"HTTP/1.1, a connection each", aim/10 - 2*tlsRate, 4, 4, func() client { return &http1Client{c: c, addr: plain} }},
		{"HTTP/1.1 over TLS, a connection each", tlsRate, 1, 1, func() client { return &http1Client{c: c, addr: secure, tls: with} }},
		{"HTTP/1.1 over TLS, connections kept", tlsRate / 2, 1, 1, func() client { return &http1Client{c: c, addr: secure, tls: with, keep: true} }},
		{"HTTP/2 over TLS, connections kept", tlsRate / 2, 1, 1, c.sharing(1, func() client { return &http2Client{c: c, addr: secure, tls: with2} })},
	} {
		c.run(ctx, k.what, "/", k.n, k.rate, k.make)
		c.run(ctx, k.what, "/slow", k.slow, k.slow*slowRate, k.make)
	}
	return c
}

// slowRate is how many slow answers one client waits for in a second.
const slowRate = 4

// tlsRate is small: a handshake costs both ends some hundred times what a request does.
const tlsRate = 40

// client sends one request and reads its answer.
type client interface {
	do(ctx context.Context, path string) error
	close()
}

// run has n goroutines ask for a path at a rate together.
func (c *clients) run(ctx context.Context, what, path string, n, rate int, make func() client) {
	period := time.Second * time.Duration(n) / time.Duration(rate)
	for i := range n {
		cl := make()
		c.all = append(c.all, cl)
		c.wg.Go(func() { c.pace(ctx, what+" "+path, path, period, time.Duration(i)*period/time.Duration(n), cl) })
	}
}

// pace sends a request each period. After a hold-up it catches up with what it missed, but not with
// more than a second of it.
func (c *clients) pace(ctx context.Context, what, path string, period, offset time.Duration, cl client) {
	due := time.Now().Add(offset)
	timer := time.NewTimer(offset)
	defer timer.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// What has begun is to be answered, also at the end.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		err := cl.do(rctx, path)
		cancel()
		if err != nil {
			if c.fails.Add(1) <= 5 {
				c.t.Errorf("%s: request %d: %v", what, i, err)
			}
		} else {
			c.sent.Add(1)
		}
		due = due.Add(period)
		if late := time.Now().Add(-time.Second); due.Before(late) {
			due = late
		}
		timer.Reset(max(0, time.Until(due)))
	}
}

// more waits for so many further answers.
func (c *clients) more(n int64) {
	c.t.Helper()
	from := c.sent.Load()
	eventually(c.t, "load", func() bool { return c.sent.Load() >= from+n || c.fails.Load() > 0 })
	if c.fails.Load() > 0 {
		c.t.FailNow()
	}
}

// round says how many answers a second there were since the last round, and begins the next.
func (c *clients) round(what string) (rate float64) {
	c.t.Helper()
	now, sent := time.Now(), c.sent.Load()
	took := now.Sub(c.began).Seconds()
	rate = float64(sent-c.before) / took
	c.t.Logf("%s: %.0f requests/s for %.1f s", what, rate, took)
	c.began, c.before = now, sent
	return rate
}

// end stops the load and says what it was.
func (c *clients) end(handOvers int) {
	c.t.Helper()
	c.halt()
	c.t.Logf("%d hand-overs: %d requests on %d connections, %d failed", handOvers, c.sent.Load(), c.dials.Load(), c.fails.Load())
}

// halt waits for the answers to what is under way, and closes the connections.
func (c *clients) halt() {
	c.stop()
	c.wg.Wait()
	for _, cl := range c.all {
		cl.close()
	}
}

func (c *clients) dial(addr string, with *tls.Config) (net.Conn, error) {
	c.dials.Add(1)
	nc, err := net.Dial("tcp", addr)
	if err != nil || with == nil {
		return nc, err
	}
	tc := tls.Client(nc, with)
	_ = tc.SetDeadline(time.Now().Add(requestTime))
	if err := tc.Handshake(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return tc, tc.SetDeadline(time.Time{})
}

// http1Client has one connection. It is made anew for each request, or when the proxy has said that an
// answer is the last one; a connection that ends otherwise is a failure.
type http1Client struct {
	c    *clients
	addr string
	tls  *tls.Config
	keep bool
	conn net.Conn
	r    *bufio.Reader
}

const body = "what is sent comes back"

func (h *http1Client) do(ctx context.Context, path string) error {
	if h.conn == nil {
		conn, err := h.c.dial(h.addr, h.tls)
		if err != nil {
			return err
		}
		h.conn, h.r = conn, bufio.NewReader(conn)
	}
	last := true
	defer func() {
		if last {
			h.close()
		}
	}()
	deadline, _ := ctx.Deadline()
	_ = h.conn.SetDeadline(deadline)
	if _, err := io.WriteString(h.conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 23\r\n\r\n"+body); err != nil {
		return err
	}
	resp, err := http.ReadResponse(h.r, nil)
	if err != nil {
		return err
	}
	if err := judge(resp); err != nil {
		return err
	}
	last = !h.keep || resp.Close
	return nil
}

func (h *http1Client) close() {
	if h.conn != nil {
		h.conn.Close()
		h.conn = nil
	}
}

func judge(resp *http.Response) error {
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(got) != body) {
		err = fmt.Errorf("answer %d %q", resp.StatusCode, got)
	}
	return err
}

//lint:file-ignore SA1019 http2Client serves connections that it dials itself; what replaces NewClientConn dials by itself.

// http2Client has one connection at a time, too, and leaves it when the proxy says GOAWAY. Streams that
// are on their way then must be served.
type http2Client struct {
	c    *clients
	addr string
	tls  *tls.Config

	mu   sync.Mutex
	conn *http2.ClientConn
}

func (h *http2Client) current() (*http2.ClientConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil && h.conn.CanTakeNewRequest() {
		return h.conn, nil
	}
	nc, err := h.c.dial(h.addr, h.tls)
	if err != nil {
		return nil, err
	}
	// The one that was there ends by itself when its last stream has.
	h.conn, err = (&http2.Transport{}).NewClientConn(nc)
	return h.conn, err
}

func (h *http2Client) do(ctx context.Context, path string) error {
	for {
		conn, err := h.current()
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x"+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := conn.RoundTrip(req)
		if err == nil {
			return judge(resp)
		}
		// GOAWAY came between the question whether the connection takes a request and the request,
		// which was not sent. The package has no other way to say so.
		if err.Error() == "http2: client conn not usable" {
			continue
		}
		return err
	}
}

func (h *http2Client) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		h.conn.Close()
		h.conn = nil
	}
}

// sharing makes n clients and gives them to several users in turn.
func (c *clients) sharing(n int, make func() client) func() client {
	var all []client
	given := 0
	return func() client {
		if len(all) < n {
			all = append(all, make())
			return all[len(all)-1]
		}
		given++
		return all[given%n]
	}
}

// writeCertificate writes a pair that the TLS listener shows.
func writeCertificate(t *testing.T, cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

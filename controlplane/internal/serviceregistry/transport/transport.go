// Package transport is the way to a registry's HTTP API: connections that are kept while a query waits on them, answers that are bounded, a
// token that is read from its file again, and no redirect, since the token is for one server.
//
// It knows no API. The registries beside it, which do, import it.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// mostBytes bounds one answer: some 100,000 instances.
const mostBytes = 64 << 20

// Options say how the API is reached.
type Options struct {
	// Socket is the path of a Unix socket to connect to, whatever the address; "" for none.
	Socket string
	TLS    *tls.Config
	// Connections is how many connections may be kept open without a query on them.
	Connections int
	// TokenFile holds the token that is sent in the header TokenHeader; "" for none. It must be readable at the start; what it holds when a
	// query is sent counts, and while it cannot be read what it held last.
	TokenFile, TokenHeader string
}

// New returns a client. It asks nothing.
func New(opts Options) (*http.Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: opts.Connections, DialContext: dialer.DialContext, TLSClientConfig: opts.TLS,
	}
	if opts.Socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", opts.Socket)
		}
	}
	c := &http.Client{
		Transport:     &bounded{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if opts.TokenFile != "" {
		withToken := &token{next: c.Transport, file: opts.TokenFile, header: opts.TokenHeader}
		if _, err := withToken.read(); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		c.Transport = withToken
	}
	return c, nil
}

// Plain takes the query from the front of a client's error, which says it with an index that is another one each time.
func Plain(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// bounded refuses answers that are larger than any registry.
type bounded struct{ next http.RoundTripper }

func (t *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		resp.Body = &body{resp.Body, mostBytes}
	}
	return resp, err
}

type body struct {
	io.ReadCloser
	left int
}

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is larger than %d MiB", mostBytes>>20)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// token adds the token to each query.
type token struct {
	next         http.RoundTripper
	file, header string

	mu   sync.Mutex
	last string
}

func (t *token) read() (string, error) {
	raw, err := os.ReadFile(t.file)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.last = strings.TrimSpace(string(raw))
	}
	return t.last, err
}

func (t *token) RoundTrip(r *http.Request) (*http.Response, error) {
	value, _ := t.read() // the last one when it fails
	r = r.Clone(r.Context())
	r.Header.Set(t.header, value)
	return t.next.RoundTrip(r)
}

package healthcheck

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func portText(p uint16) string { return strconv.Itoa(int(p)) }

// userAgent is what Envoy's health checks call themselves.
const userAgent = "Envoy/HC"

// maxDrain bounds how much of an answer is read so that its connection can serve again.
const maxDrain = 256 << 10

// transport speaks HTTP to the target over at most one kept connection. TLS, where there is
// any, is beneath what it takes for plain text, so that HTTP/2 needs no ALPN.
func transport(d *dialer, reuse, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx) },
		DisableKeepAlives:      !reuse && !http2,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              &http.Protocols{},
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return t
}

type httpProber struct {
	cfg   *xdsresource.HTTPHealthCheck
	host  string
	t     *http.Transport
	reuse bool
}

func newHTTP(cfg *xdsresource.HealthCheck, d *dialer) *httpProber {
	return &httpProber{cfg: cfg.HTTP, host: d.t.Hostname, t: transport(d, cfg.ReuseConnection, cfg.HTTP.HTTP2), reuse: cfg.ReuseConnection}
}

func (p *httpProber) Close() { p.t.CloseIdleConnections() }

func (p *httpProber) Probe(ctx context.Context) Result {
	if !p.reuse {
		defer p.t.CloseIdleConnections()
	}
	var body io.Reader
	if len(p.cfg.Send) > 0 {
		body = bytes.NewReader(p.cfg.Send)
	}
	req, err := http.NewRequestWithContext(ctx, p.cfg.Method, "http://host"+p.cfg.Path, body)
	if err != nil {
		return Result{Outcome: Network} // xdsresource has judged method and path
	}
	req.Host = p.host
	req.Header.Set("User-Agent", userAgent)
	for _, h := range p.cfg.AddHeaders {
		if h.Name == "host" {
			req.Host = h.Value
		} else if h.Append {
			req.Header.Add(h.Name, h.Value)
		} else {
			req.Header.Set(h.Name, h.Value)
		}
	}
	for _, name := range p.cfg.RemoveHeaders {
		if name == "user-agent" {
			req.Header["User-Agent"] = nil // the library would send its own
		} else {
			req.Header.Del(name)
		}
	}
	resp, err := p.t.RoundTrip(req)
	if err != nil {
		return Result{Outcome: Network}
	}
	defer resp.Body.Close()
	got, err := p.read(resp.Body)
	if err != nil {
		return Result{Outcome: Network}
	}
	return p.judge(resp, got)
}

// read takes as much of the body as is looked at, and the rest if it is not much.
func (p *httpProber) read(body io.Reader) ([]byte, error) {
	most := int64(maxDrain)
	if p.cfg.ResponseBuffer > 0 {
		most = int64(p.cfg.ResponseBuffer)
	}
	if len(p.cfg.Receive) == 0 {
		most = 0
	}
	got, err := io.ReadAll(io.LimitReader(body, most))
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(body, maxDrain))
	return got, err
}

func (p *httpProber) judge(resp *http.Response, body []byte) Result {
	r := Result{Outcome: Active, Status: resp.StatusCode, Exclude: resp.Header["X-Envoy-Immediate-Health-Check-Fail"] != nil}
	if !inOrder(p.cfg.Receive, body) {
		return r
	}
	if !inRanges(p.cfg.Expected, resp.StatusCode) {
		r.Retriable = inRanges(p.cfg.Retriable, resp.StatusCode)
		return r
	}
	r.Exclude = false
	if m := p.cfg.ServiceName; m != nil {
		r.Verified = true
		if !m.Match(resp.Header.Get("X-Envoy-Upstream-Healthchecked-Cluster")) {
			return r
		}
	}
	r.Outcome, r.Degraded = Success, resp.Header["X-Envoy-Degraded"] != nil
	return r
}

func inRanges(ranges []xdsresource.StatusRange, code int) bool {
	for _, r := range ranges {
		if code >= r.Start && code < r.End {
			return true
		}
	}
	return false
}

// inOrder reports whether all pieces occur in p, one after the other.
func inOrder(pieces [][]byte, p []byte) bool {
	for _, piece := range pieces {
		i := bytes.Index(p, piece)
		if i < 0 {
			return false
		}
		p = p[i+len(piece):]
	}
	return true
}

package healthcheck

import (
	"context"
	"net"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Target is where and how a host is asked.
type Target struct {
	Address  xdsresource.Address // resolved
	Hostname string              // host header or authority
	// Secure makes TLS of a connection; nil: the host is asked in plain text. protocols are
	// for ALPN; none: as the cluster is configured.
	Secure func(ctx context.Context, c net.Conn, protocols []string) (net.Conn, error)
}

// Prober checks a host. It is used by one goroutine.
type Prober interface {
	// Probe checks once, within ctx.
	Probe(ctx context.Context) Result
	// Close ends connections that were kept.
	Close()
}

// New returns the prober of a configuration.
func New(cfg *xdsresource.HealthCheck, t Target) Prober {
	d := &dialer{t: t, alpn: cfg.ALPN}
	switch {
	case cfg.GRPC != nil:
		return newGRPC(cfg, d)
	case cfg.TCP != nil:
		return &tcpProber{cfg: cfg.TCP, d: d, reuse: cfg.ReuseConnection}
	}
	return newHTTP(cfg, d)
}

// Watch checks a host until ctx ends: first after a while, then whenever report says.
func Watch(ctx context.Context, first, timeout time.Duration, p Prober, report func(Result) time.Duration) {
	defer p.Close()
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r := probe(ctx, timeout, p)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(report(r))
	}
}

func probe(ctx context.Context, timeout time.Duration, p Prober) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := p.Probe(ctx)
	if r.Outcome == Network && ctx.Err() != nil {
		r.Outcome = Timeout
	}
	return r
}

// dialer connects to the target.
type dialer struct {
	t    Target
	alpn []string
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	network, addr := "tcp", net.JoinHostPort(d.t.Address.IP.String(), portText(d.t.Address.Port))
	if d.t.Address.Pipe != "" {
		network, addr = "unix", d.t.Address.Pipe
	}
	var nd net.Dialer
	c, err := nd.DialContext(ctx, network, addr)
	if err != nil || d.t.Secure == nil {
		return c, err
	}
	s, err := d.t.Secure(ctx, c, d.alpn)
	if err != nil {
		_ = c.Close() // the handshake's error tells more
		return nil, err
	}
	return s, nil
}

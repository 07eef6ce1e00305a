package healthcheck

import (
	"context"
	"net"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tcpProber connects, and where it is told to, sends bytes and waits for others.
type tcpProber struct {
	cfg   *xdsresource.TCPHealthCheck
	d     *dialer
	reuse bool
	c     net.Conn // kept
}

// maxReceived bounds what is kept of an answer that does not come to match.
const maxReceived = 64 << 10

func (p *tcpProber) Close() {
	if p.c != nil {
		_ = p.c.Close() // nothing is left to be told
		p.c = nil
	}
}

func (p *tcpProber) Probe(ctx context.Context) Result {
	r := p.probe(ctx)
	if r.Outcome != Success || !p.reuse || len(p.cfg.Receive) == 0 {
		p.Close()
	}
	return r
}

func (p *tcpProber) probe(ctx context.Context) Result {
	if p.c == nil {
		c, err := p.d.dial(ctx)
		if err != nil {
			return Result{Outcome: Network}
		}
		p.c = c
	}
	if len(p.cfg.Send) == 0 && len(p.cfg.Receive) == 0 {
		return Result{}
	}
	// Whatever ends the check ends reading and writing.
	stop := context.AfterFunc(ctx, func() { _ = p.c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := p.c.Write(p.cfg.Send); err != nil {
		return Result{Outcome: Network}
	}
	if len(p.cfg.Receive) == 0 {
		return Result{} // Envoy waits for nothing either
	}
	var got []byte
	buf := make([]byte, 4096)
	for len(got) < maxReceived {
		n, err := p.c.Read(buf)
		got = append(got, buf[:n]...)
		if inOrder(p.cfg.Receive, got) {
			return Result{}
		}
		if err != nil {
			return Result{Outcome: Network}
		}
	}
	return Result{Outcome: Active}
}

package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// version is what connections of the pool speak: HTTP/1, HTTP/2, or what the handshake agrees on.
func (p *Pool) version() xdsresource.UpstreamProtocol {
	if p.name.raw {
		return xdsresource.UpstreamHTTP1 // as there, a connection is for one at a time
	}
	v := p.local.Config().HTTP.Protocol
	if v != xdsresource.UpstreamAsDownstream {
		return v
	}
	if p.name.http2 {
		return xdsresource.UpstreamHTTP2
	}
	return xdsresource.UpstreamHTTP1
}

// alpn is what is offered where neither the request nor the TLS context says it, "" for nothing.
func (p *Pool) alpn(t *transportsocket.Client) string {
	switch v := p.version(); {
	case t.HasALPN():
	case v == xdsresource.UpstreamAuto:
		return "h2,http/1.1"
	case v == xdsresource.UpstreamHTTP2:
		return "h2"
	default:
		return "http/1.1"
	}
	return ""
}

// agreed is the version that a connection speaks once its handshake is over. What was offered may be older than the cluster's configuration: a filter chose it for
// its request before, or the host has left with the transport that it had, and those who wait for it get their connections still. So what both ends have agreed on
// counts.
func (c *Client) agreed(alpn string) xdsresource.UpstreamProtocol {
	if c.pool.name.raw {
		return c.speaks
	}
	if c.speaks == xdsresource.UpstreamAuto || c.pool.name.wish.ALPN != "" || c.pool.closed {
		switch alpn {
		case "h2":
			return xdsresource.UpstreamHTTP2
		case "http/1.1", "http/1.0":
			return xdsresource.UpstreamHTTP1
		}
	}
	if c.speaks == xdsresource.UpstreamAuto {
		return xdsresource.UpstreamHTTP1
	}
	return c.speaks
}

func (p *Pool) countVersion(v xdsresource.UpstreamProtocol) {
	if v == xdsresource.UpstreamHTTP2 {
		p.local.Inc(cluster.CxHTTP2Total)
	} else {
		p.local.Inc(cluster.CxHTTP1Total)
	}
}

// tooFew reports whether more requests wait than the connections under way are for. One of HTTP/2 is for as many as may
// be open on it.
func (p *Pool) tooFew() bool {
	if p.version() != xdsresource.UpstreamHTTP2 {
		return p.connecting < p.waiting
	}
	streams := p.local.Config().HTTP.HTTP2.MaxConcurrentStreams
	if streams == 0 {
		streams = http2.DefaultMaxConcurrentStreams
	}
	room := p.connecting * int(streams)
	for _, m := range p.muxes { // an upgrade may wait for its settings
		if !m.codec.Settled() {
			room += m.codec.Capacity()
		}
	}
	return room < p.waiting
}

// assign gives a request a place on a connection of HTTP/2.
func (p *Pool) assign(m *mux, r *Request) {
	switch {
	case !p.local.Try(cluster.Requests, r.HighPrio):
		p.local.Inc(cluster.RqActiveOverflow)
		r.Handler.OnFailure(r, ReasonOverflow, nil)
	case r.Upgrade && !m.codec.PeerAllowsConnect():
		p.local.Release(cluster.Requests, r.HighPrio)
		r.Handler.OnFailure(r, ProtocolError, nil)
	default:
		p.attachHTTP2(m, r)
	}
}

// serve gives the requests that wait places on connections of HTTP/2, as far as there are any.
func (p *Pool) serve() {
	for p.first != nil {
		r, m := p.first, p.room(p.first)
		if m == nil {
			break
		}
		p.unlink(r)
		p.assign(m, r)
	}
	if p.first != nil && len(p.muxes) > 0 && p.tooFew() && !p.closed {
		p.connect(p.first.HighPrio)
	}
}

func (p *Pool) room(r *Request) *mux {
	for _, m := range p.muxes {
		if m.takes(r) {
			return m
		}
	}
	return nil
}

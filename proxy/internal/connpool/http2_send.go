package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
)

// attachHTTP2 gives the request its place on a connection of HTTP/2. The stream opens with the head.
func (p *Pool) attachHTTP2(m *mux, r *Request) {
	m.requests++
	if limit := p.maxRequests(); limit > 0 && m.requests >= limit {
		p.local.Inc(cluster.CxMaxRequests)
		m.retire()
	}
	r.client, r.mux = m.Client, m
	p.local.Inc(cluster.RqTotal)
	p.local.GaugeAdd(cluster.RqActive, 1)
	p.host.OnRequest()
	r.Handler.OnReady(r)
}

// headHTTP2 opens the stream.
func (r *Request) headHTTP2(h *header.Map, end bool) {
	m := r.mux
	switch {
	case r.Upgrade:
		h = r.extendedConnect(h)
		end = false
	case r.Connect:
		h = plainConnect(h)
		end = false
	}
	r.finished = end
	r.stream = m.codec.Open(h, end, &r.Response, &r.Trailers, r, r.Meter, m.pool.loop.Now())
	m.flushLater()
	m.watch()
}

// extendedConnect makes an upgrade what it is in HTTP/2 (RFC 8441, 4).
func (r *Request) extendedConnect(h *header.Map) *header.Map {
	var out header.Map
	h.CopyTo(&out)
	r.protocol = append([]byte(nil), out.Value(header.Upgrade)...)
	out.SetString(header.Method, "CONNECT")
	out.Set(header.Protocol, r.protocol)
	out.Remove(header.Upgrade)
	out.Remove(header.Connection)
	out.Remove(header.ContentLength)
	return &out
}

// plainConnect leaves out what a CONNECT does not have (RFC 9113, 8.5).
func plainConnect(h *header.Map) *header.Map {
	var out header.Map
	h.CopyTo(&out)
	out.Remove(header.Scheme)
	out.Remove(header.Path)
	out.Remove(header.ContentLength)
	return &out
}

func (r *Request) dataHTTP2(p []byte, end bool) {
	r.finished = r.finished || end
	r.mux.codec.SendData(r.stream, p, end)
	r.mux.flushLater()
}

func (r *Request) trailersHTTP2(t *header.Map) {
	r.finished = true
	r.mux.codec.SendTrailers(r.stream, t)
	r.mux.flushLater()
}

// cancelHTTP2 drops a request that is under way; the connection goes on.
func (r *Request) cancelHTTP2() {
	m, s := r.mux, r.stream
	m.pool.local.Inc(cluster.RqTxReset)
	m.release(r)
	if s != nil {
		m.codec.Reset(s, http2.Cancel)
	}
	m.flushLater()
}

// complete takes a request off the connection before its last event is told. A host that answers before it has the whole
// request gets no more of it.
func (m *mux) complete(r *Request) {
	s := r.stream
	m.release(r)
	if s.Sent() {
		m.codec.Detach(s, m.pool.loop.Now())
	} else {
		m.pool.local.Inc(cluster.RqTxReset)
		m.codec.Reset(s, http2.Cancel)
	}
	m.flushLater()
}

// release ends the accounting of a request.
func (m *mux) release(r *Request) {
	p := m.pool
	m.idleSince = p.loop.Now()
	if r.stream != nil {
		r.stream.User = nil
	}
	r.client, r.mux, r.stream = nil, nil, nil
	m.countBytes()
	p.local.GaugeAdd(cluster.RqActive, -1)
	p.local.Release(cluster.Requests, r.HighPrio)
	p.host.OnDone()
}

package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
)

// This file writes requests: as HTTP/1 here, or through the stream of an HTTP/2 connection (http2_send.go).

// SendHead writes the request's head, from OnReady on. end: there is no body.
func (r *Request) SendHead(h *header.Map, end bool) {
	if r.mux != nil {
		r.headHTTP2(h, end)
		return
	}
	c := r.client.c
	upgrade := h.Has(header.Upgrade)
	unframed := !upgrade && !r.Connect && !h.Has(header.ContentLength)
	r.chunked = !end && unframed
	all, fields := http1.AppendRequest(c.Out(), h, &http1.Head{
		Empty:   end && unframed && mayHaveBody(h.Value(header.Method)),
		Chunked: r.chunked, Upgrade: upgrade, Proper: r.pool.local.Config().HTTP.HTTP1.ProperCaseWords,
	})
	r.Meter.SentHead(all, fields, fields)
	if end {
		r.finish()
		return
	}
	c.FlushLater() // together with the first piece of the body, if that is already here
}

// OpenRaw begins the exchange of a request that is Raw, from OnReady on: before goes out first, and the handler is told of an answer
// of 200, whose body is what the host says.
func (r *Request) OpenRaw(before []byte) {
	c := r.client
	if len(before) > 0 {
		r.Meter.SentHead(len(before), len(before), 0)
		c.c.Write(before)
	}
	r.Message = http1.Message{Status: 200, Framing: http1.Tunnel, Connect: r.Connect}
	r.Response.SetString(header.Status, "200")
	c.inBody = true
	c.body.Start(&r.Message)
	r.Handler.OnResponse(r, false)
}

// mayHaveBody reports whether a request of a method is expected to have a body, so that its absence is said (RFC 9110, 8.6).
func mayHaveBody(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "DELETE", "CONNECT", "TRACE":
		return false
	}
	return true
}

// SendData writes a piece of the request's body.
func (r *Request) SendData(p []byte, end bool) {
	if r.mux != nil {
		r.dataHTTP2(p, end)
		return
	}
	c := r.client.c
	switch {
	case r.chunked:
		r.Meter.Put(http1.AppendChunk(c.Out(), p))
		if end {
			n, _ := http1.AppendLastChunk(c.Out(), nil)
			r.Meter.Put(n)
		}
		c.FlushLater()
	case len(p) > 0:
		r.Meter.Put(len(p))
		c.Write(p)
	}
	if end {
		r.finish()
	}
}

// SendTrailers ends the request. In HTTP/1 a body that is not chunked cannot carry trailers, and a cluster may not want
// them (enable_trailers): then they are dropped, as RFC 9110, section 6.5.1, allows.
func (r *Request) SendTrailers(t *header.Map) {
	if r.mux != nil {
		r.trailersHTTP2(t)
		return
	}
	if r.chunked {
		if !r.pool.local.Config().HTTP.HTTP1.EnableTrailers {
			t = nil
		}
		all, fields := http1.AppendLastChunk(r.client.c.Out(), t)
		r.Meter.SentHead(all, fields, fields)
	}
	r.finish()
}

// finish marks the request as written in full; what is left of it goes out at the end of the iteration (see FlushLater).
func (r *Request) finish() {
	r.finished = true
	if r.Message.Framing == http1.Tunnel {
		r.client.c.CloseWrite() // an upgraded stream ends one side at a time
		return
	}
	r.client.c.FlushLater()
}

// Blocked reports whether the host reads too slowly. OnWritable follows.
func (r *Request) Blocked() bool {
	switch {
	case r.client == nil:
		return false
	case r.mux != nil:
		return r.stream.Blocked()
	}
	return r.client.c.AboveHighWatermark()
}

// PauseResponse stops the response; ResumeResponse goes on.
func (r *Request) PauseResponse() {
	switch {
	case r.client == nil:
	case r.mux != nil:
		r.stream.Pause()
	default:
		r.client.c.PauseRead()
	}
}

// ResumeResponse implements what PauseResponse promises.
func (r *Request) ResumeResponse() {
	switch {
	case r.client == nil:
	case r.mux != nil:
		r.stream.Resume()
		r.mux.flushLater()
	default:
		r.client.c.ResumeRead()
	}
}

// Info is what is known of the connection, nil when there is none.
func (r *Request) Info() *conn.Info {
	if r.client == nil {
		return nil
	}
	return r.client.c.Info()
}

// HTTP2 reports whether the request's connection speaks HTTP/2.
func (r *Request) HTTP2() bool { return r.mux != nil }

package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/http2/options"
)

// muxEvents is a connection as its codec sees it.
type muxEvents mux

func request(s *http2.Stream) *Request { return s.User.(*Request) }

// OnStream implements http2.Handler, as do the methods below. Hosts open no streams.
func (e *muxEvents) OnStream(*http2.Stream) {}

func (e *muxEvents) OnHeaders(s *http2.Stream, end bool) {
	r := request(s)
	r.Message = http1.Message{Minor: 1, KeepAlive: true, Head: r.Head, Connect: r.Connect, Framing: http1.ByLength}
	for _, d := range r.Response.Value(header.Status) {
		r.Message.Status = r.Message.Status*10 + int(d-'0')
	}
	switch ok := r.Message.Status/100 == 2; {
	case r.Upgrade && ok: // RFC 8441, 5: what HTTP/1 says by 101
		r.Message.Status, r.Message.Framing = 101, http1.Tunnel
		r.Response.SetString(header.Status, "101")
		r.Response.Set(header.Upgrade, r.protocol)
		r.Response.SetString(header.Connection, "upgrade")
	case r.Connect && ok:
		r.Message.Framing = http1.Tunnel
	case end:
		r.Message.Framing = http1.NoBody
	}
	if end {
		(*mux)(e).complete(r)
	}
	r.Handler.OnResponse(r, end)
}

func (e *muxEvents) OnInterim(s *http2.Stream) {
	r := request(s)
	for _, d := range r.Response.Value(header.Status) {
		r.Message.Status = r.Message.Status*10 + int(d-'0')
	}
	r.Handler.OnInterim(r)
	r.Message.Status = 0
}

func (e *muxEvents) OnData(s *http2.Stream, p []byte, end bool) {
	r := request(s)
	if end {
		(*mux)(e).complete(r)
	}
	r.Handler.OnData(r, p, end)
}

func (e *muxEvents) OnTrailers(s *http2.Stream) {
	r := request(s)
	(*mux)(e).complete(r)
	r.Handler.OnTrailers(r)
}

// OnReset ends a request: by the host, or because the host broke the protocol on its stream.
func (e *muxEvents) OnReset(s *http2.Stream, code http2.Code, err *http2.StreamError) {
	r := request(s)
	m := (*mux)(e)
	m.release(r)
	m.flushLater()
	local := m.pool.local
	switch {
	case err == http2.ErrHeaderCount, err == http2.ErrHeaderListSize: // as Envoy has it
		local.Inc(cluster.CxProtocolError)
		local.Inc(cluster.RqRxReset)
		r.Handler.OnReset(r, RemoteReset, err)
	case err != nil:
		local.Inc(cluster.RqTxReset)
		r.Handler.OnReset(r, ProtocolError, err)
	case code == http2.RefusedStream: // no reset to Envoy's statistics
		r.Handler.OnReset(r, RemoteRefused, nil)
	default:
		local.Inc(cluster.RqRxReset)
		r.Handler.OnReset(r, RemoteReset, nil)
	}
}

func (e *muxEvents) OnWritable(s *http2.Stream) { r := request(s); r.Handler.OnWritable(r) }

func (e *muxEvents) OnGoAway(http2.Code) {
	m := (*mux)(e)
	if !m.goneAway {
		m.pool.local.Inc(cluster.CxCloseNotify)
	}
	m.retire()
}

func (e *muxEvents) OnSettings() { (*mux)(e).flushLater() }

func (e *muxEvents) OnPong(uint64) {}

func (e *muxEvents) Count(st http2.Stat, d int64) {
	options.Count(e.pool.local.Shard(), e.codecStats, st, d)
}

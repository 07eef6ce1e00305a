package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/http2/options"
)

// http2Events is a connection as its codec sees it.
type http2Events http2Conn

// OnStream implements http2.Handler, as do the methods below.
func (e *http2Events) OnStream(h2 *http2.Stream) {
	c := (*http2Conn)(e)
	s := c.w.get()
	h2.User, h2.Head, h2.Trailers, h2.Meter = s, &s.req, &s.reqT, &s.info.DownstreamMeter
	c.requests++
	c.link(s)
	s.beginHTTP2(c, h2)
}

func (e *http2Events) OnHeaders(h2 *http2.Stream, end bool) { h2.User.(*stream).runHTTP2(end) }

func (e *http2Events) OnData(h2 *http2.Stream, p []byte, end bool) {
	h2.User.(*stream).bodyHTTP2(p, end)
}

func (e *http2Events) OnTrailers(h2 *http2.Stream) { h2.User.(*stream).requestTrailersHTTP2() }

func (e *http2Events) OnReset(h2 *http2.Stream, code http2.Code, err *http2.StreamError) {
	h2.User.(*stream).resetHTTP2(code, err)
}

func (e *http2Events) OnWritable(h2 *http2.Stream) { h2.User.(*stream).writable() }
func (e *http2Events) OnInterim(*http2.Stream)     {}
func (e *http2Events) OnGoAway(http2.Code)         {}
func (e *http2Events) OnSettings()                 {}
func (e *http2Events) OnPong(uint64)               {}

func (e *http2Events) Count(st http2.Stat, d int64) {
	if st == http2.StatPrematureResets {
		e.w.inc(rqTooManyPrematureResets)
		return
	}
	options.Count(e.w.shard, e.m.codec, st, d)
}

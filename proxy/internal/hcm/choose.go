package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// serve gives a new connection its codec, as codec_type says. AUTO is what the handshake has
// agreed on (ALPN), and without that what the first bytes are.
func (m *Manager) serve(w *worker, cn *conn.Conn) {
	cn.SetDelayedClose(m.cfg.DelayedCloseTimeout)
	alpn := cn.Info().ALPN
	switch {
	case m.cfg.Codec == xdsresource.CodecHTTP2, m.cfg.Codec == xdsresource.CodecAuto && alpn == "h2":
		m.serveHTTP2(w, cn)
	default:
		m.serveHTTP1(w, cn, m.cfg.Codec == xdsresource.CodecAuto && alpn == "")
	}
	if m.deps.Overload.ShedsAt(overload.ShedCodec, w.loop.Rand(), w.shard) {
		w.inc(rqOverloadClose)
		cn.Close(conn.CloseNow)
	}
}

// choose looks whether the connection begins as HTTP/2 does ("prior knowledge", RFC 9113, 3.3).
// False: it does, and is another handler's, or more bytes are needed.
func (c *http1Conn) choose(cn *conn.Conn, eof bool) bool {
	p := cn.In().Bytes()
	n := min(len(p), len(http2.Preface))
	if string(p[:n]) != http2.Preface[:n] || n == 0 && eof {
		c.unknown = false
		return true
	}
	if n < len(http2.Preface) {
		if eof {
			c.close(conn.CloseFlushed)
		} else if n > 0 && c.headStart == 0 {
			c.headStart = c.w.loop.Now()
			c.watch()
		}
		return false
	}
	c.w.loop.Disarm(&c.timer)
	h := c.m.newHTTP2(c.w, cn)
	h.began = c.began
	h.start()
	if c.draining {
		h.Drain()
	}
	h.OnData(cn, eof)
	return false
}

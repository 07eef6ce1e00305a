package listener

import (
	"errors"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// served is a connection as the listener sees it: first its handler, until the filter chain
// is known and TLS is up, then only its owner, to count its end.
type served struct {
	next, prev *served // the worker's ring
	w          *worker
	c          *conn.Conn
	ch         *chain // nil: not chosen yet
	start      int64
	timer      eventloop.Timer // listener filters
	inspecting bool
	proxied    bool // the PROXY protocol's header was read, or there is none
	noChain    bool
	asked      bool    // to end
	early      bool    // asked before there was a handler
	failure    string  // of the transport
	counted    bool    // against the process's limit
	placed     *worker // that counts it in active; nil: none does
}

// begin runs the listener filters, or goes on at once where there are none.
func (s *served) begin(cfg *config) {
	if hello, request := cfg.looksFor(destination(s.c.Info()).Port()); !hello && !request && cfg.res.ProxyProtocol == nil {
		s.choose(cfg)
		return
	}
	s.inspecting = true
	s.w.gauge(preCxActive, 1)
	if d := cfg.res.ListenerFiltersTimeout; d > 0 {
		s.timer.Init(s.onTimeout)
		s.w.loop.Arm(&s.timer, d)
	}
}

// choose finds the filter chain and gives the connection to it.
func (s *served) choose(cfg *config) {
	if s.inspecting {
		s.inspecting = false
		s.w.gauge(preCxActive, -1)
		s.w.loop.Disarm(&s.timer)
	}
	info := s.c.Info()
	if info.TransportProtocol == "" {
		info.TransportProtocol = "raw_buffer"
	}
	ch := cfg.match.only
	if ch == nil {
		ch = cfg.match.find(&criteria{
			dst: destination(info), sni: info.SNI, transport: info.TransportProtocol, alpn: info.OfferedALPN,
			directSrc: info.DirectRemoteAddr.Addr(), src: info.RemoteAddr,
		})
	}
	if ch == nil {
		ch = cfg.fallback
	}
	if ch == nil {
		s.w.inc(noFilterChain)
		s.noChain = true
		s.w.l.log.Debug("no filter chain matches", "listener", cfg.res.Name, "remote", info.RemoteAddr,
			"local", destination(info), "sni", info.SNI, "transport", info.TransportProtocol, "alpn", info.OfferedALPN)
		s.c.Close(conn.CloseNow)
		return
	}
	s.ch = ch
	info.Listener, info.FilterChain = cfg.res.Name, ch.fc.Name
	info.ListenerMetadata, info.ListenerDirection = cfg.res.Metadata, uint8(cfg.res.Direction)
	if ch.tls != nil {
		s.c.StartTLS(ch.tls, s.w.l.o.Overload.Scaled(xdsresource.TransportConnectTimer, ch.fc.TransportSocketTimeout))
		return
	}
	s.serve()
}

func destination(info *conn.Info) netip.AddrPort {
	if info.OriginalDst.IsValid() {
		return info.OriginalDst
	}
	return info.LocalAddr
}

// serve hands the connection to the chain's handler.
func (s *served) serve() {
	s.ch.handler.OnNewConnection(s.c, &s.ch.ctx)
	if s.w.discourage || s.early {
		s.ask()
	}
	if s.c.In().Len() > 0 && !s.c.ReadPaused() {
		s.c.ResumeRead() // what the inspection has read
	}
}

// OnConnected implements conn.ConnectHandler: the TLS handshake is done.
func (s *served) OnConnected(c *conn.Conn) {
	s.w.handshakes().Hello(c.Info().Staple)
	s.w.handshakes().Done(c.Info().TLS)
	s.serve()
}

// OnData implements conn.Handler: the first bytes of a connection that is inspected.
func (s *served) OnData(c *conn.Conn, eof bool) {
	if s.inspecting {
		s.inspect(eof)
	}
}

// OnWritable implements conn.Handler.
func (s *served) OnWritable(*conn.Conn) {}

// OnClose implements conn.Handler: the connection ended before its handler saw it.
func (s *served) OnClose(c *conn.Conn, err error) {
	if s.inspecting && err != nil {
		s.w.inc(filterError)
	}
	if s.ch != nil && s.ch.tls != nil && err != nil {
		s.w.handshakes().Hello(c.Info().Staple)
		s.failure = err.Error()
		if e, ok := errors.AsType[*conn.Error](err); ok {
			switch e.Kind {
			case conn.TLS:
				s.w.handshakes().Failed(err)
			case conn.HandshakeTimeout:
				s.w.inc(transportTimeout)
			}
			s.failure = e.TransportFailureReason()
		}
		if r, ok := s.ch.handler.(Refuser); ok {
			r.Refused(c)
		}
		s.w.l.log.Debug("TLS handshake failed", "listener", s.ch.ctx.Listener, "remote", c.Info().RemoteAddr, "error", err)
	}
}

// OnConnClosed implements conn.Owner.
func (s *served) OnConnClosed(c *conn.Conn) {
	if s.inspecting {
		s.inspecting = false
		s.w.gauge(preCxActive, -1)
		s.w.loop.Disarm(&s.timer)
	}
	if s.counted {
		s.w.l.o.Overload.Disconnected()
	}
	if s.placed != nil {
		s.placed.active.Add(-1)
	}
	s.w.l.serving.Add(-1)
	s.w.remove(s)
	s.w.ended()
	s.w.record(cxLength, uint64(s.w.loop.Now()-s.start)/1e6)
	if logs := s.w.l.config.Load().logs; len(logs) > 0 {
		s.log(c, logs)
	}
}

// log writes the connection's line.
func (s *served) log(c *conn.Conn, logs []*accesslog.Logger) {
	now := s.w.loop.Now()
	info := streaminfo.Info{
		StartWall: s.w.loop.WallNow().Add(time.Duration(s.start - now)), Start: s.start, End: now,
		Downstream: c.Info(), ConnectionID: c.Info().ID, DownstreamFailure: s.failure,
	}
	info.BytesReceived, info.BytesSent = c.Bytes()
	if s.noChain {
		info.Set(streaminfo.NoRouteFound)
		info.Details = "filter_chain_not_found"
	}
	ctx := format.Context{Info: &info, LogType: format.TCPConnectionEnd}
	for _, l := range logs {
		l.Log(s.w.loop.ID(), &ctx)
	}
}

package tcpproxy

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/uuid"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tunnelling is a compiled tunneling_config.
type tunnelling struct {
	cfg     *xdsresource.TCPTunnel
	host    *format.Formatter
	headers route.Ops
}

func newTunnelling(cfg *xdsresource.TCPTunnel) (*tunnelling, error) {
	if cfg == nil {
		return nil, nil
	}
	t := &tunnelling{cfg: cfg}
	var err error
	if t.host, err = format.Compile(cfg.Host); err != nil {
		return nil, fmt.Errorf("tcp_proxy: tunneling_config.hostname: %w", err)
	}
	if host, ok := t.host.Constant(); ok && !http1.IsAuthority([]byte(host)) {
		return nil, fmt.Errorf("tcp_proxy: tunneling_config.hostname: %q is no host", host)
	}
	if t.headers, err = route.CompileOps(&xdsresource.HeaderOps{Add: cfg.Headers}); err != nil {
		return nil, fmt.Errorf("tcp_proxy: tunneling_config.headers_to_add: %w", err)
	}
	return t, nil
}

// tunnel is the request that carries a session's bytes, and what the request's pool is told to
// report to. The session is open once the answer's head says that the proxy has connected.
type tunnel struct {
	s    *session
	req  connpool.Request
	head header.Map
}

// tunnelled is the session as the handler of a downstream connection that is tunnelled.
type tunnelled session

// connectTunnel makes an attempt: a request to the host.
func (s *session) connectTunnel(h *cluster.LocalHost) {
	if s.tunnel == nil {
		s.tunnel = &tunnel{s: s}
		s.tunnel.req.Handler, s.tunnel.req.Meter = s.tunnel, &s.info.UpstreamMeter
		s.down.SetHandler((*tunnelled)(s))
	}
	t := s.tunnel
	t.req.Release() // an earlier attempt's
	if !t.writeHead() {
		s.info.TerminationDetails = "tunnel_host_invalid"
		s.refuse(streaminfo.UpstreamConnectionFailure)
		return
	}
	s.host = h
	s.info.Attempts++
	s.info.Tried(h.Host)
	s.info.UpstreamConnect = s.loop.Now()
	t.req.Connect = !s.p.tunnel.cfg.Post
	t.req.FromHTTP2 = true // where the cluster follows its clients, HTTP/2 is the better tunnel
	if up, ok := h.Host.Transport.(*transportsocket.Upstream); ok {
		t.wish(up)
	}
	connpool.For(s.loop, h).Start(&t.req)
}

// writeHead makes the request's head, but for the scheme. False: what the host is made of is not
// one, which a client may have brought about.
func (t *tunnel) writeHead() bool {
	s, p := t.s, t.s.p.tunnel
	ctx := format.Context{Info: &s.info}
	t.head.Reset()
	host := t.head.Built(p.host.Append(t.head.Build(), &ctx))
	if !http1.IsAuthority(host) {
		return false
	}
	t.head.SetString(header.Method, http.MethodConnect)
	t.head.Set(header.Authority, host)
	if p.cfg.Post {
		t.head.SetString(header.Method, http.MethodPost)
		t.head.SetString(header.Path, p.cfg.PostPath)
	}
	if name := p.cfg.RequestIDHeader; name != "" {
		id := t.head.Built(uuid.Append(t.head.Build(), s.loop.Rand(), s.loop.Rand()))
		t.head.SetName(name, id)
		s.info.SetMetadata("envoy.filters.network.tcp_proxy", p.cfg.RequestIDKey, string(id))
	}
	p.headers.Apply(&t.head, &ctx)
	return true
}

// wish is session.wish for the connection under the request.
func (t *tunnel) wish(up *transportsocket.Upstream) {
	s, w := t.s, &t.req.Wish
	down := s.down.Info()
	if up.TLS != nil {
		s.info.UpstreamTLS = true
		w.ServerName = filterstate.String(down.State.Get(filterstate.UpstreamServerName))
		w.Names = filterstate.String(down.State.Get(filterstate.UpstreamSubjectAltNames))
		opt := &s.local.Config().HTTP
		w.NameHost(string(t.head.Value(header.Authority)), opt.AutoSNI, opt.AutoSANValidation)
	}
	if up.Proxy != nil {
		tlvs := s.p.cfg.Merge(down.ProxyTLVs)
		w.Client, t.req.TLVs = up.ClientOf(down.RemoteAddr, down.LocalAddr, tlvs), tlvs
	}
}

// OnReady implements connpool.Handler, as do the methods below.
func (t *tunnel) OnReady(req *connpool.Request) {
	s := t.s
	s.host.OnResult(cluster.Result{Kind: cluster.ResultReady})
	if s.p.tunnel.cfg.Post {
		scheme := "http"
		if s.info.UpstreamTLS {
			scheme = "https"
		}
		t.head.SetString(header.Scheme, scheme)
	}
	s.armIdle() // a proxy that never answers is idle, too
	req.SendHead(&t.head, false)
}

// OnFailure: there is no connection.
func (t *tunnel) OnFailure(_ *connpool.Request, why connpool.Reason, err *conn.Error) {
	if why == connpool.ReasonOverflow {
		t.s.refuse(streaminfo.UpstreamOverflow)
		return
	}
	if err != nil {
		t.s.info.UpstreamFailure = err.TransportFailureReason()
	}
	t.failed()
}

// failed makes the next attempt, or gives up.
func (t *tunnel) failed() {
	t.s.loop.Disarm(&t.s.idle)
	t.s.attemptFailed()
}

// OnInterim drops what comes ahead of the answer.
func (t *tunnel) OnInterim(*connpool.Request) {}

// OnResponse is the head of the answer: any 2xx opens the tunnel in HTTP/1 (RFC 9110, 9.3.6), and
// as in Envoy 200 does in HTTP/2.
func (t *tunnel) OnResponse(req *connpool.Request, end bool) {
	s := t.s
	status := req.Message.Status
	s.host.OnResult(cluster.Result{Kind: cluster.ResultResponse, Code: status})
	if status/100 != 2 || req.HTTP2() && status != http.StatusOK {
		s.info.UpstreamFailure = "tunnel_response:" + strconv.Itoa(status)
		if req.Active() {
			req.Cancel()
		}
		t.failed()
		return
	}
	i := req.Info()
	s.upOpen = true
	s.info.UpstreamConnected = s.loop.Now()
	s.info.UpstreamLocal, s.info.UpstreamRemote = i.LocalAddr, i.RemoteAddr
	s.info.UpstreamURI, s.info.UpstreamTLSState, s.info.UpstreamConnectionID = i.PeerURI, i.TLS, i.ID
	s.info.UpstreamProtocol = streaminfo.HTTP11
	if req.HTTP2() {
		s.info.UpstreamProtocol = streaminfo.HTTP2
	}
	s.info.Flags &^= streaminfo.UpstreamConnectionFailure // an earlier attempt's
	s.info.UpstreamFailure = ""
	if s.p.cfg.LogOnConnected {
		s.entry(format.TCPUpstreamConnected)
	}
	if s.readDown = s.downstreamExchanges(); s.readDown {
		s.down.Out().Append(s.p.d.Exchange.Preamble)
		s.down.FlushLater()
	} else {
		s.opened()
	}
	if s.meter != nil {
		s.loop.Arm(&s.report, reportEvery)
	}
	s.active()
	if end {
		t.ended()
		return
	}
	s.down.ResumeRead()
}

// OnData is what the other end says.
func (t *tunnel) OnData(req *connpool.Request, p []byte, end bool) {
	s := t.s
	if len(p) > 0 {
		s.info.BytesSent += uint64(len(p))
		s.info.UpstreamRxBytes += uint64(len(p))
		s.info.DownstreamMeter.Put(len(p))
		s.count(txBytes, uint64(len(p)))
		s.down.Write(p)
	}
	s.active()
	if end {
		t.ended()
		return
	}
	if s.down.AboveHighWatermark() {
		req.PauseResponse()
		s.local.Inc(cluster.FlowControlPausedReadingTotal)
	}
}

// OnTrailers ends what the other end says.
func (t *tunnel) OnTrailers(*connpool.Request) { t.ended() }

// ended: the answer has ended, and with it the request.
func (t *tunnel) ended() {
	t.s.upOpen = false
	t.s.down.Close(conn.CloseAfterFlush)
}

// OnReset: the tunnel broke, or never opened.
func (t *tunnel) OnReset(_ *connpool.Request, why connpool.Reason, err error) {
	s := t.s
	var ce *conn.Error
	if errors.As(err, &ce) {
		s.info.UpstreamFailure = ce.TransportFailureReason()
	}
	s.host.OnResult(cluster.Result{Kind: cluster.ResultReset})
	if !s.upOpen {
		t.failed()
		return
	}
	s.upOpen = false
	if s.down.Pending() > 0 {
		s.down.Close(conn.CloseAfterFlush)
		return
	}
	s.down.Close(conn.CloseReset) // an end would make a broken answer look whole
}

// OnWritable: the host has taken what was pending.
func (t *tunnel) OnWritable(*connpool.Request) {
	t.s.count(resumedReading, 1)
	t.s.down.ResumeRead()
}

// OnData implements conn.Handler for downstream, as do the methods below.
func (d *tunnelled) OnData(c *conn.Conn, eof bool) {
	s := (*session)(d)
	req := &s.tunnel.req
	if !s.upOpen {
		s.early(c, eof)
		return
	}
	if s.readDown && !s.meet(c, eof, &s.readDown, &s.info.DownstreamPeer) {
		return
	}
	n := c.In().Len()
	if n > 0 || eof {
		s.info.BytesReceived += uint64(n)
		s.info.UpstreamTxBytes += uint64(n)
		s.info.DownstreamMeter.Got(n)
		s.count(rxBytes, uint64(n))
		req.SendData(c.In().Bytes(), eof)
		c.In().Reset()
	}
	if !eof && req.Blocked() {
		c.PauseRead()
		s.count(pausedReading, 1)
	}
	s.active()
}

// OnWritable: downstream has taken half of what was pending.
func (d *tunnelled) OnWritable(*conn.Conn) {
	if d.upOpen {
		d.local.Inc(cluster.FlowControlResumedReadingTotal)
		d.tunnel.req.ResumeResponse()
	}
}

// OnClose: downstream is gone, and the request with it.
func (d *tunnelled) OnClose(_ *conn.Conn, err error) {
	s := (*session)(d)
	s.info.DownstreamClose = streaminfo.CloseTypeOf(err)
	if s.tunnel.req.Active() {
		s.tunnel.req.Cancel()
	}
	s.finish()
	s.tunnel.req.Release()
}

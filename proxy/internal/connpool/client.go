package connpool

import (
	"errors"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Client is one upstream connection.
type Client struct {
	c          *conn.Conn
	pool       *Pool
	next, prev *Client
	req        *Request // nil: idle or connecting
	body       http1.Body
	scanned    int
	requests   uint32
	inBody     bool
	isIdle     bool
	connecting bool
	whole      bool // while OnResponse is told: all of the response has been read
	spared     bool // cancelled in that call, and left open
	counted    bool // holds one of the connections that the breaker counts
	high       bool
	local      bool                         // closed by us
	remote     bool                         // and only because the peer had ended
	draining   bool                         // serves no further request
	speaks     xdsresource.UpstreamProtocol // as the cluster was configured when the connection began
	mux        *mux                         // HTTP/2; nil: HTTP/1, or not known yet
	began      int64
	in, out    uint64 // bytes that are counted
	idleSince  int64
	idle       eventloop.Timer
}

// OnConnected implements conn.ConnectHandler.
func (c *Client) OnConnected(cn *conn.Conn) {
	c.connecting = false
	c.pool.local.CountAttempts(cn.Info().Attempts)
	c.pool.connecting--
	c.pool.local.Record(cluster.CxConnectMs, uint64(c.pool.loop.Now()-c.began)/1e6)
	if st := cn.Info().TLS; st != nil {
		c.pool.local.TLS().Done(st)
	}
	if c.pool.closed && c.pool.first == nil {
		c.close()
		return
	}
	p, v := c.pool, c.agreed(cn.Info().ALPN)
	if c.speaks == xdsresource.UpstreamAuto {
		p.countVersion(v)
	}
	old := c.speaks != p.version() // the cluster speaks another by now: this one is for those who wait for it
	if v == xdsresource.UpstreamHTTP2 {
		m := newMux(c)
		p.serve()
		if old {
			m.retire()
		}
		return
	}
	if c.draining = old; old && p.first == nil {
		c.close()
		return
	}
	p.ready(c)
	for p.first != nil && p.tooFew() { // it was to be one of HTTP/2, for all that wait
		if !p.connect(p.first.HighPrio) {
			break
		}
	}
}

// OnData implements conn.Handler.
func (c *Client) OnData(cn *conn.Conn, eof bool) {
	r := c.req
	if r == nil {
		// An idle connection has nothing to say but its end; bytes are a response to
		// nothing and would be taken for the answer of the next request.
		c.remote = eof
		if cn.In().Len() > 0 {
			c.pool.local.Inc(cluster.CxProtocolError)
		}
		c.close()
		return
	}
	for !c.inBody {
		done, ok := c.readHead(cn, r, eof)
		if done || c.req != r {
			return
		}
		if !ok {
			break
		}
	}
	if p := cn.In().Bytes(); len(p) > 0 && c.inBody {
		c.feed(r, p)
		cn.In().Reset() // nothing of it is kept; what was left over has closed the connection
		if c.req != r {
			return
		}
	}
	if eof {
		c.ended(r)
	}
}

// readHead parses a response's head. done: the call is over for this request. ok is false
// when more bytes are needed.
func (c *Client) readHead(cn *conn.Conn, r *Request, eof bool) (done, ok bool) {
	l := c.pool.limits()
	n, err := http1.ParseResponse(cn.In().Bytes(), &r.Response, &r.Message, &l, r.Head, r.Connect, &c.scanned)
	if err != nil {
		c.broken(r, err)
		return true, false
	}
	if n == 0 {
		return false, false
	}
	c.scanned = 0
	r.Meter.GotHead(n, r.Message.FieldBytes, r.Message.FieldBytes)
	if r.Message.Status == 101 && !r.Upgrade {
		c.broken(r, http1.ErrSwitch)
		return true, false
	}
	if s := r.Message.Status; s/100 == 1 && s != 101 {
		r.Handler.OnInterim(r)
		if c.req != r {
			return true, false
		}
		r.Response.Reset()
		cn.In().Drain(n)
		return false, cn.In().Len() > 0
	}
	c.inBody = true
	// The block that was read into goes to the request whole, so that nothing is copied and
	// the headers stay valid while the body streams.
	r.block = cn.In().Take(cn.In().Len())
	rest := r.block.Bytes()[n:]
	c.body.Start(&r.Message)
	if c.body.Done() {
		c.remote = eof
		reuse := c.complete(r, len(rest) == 0 && !eof)
		r.Handler.OnResponse(r, true)
		c.settle(reuse)
		return true, false
	}
	c.whole = r.Message.Framing == http1.ByLength && uint64(len(rest)) == r.Message.Length && !eof
	r.Handler.OnResponse(r, false)
	c.whole = false
	if c.spared {
		c.spared = false
		c.settle(!c.pool.used(c))
		return true, false
	}
	if c.req != r {
		return true, false
	}
	if len(rest) > 0 {
		c.feed(r, rest)
		if c.req != r {
			return true, false
		}
	}
	if eof {
		c.ended(r)
		return true, false
	}
	return false, true
}

// feed hands body bytes over. A piece is held back until it is known whether it is the last,
// so that the end comes with it and not as an event, and a write, of its own.
func (c *Client) feed(r *Request, p []byte) {
	var held []byte
	for len(p) > 0 && !c.body.Done() {
		data, n, err := c.body.Next(p)
		if err != nil {
			c.broken(r, err)
			return
		}
		p = p[n:]
		r.Meter.Got(n)
		if len(data) == 0 {
			continue
		}
		if len(held) > 0 {
			r.Handler.OnData(r, held, false)
			if c.req != r {
				return
			}
		}
		held = data
	}
	if !c.body.Done() {
		if len(held) > 0 {
			r.Handler.OnData(r, held, false)
		}
		return
	}
	trailers, err := c.body.Trailers(&r.Trailers)
	if err != nil {
		c.broken(r, err)
		return
	}
	trailers = trailers && c.pool.local.Config().HTTP.HTTP1.EnableTrailers
	if trailers {
		r.Meter.GotHead(0, http1.FieldBytes(&r.Trailers), 0)
	}
	if trailers && len(held) > 0 {
		if r.Handler.OnData(r, held, false); c.req != r {
			return
		}
	}
	reuse := c.complete(r, len(p) == 0)
	if trailers {
		r.Handler.OnTrailers(r)
	} else {
		r.Handler.OnData(r, held, true)
	}
	c.settle(reuse)
}

// ended handles the peer's orderly end while a response is expected. A response that is cut
// off is no HTTP, to Envoy's flags and statistics as well.
func (c *Client) ended(r *Request) {
	c.remote = !r.Raw || r.finished // else it is we who close what has ended on one side
	if c.inBody && c.body.EndsWithClose() {
		c.complete(r, false)
		r.Handler.OnData(r, nil, true)
		c.settle(false)
		return
	}
	why := Termination
	if c.inBody || c.c.In().Len() > 0 {
		why = ProtocolError
		c.pool.local.Inc(cluster.CxProtocolError)
	}
	c.detach()
	c.countActive()
	c.close()
	r.Handler.OnReset(r, why, nil)
}

func (c *Client) broken(r *Request, err *http1.Error) {
	c.pool.local.Inc(cluster.CxProtocolError)
	c.detach()
	c.countActive()
	c.close()
	r.Handler.OnReset(r, ProtocolError, err)
}

// countActive counts a connection that ends with a request under way.
func (c *Client) countActive() {
	c.pool.local.Inc(cluster.CxDestroyWithActiveRq)
	if c.remote {
		c.pool.local.Inc(cluster.CxDestroyRemoteWithActiveRq)
	} else {
		c.pool.local.Inc(cluster.CxDestroyLocalWithActiveRq)
	}
}

// complete takes the request off the connection before its last event is told, so that
// whoever ends the request in that call does not cancel it. It reports whether the connection
// may serve another one: nothing was left over (clean), both sides ended in order, and it has
// not served long enough. settle follows, after the call.
func (c *Client) complete(r *Request, clean bool) bool {
	if !r.finished {
		c.countActive() // the request is cut off
	}
	reuse := clean && r.finished && r.Message.KeepAlive && r.Message.Framing != http1.Tunnel && !c.c.Closed() && !c.c.PeerEnded()
	if !clean && !c.remote && !r.Raw {
		c.pool.local.Inc(cluster.CxProtocolError) // bytes behind the response
	}
	if r.finished && r.Message.Closes {
		c.pool.local.Inc(cluster.CxCloseNotify)
	}
	c.detach()
	return reuse && !c.pool.used(c)
}

func (c *Client) settle(reuse bool) {
	if !reuse || c.c.Closed() {
		c.close()
		return
	}
	if c.c.ReadPaused() {
		c.c.ResumeRead()
	}
	c.pool.ready(c)
}

// detach takes the request off the connection.
func (c *Client) detach() {
	r := c.req
	c.req = nil
	r.client = nil
	c.countBytes()
	p := c.pool
	p.local.GaugeAdd(cluster.RqActive, -1)
	p.local.Release(cluster.Requests, r.HighPrio)
	p.host.OnDone()
}

func (c *Client) close() {
	if c.c.Closed() {
		return
	}
	c.local = true
	c.removeIdle()
	c.c.Close(conn.CloseNow)
}

func (c *Client) removeIdle() {
	if !c.isIdle {
		return
	}
	c.isIdle = false
	p := c.pool
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i] == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

// OnWritable implements conn.Handler.
func (c *Client) OnWritable(*conn.Conn) {
	if r := c.req; r != nil {
		r.Handler.OnWritable(r)
	}
}

// OnClose implements conn.Handler.
func (c *Client) OnClose(cn *conn.Conn, err error) {
	p := c.pool
	c.removeIdle()
	p.loop.Disarm(&c.idle)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.all = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	p.conns--
	p.local.GaugeAdd(cluster.CxActive, -1)
	c.countBytes()
	p.local.Record(cluster.CxLengthMs, uint64(p.loop.Now()-c.began)/1e6)
	if !c.connecting {
		p.local.Record(cluster.RqPerCx, uint64(c.requests))
	}
	p.host.OnDisconnected()
	if c.counted {
		p.local.Release(cluster.Connections, c.high)
	}
	c.countDestroy()
	var ce *conn.Error
	if errors.As(err, &ce) && ce.Kind == conn.TLS {
		p.local.TLS().Failed(err)
	}
	if c.connecting {
		p.local.CountAttempts(cn.Info().Attempts)
		p.connecting--
		if !c.local {
			p.failed(ce)
		}
	}
	if r := c.req; r != nil {
		why := Termination
		if c.inBody && !r.Raw {
			why = ProtocolError
			p.local.Inc(cluster.CxProtocolError)
		}
		c.remote = !c.local
		c.detach()
		c.countActive()
		r.Handler.OnReset(r, why, err)
	}
	// Requests may wait for a connection that the breaker did not allow before.
	if p.first != nil && p.tooFew() {
		p.connect(p.first.HighPrio)
	}
	p.forget()
}

// countBytes counts what has gone over the connection since the last call: with each request that ends, so that a
// connection that stays shows what it carries.
func (c *Client) countBytes() {
	in, out := c.c.Bytes()
	c.pool.local.Add(cluster.CxRxBytesTotal, in-c.in)
	c.pool.local.Add(cluster.CxTxBytesTotal, out-c.out)
	c.in, c.out = in, out
}

func (c *Client) countDestroy() {
	c.pool.local.Inc(cluster.CxDestroy)
	if c.local && !c.remote {
		c.pool.local.Inc(cluster.CxDestroyLocal)
	} else {
		c.pool.local.Inc(cluster.CxDestroyRemote)
	}
}

// armIdle begins the time-outs of an idle connection. The timer is left running while the
// connection is used and looks at the clock when it fires, so that a busy connection never
// touches it.
func (c *Client) armIdle() {
	c.idleSince = c.pool.loop.Now()
	if c.idle.Armed() {
		return
	}
	if d, _ := c.expiry(); d > 0 {
		c.idle.Init(c.onIdle)
		c.pool.loop.Arm(&c.idle, d)
	}
}

// expiry is how long the idle connection may stay, and what is counted then; 0: for ever.
func (c *Client) expiry() (time.Duration, cluster.Stat) {
	cfg, now := &c.pool.local.Config().HTTP, c.pool.loop.Now()
	var left time.Duration
	why := cluster.CxIdleTimeout
	if cfg.IdleTimeout > 0 {
		left = max(time.Duration(c.idleSince+int64(cfg.IdleTimeout)-now), 1)
	}
	if cfg.MaxConnectionDuration > 0 {
		if d := max(time.Duration(c.began+int64(cfg.MaxConnectionDuration)-now), 1); left == 0 || d < left {
			left, why = d, cluster.CxMaxDurationReached
		}
	}
	return left, why
}

func (c *Client) onIdle() {
	if !c.isIdle {
		return
	}
	switch left, why := c.expiry(); left {
	case 0: // there is no time-out any more
	case 1:
		c.pool.local.Inc(why)
		c.close()
	default:
		c.pool.loop.Arm(&c.idle, left)
	}
}

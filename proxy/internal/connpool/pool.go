package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Pool is the connections of one worker to one host.
type Pool struct {
	loop  *eventloop.Loop
	host  *cluster.LocalHost
	local *cluster.Local

	idle       []*Client // HTTP/1; the last is the most recently used
	muxes      []*mux    // HTTP/2
	streams    http2.Pool
	first      *Request // waiting, in order
	last       *Request
	waiting    int
	connecting int
	conns      int // all connections
	closed     bool
	all        *Client // every connection, for Close

	// Pools of requests with wishes or of another version of HTTP, under the host's pool; nil without.
	named map[poolKey]*Pool
	name  poolKey
	main  *Pool               // the host's pool, in one of these
	tlvs  []proxyprotocol.TLV // of the client that the pool was made for
}

// poolKey is what the connections of one pool were made for, whether they follow clients that speak HTTP/2
// (use_downstream_protocol_config), and which client has them for itself.
type poolKey struct {
	wish       transportsocket.Wish
	http2      bool
	raw        bool   // without HTTP
	downstream uint64 // whose connections they are (connection_pool_per_downstream_connection); 0: everybody's
}

// For returns the pool of a host on the loop's worker and makes it at first use.
func For(l *eventloop.Loop, h *cluster.LocalHost) *Pool {
	if p, ok := h.Pool.(*Pool); ok {
		return p
	}
	p := &Pool{loop: l, host: h, local: h.Local}
	h.Pool = p
	return p
}

// Start gives the request a connection: an idle one at once, else it waits for a new one.
func (p *Pool) Start(r *Request) {
	if cfg := p.local.Config(); !r.Wish.Nothing() || r.Raw || cfg.PoolPerDownstream || r.FromHTTP2 && cfg.HTTP.Protocol == xdsresource.UpstreamAsDownstream {
		p = p.forKey(p.key(r), r.TLVs)
	}
	r.pool = p
	r.finished = false
	if m := p.room(r); m != nil {
		p.assign(m, r)
		return
	}
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if !c.c.Open() {
			continue // its OnClose is on the way
		}
		c.isIdle = false
		high := r.HighPrio
		p.attach(c, r)
		p.preconnect(high)
		return
	}
	if !p.local.Try(cluster.Pending, r.HighPrio) {
		p.local.Inc(cluster.RqPendingOverflow)
		r.Handler.OnFailure(r, ReasonOverflow, nil)
		return
	}
	p.link(r)
	high := r.HighPrio
	if p.tooFew() { // else a connection under way to nobody is for this request
		p.connect(high)
	}
	p.preconnect(high)
}

// preconnect makes connections ahead of requests, as many as the ratio asks for of those that
// wait or are under way. As in Envoy at most three at a time, and none to a host in doubt.
func (p *Pool) preconnect(high bool) {
	ratio := p.local.Config().PreconnectRatio
	if ratio <= 1 || p.closed || len(p.muxes) > 0 || p.version() == xdsresource.UpstreamHTTP2 || !p.host.Host.Healthy() {
		return
	}
	for range 3 {
		busy := p.conns - p.connecting - len(p.idle)
		if float64(p.waiting+busy)*ratio <= float64(p.conns) || !p.connect(high) {
			return
		}
	}
}

// key is which of the host's pools a request belongs to.
func (p *Pool) key(r *Request) poolKey {
	cfg := p.local.Config()
	k := poolKey{wish: r.Wish, raw: r.Raw, http2: !r.Raw && r.FromHTTP2 && cfg.HTTP.Protocol == xdsresource.UpstreamAsDownstream}
	if cfg.PoolPerDownstream {
		k.downstream = r.Downstream
	}
	return k
}

// forKey returns a pool under the host's pool.
func (p *Pool) forKey(n poolKey, tlvs []proxyprotocol.TLV) *Pool {
	sub := p.named[n]
	if sub == nil {
		sub = &Pool{loop: p.loop, host: p.host, local: p.local, name: n, main: p, tlvs: tlvs, closed: p.closed}
		if p.named == nil {
			p.named = make(map[poolKey]*Pool)
		}
		p.named[n] = sub
	}
	return sub
}

// forget drops the pool of a server name that has nothing left, so that clients who make up
// names do not fill memory.
func (p *Pool) forget() {
	if p.main != nil && p.conns == 0 && p.first == nil && p.main.named[p.name] == p {
		delete(p.main.named, p.name)
	}
}

// connect begins a connection, unless the breaker is open. It does not hold back the first
// one, as in Envoy: else a pool could starve for ever.
func (p *Pool) connect(high bool) bool {
	taken := p.host.TryConnection(high)
	if !taken {
		p.local.Inc(cluster.CxOverflow)
		if p.conns > 0 {
			return false
		}
	}
	o := conn.Upstream(p.local.Config())
	o.Addresses = p.host.Host.Info().Addresses
	if t, ok := p.host.Host.Transport.(*transportsocket.Upstream); ok {
		o.TLS, o.Wish = t.TLS, p.name.wish
		t.Complete(&o.Wish, p.host.Host.Hostname)
		if t.TLS != nil && o.Wish.ALPN == "" && !p.name.raw {
			o.Wish.ALPN = p.alpn(t.TLS)
		}
		o.Header = t.Header(&o.Wish, p.tlvs, p.host.Host.Info().TLVs, p.local.CountLostTLVs)
	}
	c := &Client{pool: p, counted: taken, high: high, connecting: true, began: p.loop.Now(), speaks: p.version()}
	c.next = p.all
	if p.all != nil {
		p.all.prev = c
	}
	p.all = c
	p.conns++
	p.connecting++
	p.local.Inc(cluster.CxTotal)
	if c.speaks != xdsresource.UpstreamAuto && !p.name.raw { // else the handshake tells
		p.countVersion(c.speaks)
	}
	p.local.GaugeAdd(cluster.CxActive, 1)
	p.host.OnConnecting()
	c.c = conn.Dial(p.loop, p.host.Host.Address, o, c)
	return true
}

// ready puts a connection to work, or among the idle ones.
func (p *Pool) ready(c *Client) {
	if r := p.first; r != nil {
		p.unlink(r)
		p.attach(c, r)
		return
	}
	if p.closed {
		c.close()
		return
	}
	c.isIdle = true
	p.idle = append(p.idle, c)
	c.armIdle()
}

func (p *Pool) attach(c *Client, r *Request) {
	if !p.local.Try(cluster.Requests, r.HighPrio) {
		p.local.Inc(cluster.RqActiveOverflow)
		p.ready(c)
		r.Handler.OnFailure(r, ReasonOverflow, nil)
		return
	}
	c.req = r
	c.requests++
	c.scanned = 0
	c.inBody = false
	r.client = c
	p.local.Inc(cluster.RqTotal)
	p.local.GaugeAdd(cluster.RqActive, 1)
	p.host.OnRequest()
	r.Handler.OnReady(r)
}

// failed is told of a connection that could not be made. As in Envoy everything that waits
// fails with it, so that the caller can decide, instead of trying one after the other here.
func (p *Pool) failed(err *conn.Error) {
	why := ReasonConnectFailure
	kind := cluster.ResultConnectFailed
	if err != nil && (err.Kind == conn.ConnectTimeout || err.Kind == conn.HandshakeTimeout) {
		why, kind = ReasonConnectTimeout, cluster.ResultConnectTimeout
		p.local.Inc(cluster.CxConnectTimeout)
	}
	p.local.Inc(cluster.CxConnectFail)
	p.host.OnResult(cluster.Result{Kind: kind})
	p.eject(why, err)
}

// eject fails everything that waits, but for what comes to wait meanwhile.
func (p *Pool) eject(why Reason, err *conn.Error) {
	n := 0
	for r := p.first; r != nil; r = r.next {
		n++
	}
	for ; n > 0 && p.first != nil; n-- {
		r := p.first
		p.unlink(r)
		p.local.Inc(cluster.RqPendingFailureEject)
		r.Handler.OnFailure(r, why, err)
	}
}

func (p *Pool) link(r *Request) {
	r.pending = true
	r.next, r.prev = nil, p.last
	if p.last != nil {
		p.last.next = r
	} else {
		p.first = r
	}
	p.last = r
	p.waiting++
	p.local.Inc(cluster.RqPendingTotal)
	p.local.GaugeAdd(cluster.RqPendingActive, 1)
	p.host.OnWaiting(1)
}

func (p *Pool) unlink(r *Request) {
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		p.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		p.last = r.prev
	}
	r.next, r.prev, r.pending = nil, nil, false
	p.waiting--
	p.local.GaugeAdd(cluster.RqPendingActive, -1)
	p.host.OnWaiting(-1)
	p.local.Release(cluster.Pending, r.HighPrio)
}

// Close implements cluster.Pool: the host has left. Idle connections go now, busy ones after
// their exchange; requests that wait keep their connection attempts.
func (p *Pool) Close() {
	p.closed = true
	for _, sub := range p.named {
		sub.Close()
	}
	for c := p.all; c != nil; {
		next := c.next
		switch {
		case c.isIdle || c.connecting && p.first == nil:
			c.close()
		case c.mux != nil:
			c.mux.retire()
		}
		c = next
	}
}

// Drain implements cluster.Pool: connections that exist serve no further request.
func (p *Pool) Drain() {
	for _, sub := range p.named {
		sub.Drain()
	}
	for c := p.all; c != nil; {
		next := c.next
		switch {
		case c.isIdle:
			c.close()
		case c.mux != nil:
			c.mux.retire()
		case !c.connecting:
			c.draining = true
		}
		c = next
	}
}

// Abort implements cluster.Pool: connections end with what is under way on them. Requests that
// wait try anew.
func (p *Pool) Abort() {
	for _, sub := range p.named {
		sub.Abort()
	}
	for c := p.all; c != nil; {
		next := c.next
		c.close()
		c = next
	}
}

func (p *Pool) limits() http1.Limits {
	o := &p.local.Config().HTTP
	return http1.Limits{MaxHeadBytes: int(o.MaxResponseHeadersKB) << 10, MaxHeaders: int(o.MaxResponseHeaders), AcceptHTTP10: true, Case: o.HTTP1.PreserveCase}
}

// used reports whether the connection has served as many requests, or lived as long, as it may.
func (p *Pool) used(c *Client) bool {
	if limit := p.maxRequests(); limit > 0 && c.requests >= limit {
		p.local.Inc(cluster.CxMaxRequests)
		return true
	}
	if d := p.local.Config().HTTP.MaxConnectionDuration; d > 0 && p.loop.Now()-c.began >= int64(d) {
		p.local.Inc(cluster.CxMaxDurationReached)
		return true
	}
	return p.closed || c.draining
}

// maxRequests is how many requests a connection serves, 0 for any number.
func (p *Pool) maxRequests() uint32 {
	cfg := p.local.Config()
	if n := cfg.HTTP.MaxRequestsPerConnection; n > 0 {
		return n
	}
	return cfg.MaxRequestsPerConnection
}

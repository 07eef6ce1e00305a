package router

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// mirrorTimeout bounds a mirrored request whose route has no time-out: nobody waits for its answer, so nobody else would end it.
const mirrorTimeout = 15 * time.Second

// mirror is a copy of a request on its way to another cluster. It outlives the stream: its answer is read and dropped. A mirror never
// slows the request that it copies; one that cannot keep up is given up.
type mirror struct {
	loop  *eventloop.Loop
	local *cluster.Local
	host  *cluster.LocalHost
	req   connpool.Request
	open  bool // the host takes the request
	h     header.Map
	body  iobuf.Buffer // before the connection is there
	limit int
	ended bool
	over  bool
	timer eventloop.Timer
}

// beginMirrors starts the copies that the route asks for.
func (r *router) beginMirrors(end bool) {
	for i := range r.forward.Mirrors {
		p := &r.forward.Mirrors[i]
		if !p.Fraction.HitOr(r.s.Random(), true) {
			continue
		}
		name := p.Cluster
		if p.ClusterHeader != "" {
			v, _ := r.h.GetName(p.ClusterHeader)
			name = string(v)
		}
		local := r.clusters.Get(name)
		if local == nil {
			continue // as in Envoy: a mirror without a cluster is no fault of the request
		}
		host := local.Pick(&lb.Context{Rand: r.loop.Rand(), Subset: r.lb.Subset, Hasher: unasked{r}})
		if host == nil {
			local.Inc(cluster.CxNoneHealthy)
			continue
		}
		m := &mirror{loop: r.loop, local: local, host: host, limit: r.s.BufferLimit()}
		m.body.Init(r.loop.Buffers())
		if r.copies != (stats.Block{}) {
			asyncclient.CountRequest(r.shard, r.copies)
		}
		r.copyHead(m, p)
		m.start(end, r.limits.global)
		if !m.over {
			r.mirrors = append(r.mirrors, m)
		}
	}
}

// unasked hashes a request for its mirrors: their answers reach nobody, and neither does a cookie.
type unasked struct{ r *router }

// HashBy implements lb.Hasher.
func (u unasked) HashBy(policies []xdsresource.HashPolicy) (hash uint64, ok bool) {
	hash, ok, _ = route.Hash(policies, u.r.hashInput(), nil)
	return hash, ok
}

// copyHead makes the mirror's head as Envoy's shadow writer does: host with "-shadow", the proxy's address behind the client's, a span
// of its own.
func (r *router) copyHead(m *mirror, p *route.Mirror) {
	r.h.CopyTo(&m.h)
	p.Headers.Apply(&m.h, &r.ctx)
	switch {
	case p.Host != "":
		m.h.SetString(header.Authority, p.Host)
	case !p.DisableShadowHostSuffix:
		m.h.Set(header.Authority, shadowHost(m.h.Value(header.Authority)))
	}
	if r.localAddress.IsValid() {
		appendForwardedFor(&m.h, r.localAddress)
	}
	m.h.SetString(header.XEnvoyInternal, "true")
	if t := &r.s.Info().Trace; t.Segment != nil {
		t.Segment.InjectOther(&m.h, string(m.h.Value(header.Authority)))
	} else if t.Valid() {
		c := t.Context()
		c.Mirror(&m.h, r.loop, p.TraceSampled)
	}
}

// shadowHost inserts "-shadow" before the port.
func shadowHost(authority []byte) []byte {
	at := len(authority)
	for i := len(authority) - 1; i >= 0; i-- {
		if c := authority[i]; c == ':' {
			at = i
			break
		} else if c < '0' || c > '9' {
			break
		}
	}
	out := make([]byte, 0, len(authority)+len("-shadow"))
	out = append(out, authority[:at]...)
	out = append(out, "-shadow"...)
	return append(out, authority[at:]...)
}

func appendForwardedFor(h *header.Map, a netip.Addr) {
	old := h.Value(header.XForwardedFor)
	b := append([]byte(nil), old...)
	if len(b) > 0 {
		b = append(b, ',')
	}
	h.Set(header.XForwardedFor, a.AppendTo(b))
}

func (m *mirror) start(end bool, timeout time.Duration) {
	m.ended = end
	m.req.Handler = m
	m.req.Head = string(m.h.Value(header.Method)) == "HEAD"
	if timeout <= 0 {
		timeout = mirrorTimeout
	}
	m.timer.Init(m.giveUp)
	m.loop.Arm(&m.timer, timeout)
	connpool.For(m.loop, m.host).Start(&m.req)
}

// finish releases everything.
func (m *mirror) finish() {
	if m.over {
		return
	}
	m.over = true
	m.open = false
	m.loop.Disarm(&m.timer)
	if m.req.Active() {
		m.req.Cancel()
	}
	m.req.Release()
	m.body.Reset()
}

func (m *mirror) giveUp() { m.finish() }

// streamOver says that the copied stream is gone. A copy that was not sent in full can never be.
func (m *mirror) streamOver() {
	if !m.ended {
		m.finish()
	}
}

func (m *mirror) send(p []byte, end bool) {
	if m.over {
		return
	}
	m.ended = m.ended || end
	if !m.open {
		if m.body.Len()+len(p) > m.limit {
			m.finish()
			return
		}
		m.body.Append(p)
		return
	}
	if m.req.Blocked() {
		m.finish()
		return
	}
	m.req.SendData(p, end)
}

func (m *mirror) sendTrailers(*header.Map) { m.send(nil, true) }

// OnReady implements connpool.Handler.
func (m *mirror) OnReady(req *connpool.Request) {
	m.open = true
	end := m.ended && m.body.Len() == 0
	req.SendHead(&m.h, end)
	if m.body.Len() > 0 {
		req.SendData(m.body.Bytes(), m.ended)
		m.body.Reset()
	}
}

// OnFailure implements connpool.Handler.
func (m *mirror) OnFailure(*connpool.Request, connpool.Reason, *conn.Error) { m.finish() }

// OnInterim implements connpool.Handler.
func (m *mirror) OnInterim(*connpool.Request) {}

// OnResponse implements connpool.Handler: the answer counts for the host, and is dropped.
func (m *mirror) OnResponse(req *connpool.Request, end bool) {
	m.host.OnResult(cluster.Result{Kind: cluster.ResultResponse, Code: req.Message.Status})
	m.local.CountResponse(req.Message.Status, true)
	if end {
		m.finish()
	}
}

// OnData implements connpool.Handler.
func (m *mirror) OnData(_ *connpool.Request, _ []byte, end bool) {
	if end {
		m.finish()
	}
}

// OnTrailers implements connpool.Handler.
func (m *mirror) OnTrailers(*connpool.Request) { m.finish() }

// OnReset implements connpool.Handler.
func (m *mirror) OnReset(*connpool.Request, connpool.Reason, error) {
	m.host.OnResult(cluster.Result{Kind: cluster.ResultReset})
	m.finish()
}

// OnWritable implements connpool.Handler.
func (m *mirror) OnWritable(*connpool.Request) {}

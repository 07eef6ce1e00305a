package hcm

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/http2/options"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Deps is what a manager needs of the process.
type Deps struct {
	// Workers is the number of event loops.
	Workers   int
	Direction xdsresource.Direction // of the listener
	Stats     *stats.Store
	// ListenerStats is the scope of the listener, in which answers are counted once more; zero: nowhere.
	ListenerStats stats.Scope
	// Routes returns the current route table, nil when there is none (404 to everything). It
	// is called for every request, on the loops: an atomic load (RDS: the Load of the table's
	// pointer). nil: the inline route configuration of the connection manager.
	Routes func() *route.Table
	// Scopes returns what finds the route table by a request's headers, each time that its route is
	// looked up: an atomic load. nil: Routes says which it is.
	Scopes func() *route.Scopes
	// Cluster returns a worker's configuration of a cluster, nil when there is none; nil: there
	// are no clusters.
	Cluster func(worker int, name string) *xdsresource.Cluster
	// Filters are the factories in order; the last one's instances are httpfilter.Terminal.
	Filters    []httpfilter.Named
	AccessLogs []*accesslog.Logger
	// ChildSpans: calls upstream have spans of their own, as with spawn_upstream_span.
	ChildSpans bool
	// LocalAddress is this machine's address, which x-forwarded-for gets instead of
	// 127.0.0.1; invalid: 127.0.0.1 it is.
	LocalAddress netip.Addr
	Logger       *slog.Logger
	// Overload says when requests are to be shed and connections not to be kept; nil: never.
	Overload *overload.State
	// Spans takes what is traced; nil: contexts are propagated only. NodeID and NodeZone go into
	// the tags of spans.
	Spans            tracing.Reporter
	NodeID, NodeZone string
	Sampler          tracing.Sampler // decides what is traced; nil: the configuration's shares do
	NodeCluster      string          // for add_user_agent
}

// Manager is a configured connection manager; immutable but for the workers' pools.
type Manager struct {
	cfg         *xdsresource.HTTPConnectionManager
	deps        Deps
	limits      http1.Limits
	tracing     tracing.Policy
	spans       *spans
	routes      func() *route.Table
	http2       http2.Config
	stats       stats.Block
	codec       stats.Block // of HTTP/2
	perListener stats.Block
	// underscores are statistics of HTTP/1, and of HTTP/2.
	underscores [2]stats.Block
	replies     *replyConfig
	early       route.Mutations // of requests, before anything is read of them
	proxyName   string          // in Proxy-Status
	maxKept     int             // idle stream objects kept by a worker
	// disabled are the filters that run only where a route configures them, a bit each.
	disabled uint64
	workers  []atomic.Pointer[worker]
}

// New checks and prepares a configuration. It starts nothing. Errors say which field cannot
// be honoured.
func New(cfg *xdsresource.HTTPConnectionManager, d Deps) (*Manager, error) {
	fail := func(err error) (*Manager, error) {
		return nil, fmt.Errorf("HTTP connection manager %q: %w", cfg.StatPrefix, err)
	}
	if len(d.Filters) == 0 {
		return fail(errors.New("http_filters: there is none; the last must be the router"))
	}
	if len(d.Filters)-1 > maxFilters {
		return fail(fmt.Errorf("http_filters: %d filters before the router are too many, %d are supported", len(d.Filters)-1, maxFilters))
	}
	m := &Manager{
		cfg: cfg, deps: d, routes: d.Routes, maxKept: 1024,
		limits: http1.Limits{
			MaxHeadBytes: int(cfg.MaxRequestHeadersKB) << 10, MaxHeaders: int(cfg.MaxHeadersCount),
			AcceptHTTP10: cfg.AcceptHTTP10, AllowChunkedLength: cfg.AllowChunkedLength, Case: cfg.HTTP1.PreserveCase,
		},
		tracing: tracing.NewPolicy(cfg.Tracing, d.Direction, d.ChildSpans).Named(d.NodeCluster, d.NodeID).By(d.Sampler),
		workers: make([]atomic.Pointer[worker], d.Workers),
	}
	if rates, ok := d.Spans.(tracing.Rates); ok {
		m.tracing = m.tracing.WithRates(rates)
	}
	for i, f := range d.Filters {
		if f.Disabled {
			m.disabled |= 1 << i
		}
	}
	if d.Scopes != nil {
		m.routes = func() *route.Table { return nil }
	}
	if m.routes == nil {
		if cfg.Routes == nil {
			return fail(errors.New("neither route_config nor rds"))
		}
		t, err := route.Compile(cfg.Routes)
		if err != nil {
			return fail(err)
		}
		if d.Stats != nil {
			t.Count(func() *stats.Store { return d.Stats })
		}
		m.routes = func() *route.Table { return t }
	}
	var err error
	if m.spans, err = newSpans(cfg, &d); err != nil {
		return fail(err)
	}
	if m.replies, err = newReplyConfig(cfg); err != nil {
		return fail(err)
	}
	if m.early, err = route.CompileMutations(cfg.EarlyMutations); err != nil {
		return fail(fmt.Errorf("early_header_mutation_extensions: %w", err))
	}
	m.proxyName = proxyName(cfg, &d)
	if d.Stats != nil {
		m.stats = d.Stats.Scope("http").Tagged("envoy.http_conn_manager_prefix", cfg.StatPrefix).Block(statSet)
		m.perListener = d.ListenerStats.Scope("http").Tagged("envoy.http_conn_manager_prefix", cfg.StatPrefix).Block(listenerSet)
		m.codec = d.Stats.Scope("http2").Block(options.Stats)
		m.underscores = [2]stats.Block{d.Stats.Scope("http1").Block(underscoreSet), d.Stats.Scope("http2").Block(underscoreSet)}
	}
	m.http2 = http2Config(cfg)
	return m, nil
}

// OnNewConnection implements listener.NetworkHandler.
func (m *Manager) OnNewConnection(cn *conn.Conn, _ *listener.Context) {
	w := m.worker(cn.Loop())
	m.serve(w, cn)
}

// Refused implements listener.Refuser: a connection that ends in its TLS handshake was one, to
// Envoy's statistics.
func (m *Manager) Refused(cn *conn.Conn) {
	w := m.worker(cn.Loop())
	for _, i := range []int{cxTotal, cxSSLTotal, cxDestroy, cxDestroyRemote} {
		w.inc(i)
	}
}

// worker is what one loop has of the manager.
type worker struct {
	m     *Manager
	loop  *eventloop.Loop
	shard *stats.Shard
	free  []*stream
	http2 http2.Pool // streams of the codec
	// ended are streams whose objects may still be on the call stack; they are taken back at
	// the end of the loop's iteration.
	ended    []*stream
	deferred eventloop.Deferred

	date    [29]byte // the date header's value
	dateSec int64
}

func (m *Manager) worker(l *eventloop.Loop) *worker {
	p := &m.workers[l.ID()]
	if w := p.Load(); w != nil {
		return w
	}
	w := &worker{m: m, loop: l, shard: new(stats.Shard)}
	if m.deps.Stats != nil {
		w.shard = m.deps.Stats.Shard(l.ID())
	}
	w.deferred.Init(w)
	p.Store(w)
	return w
}

func (w *worker) get() *stream {
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free[n-1] = nil
		w.free = w.free[:n-1]
		return s
	}
	return newStream(w)
}

// put takes a finished stream back once nothing on the stack can touch it.
func (w *worker) put(s *stream) {
	w.ended = append(w.ended, s)
	w.loop.Defer(&w.deferred)
}

// RunDeferred implements eventloop.Runner.
func (w *worker) RunDeferred() {
	for i, s := range w.ended {
		s.reset()
		if len(w.free) < w.m.maxKept {
			w.free = append(w.free, s)
		}
		w.ended[i] = nil
	}
	w.ended = w.ended[:0]
}

// dateValue is the Date header's value for now, made once a second (RFC 9110, 5.6.7).
func (w *worker) dateValue() []byte {
	now := w.loop.WallNow()
	if s := now.Unix(); s != w.dateSec {
		w.dateSec = s
		now.UTC().AppendFormat(w.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return w.date[:]
}

// http2Config is the codec's configuration of a connection manager.
func http2Config(cfg *xdsresource.HTTPConnectionManager) http2.Config {
	c := options.Config(&cfg.HTTP2)
	c.Server = true
	c.MaxHeaderBytes, c.MaxHeaders = int(cfg.MaxRequestHeadersKB)<<10, int(cfg.MaxHeadersCount)
	c.FlushTimeout = cfg.StreamFlushTimeout
	return c
}

package hcm

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/http2"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// stream is one request with its response. It implements httpfilter.Responder. Objects are
// used again; what is made once per object stands first.
type stream struct {
	w          *worker
	seats      []seat // one for each filter, the terminal one excluded
	last       seat   // the terminal filter's
	completers []completer
	terminal   httpfilter.Terminal
	reqDir     direction
	respDir    direction
	logCtx     format.Context

	c     *connection // the part of http1 or http2 that they have in common
	http1 *http1Conn  // one of them is nil
	http2 *http2Conn
	h2    *http2.Stream // nil: over, for the codec at least
	next  *stream       // HTTP/2: in the connection's list
	prev  *stream
	block *iobuf.Block // HTTP/1: holds the request's head
	body  http1.Body   // HTTP/1
	msg   http1.Message
	req   header.Map
	reqT  header.Map
	local header.Map // headers of a local reply
	ownT  header.Map // trailers that filters have added to the response
	info  streaminfo.Info

	resp  *header.Map
	respT *header.Map

	table    *route.Table
	entry    *route.Entry
	target   *route.Target
	routed   bool
	internal bool
	secure   bool // x-forwarded-proto says https
	grpc     bool // the request came as gRPC, whatever filters have made of it
	random   uint64

	idleTimeout time.Duration
	maxDuration time.Duration
	lastActive  int64
	lastEntry   int64 // of the access logs, or the begin

	framing     http1.Framing // of the response
	code        int
	started     bool // the response's head is in the out buffer
	replied     bool // a local reply was given
	requestDone bool
	begun       bool // the terminal has the request
	keepAlive   bool
	tunnel      bool
	left        bool // HTTP/1: the client has ended the tunnel
	over        bool // finished or reset; what still comes is dropped
	counted     bool
	restarted   bool   // another stream has taken the request over
	headed      bool   // HTTP/2: the request's head is there, and in order
	disabled    uint64 // filters that the route has turned off, a bit each
}

// completer is a filter that wants to know of the end.
type completer struct {
	seat *seat
	httpfilter.Completer
}

func newStream(w *worker) *stream {
	s := &stream{w: w}
	s.reqDir.s, s.respDir.s = s, s
	s.reqDir.to, s.respDir.to = (*requestSink)(s), (*responseSink)(s)
	n := len(w.m.deps.Filters) - 1
	s.seats = make([]seat, n)
	s.reqDir.gates, s.respDir.gates = make([]gate, n), make([]gate, n)
	filters := make([]httpfilter.Filter, n)
	for i := range s.seats {
		st := &s.seats[i]
		*st = seat{stream: s, index: i, name: w.m.deps.Filters[i].Name}
		filters[i] = w.m.deps.Filters[i].NewFilter(w.loop)
		s.reqDir.addRequest(filters[i], st)
		if x, ok := filters[i].(httpfilter.Completer); ok {
			s.completers = append(s.completers, completer{st, x})
		}
	}
	for i := n - 1; i >= 0; i-- {
		s.respDir.addResponse(filters[i], &s.seats[i])
	}
	s.last = seat{stream: s, index: n, name: w.m.deps.Filters[n].Name}
	last := w.m.deps.Filters[n].NewFilter(w.loop)
	t, ok := last.(httpfilter.Terminal)
	if !ok {
		panic("BUG: hcm: the last filter is not a terminal one; server must refuse that")
	}
	s.terminal = t
	s.logCtx.Info = &s.info
	return s
}

// begin starts the record of a request that began at that time.
func (s *stream) begin(c *connection, start int64) {
	s.c = c
	w := s.w
	now := w.loop.Now()
	s.info.Start = start
	s.info.StartWall = w.loop.WallNow().Add(-time.Duration(now - start))
	s.info.Downstream = c.c.Info()
	s.info.ConnectionID = s.info.Downstream.ID
	s.info.RequestHeaderSize = uint32(s.req.Size())
	s.lastActive, s.lastEntry = now, now
	s.idleTimeout, s.maxDuration = w.m.cfg.StreamIdleTimeout, w.m.cfg.MaxStreamDuration
	s.random = w.loop.Rand()
	s.table = w.m.routes()
	s.disabled = w.m.disabled
	s.logCtx.Request = &s.req
	w.inc(rqTotal)
	w.gauge(rqActive, 1)
	s.counted = true
}

// reset makes the object new. Nothing on the stack may know the stream any more.
func (s *stream) reset() {
	s.block.Release()
	s.block = nil
	s.c, s.http1, s.http2, s.h2 = nil, nil, nil, nil
	s.msg = http1.Message{}
	s.body = http1.Body{}
	s.req.Reset()
	s.reqT.Reset()
	s.local.Reset()
	s.ownT.Reset()
	s.info.Reset()
	s.reqDir.reset()
	s.respDir.reset()
	s.resp, s.respT = nil, nil
	s.table, s.entry, s.target = nil, nil, nil
	s.routed, s.internal, s.secure, s.grpc = false, false, false, false
	s.framing, s.code = http1.NoBody, 0
	s.started, s.replied, s.requestDone, s.begun = false, false, false, false
	s.keepAlive, s.tunnel, s.over, s.counted, s.restarted = false, false, false, false, false
	s.headed, s.left = false, false
	s.logCtx = format.Context{Info: &s.info}
}

// run takes a request's head through everything up to the terminal filter. end: there is no
// body.
func (s *stream) run(end bool) {
	if end {
		s.requestDone = true
		s.info.RequestEnd = s.w.loop.Now()
	}
	s.info.BytesReceived = 0
	s.grpc = grpcstatus.Is(s.req.Value(header.ContentType))
	if !s.prepare() {
		return
	}
	s.settleRoute()
	if s.w.m.cfg.LogOnStart {
		s.nameCluster()
		s.log(format.DownstreamStart)
	}
	s.reqDir.start(&s.req, end && !s.tunnel)
}

// settleRoute looks the route up and does what it says before filters see the request.
func (s *stream) settleRoute() {
	if e := s.Route(); e != nil {
		s.reqDir.most = e.BodyLimit(s.limit())
	}
	s.findDisabled()
	s.traceRoute()
}

// feedEnd ends a tunnel's request side.
func (s *stream) feedEnd() {
	s.requestDone = true
	s.info.RequestEnd = s.w.loop.Now()
	s.reqDir.body(nil, true)
}

// touch notes activity for the idle time-out.
func (s *stream) touch() { s.lastActive = s.w.loop.Now() }

// limit is the buffer limit in bytes.
func (s *stream) limit() int { return s.c.c.BufferLimit() }

// writable is told that the client reads again.
func (s *stream) writable() {
	s.touch()
	if s.begun && !s.over {
		s.terminal.OnDownstreamWritable()
	}
}

// requestSink is the request direction's end: the terminal filter.
type requestSink stream

func (k *requestSink) sinkHeaders(h *header.Map, end bool) {
	s := (*stream)(k)
	s.begun = true
	s.terminal.BeginRequest(&s.last, h, end)
}

func (k *requestSink) sinkData(p []byte, end bool) { k.terminal.RequestBody(p, end) }
func (k *requestSink) sinkTrailers(t *header.Map)  { k.terminal.RequestTrailersEnd(t) }
func (k *requestSink) hold()                       { (*stream)(k).PauseRequest() }
func (k *requestSink) unhold()                     { (*stream)(k).ResumeRequest() }
func (k *requestSink) overflow() {
	s := (*stream)(k)
	s.w.inc(rqTooLarge)
	s.Reply(httpfilter.Reply{Code: 413, Body: "Payload Too Large", Details: "request_payload_too_large"})
}

// Loop implements httpfilter.Stream, as do the methods below.
func (s *stream) Loop() *eventloop.Loop         { return s.w.loop }
func (s *stream) Shard() *stats.Shard           { return s.w.shard }
func (s *stream) Info() *streaminfo.Info        { return &s.info }
func (s *stream) Downstream() *conn.Conn        { return s.c.c }
func (s *stream) Random() uint64                { return s.random }
func (s *stream) RequestHeaders() *header.Map   { return &s.req }
func (s *stream) ResponseHeaders() *header.Map  { return s.resp }
func (s *stream) ResponseTrailers() *header.Map { return s.respT }
func (s *stream) RequestComplete() bool         { return s.requestDone }
func (s *stream) BufferLimit() int              { return s.limit() }

// ResponseBlocked implements httpfilter.Responder: the client, or a filter, holds it up.
func (s *stream) ResponseBlocked() bool {
	switch {
	case s.over:
		return false
	case s.respDir.holding:
		return true
	case s.http2 != nil:
		return s.h2.Blocked()
	}
	return s.c.c.AboveHighWatermark()
}

// RequestTrailers implements httpfilter.Stream.
func (s *stream) RequestTrailers() *header.Map {
	if s.reqT.Len() == 0 {
		return nil
	}
	return &s.reqT
}

// PauseRequest implements httpfilter.Responder.
func (s *stream) PauseRequest() {
	switch {
	case s.over || s.requestDone:
	case s.http2 != nil:
		s.h2.Pause()
	default:
		s.c.c.PauseRead()
	}
}

// ResumeRequest implements httpfilter.Responder.
func (s *stream) ResumeRequest() {
	switch {
	case s.over || s.reqDir.holding:
	case s.http2 != nil:
		s.h2.Resume()
		s.http2.flushLater()
	case s.c.c.ReadPaused():
		s.c.c.ResumeRead()
	}
}

// SetMaxDuration implements httpfilter.Responder.
func (s *stream) SetMaxDuration(ns int64) {
	s.maxDuration = time.Duration(ns)
	if s.http2 != nil {
		s.http2.watchStream(s)
		return
	}
	s.http1.watch()
}

// SetIdleTimeout implements httpfilter.Responder.
func (s *stream) SetIdleTimeout(ns int64) {
	s.idleTimeout = time.Duration(ns)
	if s.http2 != nil {
		s.http2.watchStream(s)
		return
	}
	s.http1.watch()
}

// Route implements httpfilter.Stream.
func (s *stream) Route() *route.Entry {
	if s.routed {
		return s.entry
	}
	s.routed = true
	s.info.RouteLookUps++
	if s.w.m.cfg.RouteResolutionStats {
		began := time.Now()
		s.entry, s.target = s.Peek()
		s.info.RouteTime += time.Since(began)
	} else {
		s.entry, s.target = s.Peek()
	}
	if e := s.entry; e != nil {
		s.info.RouteName = e.Name
		s.info.VirtualHost = e.VirtualHost.Name
		s.info.RouteMetadata = e.Metadata
	}
	return s.entry
}

// Peek implements httpfilter.Responder.
func (s *stream) Peek() (*route.Entry, *route.Target) {
	if scopes := s.w.m.deps.Scopes; scopes != nil {
		s.table = scopes().Find(&s.req)
	}
	if s.table == nil {
		return nil, nil
	}
	r := route.Request{
		Headers: &s.req, Random: s.random, Internal: s.internal, Metadata: s.info.Metadata, State: &s.info,
		TLS: route.TLS{Secure: s.secure},
	}
	if tls := s.info.Downstream.TLS; tls != nil {
		r.TLS.Secure = true
		r.TLS.Presented = len(tls.PeerCertificates) > 0
		r.TLS.Validated = len(tls.VerifiedChains) > 0 || s.info.Downstream.PeerURI != ""
	}
	e := s.table.Match(&r)
	if e == nil || e.Forward == nil {
		return e, nil
	}
	return e, e.Forward.Pick(s.hashInput(), s.random)
}

// hashInput is what a choice among clusters may look at.
func (s *stream) hashInput() route.HashInput {
	return route.HashInput{Headers: &s.req, Source: s.info.RemoteAddr().Addr(), State: &s.info}
}

// Target implements httpfilter.Stream.
func (s *stream) Target() *route.Target {
	s.Route()
	return s.target
}

// nameCluster notes which cluster the route leads to in the record of a stream that the router has
// not got, as Envoy does.
func (s *stream) nameCluster() {
	lookUp := s.w.m.deps.Cluster
	if s.info.UpstreamCluster != "" || s.target == nil || lookUp == nil {
		return
	}
	name := s.target.ClusterName(&s.req)
	if cfg := lookUp(s.w.loop.ID(), name); cfg != nil {
		s.info.UpstreamCluster, s.info.Cluster = name, cfg
	}
}

// ClearRoute implements httpfilter.Stream.
func (s *stream) ClearRoute() { s.routed = false }

// Routes implements httpfilter.Stream.
func (s *stream) Routes() *route.Table {
	s.Route()
	return s.table
}

// LacksRoutes implements httpfilter.Stream.
func (s *stream) LacksRoutes() (*xdsresource.ScopedRoutes, string) {
	if s.w.m.deps.Scopes == nil {
		return nil, ""
	}
	scopes := s.w.m.deps.Scopes()
	name := scopes.Lacks(&s.req)
	if name == "" {
		return nil, ""
	}
	return scopes.Config, name
}

// RenewRoutes implements httpfilter.Stream.
func (s *stream) RenewRoutes() {
	s.table = s.w.m.routes()
	s.routed = false
	s.settleRoute()
}

// traceRoute tells the next hop which operation the route is (Envoy's decorator): an egress
// proxy names it, the ingress proxy of the other side takes the name.
func (s *stream) traceRoute() {
	cfg := s.w.m.cfg
	if cfg.Tracing == nil {
		return
	}
	if s.w.m.deps.Direction != xdsresource.DirectionOutbound {
		s.req.Remove(header.XEnvoyDecoratorOperation)
		return
	}
	if e := s.entry; e != nil && e.Decorator != "" && e.DecoratorPropagate {
		s.req.SetString(header.XEnvoyDecoratorOperation, e.Decorator)
	}
}

// routeTracing is what the request's route says of its span, nil for nothing. The route is looked up for it only where one may.
func (s *stream) routeTracing() *xdsresource.RouteTracing {
	if s.w.m.deps.Scopes == nil && (s.table == nil || !s.table.Traces()) {
		return nil
	}
	if e, _ := s.Peek(); e != nil && e.Tracing != nil {
		return e.Tracing.RouteTracing
	}
	return nil
}

// trace decides on the span and writes its context into the request's headers.
func (s *stream) trace() {
	if s.w.m.cfg.Tracing == nil {
		return
	}
	t, had, reason := s.w.m.tracing.Start(&s.req, s.w.loop, s.routeTracing())
	s.info.Trace = streaminfo.Trace{
		High: t.TraceHigh, Low: t.TraceLow, Span: t.Span, Parent: t.Parent,
		Sampled: t.Sampling == tracing.Sampled || t.Sampling == tracing.Debug,
		Call:    t.Call, Format: uint8(t.Format), Remote: had, Silent: s.w.m.cfg.Tracing.NoPropagation,
		Segment: t.Segment, Datadog: t.Datadog,
		State: t.State, Note: t.Note,
	}
	s.info.RequestID = s.req.Value(header.XRequestID) // it may say why now
	s.w.inc(reasons[reason])
}

package hcm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// spans is what a connection manager needs to report spans; nil: none are.
type spans struct {
	reporter tracing.Reporter
	sampler  tracing.Sampler // nil: there is none
	tags     []format.Tag
	node     string // node.id
	// split: calls have spans of the other kind than requests. As in Envoy start_child_span alone does not make that of them.
	split bool
	// operation and upstream print the names of spans; nil: Envoy's names.
	operation, upstream *format.Formatter
	zone                string
}

func newSpans(cfg *xdsresource.HTTPConnectionManager, d *Deps) (*spans, error) {
	if cfg.Tracing == nil || d.Spans == nil {
		return nil, nil
	}
	out := &spans{reporter: d.Spans, sampler: d.Sampler, node: d.NodeID, zone: d.NodeZone, split: cfg.Tracing.SpawnUpstreamSpan}
	if z, ok := cfg.Tracing.Provider.(*xdsresource.Zipkin); ok {
		out.split = out.split || z.SplitSpans
	}
	var err error
	if out.tags, err = format.NewTags(cfg.Tracing.CustomTags); err != nil {
		return nil, err
	}
	if t := cfg.Tracing.Operation; t != "" {
		if out.operation, err = format.Compile(t); err != nil {
			return nil, fmt.Errorf("tracing.operation: %w", err)
		}
	}
	if t := cfg.Tracing.UpstreamOperation; t != "" {
		if out.upstream, err = format.Compile(t); err != nil {
			return nil, fmt.Errorf("tracing.upstream_operation: %w", err)
		}
	}
	return out, nil
}

// reported tells whether a stream's spans are: those that are sampled, and for Datadog's agent, which decides itself, all.
func reported(t *streaminfo.Trace) bool { return t.Sampled || t.Datadog != nil }

// ownSpan is the span of a stream that is over; nil: none is to be reported.
func (s *stream) ownSpan() *tracing.Span {
	m := s.w.m
	t := &s.info.Trace
	if m.spans == nil || !reported(t) {
		return nil
	}
	cfg := m.cfg.Tracing
	own := &tracing.Span{
		Context: t.Context(),
		Server:  m.deps.Direction != xdsresource.DirectionOutbound || m.spans.split,
		Remote:  t.Remote, Name: s.spanName(), Start: s.info.StartWall, Duration: time.Duration(s.info.End - s.info.Start),
		Error: failed(&s.info, s.logCtx.Response, s.logCtx.Trailers), State: s.traceState(), Attributes: m.spans.attributes(t),
	}
	own.Tags = s.spanTags(m.spans)
	if cfg.Verbose {
		own.Events = spanEvents(&s.info, s.times())
	}
	return own
}

// ReportCall implements httpfilter.Responder. Each attempt has a span of its own.
func (s *stream) ReportCall(c *httpfilter.Call) {
	m, t := s.w.m, &s.info.Trace
	if m.spans == nil || !reported(t) {
		return
	}
	call := tracing.Span{
		Context: t.Context().Child(c.Span),
		Server:  m.deps.Direction != xdsresource.DirectionOutbound && !m.spans.split,
		Name:    s.callName(c), Start: c.Info.StartWall, Duration: time.Duration(c.Info.End - c.Info.Start),
		Error: failed(c.Info, c.Response, c.Trailers), State: s.traceState(), Attributes: m.spans.attributes(t), Tags: s.callTags(m.spans, c),
	}
	if m.cfg.Tracing.Verbose {
		call.Events = spanEvents(c.Info, callTimes(c.Info))
	}
	if t.Segment != nil { // it goes with the request's
		t.Segment.Calls = append(t.Segment.Calls, &call)
		return
	}
	m.spans.reporter.Report(s.w.loop.ID(), &call)
}

// traceState is the sampler's, else the request's.
func (s *stream) traceState() string {
	if s.info.Trace.State != "" {
		return s.info.Trace.State
	}
	return string(s.req.Value(header.Tracestate))
}

// attributes are what the sampler says of its decision.
func (x *spans) attributes(t *streaminfo.Trace) []tracing.Attribute {
	if x.sampler == nil {
		return nil
	}
	return x.sampler.Attributes(t.Note)
}

// callName is the configured name of the span of a call, else Envoy's.
func (s *stream) callName(c *httpfilter.Call) string {
	if seg := s.info.Trace.Segment; seg != nil {
		return seg.CallName()
	}
	f := s.w.m.spans.upstream
	if e := s.entry; e != nil && e.Tracing != nil && e.Tracing.Upstream != nil {
		f = e.Tracing.Upstream
	}
	if name := printed(f, &format.Context{Request: &s.req, Response: c.Response, Trailers: c.Trailers, Info: c.Info}); name != "" {
		return name
	}
	return "router " + c.Info.UpstreamCluster + " egress"
}

// printed is what a format prints; "" without one.
func printed(f *format.Formatter, c *format.Context) string {
	if f == nil {
		return ""
	}
	return string(f.AppendOrEmpty(nil, c))
}

// reasons are how Envoy counts why a request is traced.
var reasons = [...]int{tracing.NotTraceable: tracingNotTraceable, tracing.Randomly: tracingRandom, tracing.ByClient: tracingClient, tracing.Forced: tracingForced}

// spanName is what is configured, the decorator's operation where the route has one, else the provider's form: Zipkin
// names spans by the host, OpenTelemetry by the direction. SkyWalking names them by the path, whatever is configured.
func (s *stream) spanName() string {
	if seg := s.info.Trace.Segment; seg != nil {
		return seg.Endpoint
	}
	f := s.w.m.spans.operation
	if e := s.entry; e != nil && e.Tracing != nil && e.Tracing.Operation != nil {
		f = e.Tracing.Operation
	}
	if f != nil { // where it prints nothing the decorator does not come back, as in Envoy
		if name := printed(f, &s.logCtx); name != "" {
			return name
		}
	} else if e := s.entry; e != nil && e.Decorator != "" {
		return e.Decorator
	}
	host := string(s.req.Value(header.Authority))
	if _, zipkin := s.w.m.cfg.Tracing.Provider.(*xdsresource.Zipkin); zipkin {
		return host
	}
	if s.w.m.deps.Direction == xdsresource.DirectionOutbound {
		return "egress " + host
	}
	return "ingress"
}

// spanTags are those that Envoy gives the span of a request, and the configured ones.
func (s *stream) spanTags(x *spans) []tracing.Tag {
	i := &s.info
	out := make([]tracing.Tag, 0, 24+len(x.tags))
	add := func(k, v string) { out = append(out, tracing.Tag{Key: k, Value: v}) }
	orDash := func(v string) string {
		if v == "" {
			return "-"
		}
		return v
	}
	get := func(id header.ID) string { return string(s.req.Value(id)) }
	add("node_id", x.node)
	add("zone", x.zone)
	if len(i.RequestID) > 0 {
		add("guid:x-request-id", string(i.RequestID))
	}
	if cid := get(header.XClientTraceID); cid != "" {
		add("guid:x-client-trace-id", cid)
	}
	add("http.url", s.spanURL())
	add("http.method", get(header.Method))
	v, _ := s.req.GetKey(keyDownstreamCluster)
	add("downstream_cluster", orDash(string(v)))
	add("user_agent", orDash(get(header.UserAgent)))
	add("http.protocol", i.Protocol.String())
	if a := i.RemoteAddr(); a.IsValid() {
		add("peer.address", a.Addr().String())
	}
	add("request_size", strconv.FormatUint(i.BytesReceived, 10))
	add("response_size", strconv.FormatUint(i.BytesSent, 10))
	if grpcstatus.Is(s.req.Value(header.ContentType)) {
		for _, t := range [...]struct {
			name string
			id   header.ID
		}{{"grpc.path", header.Path}, {"grpc.authority", header.Authority}, {"grpc.content_type", header.ContentType}, {"grpc.timeout", header.GRPCTimeout}} {
			if v, ok := s.req.Get(t.id); ok {
				add(t.name, string(v))
			}
		}
	}
	return s.outcomeTags(x, out, &s.logCtx)
}

// callTags are those of the span of a call upstream.
func (s *stream) callTags(x *spans, c *httpfilter.Call) []tracing.Tag {
	i := c.Info
	out := make([]tracing.Tag, 0, 14+len(x.tags))
	add := func(k, v string) { out = append(out, tracing.Tag{Key: k, Value: v}) }
	if c.Number > 1 {
		add("retry.count", strconv.Itoa(c.Number-1))
	}
	if c.Reset != "" {
		add("error", "true")
		add("error.reason", c.Reset)
	}
	if c.Canceled {
		add("canceled", "true")
	}
	add("http.protocol", cmp.Or(i.UpstreamProtocol.String(), "-"))
	if i.Host != nil {
		add("upstream_address", i.Host.Name)
		add("peer.address", i.Host.Name)
	}
	return s.outcomeTags(x, out, &format.Context{Request: &s.req, Response: c.Response, Trailers: c.Trailers, Info: i})
}

// outcomeTags are those that both have.
func (s *stream) outcomeTags(x *spans, out []tracing.Tag, c *format.Context) []tracing.Tag {
	i := c.Info
	add := func(k, v string) { out = append(out, tracing.Tag{Key: k, Value: v}) }
	add("component", "proxy")
	add("http.status_code", strconv.Itoa(i.ResponseCode))
	add("response_flags", string(i.AppendFlags(nil)))
	if i.UpstreamCluster != "" {
		add("upstream_cluster", i.UpstreamCluster)
		name := i.UpstreamCluster
		if i.Cluster != nil && i.Cluster.AltStatName != "" {
			name = i.Cluster.AltStatName
		}
		add("upstream_cluster.name", name)
	}
	for _, h := range answers(c.Response, c.Trailers) {
		if v, ok := h.Get(header.GRPCStatus); ok {
			add("grpc.status_code", string(v))
			if v, ok := h.Get(header.GRPCMessage); ok {
				add("grpc.message", string(v))
			}
		}
	}
	if failed(i, c.Response, c.Trailers) {
		add("error", "true")
	}
	return s.customTags(x, out, c)
}

// customTags are the configured ones; those of the route go before those of the connection manager that have their names.
func (s *stream) customTags(x *spans, out []tracing.Tag, c *format.Context) []tracing.Tag {
	var own []format.Tag
	if e := s.entry; e != nil && e.Tracing != nil {
		own = e.Tracing.Tags
	}
	add := func(t *format.Tag) {
		if v, ok := t.Get(c); ok {
			out = append(out, tracing.Tag{Key: t.Name, Value: v})
		}
	}
	for k := range x.tags {
		if !slices.ContainsFunc(own, func(t format.Tag) bool { return t.Name == x.tags[k].Name }) {
			add(&x.tags[k])
		}
	}
	for k := range own {
		add(&own[k])
	}
	return out
}

// answers are the heads and the trailers of a response, as far as there are any.
func answers(response, trailers *header.Map) (out []*header.Map) {
	for _, h := range [...]*header.Map{response, trailers} {
		if h != nil {
			out = append(out, h)
		}
	}
	return out
}

// failed reports whether a request ended in an error of the server's side: a status of 5xx or none, or such a status of gRPC.
func failed(i *streaminfo.Info, response, trailers *header.Map) bool {
	if i.ResponseCode >= 500 || i.ResponseCode == 0 {
		return true
	}
	for _, h := range answers(response, trailers) {
		switch string(h.Value(header.GRPCStatus)) {
		case "2", "4", "8", "12", "13", "14", "15": // https://github.com/envoyproxy/envoy/issues/18877
			return true
		}
	}
	return false
}

var (
	keyDownstreamCluster = header.KeyOf("x-envoy-downstream-service-cluster")
	keyOriginalPath      = header.KeyOf("x-envoy-original-path")
)

// spanURL is the request's URL as it came, its path cut to the configured length.
func (s *stream) spanURL() string {
	path, ok := s.req.GetKey(keyOriginalPath)
	if !ok {
		path = s.req.Value(header.Path)
	}
	if most := int(s.w.m.cfg.Tracing.MaxPathTag); len(path) > most {
		path = path[:most]
	}
	return string(s.req.Value(header.Scheme)) + "://" + string(s.req.Value(header.Authority)) + string(path)
}

// moment is something that happened to a stream, at a time of its loop; 0: it did not.
type moment struct {
	at   int64
	name string
}

// times are those of a stream, under Envoy's names (verbose).
func (s *stream) times() []moment {
	i := &s.info
	out := append([]moment{{i.RequestEnd, "last_downstream_rx_byte_received"}}, callTimes(i)...)
	return append(out, moment{i.ResponseStart, "first_downstream_tx_byte_sent"}, moment{i.ResponseEnd, "last_downstream_tx_byte_sent"})
}

// callTimes are those of a call upstream.
func callTimes(i *streaminfo.Info) []moment {
	return []moment{
		{i.UpstreamTxFirst, "first_upstream_tx_byte_sent"}, {i.UpstreamTxLast, "last_upstream_tx_byte_sent"},
		{i.UpstreamRxFirst, "first_upstream_rx_byte_received"}, {i.UpstreamRxLast, "last_upstream_rx_byte_received"},
	}
}

func spanEvents(i *streaminfo.Info, times []moment) []tracing.Event {
	var out []tracing.Event
	for _, e := range times {
		if e.at != 0 {
			out = append(out, tracing.Event{At: i.StartWall.Add(time.Duration(e.at - i.Start)), Name: e.name})
		}
	}
	return out
}

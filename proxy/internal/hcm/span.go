package hcm

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// spans is what a connection manager needs to report spans; nil: none are.
type spans struct {
	reporter tracing.Reporter
	tags     []format.Tag
	node     string // node.id
	zone     string
}

func newSpans(cfg *xdsresource.HTTPConnectionManager, d *Deps) (*spans, error) {
	if cfg.Tracing == nil || d.Spans == nil {
		return nil, nil
	}
	tags, err := format.NewTags(cfg.Tracing.CustomTags)
	return &spans{reporter: d.Spans, tags: tags, node: d.NodeID, zone: d.NodeZone}, err
}

// reportSpans reports a stream that is over: its own span, and that of the call upstream where it
// has one. Of several attempts one span is made, with the times of the last.
func (s *stream) reportSpans() {
	m := s.w.m
	t := &s.info.Trace
	if m.spans == nil || !t.Sampled {
		return
	}
	cfg := m.cfg.Tracing
	own := &tracing.Span{
		Context: tracing.Context{TraceHigh: t.High, TraceLow: t.Low, Span: t.Span, Parent: t.Parent, Sampling: tracing.Sampled},
		Server:  m.deps.Direction != xdsresource.DirectionOutbound || t.Call != 0,
		Remote:  t.Remote, Name: s.spanName(), Start: s.info.StartWall, Duration: time.Duration(s.info.End - s.info.Start),
		Error: s.failed(), State: string(s.req.Value(header.Tracestate)),
	}
	own.Tags = s.spanTags(m.spans)
	if cfg.Verbose {
		own.Events = s.spanEvents(s.times())
	}
	m.spans.reporter.Report(s.w.loop.ID(), own)
	if t.Call == 0 || s.info.Attempts == 0 {
		return
	}
	call := *own
	call.Context = own.Child(t.Call)
	call.Server, call.Remote, call.Events = false, false, nil
	call.Tags = s.callTags(m.spans)
	if cfg.Verbose {
		call.Events = s.spanEvents(s.callTimes())
	}
	call.Name = "router " + s.info.UpstreamCluster + " egress"
	if from := s.info.UpstreamTxFirst; from != 0 {
		call.Start = s.info.StartWall.Add(time.Duration(from - s.info.Start))
		end := s.info.UpstreamRxLast
		if end == 0 {
			end = s.info.End
		}
		call.Duration = time.Duration(end - from)
	}
	m.spans.reporter.Report(s.w.loop.ID(), &call)
}

// reasons are how Envoy counts why a request is traced.
var reasons = [...]int{tracing.NotTraceable: tracingNotTraceable, tracing.Randomly: tracingRandom, tracing.ByClient: tracingClient, tracing.Forced: tracingForced}

// spanName is the decorator's operation where the route has one, else the provider's form: Zipkin
// names spans by the host, OpenTelemetry by the direction.
func (s *stream) spanName() string {
	if e := s.entry; e != nil && e.Decorator != "" {
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
	return s.outcomeTags(x, out)
}

// callTags are those of the span of a call upstream.
func (s *stream) callTags(x *spans) []tracing.Tag {
	i := &s.info
	out := make([]tracing.Tag, 0, 12+len(x.tags))
	add := func(k, v string) { out = append(out, tracing.Tag{Key: k, Value: v}) }
	add("http.protocol", i.UpstreamProtocol.String())
	if i.Host != nil {
		add("upstream_address", i.Host.Name)
		add("peer.address", i.Host.Name)
	}
	if i.Attempts > 1 {
		add("retry.count", strconv.Itoa(i.Attempts-1))
	}
	return s.outcomeTags(x, out)
}

// outcomeTags are those that both have.
func (s *stream) outcomeTags(x *spans, out []tracing.Tag) []tracing.Tag {
	i := &s.info
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
	for _, h := range s.answers() {
		if v, ok := h.Get(header.GRPCStatus); ok {
			add("grpc.status_code", string(v))
			if v, ok := h.Get(header.GRPCMessage); ok {
				add("grpc.message", string(v))
			}
		}
	}
	if s.failed() {
		add("error", "true")
	}
	for k := range x.tags {
		if v, ok := x.tags[k].Get(&s.logCtx); ok {
			add(x.tags[k].Name, v)
		}
	}
	return out
}

// answers are the heads and the trailers of the response, as far as there are any.
func (s *stream) answers() (out []*header.Map) {
	for _, h := range [...]*header.Map{s.logCtx.Response, s.logCtx.Trailers} {
		if h != nil {
			out = append(out, h)
		}
	}
	return out
}

// failed reports whether the request ended in an error of the server's side: a status of 5xx or none, or such a status of gRPC.
func (s *stream) failed() bool {
	if s.info.ResponseCode >= 500 || s.info.ResponseCode == 0 {
		return true
	}
	for _, h := range s.answers() {
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
	out := append([]moment{{i.RequestEnd, "last_downstream_rx_byte_received"}}, s.callTimes()...)
	return append(out, moment{i.ResponseStart, "first_downstream_tx_byte_sent"}, moment{i.ResponseEnd, "last_downstream_tx_byte_sent"})
}

// callTimes are those of a call upstream.
func (s *stream) callTimes() []moment {
	i := &s.info
	return []moment{
		{i.UpstreamTxFirst, "first_upstream_tx_byte_sent"}, {i.UpstreamTxLast, "last_upstream_tx_byte_sent"},
		{i.UpstreamRxFirst, "first_upstream_rx_byte_received"}, {i.UpstreamRxLast, "last_upstream_rx_byte_received"},
	}
}

func (s *stream) spanEvents(times []moment) []tracing.Event {
	var out []tracing.Event
	for _, e := range times {
		if e.at != 0 {
			out = append(out, tracing.Event{At: s.info.StartWall.Add(time.Duration(e.at - s.info.Start)), Name: e.name})
		}
	}
	return out
}

package hcm

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
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
		Shared:  t.Joined, Name: s.spanName(), Start: s.info.StartWall, Duration: time.Duration(s.info.End - s.info.Start),
		Error: s.info.ResponseCode >= 500 || s.info.ResponseCode == 0, State: string(s.req.Value(header.Tracestate)),
	}
	own.Tags = s.spanTags(m.spans)
	if cfg.Verbose {
		own.Events = s.spanEvents()
	}
	m.spans.reporter.Report(s.w.loop.ID(), own)
	if t.Call == 0 || s.info.Attempts == 0 {
		return
	}
	call := *own
	call.Context = own.Child(t.Call)
	call.Server, call.Shared, call.Events = false, false, nil
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

// spanTags are those that Envoy gives every span, and the configured ones.
func (s *stream) spanTags(x *spans) []tracing.Tag {
	i := &s.info
	out := make([]tracing.Tag, 0, 20+len(x.tags))
	add := func(k, v string) { out = append(out, tracing.Tag{Key: k, Value: v}) }
	orDash := func(v string) string {
		if v == "" {
			return "-"
		}
		return v
	}
	get := func(id header.ID) string { return string(s.req.Value(id)) }
	add("component", "proxy")
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
	if i.Host != nil {
		add("upstream_address", i.Host.Name)
	}
	if st, ok := format.GRPCStatus(&s.logCtx); ok {
		add("grpc.status_code", strconv.Itoa(st))
		add("grpc.path", get(header.Path))
		add("grpc.authority", get(header.Authority))
	}
	if i.ResponseCode >= 500 || i.ResponseCode == 0 {
		add("error", "true")
	}
	for k := range x.tags {
		if v, ok := x.tags[k].Get(&s.logCtx); ok {
			add(x.tags[k].Name, v)
		}
	}
	return out
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

// spanEvents are the times of a stream, under Envoy's names (verbose).
func (s *stream) spanEvents() []tracing.Event {
	i := &s.info
	var out []tracing.Event
	for _, e := range [...]struct {
		at   int64
		name string
	}{
		{i.RequestEnd, "last_downstream_rx_byte_received"}, {i.UpstreamTxFirst, "first_upstream_tx_byte_sent"},
		{i.UpstreamTxLast, "last_upstream_tx_byte_sent"}, {i.UpstreamRxFirst, "first_upstream_rx_byte_received"},
		{i.UpstreamRxLast, "last_upstream_rx_byte_received"}, {i.ResponseStart, "first_downstream_tx_byte_sent"},
		{i.ResponseEnd, "last_downstream_tx_byte_sent"},
	} {
		if e.at != 0 {
			out = append(out, tracing.Event{At: i.StartWall.Add(time.Duration(e.at - i.Start)), Name: e.name})
		}
	}
	return out
}

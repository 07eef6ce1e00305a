package otlp

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing/dynatrace"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// spanInterval is how long a span waits, and spanEnough how many bytes are sent before.
	spanInterval = time.Second
	spanEnough   = 64 << 10
)

// Spans reports spans. It is tracing.Reporter.
type Spans struct {
	cfg      *xdsresource.OTLPTracing
	deps     Deps
	resource *resourcepb.Resource
	scope    *commonpb.InstrumentationScope
	queue    *export.Queue[*tracepb.Span]
	sampler  *dynatrace.Sampler // nil: there is none
}

// NewSpans returns a reporter; Run sends.
func NewSpans(cfg *xdsresource.OTLPTracing, d Deps) *Spans {
	name := cfg.ServiceName
	if name == "" {
		name = "unknown_service:envoy" // as OpenTelemetry wants it, and as Envoy says it
	}
	attributes := []*commonpb.KeyValue{
		pair("service.name", name), pair("telemetry.sdk.language", "go"), pair("telemetry.sdk.name", program), pair("telemetry.sdk.version", d.Node.GetUserAgentVersion()),
	}
	for _, a := range cfg.Resource {
		i := slices.IndexFunc(attributes, func(kv *commonpb.KeyValue) bool { return kv.GetKey() == a[0] })
		if i < 0 {
			attributes = append(attributes, pair(a[0], a[1]))
		} else {
			attributes[i] = pair(a[0], a[1])
		}
	}
	x := &Spans{
		cfg: cfg, deps: d, queue: export.NewQueue[*tracepb.Span](d.Workers, maxRecords, spanEnough),
		resource: &resourcepb.Resource{Attributes: attributes},
		scope:    &commonpb.InstrumentationScope{Name: program, Version: d.Node.GetUserAgentVersion()},
	}
	if c := cfg.Sampler; c != nil {
		x.sampler = dynatrace.New(c.Tenant, c.Cluster, c.PerMinute, d.Workers)
	}
	return x
}

// Sampler is what decides which spans are recorded; nil: the connection manager does.
func (x *Spans) Sampler() tracing.Sampler {
	if x.sampler == nil {
		return nil
	}
	return x.sampler
}

// program is what made the spans.
const program = "lateen"

// Bits of a span's flags: those of W3C's trace flags, that is known whether the parent is another process's, and that it is
// (opentelemetry.proto.trace.v1.SpanFlags).
const (
	flagSampled   = 0x1
	flagHasRemote = 0x100
	flagRemote    = 0x200
)

// Report implements tracing.Reporter.
func (x *Spans) Report(worker int, s *tracing.Span) {
	m := &tracepb.Span{
		TraceId: binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.TraceHigh), s.TraceLow),
		SpanId:  spanID(s.Span), ParentSpanId: spanID(s.Parent), Name: s.Name, Kind: tracepb.Span_SPAN_KIND_CLIENT,
		StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.Start.Add(s.Duration).UnixNano()),
		TraceState: s.State, Flags: flagSampled | flagHasRemote,
	}
	if s.Remote {
		m.Flags |= flagRemote
	}
	if s.Server {
		m.Kind = tracepb.Span_SPAN_KIND_SERVER
	}
	if s.Error {
		m.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	}
	for _, a := range s.Attributes {
		m.Attributes = append(m.Attributes, attribute(a))
	}
	for _, t := range s.Tags {
		m.Attributes = append(m.Attributes, pair(t.Key, strings.ToValidUTF8(t.Value, "!")))
	}
	for _, e := range s.Events {
		m.Events = append(m.Events, &tracepb.Span_Event{TimeUnixNano: uint64(e.At.UnixNano()), Name: e.Name})
	}
	x.queue.Add(worker, m, proto.Size(m))
}

func attribute(a tracing.Attribute) *commonpb.KeyValue {
	kv := &commonpb.KeyValue{Key: a.Key, Value: &commonpb.AnyValue{}}
	if a.Texts == nil {
		kv.Value.Value = &commonpb.AnyValue_IntValue{IntValue: a.Int}
		return kv
	}
	list := &commonpb.ArrayValue{}
	for _, t := range a.Texts {
		list.Values = append(list.Values, text(t))
	}
	kv.Value.Value = &commonpb.AnyValue_ArrayValue{ArrayValue: list}
	return kv
}

// Run sends until ctx ends.
func (x *Spans) Run(ctx context.Context) {
	if x.sampler != nil {
		var sampling sync.WaitGroup
		sampling.Go(func() { runSampler(ctx, x.sampler, x.cfg.Sampler, x.deps) })
		defer sampling.Wait()
	}
	scope, main := x.deps.Stats.Scope("tracing").Scope("opentelemetry"), x.deps.Stats.Main()
	sent, dropped := scope.Counter("spans_sent"), scope.Counter("spans_dropped")
	export.Run(ctx, x.queue, &spanSender{x, newClient(tracesMethod, x.deps.Service, x.cfg.GRPC, x.cfg.HTTP)}, export.Config{
		Interval: spanInterval, Log: x.deps.Log, What: "OpenTelemetry collector of spans",
		Written: func(n uint64) { main.Add(sent, n) }, Dropped: func(n uint64) { main.Add(dropped, n) },
	})
}

type spanSender struct {
	x *Spans
	c *client
}

// Send implements export.Sender.
func (s *spanSender) Send(ctx context.Context, batch []*tracepb.Span) error {
	return s.c.send(ctx, &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: s.x.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: s.x.scope, Spans: batch}},
	}}})
}

// Close implements export.Sender.
func (s *spanSender) Close() { s.c.close() }

package otlp

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxRecords bounds what waits for a collector, over all workers.
const maxRecords = 16384

// Deps is what sinks and tracers need of the process.
type Deps struct {
	Workers int
	Service export.Service
	// Sampling is what a sampler of spans asks; nil without one.
	Sampling export.Service
	Node     *corev3.Node
	Stats    *stats.Store
	Log      *slog.Logger
}

// Logs is a logger's sink. It is accesslog.Sink.
type Logs struct {
	cfg      *xdsresource.OTLPAccessLog
	deps     Deps
	resource *resourcepb.Resource
	body     template
	attrs    template
	tags     []format.Tag
	queue    *export.Queue[*logspb.LogRecord]
}

// NewLogs compiles a sink; Run sends.
func NewLogs(cfg *xdsresource.OTLPAccessLog, d Deps) (*Logs, error) {
	l := &Logs{cfg: cfg, deps: d, queue: export.NewQueue[*logspb.LogRecord](d.Workers, maxRecords, int(cfg.BufferSize)), resource: &resourcepb.Resource{}}
	l.resource.Attributes = resourceOf(cfg, d.Node)
	var err error
	fixed, err := compile(cfg.Resource)
	if err != nil {
		return nil, fmt.Errorf("resource_attributes: %w", err)
	}
	l.resource.Attributes = append(l.resource.Attributes, fixed.pairs(&format.Context{})...)
	if l.body, err = compile(cfg.Body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if l.attrs, err = compile(cfg.Attributes); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	l.tags, err = format.NewTags(cfg.CustomTags)
	return l, err
}

// resourceOf is what is built in and what detectors have found; of a name the later one wins, and resource_attributes over both.
func resourceOf(cfg *xdsresource.OTLPAccessLog, node *corev3.Node) (out []*commonpb.KeyValue) {
	all := [][2]string{
		{"log_name", cfg.LogName}, {"zone_name", node.GetLocality().GetZone()}, {"cluster_name", node.GetCluster()}, {"node_name", node.GetId()},
	}
	if cfg.NoBuiltinTags {
		all = nil
	}
	all = append(all, cfg.Detected...)
	for i, a := range all {
		_, own := cfg.Resource[a[0]]
		if later := slices.ContainsFunc(all[i+1:], func(b [2]string) bool { return b[0] == a[0] }); own || later {
			continue
		}
		out = append(out, pair(a[0], a[1]))
	}
	return out
}

// Log implements accesslog.Sink.
func (l *Logs) Log(worker int, c *format.Context) {
	at := uint64(c.Info.StartWall.UnixNano())
	r := &logspb.LogRecord{TimeUnixNano: at, ObservedTimeUnixNano: at, Body: l.body.value(c), Attributes: l.attrs.pairs(c)}
	for i := range l.tags {
		if v, ok := l.tags[i].Get(c); ok {
			r.Attributes = append(r.Attributes, pair(l.tags[i].Name, v))
		}
	}
	for _, name := range l.cfg.FilterState {
		if o := c.Info.FilterState(name); o != nil {
			r.Attributes = append(r.Attributes, pair(name, strings.ToValidUTF8(o.String(), "!")))
		}
	}
	if t := &c.Info.Trace; t.Valid() {
		r.TraceId, r.SpanId = traceID(t), spanID(t.Span)
	}
	l.queue.Add(worker, r, proto.Size(r))
}

func traceID(t *streaminfo.Trace) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.High), t.Low)
}

func spanID(id uint64) []byte {
	if id == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, id)
}

// Close implements accesslog.Sink. Loggers of the same configuration share a sink, which ends with
// the process.
func (l *Logs) Close() {}

// Run sends until ctx ends.
func (l *Logs) Run(ctx context.Context) {
	scope, main := l.deps.Stats.Scope("access_logs").Scope("open_telemetry_access_log"), l.deps.Stats.Main()
	if l.cfg.StatPrefix != "" {
		scope = scope.Scope(l.cfg.StatPrefix)
	}
	written, dropped := scope.Counter("logs_written"), scope.Counter("logs_dropped")
	c := newClient(logsMethod, l.deps.Service, l.cfg.GRPC, l.cfg.HTTP)
	export.Run(ctx, l.queue, &logSender{l, c}, export.Config{
		Interval: l.cfg.FlushInterval, Log: l.deps.Log, What: "OpenTelemetry collector of logs",
		Written: func(n uint64) { main.Add(written, n) }, Dropped: func(n uint64) { main.Add(dropped, n) },
	})
}

type logSender struct {
	l *Logs
	c *client
}

// Send implements export.Sender.
func (s *logSender) Send(ctx context.Context, batch []*logspb.LogRecord) error {
	return s.c.send(ctx, &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{
		Resource: s.l.resource, ScopeLogs: []*logspb.ScopeLogs{{LogRecords: batch}},
	}}})
}

// Close implements export.Sender.
func (s *logSender) Close() { s.c.close() }

package otlp

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"

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
	Node    *corev3.Node
	Stats   *stats.Store
	Log     *slog.Logger
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
	if !cfg.NoBuiltinTags {
		l.resource.Attributes = []*commonpb.KeyValue{
			pair("log_name", cfg.LogName), pair("zone_name", d.Node.GetLocality().GetZone()),
			pair("cluster_name", d.Node.GetCluster()), pair("node_name", d.Node.GetId()),
		}
	}
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

// Log implements accesslog.Sink.
func (l *Logs) Log(worker int, c *format.Context) {
	at := uint64(c.Info.StartWall.UnixNano())
	r := &logspb.LogRecord{TimeUnixNano: at, ObservedTimeUnixNano: at, Body: l.body.value(c), Attributes: l.attrs.pairs(c)}
	for i := range l.tags {
		if v, ok := l.tags[i].Get(c); ok {
			r.Attributes = append(r.Attributes, pair(l.tags[i].Name, v))
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

package als

import (
	"context"
	"log/slog"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogpb "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxEntries bounds what waits for the service, over all workers.
const maxEntries = 16384

// Deps is what a sink needs of the process.
type Deps struct {
	Workers int
	Service export.Service
	Node    *corev3.Node
	Stats   *stats.Store
	Log     *slog.Logger
}

// Sink is a logger's sink. It is accesslog.Sink.
type Sink struct {
	cfg     *xdsresource.GRPCAccessLog
	deps    Deps
	tags    []format.Tag
	request []header.Key
	answer  []header.Key
	trailer []header.Key
	queue   *export.Queue[proto.Message]
}

// New compiles a sink; Run sends.
func New(cfg *xdsresource.GRPCAccessLog, d Deps) (*Sink, error) {
	tags, err := format.NewTags(cfg.CustomTags)
	if err != nil {
		return nil, err
	}
	return &Sink{
		cfg: cfg, deps: d, tags: tags, request: keys(cfg.RequestHeaders), answer: keys(cfg.ResponseHeaders), trailer: keys(cfg.ResponseTrailers),
		queue: export.NewQueue[proto.Message](d.Workers, maxEntries, int(cfg.BufferSize)),
	}, nil
}

func keys(names []string) []header.Key {
	var out []header.Key
	for _, n := range names {
		out = append(out, header.KeyOf(n))
	}
	return out
}

// Log implements accesslog.Sink.
func (s *Sink) Log(worker int, c *format.Context) {
	var m proto.Message
	if s.cfg.HTTP {
		m = s.httpEntry(c)
	} else {
		m = s.tcpEntry(c)
	}
	s.queue.Add(worker, m, proto.Size(m))
}

// Close implements accesslog.Sink. Loggers of the same configuration share a sink, which ends with
// the process.
func (s *Sink) Close() {}

// Run sends until ctx ends.
func (s *Sink) Run(ctx context.Context) {
	scope, main := s.deps.Stats.Scope("access_logs").Scope("grpc_access_log"), s.deps.Stats.Main()
	written, dropped := scope.Counter("logs_written"), scope.Counter("logs_dropped")
	export.Run(ctx, s.queue, &sender{s: s, stream: export.Stream{
		Conn: export.Conn{Service: s.deps.Service, Metadata: s.cfg.Service.Call.Pairs()}, Method: alspb.AccessLogService_StreamAccessLogs_FullMethodName,
	}}, export.Config{
		Interval: s.cfg.FlushInterval, Log: s.deps.Log, What: "access log service " + s.cfg.Service.Cluster,
		Written: func(n uint64) { main.Add(written, n) }, Dropped: func(n uint64) { main.Add(dropped, n) },
	})
}

// sender sends over one stream.
type sender struct {
	s      *Sink
	stream export.Stream
}

// Send implements export.Sender.
func (x *sender) Send(ctx context.Context, batch []proto.Message) error {
	m := &alspb.StreamAccessLogsMessage{}
	if x.s.cfg.HTTP {
		list := &alspb.StreamAccessLogsMessage_HTTPAccessLogEntries{}
		for _, e := range batch {
			list.LogEntry = append(list.LogEntry, e.(*accesslogpb.HTTPAccessLogEntry))
		}
		m.LogEntries = &alspb.StreamAccessLogsMessage_HttpLogs{HttpLogs: list}
	} else {
		list := &alspb.StreamAccessLogsMessage_TCPAccessLogEntries{}
		for _, e := range batch {
			list.LogEntry = append(list.LogEntry, e.(*accesslogpb.TCPAccessLogEntry))
		}
		m.LogEntries = &alspb.StreamAccessLogsMessage_TcpLogs{TcpLogs: list}
	}
	return x.stream.Send(ctx, m, func() {
		m.Identifier = &alspb.StreamAccessLogsMessage_Identifier{Node: x.s.deps.Node, LogName: x.s.cfg.LogName}
	})
}

// Close implements export.Sender.
func (x *sender) Close() { x.stream.Close() }

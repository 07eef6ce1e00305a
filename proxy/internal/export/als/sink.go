package als

import (
	"context"
	"log/slog"
	"time"

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

// lastAnswer is how long the service may take to confirm the last batch at the end.
const lastAnswer = time.Second

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
	export.Run(ctx, s.queue, &sender{s: s, conn: export.Conn{Service: s.deps.Service, Metadata: s.cfg.Service.Call.Pairs()}}, export.Config{
		Interval: s.cfg.FlushInterval, Log: s.deps.Log, What: "access log service " + s.cfg.Service.Cluster,
		Written: func(n uint64) { main.Add(written, n) }, Dropped: func(n uint64) { main.Add(dropped, n) },
	})
}

// sender keeps the stream.
type sender struct {
	s      *Sink
	conn   export.Conn
	stream alspb.AccessLogService_StreamAccessLogsClient
	end    context.CancelFunc // of the stream
}

// Send implements export.Sender. A stream that broke since the last batch, as it does when the service is restarted, costs no entry:
// they go over a new one.
func (x *sender) Send(ctx context.Context, batch []proto.Message) error {
	kept := x.stream != nil
	err := x.send(ctx, batch)
	if err != nil && kept && ctx.Err() == nil {
		err = x.send(ctx, batch)
	}
	return err
}

func (x *sender) send(ctx context.Context, batch []proto.Message) error {
	m := &alspb.StreamAccessLogsMessage{}
	if x.stream == nil {
		conn, callCtx, err := x.conn.Get(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		callCtx, x.end = context.WithCancel(callCtx)
		// The stream outlives the batch; only its opening and this batch are bounded.
		stop := context.AfterFunc(ctx, x.end)
		if x.stream, err = alspb.NewAccessLogServiceClient(conn).StreamAccessLogs(callCtx); err != nil {
			stop()
			x.reset()
			return err
		}
		stop()
		m.Identifier = &alspb.StreamAccessLogsMessage_Identifier{Node: x.s.deps.Node, LogName: x.s.cfg.LogName}
	}
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
	stop := context.AfterFunc(ctx, x.end) // Send waits for a service that does not read
	err := x.stream.Send(m)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if _, cause := x.stream.CloseAndRecv(); cause != nil {
			err = cause
		}
		x.reset()
	}
	return err
}

func (x *sender) reset() {
	if x.end != nil {
		x.end()
	}
	x.stream, x.end = nil, nil
	x.conn.Close()
}

// Close implements export.Sender. What was sent last is on its way: the service's answer tells
// that it has come.
func (x *sender) Close() {
	if x.stream != nil {
		timer := time.AfterFunc(lastAnswer, x.end)
		_, _ = x.stream.CloseAndRecv()
		timer.Stop()
	}
	x.reset()
}

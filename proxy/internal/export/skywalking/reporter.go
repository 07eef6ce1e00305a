package skywalking

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// maxSegments bounds what waits to be sent, over all workers.
	maxSegments = 16384
	// interval is how long a segment waits, and enough how many bytes are sent before.
	interval = time.Second
	enough   = 64 << 10

	collect = "/skywalking.v3.TraceSegmentReportService/collect"
	// tokenKey is the metadata that a backend with a token asks for.
	tokenKey = "authentication"
)

// Deps is what a reporter needs of the process.
type Deps struct {
	Workers int
	Service export.Service
	Stats   *stats.Store
	Log     *slog.Logger
}

// Reporter is tracing.Reporter.
type Reporter struct {
	cfg   *xdsresource.SkyWalking
	deps  Deps
	queue *export.Queue[*agentpb.SegmentObject]
}

// New returns a reporter; Run sends.
func New(cfg *xdsresource.SkyWalking, d Deps) *Reporter {
	return &Reporter{cfg: cfg, deps: d, queue: export.NewQueue[*agentpb.SegmentObject](d.Workers, maxSegments, enough)}
}

// Report implements tracing.Reporter, for spans of requests; those of their calls come with them.
func (r *Reporter) Report(worker int, s *tracing.Span) {
	m := segment(s)
	r.queue.Add(worker, m, proto.Size(m))
}

// Run sends until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	scope, main := r.deps.Stats.Scope("tracing").Scope("skywalking"), r.deps.Stats.Main()
	counter := func(name string) func(uint64) {
		h := scope.Counter(name)
		return func(n uint64) { main.Add(h, n) }
	}
	dropped := counter("segments_dropped")
	metadata := r.cfg.Service.Call.Pairs()
	if r.cfg.Token != "" {
		metadata = append(metadata, tokenKey, r.cfg.Token)
	}
	s := &sender{
		stream: &export.Stream{Conn: export.Conn{Service: r.deps.Service, Metadata: metadata}, Method: collect}, most: int(r.cfg.CacheSize),
		sent: counter("segments_sent"), flushed: counter("segments_flushed"), flushes: counter("cache_flushed"), dropped: dropped,
	}
	export.Run(ctx, r.queue, s, export.Config{
		Interval: interval, Log: r.deps.Log, What: "SkyWalking at " + r.cfg.Service.Cluster, Keeps: true, Dropped: dropped,
	})
}

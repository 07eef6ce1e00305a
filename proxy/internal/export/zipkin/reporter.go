package zipkin

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// maxSpans bounds what waits for the collector, over all workers.
	maxSpans = 16384
	// interval is how long a span waits, and enough how many bytes are sent before.
	interval = time.Second
	enough   = 64 << 10
)

// Deps is what a reporter needs of the process.
type Deps struct {
	Workers     int
	Service     export.Service
	ServiceName string     // node.cluster
	Address     netip.Addr // of this machine; invalid: unknown
	Stats       *stats.Store
	Log         *slog.Logger
}

// Reporter is tracing.Reporter.
type Reporter struct {
	cfg   *xdsresource.Zipkin
	deps  Deps
	queue *export.Queue[*tracing.Span]
}

// New returns a reporter; Run sends.
func New(cfg *xdsresource.Zipkin, d Deps) *Reporter {
	return &Reporter{cfg: cfg, deps: d, queue: export.NewQueue[*tracing.Span](d.Workers, maxSpans, enough)}
}

// Report implements tracing.Reporter.
func (r *Reporter) Report(worker int, s *tracing.Span) {
	size := 200
	for _, t := range s.Tags {
		size += len(t.Key) + len(t.Value) + 6
	}
	r.queue.Add(worker, s, size)
}

// Run sends until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	scope, main := r.deps.Stats.Scope("tracing").Scope("zipkin"), r.deps.Stats.Main()
	sent, dropped := scope.Counter("spans_sent"), scope.Counter("reports_dropped")
	export.Run(ctx, r.queue, &sender{r: r, post: export.Poster{Service: r.deps.Service, URL: r.cfg.URL, Headers: r.cfg.Headers}}, export.Config{
		Interval: interval, Log: r.deps.Log, What: "Zipkin collector " + r.cfg.Cluster,
		Written: func(n uint64) { main.Add(sent, n) }, Dropped: func(n uint64) { main.Add(dropped, n) },
	})
}

type sender struct {
	r    *Reporter
	post export.Poster
}

// Send implements export.Sender.
func (s *sender) Send(ctx context.Context, batch []*tracing.Span) error {
	if t := s.r.cfg.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	if s.r.cfg.Proto {
		var b []byte
		for _, sp := range batch {
			b = s.r.appendProto(b, sp)
		}
		return s.post.Post(ctx, "application/x-protobuf", b)
	}
	b, err := s.r.json(batch)
	if err != nil {
		return err
	}
	return s.post.Post(ctx, "application/json", b)
}

// Close implements export.Sender.
func (s *sender) Close() { s.post.Close() }

package datadog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const (
	// maxSegments bounds what waits for the agent, over all workers.
	maxSegments = 16384
	// interval is how long the spans of a request wait, and enough how many bytes are sent before.
	interval = time.Second
	enough   = 64 << 10
	// timeout bounds a report, as in Envoy.
	timeout = 2 * time.Second
)

// Deps is what a reporter needs of the process.
type Deps struct {
	Workers int
	Service export.Service
	Process string // a UUID
	Version string // of the program
	Getenv  func(name string) string
	Stats   *stats.Store
	Log     *slog.Logger
}

// Reporter is tracing.Reporter and tracing.Rates.
type Reporter struct {
	cfg   *xdsresource.Datadog
	deps  Deps
	queue *export.Queue[*segment]
	rates rates
}

// segment is what is reported of a request at once: its span, and those of its calls.
type segment struct {
	of    tracing.Datadog // as it was then
	spans []*tracing.Span
}

// New returns a reporter; Run sends.
func New(cfg *xdsresource.Datadog, d Deps) *Reporter {
	return &Reporter{cfg: cfg, deps: d, queue: export.NewQueue[*segment](d.Workers, maxSegments, enough)}
}

// Rate implements tracing.Rates.
func (r *Reporter) Rate() (float64, bool) { return r.rates.get() }

// Report implements tracing.Reporter. The span of a call waits for that of the request.
func (r *Reporter) Report(worker int, s *tracing.Span) {
	d := s.Datadog
	if s.Span != d.Root && !d.Ended {
		d.Calls = append(d.Calls, s)
		return
	}
	spans := append([]*tracing.Span{s}, d.Calls...)
	d.Calls, d.Ended = nil, true
	size := 0
	for _, s := range spans {
		size += 400 + len(d.Origin)
		for _, t := range s.Tags {
			size += len(t.Key) + len(t.Value) + 10
		}
	}
	for _, t := range d.Tags {
		size += len(t.Key) + len(t.Value) + 10
	}
	r.queue.Add(worker, &segment{*d, spans}, size)
}

// unread are variables that say to Datadog's own tracers what this one does not know.
var unread = []string{
	"DD_APM_TRACING_ENABLED", "DD_PROPAGATION_STYLE_EXTRACT", "DD_PROPAGATION_STYLE_INJECT", "DD_SPAN_SAMPLING_RULES", "DD_SPAN_SAMPLING_RULES_FILE", "DD_TAGS",
	"DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED", "DD_TRACE_ENABLED", "DD_TRACE_PROPAGATION_STYLE", "DD_TRACE_PROPAGATION_STYLE_EXTRACT",
	"DD_TRACE_PROPAGATION_STYLE_INJECT", "DD_TRACE_RATE_LIMIT", "DD_TRACE_SAMPLE_RATE", "DD_TRACE_SAMPLING_RULES",
}

// Run sends until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	if set := slices.DeleteFunc(slices.Clone(unread), func(name string) bool { return r.deps.Getenv(name) == "" }); len(set) > 0 {
		r.deps.Log.Warn("variables of Datadog's tracers have no effect here; say it in the configuration", "variables", strings.Join(set, ", "))
	}
	scope, main := r.deps.Stats.Scope("tracing").Scope("datadog"), r.deps.Stats.Main()
	count := func(name string) func(uint64) {
		id := scope.Counter(name)
		return func(n uint64) { main.Add(id, n) }
	}
	s := &sender{
		r: r, dropped: count("reports_dropped"), failed: count("reports_failed"), sent: count("reports_sent"), skipped: count("reports_skipped_no_cluster"),
		post: export.Poster{Service: r.deps.Service, URL: "http://agent/v0.4/traces", Headers: map[string]string{
			"host": r.cfg.Host, "Datadog-Meta-Lang": language, "Datadog-Meta-Lang-Version": strings.TrimPrefix(runtime.Version(), "go"),
			"Datadog-Meta-Tracer-Version": r.deps.Version,
		}},
		encoder: encoder{cfg: r.cfg, common: common{process: r.deps.Process, program: "lateen " + r.deps.Version, pid: float64(os.Getpid())}},
	}
	export.Run(ctx, r.queue, s, export.Config{
		Interval: interval, Log: r.deps.Log, What: "Datadog agent " + r.cfg.Cluster, Written: func(uint64) {}, Dropped: count("traces_dropped"),
	})
}

// sender counts reports as Envoy does: those that were taken; those for which there was no cluster; those whose answer broke off; and all
// others that were not taken.
type sender struct {
	r                              *Reporter
	post                           export.Poster
	encoder                        encoder
	sent, skipped, failed, dropped func(uint64)
}

// Send implements export.Sender.
func (s *sender) Send(ctx context.Context, batch []*segment) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, answer, err := s.post.Ask(ctx, "application/msgpack", s.encoder.report(batch), map[string]string{"X-Datadog-Trace-Count": strconv.Itoa(len(batch))})
	switch {
	case errors.Is(err, export.ErrNoCluster):
		s.skipped(1)
		return err
	case errors.Is(err, export.ErrAnswer):
		s.failed(1)
		return err
	case err != nil:
		s.dropped(1)
		return err
	case status != http.StatusOK:
		s.dropped(1)
		return fmt.Errorf("the agent answered %d %s", status, http.StatusText(status))
	}
	s.sent(1)
	if err := s.r.rates.learn(answer, s.r.cfg.Service, s.r.cfg.Env); err != nil {
		s.r.deps.Log.Debug("Datadog's agent says of sampling what cannot be read; it stays as it was", "cluster", s.r.cfg.Cluster, "error", err)
	}
	return nil
}

// Close implements export.Sender.
func (s *sender) Close() { s.post.Close() }

package metricsservice

import (
	"context"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricspb "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Sink sends to one service. Its methods are called from one goroutine.
type Sink struct {
	cfg    xdsresource.MetricsService
	node   *corev3.Node
	stream export.Stream
	now    func() time.Time
	last   map[string]int64 // counters at the last flush, where their growth is sent
}

// New returns a sink of a service that is reached through a cluster. The node tells the service who sends.
func New(cfg xdsresource.MetricsService, to export.Service, node *corev3.Node) *Sink {
	return &Sink{cfg: cfg, node: node, now: time.Now, last: map[string]int64{}, stream: export.Stream{
		Conn: export.Conn{Service: to, Metadata: cfg.Service.Call.Pairs()}, Method: metricspb.MetricsService_StreamMetrics_FullMethodName,
	}}
}

// Flush sends what was ever used. What could not be sent is lost, but for the growth of counters: it is sent with the next.
func (s *Sink) Flush(ctx context.Context, snap *stats.Snapshot) error {
	families, next := s.families(snap)
	most := s.cfg.FamiliesAtMost
	if most <= 0 {
		most = max(len(families), 1)
	}
	for len(families) > 0 {
		n := min(most, len(families))
		m := &metricspb.StreamMetricsMessage{EnvoyMetrics: families[:n]}
		if err := s.stream.Send(ctx, m, func() { m.Identifier = &metricspb.StreamMetricsMessage_Identifier{Node: s.node} }); err != nil {
			return err
		}
		families = families[n:]
	}
	s.last = next
	return nil
}

// Close ends the stream.
func (s *Sink) Close() { s.stream.Close() }

// families are a snapshot's metrics, and the counters in it.
func (s *Sink) families(snap *stats.Snapshot) (out []*dto.MetricFamily, counters map[string]int64) {
	at := s.now().UnixMilli()
	counters = map[string]int64{}
	snap.Each(func(st stats.Stat) {
		if !st.Used {
			return
		}
		add := func(kind dto.MetricType, m *dto.Metric) {
			name := st.Name
			if s.cfg.Labels {
				name = st.Bare
				for _, t := range st.Tags {
					m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(t.Name), Value: proto.String(t.Value)})
				}
			}
			m.TimestampMs = proto.Int64(at)
			out = append(out, &dto.MetricFamily{Name: proto.String(name), Type: kind.Enum(), Metric: []*dto.Metric{m}})
		}
		switch st.Kind {
		case stats.KindCounter:
			value := st.Value
			if s.cfg.Deltas {
				counters[st.Name] = st.Value
				if before := s.last[st.Name]; before <= value { // else it was reset
					value -= before
				}
			}
			add(dto.MetricType_COUNTER, &dto.Metric{Counter: &dto.Counter{Value: proto.Float64(float64(value))}})
		case stats.KindGauge:
			add(dto.MetricType_GAUGE, &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(float64(st.Value))}})
		case stats.KindHistogram:
			if s.cfg.Summary {
				add(dto.MetricType_SUMMARY, &dto.Metric{Summary: summary(st.Interval)})
			}
			if s.cfg.Buckets {
				add(dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: histogram(st.Interval)})
			}
		}
	})
	return out, counters
}

func summary(i stats.Interval) *dto.Summary {
	out := &dto.Summary{SampleCount: proto.Uint64(i.Count()), SampleSum: proto.Float64(float64(i.Sum()))}
	values := i.Quantiles()
	for k, q := range stats.Quantiles {
		out.Quantile = append(out.Quantile, &dto.Quantile{Quantile: proto.Float64(q), Value: proto.Float64(values[k])})
	}
	return out
}

func histogram(i stats.Interval) *dto.Histogram {
	out := &dto.Histogram{SampleCount: proto.Uint64(i.Count()), SampleSum: proto.Float64(float64(i.Sum()))}
	bounds, counts := i.Buckets()
	for k, bound := range bounds {
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(counts[k])})
	}
	return out
}

package xdsresource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/proto"
)

// StatsConfig is metrics.v3.StatsConfig.
type StatsConfig struct {
	Tags          []StatsTag
	NoDefaultTags bool // use_all_default_tags: false
	Matcher       *StatsMatcher
	Buckets       []StatsBuckets
}

// StatsTag is a tag that is fixed or extracted. With neither a value nor a regular expression it
// names one of the default tags.
type StatsTag struct {
	Name  string
	Fixed string
	Regex *regexp.Regexp
}

// StatsMatcher says which statistics there are.
type StatsMatcher struct {
	RejectAll bool
	Patterns  []StringMatch
	Exclude   bool // the patterns name what there is not
}

// StatsBuckets gives histograms their buckets.
type StatsBuckets struct {
	Match  StringMatch
	Bounds []float64
}

// StatsSink is where statistics are sent: statsd, DogStatsD, or a metrics service.
type StatsSink struct {
	Metrics  *MetricsService // nil: what follows
	Dog      bool
	Address  Address // UDP; the zero value with Cluster
	Cluster  string  // TCP
	Prefix   string  // "envoy" by default
	MaxBytes int     // max_bytes_per_datagram; 0: a datagram for each
}

// MetricsService is metrics.v3.MetricsServiceConfig.
type MetricsService struct {
	Service          GRPCService
	Deltas           bool // report_counters_as_deltas
	Labels           bool // emit_tags_as_labels
	Summary, Buckets bool // forms of histograms: quantiles, and cumulative buckets
	FamiliesAtMost   int  // of a message (batch_size); 0: all go in one
}

// Stats reads stats_config.
func (d *Decoder) Stats(m *metricsv3.StatsConfig) (StatsConfig, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := StatsConfig{NoDefaultTags: !boolOr(m.GetUseAllDefaultTags(), true)}
	names := map[string]bool{}
	for i, t := range m.GetStatsTags() {
		here := at("stats_tags", i)
		tag := StatsTag{Name: t.GetTagName(), Fixed: t.GetFixedValue()}
		if names[tag.Name] {
			p.bad(join(here, "tag_name"), "tag %q is given twice", tag.Name)
		}
		names[tag.Name] = true
		if re := t.GetRegex(); re != "" {
			c, err := regexp.Compile(re)
			switch {
			case err != nil:
				p.bad(join(here, "regex"), "%v", err)
			case c.NumSubexp() == 0:
				p.bad(join(here, "regex"), "needs a group around what is cut out of the name")
			}
			tag.Regex = c
		} else if tag.Fixed == "" && !strings.HasPrefix(tag.Name, "envoy.") {
			p.bad(here, "%q is no default tag, so regex or fixed_value is required", tag.Name)
		}
		out.Tags = append(out.Tags, tag)
	}
	out.Matcher = p.statsMatcher("stats_matcher", m.GetStatsMatcher())
	for i, b := range m.GetHistogramBucketSettings() {
		here := at("histogram_bucket_settings", i)
		if !slices.IsSorted(b.GetBuckets()) {
			p.bad(join(here, "buckets"), "must be in ascending order")
		}
		out.Buckets = append(out.Buckets, StatsBuckets{Match: p.stringMatch(join(here, "match"), b.GetMatch()), Bounds: b.GetBuckets()})
	}
	return out, p.finish("stats_config", "")
}

func (p *parser) statsMatcher(path string, m *metricsv3.StatsMatcher) *StatsMatcher {
	switch s := m.GetStatsMatcher().(type) {
	case *metricsv3.StatsMatcher_RejectAll:
		return &StatsMatcher{RejectAll: s.RejectAll, Exclude: !s.RejectAll}
	case *metricsv3.StatsMatcher_ExclusionList:
		out := &StatsMatcher{Exclude: true}
		for i, sm := range s.ExclusionList.GetPatterns() {
			out.Patterns = append(out.Patterns, p.stringMatch(at(join(path, "exclusion_list.patterns"), i), sm))
		}
		return out
	case *metricsv3.StatsMatcher_InclusionList:
		out := &StatsMatcher{}
		for i, sm := range s.InclusionList.GetPatterns() {
			out.Patterns = append(out.Patterns, p.stringMatch(at(join(path, "inclusion_list.patterns"), i), sm))
		}
		return out
	}
	return nil
}

// StatsSink reads one of stats_sinks.
func (d *Decoder) StatsSink(m *metricsv3.StatsSink) (StatsSink, error) {
	p := &parser{dec: d}
	p.check("", m)
	out := StatsSink{Prefix: "envoy"}
	prefix := func(s string) {
		if s != "" {
			out.Prefix = s
		}
	}
	a := m.GetTypedConfig()
	switch {
	case a == nil:
		p.bad("typed_config", "is required")
	case a.MessageIs(&metricsv3.StatsdSink{}):
		var s metricsv3.StatsdSink
		if !p.message("typed_config", a, &s) {
			break
		}
		prefix(s.GetPrefix())
		if s.GetAddress() != nil {
			out.Address = p.datagramAddress("typed_config.address", s.GetAddress())
		} else {
			out.Cluster = s.GetTcpClusterName()
		}
	case a.MessageIs(&metricsv3.DogStatsdSink{}):
		var s metricsv3.DogStatsdSink
		if !p.message("typed_config", a, &s) {
			break
		}
		prefix(s.GetPrefix())
		out.Dog, out.MaxBytes = true, int(min(s.GetMaxBytesPerDatagram().GetValue(), 65507))
		out.Address = p.datagramAddress("typed_config.address", s.GetAddress())
	case a.MessageIs(&metricsv3.MetricsServiceConfig{}):
		var s metricsv3.MetricsServiceConfig
		if !p.message("typed_config", a, &s) {
			break
		}
		if v := s.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
			p.bad("typed_config.transport_api_version", "%v is not supported, use V3", v)
		}
		mode := s.GetHistogramEmitMode()
		out.Metrics = &MetricsService{
			Service: p.grpcService("typed_config.grpc_service", s.GetGrpcService()), Deltas: s.GetReportCountersAsDeltas().GetValue(), Labels: s.GetEmitTagsAsLabels(),
			Summary: mode != metricsv3.HistogramEmitMode_HISTOGRAM, Buckets: mode != metricsv3.HistogramEmitMode_SUMMARY, FamiliesAtMost: int(s.GetBatchSize()),
		}
	default:
		p.bad("typed_config", "%s", fmt.Sprintf("sink %q of type %s is not supported: use envoy.stat_sinks.statsd, envoy.stat_sinks.dog_statsd or envoy.stat_sinks.metrics_service", m.GetName(), TypeName(a)))
	}
	return out, p.finish("stats sink", m.GetName())
}

// datagramAddress reads where datagrams go; the protocol may say UDP, or nothing as in most files.
func (p *parser) datagramAddress(path string, m *corev3.Address) Address {
	if sa := m.GetSocketAddress(); sa.GetProtocol() == corev3.SocketAddress_UDP {
		m = proto.CloneOf(m)
		m.GetSocketAddress().Protocol = corev3.SocketAddress_TCP
	}
	return p.address(path, m, false)
}

package tap

import (
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/tap/v3"
	tapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/tap/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated tap.v3.Tap with a static configuration.
type Config struct {
	Output               Output
	Streaming            bool
	MaxRequest           int // bytes of a request's body that are kept, or of a piece of one that is streamed
	MaxResponse          int
	Enabled              *xdsresource.FractionalPercent // nil: always
	Times                bool                           // record when headers came
	Downstream, Upstream bool                           // record the connections
	rate                 *typev3.FractionalPercent      // Enabled as it was written; nil for none
	match                *matcher
}

// Output is where traces go: a file for each stream.
type Output struct {
	Prefix string // of its path
	Format Format
}

// Format is config.tap.v3.OutputSink.Format.
type Format = configv3.OutputSink_Format

// defaultMax is how much of a body is kept where the configuration does not say.
const defaultMax = 1024

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &tapv3.Tap{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	const path = "common_config.static_config"
	s := m.GetCommonConfig().GetStaticConfig()
	out := s.GetOutputConfig()
	c := &Config{
		Streaming: out.GetStreaming(), MaxRequest: defaultMax, MaxResponse: defaultMax, Times: m.GetRecordHeadersReceivedTime(),
		Downstream: m.GetRecordDownstreamConnection(), Upstream: m.GetRecordUpstreamConnection(),
		Enabled: r.RuntimeFraction(path+".tap_enabled", s.GetTapEnabled()), rate: s.GetTapEnabled().GetDefaultValue(),
	}
	if v := out.GetMaxBufferedRxBytes(); v != nil {
		c.MaxRequest = int(v.GetValue())
	}
	if v := out.GetMaxBufferedTxBytes(); v != nil {
		c.MaxResponse = int(v.GetValue())
	}
	sinks := out.GetSinks()
	if len(sinks) != 1 || sinks[0].GetFilePerTap() == nil {
		r.Bad(path+".output_config.sinks", "must be one file_per_tap; other sinks are not supported")
		return nil, r.Err()
	}
	c.Output = Output{Prefix: sinks[0].GetFilePerTap().GetPathPrefix(), Format: sinks[0].GetFormat()}
	if c.Output.Format == configv3.OutputSink_PROTO_BINARY && c.Streaming {
		r.Bad(path+".output_config.sinks[0].format", "PROTO_BINARY cannot hold several messages; use PROTO_BINARY_LENGTH_DELIMITED for streaming")
	}
	c.match = readMatch(r, path, s)
	return c, r.Err()
}

// readMatch compiles the predicate; the older field's message is the newer one's by another name.
func readMatch(r *xdsresource.FilterReader, path string, s *configv3.TapConfig) *matcher {
	p, field := s.GetMatch(), path+".match"
	//lint:ignore SA1019 it is what most configurations have
	if old := s.GetMatchConfig(); p == nil && old != nil {
		p, field = &commonv3.MatchPredicate{}, path+".match_config"
		b, err := proto.Marshal(old)
		if err == nil {
			err = proto.Unmarshal(b, p)
		}
		if err != nil {
			r.Bad(field, "%v", err)
			return nil
		}
	}
	if p == nil {
		r.Bad(field, "is required")
		return nil
	}
	m := &matcher{}
	m.add(r, field, p)
	return m
}

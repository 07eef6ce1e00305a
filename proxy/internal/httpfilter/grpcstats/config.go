package grpcstats

import (
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/methodstats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated grpc_stats.v3.FilterConfig.
type Config struct {
	EmitState    bool
	UpstreamTime bool // record how long hosts take
	Underscores  bool // for the dots of service names, where all methods are counted
	AllMethods   bool
	Methods      map[methodstats.Name]bool // counted by name, where not all are; nil: none
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &statsv3.FilterConfig{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{
		EmitState: m.GetEmitFilterState(), UpstreamTime: m.GetEnableUpstreamStats(), Underscores: m.GetReplaceDotsInGrpcServiceName(),
		AllMethods: m.GetStatsForAllMethods().GetValue(),
	}
	for _, s := range m.GetIndividualMethodStatsAllowlist().GetServices() {
		for _, method := range s.GetMethodNames() {
			if c.Methods == nil {
				c.Methods = map[methodstats.Name]bool{}
			}
			c.Methods[methodstats.Name{Service: s.GetName(), Method: method}] = true
		}
	}
	return c, r.Err()
}

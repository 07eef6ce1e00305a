package ondemand

import (
	"time"

	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated on_demand.v3.OnDemand or PerRouteConfig.
type Config struct {
	Enabled bool // there is an odcds; else requests to clusters that are not known pass
	// Source is asked for clusters: ADS, or a cluster that serves them over gRPC.
	Source  xdsresource.ConfigSource
	Timeout time.Duration // of one request's wait, for its virtual host and again for its cluster
}

// defaultTimeout is Envoy's for clusters. For virtual hosts it has none, and waits as long as the client.
const defaultTimeout = 5 * time.Second

// ParseConfig reads the filter's configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &ondemandv3.OnDemand{}
	r := d.ReadFilter(Name, a, m)
	c := read(r, m.GetOdcds())
	return c, r.Err()
}

// ParseRouteConfig reads a route's configuration. It returns a *Config, which replaces the filter's.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &ondemandv3.PerRouteConfig{}
	r := d.ReadFilter(Name, a, m)
	c := read(r, m.GetOdcds())
	return c, r.Err()
}

func read(r *xdsresource.FilterReader, m *ondemandv3.OnDemandCds) *Config {
	if m == nil {
		return &Config{Timeout: defaultTimeout}
	}
	c := &Config{Enabled: true, Timeout: r.Duration("odcds.timeout", m.GetTimeout(), defaultTimeout)}
	if m.GetSource() == nil {
		r.Bad("odcds.source", "is required")
		return c
	}
	if c.Source = r.ConfigSource("odcds.source", m.GetSource()); c.Source.Path != "" {
		r.Bad("odcds.source", "a file cannot be asked for a cluster; use ads or api_config_source")
	}
	return c
}

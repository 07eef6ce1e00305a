// Package connectionlimit is the network filter envoy.filters.network.connection_limit: it closes new
// connections of a filter chain that has as many as it may have.
//
// The limit holds for all workers together, so they share one atomic number, touched when a
// connection comes and when it goes. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/connection_limit_filter
package connectionlimit

import (
	"sync/atomic"
	"time"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.connection_limit"

// Config is a validated connection_limit.v3.ConnectionLimit.
type Config struct {
	StatPrefix string
	Max        uint64
	Delay      time.Duration // before a connection beyond the limit is closed
	Enabled    xdsresource.Flag
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &limitv3.ConnectionLimit{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{StatPrefix: m.GetStatPrefix(), Max: m.GetMaxConnections().GetValue(), Delay: r.Duration("delay", m.GetDelay(), 0), Enabled: r.RuntimeFlag(m.GetRuntimeEnabled(), true)}
	return c, r.Err()
}

type filter struct {
	*Config
	active  atomic.Int64
	store   *stats.Store
	limited stats.Counter
	gauge   stats.Gauge
}

// New makes the filter.
func New(cfg any, s *stats.Store) networkfilter.Filter {
	c := cfg.(*Config)
	scope := s.Scope("connection_limit").Scope(c.StatPrefix)
	return &filter{Config: c, store: s, limited: scope.Counter("limited_connections"), gauge: scope.Gauge("active_connections")}
}

// OnNewConnection implements networkfilter.Filter.
func (f *filter) OnNewConnection(c *conn.Conn, _ *listener.Context) bool {
	if !f.Enabled.On() {
		return true
	}
	shard := f.store.Shard(c.Loop().ID())
	if f.active.Add(1) > int64(f.Max) {
		f.active.Add(-1)
		shard.Inc(f.limited)
		networkfilter.Refuse(c, f.Delay)
		return false
	}
	shard.GaugeAdd(f.gauge, 1)
	networkfilter.OnClosed(c, func() {
		f.active.Add(-1)
		shard.GaugeAdd(f.gauge, -1)
	})
	return true
}

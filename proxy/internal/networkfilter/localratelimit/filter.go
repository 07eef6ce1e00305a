// Package localratelimit is the network filter envoy.filters.network.local_ratelimit: it closes new
// connections for which no token is left. Its bucket is shared by all workers, see tokenbucket; a
// bucket shared between filters (share_key) is refused. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/local_rate_limit_filter
package localratelimit

import (
	"time"

	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.local_ratelimit"

// Config is a validated local_ratelimit.v3.LocalRateLimit.
type Config struct {
	StatPrefix string
	Limit      tokenbucket.Limit
	Enabled    xdsresource.Flag
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &localv3.LocalRateLimit{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{StatPrefix: m.GetStatPrefix(), Enabled: r.RuntimeFlag(m.GetRuntimeEnabled(), true)}
	if r.Err() == nil {
		if c.Limit = r.TokenBucket("token_bucket", m.GetTokenBucket()); c.Limit.Interval < 50*time.Millisecond {
			r.Bad("token_bucket.fill_interval", "must be at least 50ms")
		}
	}
	return c, r.Err()
}

type filter struct {
	*Config
	bucket  *tokenbucket.Bucket
	base    time.Time // where the bucket's clock begins
	store   *stats.Store
	limited stats.Counter
}

// New makes the filter.
func New(cfg any, s *stats.Store) networkfilter.Filter {
	c := cfg.(*Config)
	return &filter{
		Config: c, bucket: tokenbucket.New(c.Limit), base: time.Now(), store: s,
		limited: s.Scope("local_rate_limit").Scope(c.StatPrefix).Counter("rate_limited"),
	}
}

// OnNewConnection implements networkfilter.Filter.
func (f *filter) OnNewConnection(c *conn.Conn, _ *listener.Context) bool {
	if !f.Enabled.On() || f.bucket.Take(int64(c.Loop().WallNow().Sub(f.base))) {
		return true
	}
	f.store.Shard(c.Loop().ID()).Inc(f.limited)
	networkfilter.Refuse(c, 0)
	return false
}

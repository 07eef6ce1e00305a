// Package healthcheck is the HTTP filter envoy.filters.http.health_check: it answers health checks
// for the proxy, or lets them through and remembers the answer for a while.
//
// It checks nobody itself; what it says of clusters is what the proxy knows of their hosts. Only
// server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/health_check_filter
package healthcheck

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.health_check"

// Config is a validated health_check.v3.HealthCheck.
type Config struct {
	PassThrough bool
	CacheTime   time.Duration // of an answer that was passed through; 0: it is not kept
	MinHealthy  []Minimum
	headers     []route.HeaderMatcher // all must match
}

// Minimum is the share of a cluster's hosts that must be healthy for this proxy to be.
type Minimum struct {
	Cluster string
	Percent float64
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &healthv3.HealthCheck{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{PassThrough: m.GetPassThroughMode().GetValue(), CacheTime: r.Duration("cache_time", m.GetCacheTime(), 0)}
	if !c.PassThrough && c.CacheTime > 0 {
		r.Bad("cache_time", "only answers that are passed through (pass_through_mode) can be kept")
	}
	if c.PassThrough && len(m.GetClusterMinHealthyPercentages()) > 0 {
		r.Bad("cluster_min_healthy_percentages", "is for answers of our own, not for pass_through_mode")
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetClusterMinHealthyPercentages())) {
		c.MinHealthy = append(c.MinHealthy, Minimum{name, m.GetClusterMinHealthyPercentages()[name].GetValue()})
	}
	hs := r.HeaderMatchers("headers", m.GetHeaders())
	for i := range hs {
		c.headers = append(c.headers, route.NewHeaderMatcher(&hs[i]))
	}
	return c, r.Err()
}

// Deps is what the filter needs of the process.
type Deps struct {
	Clusters *cluster.Manager
	// Failing: the operator has told the proxy to call itself unhealthy.
	Failing func() bool
	Node    string // our cluster's name
	// Stats is the connection manager's scope.
	Stats stats.Scope
}

// Statistics of answers of our own, "http.<stat_prefix>.health_check.*", in the order of statSet.
const (
	total = iota
	ok
	failed
	cachedResponse
	noCluster
	emptyCluster
	unhealthyCluster
)

var statSet = stats.NewSet(
	stats.Item{Name: "request_total"}, stats.Item{Name: "ok"}, stats.Item{Name: "failed"}, stats.Item{Name: "cached_response"},
	stats.Item{Name: "failed_cluster_not_found"}, stats.Item{Name: "failed_cluster_empty"}, stats.Item{Name: "failed_cluster_unhealthy"},
)

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory {
	return &factory{cfg: cfg.(*Config), deps: d, base: time.Now(), stats: d.Stats.Scope("health_check").Block(statSet)}
}

type factory struct {
	cfg   *Config
	deps  Deps
	base  time.Time
	stats stats.Block
	// cached is the last answer that was passed through: its time in milliseconds since base, and
	// below that ten bits of status. 0: none. Health checks are rare, so sharing it costs nothing.
	cached atomic.Int64
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(*eventloop.Loop) httpfilter.Filter { return &filter{factory: f} }

// filter serves one stream at a time.
type filter struct {
	*factory
	check  bool // the request is a health check
	answer bool // which we answer
	status int  // kept from another one; 0: none
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	for i := range f.cfg.headers {
		if !f.cfg.headers[i].Match(h) {
			return httpfilter.Continue
		}
	}
	f.check = true
	s.Info().HealthCheck = true
	if f.cfg.CacheTime > 0 {
		f.status = f.kept(s)
	}
	f.answer = !f.cfg.PassThrough || f.status != 0
	switch {
	case !f.answer:
		return httpfilter.Continue
	case !end:
		return httpfilter.Buffer // the answer waits for the request's end
	}
	f.reply(s)
	return httpfilter.Stop
}

// OnRequestData implements httpfilter.RequestData. What a health check brings is dropped.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if !f.answer {
		return httpfilter.Continue
	}
	d.Bytes = nil
	if !end {
		return httpfilter.Buffer
	}
	f.reply(s)
	return httpfilter.Stop
}

func (f *filter) reply(s httpfilter.Stream) {
	r := httpfilter.Reply{Code: 200, Details: "health_check_ok"}
	f.inc(s, total)
	switch {
	case f.deps.Failing():
		r.Code, r.Details = 503, "health_check_failed"
	case f.status != 0:
		f.inc(s, cachedResponse)
		r.Code, r.Details = f.status, "health_check_cached"
	default:
		r.Code, r.Details = f.judge(s)
	}
	if r.Code == 200 {
		f.inc(s, ok)
	} else {
		f.inc(s, failed)
		r.Flags = streaminfo.FailedLocalHealthCheck
	}
	s.Reply(r)
}

func (f *factory) inc(s httpfilter.Stream, i int) { s.Shard().Add(f.stats.Counter(i), 1) }

// judge looks at the clusters.
func (f *filter) judge(s httpfilter.Stream) (int, string) {
	for _, m := range f.cfg.MinHealthy {
		l := f.deps.Clusters.Local(s.Loop().ID()).Get(m.Cluster)
		if l == nil {
			f.inc(s, noCluster)
			return 503, "health_check_failed_no_cluster_found"
		}
		healthy, total := l.Health()
		switch {
		case total == 0 && m.Percent > 0:
			f.inc(s, emptyCluster)
			return 503, "health_check_failed_cluster_empty"
		case 100*float64(healthy) < m.Percent*float64(total):
			f.inc(s, unhealthyCluster)
			return 503, "health_check_failed_cluster_unhealthy"
		}
	}
	if len(f.cfg.MinHealthy) > 0 {
		return 200, "health_check_ok_cluster_healthy"
	}
	return 200, "health_check_ok"
}

func (f *filter) now(s httpfilter.Stream) int64 {
	return s.Loop().WallNow().Sub(f.base).Milliseconds() + 1
}

// kept is the status of an answer that is not too old; 0 for none.
func (f *filter) kept(s httpfilter.Stream) int {
	v := f.cached.Load()
	if v == 0 || f.now(s)-v>>10 >= f.cfg.CacheTime.Milliseconds() {
		return 0
	}
	return int(v & 1023)
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	switch {
	case f.check:
		if f.cfg.CacheTime > 0 && !f.answer {
			f.cached.Store(f.now(s)<<10 | int64(s.Info().ResponseCode&1023))
		}
		h.AddKeyString(checkedKey, f.deps.Node)
	case f.deps.Failing():
		h.SetString(header.XEnvoyImmediateHealthCheckFail, "true")
	}
	return httpfilter.Continue
}

var checkedKey = header.KeyOf("x-envoy-upstream-healthchecked-cluster")

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) { f.check, f.answer, f.status = false, false, 0 }

// Package localratelimit is the HTTP filter envoy.filters.http.local_ratelimit: it answers 429 to
// requests for which no token is left.
//
// Buckets belong to a configuration, of the filter chain or of a route, and are shared by all
// workers; package tokenbucket says at which cost. It asks no other service, and does not divide
// limits among the replicas of a proxy (local_cluster_rate_limit is refused). Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter
package localratelimit

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.local_ratelimit"

// stateKey is where a connection keeps its own buckets, Envoy's name for them.
const stateKey = "per_connection_local_rate_limiter"

// String makes a limiter an object of the filter state; it has no text.
func (l *limiter) String() string { return "" }

// Statistics, "<stat_prefix>.http_local_rate_limit.*".
const (
	enabled = iota
	enforced
	limited
	passed
	shadowed
)

var statSet = stats.NewSet(
	stats.Item{Name: "enabled"}, stats.Item{Name: "enforced"}, stats.Item{Name: "rate_limited"}, stats.Item{Name: "ok"}, stats.Item{Name: "shadow_mode"},
)

func (c *Config) init() *Config {
	c.limiter = newLimiter(c.rules)
	return c
}

// Deps is what the filter needs of the process.
type Deps struct {
	Stats *stats.Store
	Node  string // our cluster's name, for descriptors
	// Workers is the number of event loops.
	Workers int
}

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory {
	c := cfg.(*Config)
	f := &factory{cfg: c, deps: d, workers: make([]map[string]stats.Block, d.Workers)}
	f.block = f.register(c.StatPrefix)
	return f
}

type factory struct {
	cfg     *Config
	deps    Deps
	block   stats.Block
	workers []map[string]stats.Block // of routes' stat prefixes, by worker
}

func (f *factory) register(prefix string) stats.Block {
	return f.deps.Stats.Scope(prefix).Scope("http_local_rate_limit").Block(statSet)
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	return &filter{factory: f, loop: l}
}

// filter serves one stream at a time.
type filter struct {
	*factory
	loop    *eventloop.Loop
	cfg     *Config // that of the stream
	verdict verdict
	now     int64
	list    []route.Descriptor
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	c, block := f.factory.cfg, f.block
	if rc, ok := s.FilterConfig().(*Config); ok {
		c, block = rc, f.routeBlock(rc.StatPrefix)
	}
	f.cfg = c
	if !c.Enabled.Hit(f.loop.Rand()) {
		return httpfilter.Continue
	}
	count := func(i int) { s.Shard().Inc(block.Counter(i)) }
	count(enabled)
	f.now = int64(f.loop.WallNow().Sub(c.base))
	f.verdict = f.limiter(s).take(f.now, f.describe(s, h))
	if f.verdict.shadow {
		count(shadowed)
	}
	if !f.verdict.limited {
		if f.verdict.shadow {
			count(limited)
		} else {
			count(passed)
		}
		return httpfilter.Continue
	}
	count(limited)
	ctx := format.Context{Request: h, Info: s.Info()}
	if !c.Enforced.Hit(f.loop.Rand()) {
		c.RequestHeaders.Apply(h, &ctx)
		return httpfilter.Continue
	}
	count(enforced)
	s.Reply(httpfilter.Reply{
		Code: c.Status, Body: "local_rate_limited", Details: "local_rate_limited", Flags: streaminfo.RateLimited, GRPC: c.GRPC,
		Headers: func(a *header.Map) {
			ctx.Response = a
			c.ResponseHeaders.Apply(a, &ctx)
			if c.RetryAfter {
				a.SetName("retry-after", strconv.AppendUint(nil, f.reset(), 10))
			}
		},
	})
	return httpfilter.Stop
}

// limiter returns the buckets that hold for the stream.
func (f *filter) limiter(s httpfilter.Stream) *limiter {
	if !f.cfg.PerConnection {
		return f.cfg.limiter
	}
	state := &s.Info().Downstream.State
	if l, ok := state.Get(stateKey).(*limiter); ok {
		return l
	}
	l := newLimiter(f.cfg.rules)
	state.Put(stateKey, l)
	return l
}

// describe puts the request's descriptors together.
func (f *filter) describe(s httpfilter.Stream, h *header.Map) []route.Descriptor {
	c := f.cfg
	if len(c.rules.descriptors) == 0 {
		return nil
	}
	d := route.Described{Headers: h, Info: s.Info(), Node: f.deps.Node}
	if t := s.Target(); t != nil {
		d.Cluster = t.ClusterName(h)
	}
	if c.Limits != nil {
		f.list = c.Limits.Describe(f.list[:0], &d, c.Stage)
		return f.list
	}
	e := s.Route()
	if e == nil || e.Forward == nil {
		return nil
	}
	d.Local = true
	f.list = e.Forward.Limits.Describe(f.list[:0], &d, c.Stage)
	if e.Forward.VHostRateLimits || c.VHost == vhostInclude || c.VHost == vhostOverride && len(e.Forward.Limits) == 0 {
		f.list = e.VirtualHost.Limits.Describe(f.list, &d, c.Stage)
	}
	return f.list
}

// reset is how many seconds it takes until there is a token.
func (f *filter) reset() uint64 {
	if f.verdict.bucket == nil {
		return 0
	}
	return uint64((f.verdict.bucket.Wait(f.now) + 999_999_999) / 1_000_000_000)
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if b := f.verdict.bucket; b != nil && f.tells() {
		h.AddBuilt(limitKey, strconv.AppendUint(h.Build(), b.Max(), 10))
		h.AddBuilt(remainingKey, strconv.AppendUint(h.Build(), b.Left(f.now), 10))
		h.AddBuilt(resetKey, strconv.AppendUint(h.Build(), f.reset(), 10))
	}
	return httpfilter.Continue
}

// tells reports whether headers tell of the limit.
func (f *filter) tells() bool {
	if f.verdict.headers == xdsresource.RateLimitHeadersDefault {
		return f.cfg.Headers
	}
	return f.verdict.headers == xdsresource.RateLimitHeadersOn
}

var (
	limitKey     = header.KeyOf("x-ratelimit-limit")
	remainingKey = header.KeyOf("x-ratelimit-remaining")
	resetKey     = header.KeyOf("x-ratelimit-reset")
)

// routeBlock finds the statistics of a route's stat prefix, which are registered when they are
// first met: once for each worker.
func (f *filter) routeBlock(prefix string) stats.Block {
	id := f.loop.ID()
	b, ok := f.workers[id][prefix]
	if !ok {
		b = f.register(prefix)
		if f.workers[id] == nil {
			f.workers[id] = map[string]stats.Block{}
		}
		f.workers[id][prefix] = b
	}
	return b
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	clear(f.list)
	f.cfg, f.verdict = nil, verdict{}
}

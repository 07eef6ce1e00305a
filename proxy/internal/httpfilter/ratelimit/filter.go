// Package ratelimit is the HTTP filter envoy.filters.http.ratelimit: it asks a rate limit service about
// each request, and answers 429 to those that are over a limit.
//
// What a request is to the service is said by rate_limits (package route), the call is package rls's.
// The stream waits for the answer; when the client goes away the question is dropped. Limits with
// apply_on_stream_done are told to the service when the stream is over, and nobody waits for the
// answer. Quotas that a service hands out are not read: Envoy has not implemented them. Only server
// imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rate_limit_filter
package ratelimit

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/rls"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.ratelimit"

// Statistics, "cluster.<the route's>.ratelimit.[<stat_prefix>.]*".
const (
	okCount = iota
	errorCount
	allowedCount
	overCount
)

var statSet = stats.NewSet(stats.Item{Name: "ok"}, stats.Item{Name: "error"}, stats.Item{Name: "failure_mode_allowed"}, stats.Item{Name: "over_limit"})

// Deps is what the filter needs of the process.
type Deps struct {
	Clients *asyncclient.Clients
	Node    string // our cluster's name, for descriptors
}

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory { return &factory{cfg.(*Config), d} }

type factory struct {
	cfg  *Config
	deps Deps
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{factory: f, client: f.deps.Clients.On(l)}
	x.answered = x.onAnswer
	return x
}

// filter serves one stream at a time.
type filter struct {
	*factory
	client   *asyncclient.Client
	answered func(*rls.Answer)

	s       httpfilter.Stream
	route   *route.Entry // that of the request; nil: it is not limited
	own     *RouteConfig // the route's; nil for none
	local   *cluster.Local
	cancel  func() // of the call that is under way; nil: there is none
	list    []route.Descriptor
	answer  *rls.Answer   // whose headers the response gets
	limits  []limitHeader // x-ratelimit-*
	limited bool          // x-envoy-ratelimited
}

type limitHeader struct {
	key   header.Key
	value string
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if internal := string(h.Value(header.XEnvoyInternal)) == "true"; !f.cfg.Enabled.Hit(s.Loop().Rand()) || internal && !f.cfg.Internal || !internal && !f.cfg.External {
		return httpfilter.Continue
	}
	e, t := s.Route(), s.Target()
	if e == nil || t == nil {
		return httpfilter.Continue
	}
	if f.local = f.client.Local(t.ClusterName(h)); f.local == nil {
		return httpfilter.Continue
	}
	f.s, f.route = s, e
	f.own, _ = s.FilterConfig().(*RouteConfig)
	if f.describe(false); len(f.list) == 0 {
		return httpfilter.Continue
	}
	f.ask(f.answered)
	return httpfilter.Stop
}

// ask sends the descriptors.
func (f *filter) ask(done func(*rls.Answer)) {
	q := rls.Request{Domain: f.cfg.Domain, Descriptors: f.list}
	if f.own != nil && f.own.Domain != "" {
		q.Domain = f.own.Domain
	}
	if o := f.s.Info().FilterState(filterstate.RateLimitHits); o != nil {
		if n, err := strconv.ParseUint(o.String(), 10, 32); err == nil {
			q.Hits = uint32(n)
		}
	}
	f.cancel = f.cfg.Service.Ask(f.client, &q, done)
}

// describe puts the request's descriptors together, or those for the end of the stream.
func (f *filter) describe(done bool) {
	h := f.s.RequestHeaders()
	d := route.Described{
		Headers: h, Info: f.s.Info(), Node: f.deps.Node, Cluster: f.local.Name(), Done: done,
		Response: f.s.ResponseHeaders(), Trailers: f.s.ResponseTrailers(),
	}
	list := f.list[:0]
	switch fw := f.route.Forward; {
	case f.own != nil && f.own.Limits != nil:
		list = f.own.Limits.Describe(list, &d, 0)
	case f.cfg.Limits != nil:
		list = f.cfg.Limits.Describe(list, &d, 0)
	default:
		list = fw.Limits.Describe(list, &d, f.cfg.Stage)
		how := vhostOverride
		if f.own != nil {
			how = f.own.VHost
		}
		if fw.VHostRateLimits || how == vhostInclude || how == vhostOverride && len(fw.Limits) == 0 {
			list = f.route.VirtualHost.Limits.Describe(list, &d, f.cfg.Stage)
		}
	}
	f.list = list
}

func (f *filter) count(i int) { f.s.Shard().Inc(f.block().Counter(i)) }

// blockKey is where a cluster's statistics of a stat_prefix are kept.
type blockKey struct{ prefix string }

func (f *filter) block() stats.Block {
	return f.local.Beside(blockKey{f.cfg.StatPrefix}, func() any {
		sc := f.local.Scope().Scope("ratelimit")
		if f.cfg.StatPrefix != "" {
			sc = sc.Scope(f.cfg.StatPrefix)
		}
		return sc.Block(statSet)
	}).(stats.Block)
}

// onAnswer is told what the service says.
func (f *filter) onAnswer(a *rls.Answer) {
	f.cancel, f.answer = nil, a
	info := f.s.Info()
	for k, v := range a.Metadata {
		info.SetMetadata(f.cfg.Namespace, k, v)
	}
	f.limits = appendLimits(f.limits[:0], f.list, a.Statuses, f.cfg.Headers)
	switch a.Code {
	case rls.OverLimit:
		f.count(overCount)
		f.local.CountResponse(f.cfg.Status, true)
		f.limited = f.cfg.RateLimited
		if f.cfg.Enforced.Hit(f.s.Loop().Rand()) {
			f.refuse(a)
			return
		}
	case rls.OK:
		f.count(okCount)
	default:
		f.count(errorCount)
		if f.denies() {
			f.s.Reply(httpfilter.Reply{Code: f.cfg.ErrorStatus, Details: "rate_limiter_error", Flags: streaminfo.RateLimitServiceError})
			return
		}
		f.count(allowedCount)
	}
	h := f.s.RequestHeaders()
	for _, add := range a.Request {
		h.AddName(add.Name, []byte(add.Value))
	}
	f.s.ContinueRequest()
}

// denies reports whether a request is refused because the service has failed.
func (f *filter) denies() bool {
	if f.cfg.DenyShare != nil {
		return f.cfg.DenyShare.Hit(f.s.Loop().Rand())
	}
	return f.cfg.Deny
}

// refuse answers a request that is over a limit.
func (f *filter) refuse(a *rls.Answer) {
	ctx := format.Context{Request: f.s.RequestHeaders(), Info: f.s.Info()}
	f.s.Reply(httpfilter.Reply{
		Code: f.cfg.Status, Body: a.Body, Details: "request_rate_limited", Flags: streaminfo.RateLimited, GRPC: f.cfg.GRPC,
		Headers: func(h *header.Map) {
			f.respond(h)
			if f.cfg.RetryAfter && f.cfg.Status == 429 && !h.Has(header.RetryAfter) {
				if n, ok := retryAfter(a.Statuses); ok {
					h.Set(header.RetryAfter, strconv.AppendUint(nil, n, 10))
				}
			}
			ctx.Response = h
			f.cfg.ResponseHeaders.Apply(h, &ctx)
		},
	})
}

// respond adds what the service says to a response, once.
func (f *filter) respond(h *header.Map) {
	if f.answer == nil {
		return
	}
	for _, add := range f.answer.Response {
		h.AddName(add.Name, []byte(add.Value))
	}
	if f.limited {
		h.SetKeyString(limitedKey, "true")
	}
	for _, l := range f.limits {
		h.AddKeyString(l.key, l.value)
	}
	f.answer = nil
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.respond(h)
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer: it drops the question, or asks what is to be asked at
// the end.
func (f *filter) OnComplete(httpfilter.Stream) {
	switch {
	case f.route == nil:
	case f.cancel != nil:
		f.cancel()
	default:
		if f.describe(true); len(f.list) > 0 {
			f.ask(nil)
		}
	}
	clear(f.list)
	*f = filter{factory: f.factory, client: f.client, answered: f.answered, list: f.list[:0], limits: f.limits[:0]}
}

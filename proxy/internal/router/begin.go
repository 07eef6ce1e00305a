package router

import (
	"fmt"
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Names prepared once.
var (
	pathKey          = header.KeyOf(":path")
	originalPathKey  = header.KeyOf("x-envoy-original-path")
	originalHostKey  = header.KeyOf("x-envoy-original-host")
	attemptKey       = header.KeyOf("x-envoy-attempt-count")
	expectedKey      = header.KeyOf("x-envoy-expected-rq-timeout-ms")
	serviceTimeKey   = header.KeyOf("x-envoy-upstream-service-time")
	forwardedHostKey = header.KeyOf("x-forwarded-host")
	dropKey          = header.KeyOf("x-envoy-drop-overload")
	grpcTimeoutKey   = header.KeyOf("grpc-timeout")
	timeoutRetryKey  = header.KeyOf("x-envoy-is-timeout-retry")
	dropAllKey       = header.KeyOf("x-envoy-unconditional-drop-overload")
)

// BeginRequest implements httpfilter.Terminal.
func (r *router) BeginRequest(s httpfilter.Responder, h *header.Map, end bool) {
	r.s, r.h, r.entry, r.ended = s, h, s.Route(), end
	info := s.Info()
	r.ctx.Request, r.ctx.Info = h, info
	r.inc(rqTotal)
	if r.entry == nil {
		r.inc(noRoute)
		r.reply(httpfilter.Reply{Code: http.StatusNotFound, Details: "route_not_found", Flags: streaminfo.NoRouteFound})
		return
	}
	if r.answerDirectly() {
		return
	}
	r.forward, r.target = r.entry.Forward, s.Target()
	if r.forward == nil || r.target == nil {
		r.inc(noRoute)
		r.reply(httpfilter.Reply{Code: http.StatusNotFound, Details: "route_not_found", Flags: streaminfo.NoRouteFound})
		return
	}
	name := r.target.ClusterName(h)
	if r.local = r.clusters.Get(name); r.local == nil {
		r.inc(noCluster)
		code := r.forward.ClusterNotFoundCode
		if code == 0 {
			code = http.StatusServiceUnavailable
		}
		r.reply(httpfilter.Reply{Code: code, Details: "cluster_not_found", Flags: streaminfo.NoClusterFound})
		return
	}
	info.UpstreamCluster, info.Cluster = name, r.local.Config()
	r.nameVirtualCluster()
	r.high = r.forward.PriorityHigh
	if bad := r.cfg.malformed(h); bad != nil {
		v, _ := h.GetKey(bad.Key)
		r.reply(httpfilter.Reply{
			Code: http.StatusBadRequest, Body: fmt.Sprintf("invalid header '%s' with value '%s'", bad.Key.Name, v),
			Details: "request_headers_failed_strict_check{" + bad.Key.Name + "}", Flags: streaminfo.InvalidEnvoyRequestHeaders,
		})
		return
	}
	if n := r.local.Config().Keys.Maintenance.Uint(0); n > 0 && r.loop.Rand()%100 < n {
		r.maintenance()
		return
	}
	if drop, all := r.local.Drops(r.loop.Rand()); drop {
		r.drop(all)
		return
	}

	r.limits.read(r, h)
	r.retry.begin(r.retryPolicy(), h)
	r.avoidHosts()
	r.bodyLimit = r.entry.BodyLimit(s.BufferLimit())
	r.keep = r.retry.possible() || r.forward.InternalRedirect != nil
	h.RemoveSet(controlHeaders)
	r.changeHeaders()
	r.prepareBalancing()
	if d := r.forward.IdleTimeout; d != nil {
		s.SetIdleTimeout(int64(*d))
	}
	r.limitDuration()
	if len(r.forward.Mirrors) > 0 {
		r.beginMirrors(end)
	}
	r.state = trying
	if end {
		r.startClock()
	}
	r.attempt()
}

// answerDirectly serves routes that name no cluster: redirects and fixed answers.
func (r *router) answerDirectly() bool {
	if need := r.entry.VirtualHost.RequireTLS; need != xdsresource.TLSNotRequired && string(r.h.Value(header.XForwardedProto)) != "https" {
		if need == xdsresource.TLSAll || !r.h.Has(header.XEnvoyInternal) {
			location := append([]byte("https://"), r.h.Value(header.Authority)...)
			location = append(location, r.h.Value(header.Path)...)
			r.redirect(http.StatusMovedPermanently, location)
			return true
		}
	}
	switch {
	case r.entry.Redirect != nil:
		location := r.entry.AppendLocation(nil, r.h, &r.ctx)
		r.rewritePath() // for the log, as in Envoy
		r.redirect(r.entry.Redirect.Code, location)
	case r.entry.Direct != nil:
		r.inc(rqDirectResponse)
		r.answerDirect()
	default:
		return false
	}
	return true
}

// answerDirect gives a route's fixed answer.
func (r *router) answerDirect() {
	d := r.entry.Direct
	p := httpfilter.Reply{Code: d.Status, Body: string(d.Body), Details: "direct_response", Headers: r.directHeaders}
	if f := r.entry.Body; f != nil {
		r.ctx.LocalReply = d.Body
		p.Body = string(f.Append(nil, &r.ctx))
		p.Headers = func(h *header.Map) {
			if p.Body != "" {
				h.SetString(header.ContentType, f.ContentType)
			}
			r.directHeaders(h)
		}
	}
	r.reply(p)
}

func (r *router) redirect(code int, location []byte) {
	r.inc(rqDirectResponse)
	if code == 0 {
		code = http.StatusMovedPermanently
	}
	r.reply(httpfilter.Reply{Code: code, Details: "direct_response", Headers: func(h *header.Map) {
		h.Set(header.Location, location)
		r.localHeaders(h)
	}})
}

// directHeaders are those of a fixed answer: where something was made, it says so, as Envoy does.
func (r *router) directHeaders(h *header.Map) {
	if code := r.entry.Direct.Status; code == http.StatusCreated || code/100 == 3 {
		h.SetBuilt(header.Key{ID: header.Location, Name: header.Location.String()}, r.entry.AppendLocation(h.Build(), r.h, &r.ctx))
	}
	r.localHeaders(h)
}

// localHeaders applies the route's response header changes to an answer of our own.
func (r *router) localHeaders(h *header.Map) {
	r.ctx.Response = h
	r.entry.ResponseOps.Apply(h, &r.ctx)
}

// reply answers locally; nothing is sent to a host any more.
func (r *router) reply(p httpfilter.Reply) {
	r.state = done
	r.s.Reply(p)
}

// retryPolicy is the cluster's, else the route's.
func (r *router) retryPolicy() *xdsresource.RetryPolicy {
	if p := r.local.Config().HTTP.Retry; p != nil {
		return p
	}
	return r.forward.Retry
}

// controlHeaders are what only the router reads.
var controlHeaders = header.SetOf(
	header.XEnvoyUpstreamRqTimeoutMs, header.XEnvoyUpstreamRqPerTryTimeoutMs, header.XEnvoyRetryOn, header.XEnvoyRetryGRPCOn,
	header.XEnvoyMaxRetries, header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames,
	header.XEnvoyHedgeOnPerTryTimeout, header.XEnvoyUpstreamRqTimeoutAltResponse,
)

// changeHeaders makes the head that goes upstream, but for what depends on the host.
func (r *router) changeHeaders() {
	h := r.h
	r.expect()
	if len(r.target.RequestOps) > 0 {
		r.target.RequestOps.Apply(h, &r.ctx)
	}
	r.rewritePath()
}

// rewritePath makes the path what the route says, and keeps the old one in a header.
func (r *router) rewritePath() {
	old := r.h.Value(header.Path)
	r.path = old
	if b, ok := r.entry.RewritePath(r.h.Build(), old, &r.ctx); ok {
		r.h.SetBuilt(pathKey, b)
		if !r.cfg.SuppressEnvoyHeaders {
			r.h.SetKey(originalPathKey, old)
		}
	}
}

// rewriteHost sets the authority, which may depend on the chosen host.
func (r *router) rewriteHost(to *cluster.LocalHost) {
	host, ok := r.entry.RewriteHost(r.target, r.h, r.path, to.Host.Hostname, &r.ctx)
	if !ok {
		return
	}
	if old := r.h.Value(header.Authority); string(old) != host {
		if r.forward.AppendXForwardedHost {
			b := r.h.Build()
			if before := r.h.Value(header.XForwardedHost); len(before) > 0 {
				b = append(append(b, before...), ',')
			}
			r.h.SetBuilt(forwardedHostKey, append(b, old...))
		}
		if !r.cfg.SuppressEnvoyHeaders && r.target.HostRewrite == "" {
			r.h.SetKey(originalHostKey, old)
		}
		r.h.SetString(header.Authority, host)
	}
}

// prepareBalancing sets what the choice of a host may depend on.
func (r *router) prepareBalancing() {
	info := r.s.Info()
	cfg := r.local.Config()
	r.lb.Hasher = r
	if len(cfg.LB.HashPolicies) == 0 {
		if own := cfg.HTTP.Hash; len(own) > 0 {
			r.hash(own)
		} else if len(r.forward.RouteAction.Hash) > 0 {
			r.hash(r.forward.RouteAction.Hash)
		}
	}
	r.lb.Subset = r.target.MetadataMatch
	if md := info.Metadata["envoy.lb"]; md != nil { // a filter's wish wins over the route's
		r.lb.Subset = r.lb.Subset.Merge(xdsresource.NewMetadataMatch(md))
	}
	r.lb.Override, r.lb.OverrideStrict = info.Override.Address, info.Override.Strict
	if o := cfg.LB.Override; o != nil {
		r.lb.Candidates = candidates(o, r.h, info)
	}
	switch cfg.Type {
	case xdsresource.ClusterOriginalDst:
		r.lb.OriginalDst = r.destination(cfg)
	case xdsresource.ClusterDynamic, xdsresource.ClusterAggregate:
		r.nameHost()
	}
}

// hash computes what hash tables look for. Cookies are made only where one is asked.
func (r *router) hash(policies []xdsresource.HashPolicy) {
	r.lb.Hash, r.lb.HasHash, r.cookies = route.Hash(policies, r.hashInput(), r.cookies)
	if cfg := r.local.Config(); !cfg.LB.HashTable() && cfg.Type != xdsresource.ClusterAggregate {
		r.cookies = r.cookies[:0]
	}
}

// HashBy implements lb.Hasher: policies of a cluster, or of an aggregate's member, instead of the route's.
func (r *router) HashBy(policies []xdsresource.HashPolicy) (hash uint64, ok bool) {
	hash, ok, r.cookies = route.Hash(policies, r.hashInput(), r.cookies[:0])
	if r.local.Config().Type == xdsresource.ClusterAggregate {
		r.cookies = r.cookies[:0] // as in Envoy, whose members have no way to the answer
	}
	return hash, ok
}

func (r *router) hashInput() route.HashInput {
	info := r.s.Info()
	return route.HashInput{Headers: r.h, Source: info.RemoteAddr().Addr(), Connection: r.connection(), State: info}
}

// setCookies has the client come back with what was hashed. As in Envoy, each attempt's choice of a
// host adds the route's cookie anew, but not that of a cluster's own policies.
func (r *router) setCookies(h *header.Map) {
	c := r.connection()
	times := r.s.Info().Attempts
	if len(r.local.Config().LB.HashPolicies) > 0 {
		times = 1
	}
	for range times {
		for _, k := range r.cookies {
			c.SetCookie(h, k)
		}
	}
}

// connection is what the values of cookies for hashing are made of.
func (r *router) connection() (c route.Connection) {
	if d := r.s.Info().Downstream; d != nil {
		c.Remote, c.Local = d.RemoteAddr, d.LocalAddr
	}
	return c
}

// RequestBody implements httpfilter.Terminal.
func (r *router) RequestBody(p []byte, end bool) {
	r.ended = r.ended || end
	if r.state == done || r.state == idle {
		return
	}
	for _, m := range r.mirrors {
		m.send(p, end)
	}
	if r.held {
		r.hold(p, end)
		return
	}
	a := r.writable()
	if a == nil || r.keep {
		if r.store(p); r.state == done || r.state == idle {
			return // answered, and perhaps over
		}
	} else {
		r.sentBody = true
	}
	if a != nil {
		a.sendBody(p, end)
	}
	r.s.Info().UpstreamTxBytes += uint64(len(p))
	r.afterBody(end)
}

// hold keeps what a client says to a tunnel that is not there yet. Until the host has agreed to it, these bytes would be requests to
// the host: the client's own, past all that was decided about requests here.
func (r *router) hold(p []byte, end bool) {
	r.body.Append(p)
	if r.body.Len() > r.s.BufferLimit() {
		r.s.PauseRequest()
	}
	if end {
		r.startClock()
	}
}

// openTunnel lets through what was held.
func (r *router) openTunnel(a *attempt) {
	r.held = false
	if r.body.Len() > 0 || r.ended {
		a.sendBody(r.body.Bytes(), r.ended)
		r.body.Reset()
	}
	if !r.ended {
		r.s.ResumeRequest()
	}
}

// store keeps a piece of the body for an attempt to come. Beyond the buffer limit further attempts and redirects are given up, and a
// request that still waits for its connection is not read any further.
func (r *router) store(p []byte) {
	if r.keep && r.body.Len()+len(p) > r.bodyLimit {
		r.keep, r.sentBody = false, true
		r.local.Inc(cluster.RetryOrShadowAbandoned)
		switch {
		case r.writable() != nil:
			r.body.Reset()
			return
		case r.pausing: // the next attempt could not be given all of it
			r.pausing = false
			r.reply(httpfilter.Reply{
				Code: http.StatusInsufficientStorage, Body: "exceeded request buffer limit while retrying upstream",
				Details: "request_payload_exceeded_retry_buffer_limit", Headers: r.sayAttempts,
			})
			return
		}
	}
	r.body.Append(p)
	if r.writable() == nil && r.body.Len() > r.bodyLimit {
		r.s.PauseRequest()
	}
}

// writable is the attempt that takes the request's body; nil: none does yet. While a request is still
// coming there is one attempt at most.
func (r *router) writable() *attempt {
	if r.cur != nil && r.cur.open {
		return r.cur
	}
	return nil
}

func (r *router) afterBody(end bool) {
	if a := r.writable(); a != nil && a.req.Blocked() {
		r.s.PauseRequest()
	}
	if end {
		r.startClock()
	}
}

// RequestTrailersEnd implements httpfilter.Terminal.
func (r *router) RequestTrailersEnd(t *header.Map) {
	r.ended, r.trailers = true, t
	if r.state == done || r.state == idle {
		return
	}
	for _, m := range r.mirrors {
		m.sendTrailers(t)
	}
	if a := r.writable(); a != nil && !r.held {
		a.sendTrailers(t)
	}
	r.startClock()
}

// OnDownstreamWritable implements httpfilter.Terminal.
func (r *router) OnDownstreamWritable() {
	if r.cur != nil {
		r.cur.req.ResumeResponse()
	}
}

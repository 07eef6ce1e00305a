package router

import (
	"cmp"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// nameHost says by which name the request finds its host in a dynamic forward proxy cluster: what a filter has left, or else the host
// that is sent, as far as the route says it before there is a host.
func (r *router) nameHost() {
	info := r.s.Info()
	r.lb.Authority, r.lb.Port = r.h.Value(header.Authority), filterstate.Port(info.FilterState(filterstate.UpstreamDynamicPort))
	if o := info.FilterState(filterstate.UpstreamDynamicHost); o != nil {
		r.lb.Authority = []byte(o.String())
	} else if host, ok := r.entry.RewriteHost(r.target, r.h, r.path, "", &r.ctx); ok && host != "" {
		r.lb.Authority = []byte(host)
	}
}

// awaitName has a request without a host wait until its name is resolved, where that may give it one: no filter has seen the name that the
// route rewrites to. It waits like a request for its connection: its body is kept, its time goes on, its end ends it.
func (r *router) awaitName() bool {
	names := r.local.Names()
	if names == nil || len(r.lb.Authority) == 0 {
		return false
	}
	a, cancel := names.Load(r.lb.Authority, cmp.Or(r.lb.Port, r.local.Config().DefaultPort()), r.named)
	if cancel == nil {
		r.nameDetails = details(a)
		return false
	}
	r.dropName = cancel
	r.s.Info().Attempts-- // it has not been one
	return true
}

// named goes on with a request that has waited for its name.
func (r *router) named(a dnscache.Answer) {
	r.dropName = nil
	if a.Outcome == dnscache.Resolved {
		r.attempt()
		return
	}
	r.nameDetails = details(a)
	r.s.Info().Attempts++
	r.withoutHost()
}

// details is why a name has no host, in the words of the access log.
func details(a dnscache.Answer) string {
	switch a.Outcome {
	case dnscache.Failed:
		return "dns_resolution_failure{" + a.Details + "}"
	case dnscache.Full:
		return "dns_cache_overflow"
	case dnscache.Busy:
		return "dynamic_forward_proxy_pending_request_overflow"
	}
	return ""
}

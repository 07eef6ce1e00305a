package router

import (
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Statistics of the router, "http.<stat_prefix>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#statistics).
const (
	rqTotal = iota
	rqDirectResponse
	rqResetAfterStart
	noRoute
	noCluster
	redirectBadLocation
	redirectUnsafeScheme
	redirectTooMany
	redirectNoRoute
	redirectPredicate
)

var statSet = stats.NewSet(
	stats.Item{Name: "rq_total"}, stats.Item{Name: "rq_direct_response"},
	stats.Item{Name: "rq_reset_after_downstream_response_started"}, stats.Item{Name: "no_route"},
	stats.Item{Name: "no_cluster"},
	stats.Item{Name: "passthrough_internal_redirect_bad_location"}, stats.Item{Name: "passthrough_internal_redirect_unsafe_scheme"},
	stats.Item{Name: "passthrough_internal_redirect_too_many_redirects"}, stats.Item{Name: "passthrough_internal_redirect_no_route"},
	stats.Item{Name: "passthrough_internal_redirect_predicate"},
)

// own names what counts the request beside its cluster.
func (r *router) own() [2]*route.Traffic { return [2]*route.Traffic{r.vcluster, r.entry.Traffic} }

// incOwn adds one to a statistic of the request's virtual cluster and of its route, where they have any.
func (r *router) incOwn(i int) {
	for _, t := range r.own() {
		t.Inc(r.shard, i)
	}
}

// nameVirtualCluster finds what the virtual host counts the request by.
func (r *router) nameVirtualCluster() {
	if c := r.entry.VirtualHost.VirtualCluster(r.h); c != nil {
		r.vcluster, r.s.Info().VirtualCluster = c.Traffic, c.Name
	}
}

func (r *router) inc(i int) { r.shard.Add(r.stats.Counter(i), 1) }

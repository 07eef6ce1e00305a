package router

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

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

func (r *router) inc(i int) { r.shard.Add(r.stats.Counter(i), 1) }

package router

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// Statistics of the router, "http.<stat_prefix>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#statistics).
const (
	rqTotal = iota
	rqDirectResponse
	noRoute
	noCluster
)

var statSet = stats.NewSet(
	stats.Item{Name: "rq_total"}, stats.Item{Name: "rq_direct_response"}, stats.Item{Name: "no_route"},
	stats.Item{Name: "no_cluster"},
)

func (r *router) inc(i int) { r.shard.Add(r.stats.Counter(i), 1) }

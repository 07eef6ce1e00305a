package server

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Statistics that every subscription has, in the order of subscriptionSet.
const (
	subInitFetchTimeout = iota
	subAttempt
	subFailure
	subRejected
	subSuccess
	subTime
	subVersion
	subDuration
)

var subscriptionSet = stats.NewSet(
	stats.Item{Name: "init_fetch_timeout", Kind: stats.KindCounter},
	stats.Item{Name: "update_attempt", Kind: stats.KindCounter},
	stats.Item{Name: "update_failure", Kind: stats.KindCounter},
	stats.Item{Name: "update_rejected", Kind: stats.KindCounter},
	stats.Item{Name: "update_success", Kind: stats.KindCounter},
	stats.Item{Name: "update_time", Kind: stats.KindGauge},
	stats.Item{Name: "version", Kind: stats.KindGauge},
	stats.Item{Name: "update_duration", Kind: stats.KindHistogram},
)

// subscriptionStats counts what becomes of one subscription.
type subscriptionStats struct {
	main   stats.Main
	block  stats.Block
	stream bool // fetched by gRPC
}

// newSubscriptionStats registers the statistics of a subscription under a scope.
func newSubscriptionStats(scope stats.Scope, src xdsresource.ConfigSource) *subscriptionStats {
	return &subscriptionStats{main: scope.Store().Main(), block: scope.Block(subscriptionSet), stream: src.Path == ""}
}

// begin counts the subscription itself. Envoy counts an attempt for each request on a stream, so
// the first comes with the subscription and the next with each answer; of a file each reading is
// one.
func (s *subscriptionStats) begin() {
	if s.stream {
		s.main.Inc(s.block.Counter(subAttempt))
	}
}

// applied counts an answer. A nil receiver counts nothing.
func (s *subscriptionStats) applied(version string, refused bool, took time.Duration) {
	if s == nil {
		return
	}
	s.main.Inc(s.block.Counter(subAttempt))
	if refused {
		s.main.Inc(s.block.Counter(subRejected))
		return
	}
	s.main.Inc(s.block.Counter(subSuccess))
	s.main.GaugeSet(s.block.Gauge(subTime), time.Now().UnixMilli())
	s.main.GaugeSet(s.block.Gauge(subVersion), int64(xxhash.Sum64String(version)))
	s.main.Record(s.block.Histogram(subDuration), uint64(took.Milliseconds()))
}

// late counts that the first answer has not come in time. A nil receiver counts nothing.
func (s *subscriptionStats) late(late bool) {
	if s != nil && late {
		s.main.Inc(s.block.Counter(subInitFetchTimeout))
	}
}

// failed counts a stream that broke or a file that could not be read.
func (s *subscriptionStats) failed() {
	if s == nil {
		return
	}
	s.main.Inc(s.block.Counter(subAttempt))
	s.main.Inc(s.block.Counter(subFailure))
}

// routeStats are those of a route configuration from RDS.
type routeStats struct {
	statPrefix string // of the connection manager
	*subscriptionStats
	owned         *stats.Store
	reload, empty stats.Counter
	reloadTime    stats.Gauge
}

// newRouteStats registers them. They are the only ones in st.
func newRouteStats(st *stats.Store, r routeNeed) *routeStats {
	scope := st.Scope("http").Tagged("envoy.http_conn_manager_prefix", r.statPrefix).Scope("rds").Tagged("envoy.rds_route_config", r.name)
	return &routeStats{
		statPrefix:        r.statPrefix,
		subscriptionStats: newSubscriptionStats(scope, r.source), owned: st,
		reload: scope.Counter("config_reload"), empty: scope.Counter("update_empty"), reloadTime: scope.Gauge("config_reload_time_ms"),
	}
}

// newScopedStats registers the statistics of scopes that come from SRDS.
func newScopedStats(st *stats.Store, scope stats.Scope, src xdsresource.ConfigSource) *routeStats {
	return &routeStats{
		owned:             st,
		subscriptionStats: newSubscriptionStats(scope, src),
		reload:            scope.Counter("config_reload"), empty: scope.Counter("update_empty"), reloadTime: scope.Gauge("config_reload_time_ms"),
	}
}

// newHostStats are those of the virtual hosts that such a configuration gets from a source.
// They are the only ones in st.
func newHostStats(st *stats.Store, r routeNeed, src xdsresource.ConfigSource) *hostStats {
	scope := st.Scope("http").Tagged("envoy.http_conn_manager_prefix", r.statPrefix).Scope("rds").Tagged("envoy.rds_route_config", "vhds."+r.name) // Envoy's names
	return &hostStats{
		subscriptionStats: newSubscriptionStats(scope, src), owned: st,
		reload: scope.Counter("config_reload"), empty: scope.Counter("update_empty"),
	}
}

// hostStats: see newHostStats. As in Envoy nothing counts as empty.
type hostStats struct {
	*subscriptionStats
	owned         *stats.Store
	reload, empty stats.Counter
}

// end takes them out of what is shown.
func (h *hostStats) end() { h.owned.Close() }

// changed counts an answer that changes a route configuration.
func (h *hostStats) changed() { h.main.Inc(h.reload) }

// applied counts an answer; a nil receiver counts nothing.
func (r *routeStats) applied(version string, refused bool, took time.Duration) {
	if r == nil {
		return
	}
	r.subscriptionStats.applied(version, refused, took)
	if !refused {
		r.main.Inc(r.reload)
		r.main.GaugeSet(r.reloadTime, time.Now().UnixMilli())
	}
}

// end takes them out of what is shown; those of a nil receiver never were.
func (r *routeStats) end() {
	if r != nil {
		r.owned.Close()
	}
}

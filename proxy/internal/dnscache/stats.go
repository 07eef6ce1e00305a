package dnscache

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// Statistics, "dns_cache.<name>.*", in the order of cacheSet. Not kept: cache_load, which is of a store that outlives the process.
const (
	queryAttempt = iota
	queryFailure
	querySuccess
	queryTimeout
	hostAdded
	hostAddressChanged
	hostOverflow
	hostRemoved
	pendingOverflow
	addressFilteredOut
	numHosts         // gauge
	pendingOpen      // gauge
	pendingRemaining // gauge
)

var cacheSet = stats.NewSet(
	stats.Item{Name: "dns_query_attempt"}, stats.Item{Name: "dns_query_failure"}, stats.Item{Name: "dns_query_success"},
	stats.Item{Name: "dns_query_timeout"}, stats.Item{Name: "host_added"}, stats.Item{Name: "host_address_changed"},
	stats.Item{Name: "host_overflow"}, stats.Item{Name: "host_removed"}, stats.Item{Name: "dns_rq_pending_overflow"},
	stats.Item{Name: "dns_address_filter_out"}, stats.Item{Name: "num_hosts", Kind: stats.KindGauge},
	stats.Item{Name: "circuit_breakers.rq_pending_open", Kind: stats.KindGauge},
	stats.Item{Name: "circuit_breakers.rq_pending_remaining", Kind: stats.KindGauge},
)

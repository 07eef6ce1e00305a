package hcm

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// Statistics of a connection manager, "http.<stat_prefix>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats).
const (
	cxTotal = iota
	cxHTTP1Total
	cxHTTP2Total
	cxSSLTotal
	cxActive
	cxHTTP1Active
	cxHTTP2Active
	cxSSLActive
	cxLength
	cxRxBytes
	cxTxBytes
	cxDestroy
	cxDestroyRemote
	cxDestroyLocal
	cxDestroyActiveRq
	cxDestroyRemoteActiveRq
	cxDestroyLocalActiveRq
	cxProtocolError
	cxDrainClose
	cxIdleTimeout
	cxDelayedClose
	cxMaxDuration
	cxMaxRequests
	cxUpgradesTotal
	cxUpgradesActive
	rqTotal
	rqHTTP1Total
	rqHTTP2Total
	rqActive
	rqCompleted
	rq1xx // rq1xx+i is of class i+1
	rq2xx
	rq3xx
	rq4xx
	rq5xx
	rqTime
	rqRxReset
	rqTxReset
	rqNonRelativePath
	rqBadPath
	rqPathRedirected
	rqTooLarge
	rsTooLarge
	rqBeforeComplete
	rqIdleTimeout
	rqTimeout
	rqHeaderTimeout
	rqMaxDuration
	rqTooManyPrematureResets
	tracingRandom
	tracingNotTraceable
	tracingClient
	tracingForced
	tracingHealthCheck
	rqOverloadClose
	cxOverloadDisableKeepalive
	rqWSOnNonWSRoute
	rqRouteTime
	rqRouteLookUps
	rqUnknownClient
)

var statSet = stats.NewSet(
	counter("downstream_cx_total"), counter("downstream_cx_http1_total"), counter("downstream_cx_http2_total"), counter("downstream_cx_ssl_total"),
	gauge("downstream_cx_active"), gauge("downstream_cx_http1_active"), gauge("downstream_cx_http2_active"), gauge("downstream_cx_ssl_active"),
	histogram("downstream_cx_length_ms"), counter("downstream_cx_rx_bytes_total"), counter("downstream_cx_tx_bytes_total"),
	counter("downstream_cx_destroy"), counter("downstream_cx_destroy_remote"), counter("downstream_cx_destroy_local"),
	counter("downstream_cx_destroy_active_rq"), counter("downstream_cx_destroy_remote_active_rq"), counter("downstream_cx_destroy_local_active_rq"),
	counter("downstream_cx_protocol_error"), counter("downstream_cx_drain_close"), counter("downstream_cx_idle_timeout"),
	counter("downstream_cx_delayed_close_timeout"),
	counter("downstream_cx_max_duration_reached"), counter("downstream_cx_max_requests_reached"),
	counter("downstream_cx_upgrades_total"), gauge("downstream_cx_upgrades_active"),
	counter("downstream_rq_total"), counter("downstream_rq_http1_total"), counter("downstream_rq_http2_total"), gauge("downstream_rq_active"), counter("downstream_rq_completed"),
	counter("downstream_rq_1xx"), counter("downstream_rq_2xx"), counter("downstream_rq_3xx"), counter("downstream_rq_4xx"), counter("downstream_rq_5xx"),
	histogram("downstream_rq_time"), counter("downstream_rq_rx_reset"), counter("downstream_rq_tx_reset"), counter("downstream_rq_non_relative_path"),
	counter("downstream_rq_failed_path_normalization"), counter("downstream_rq_redirected_with_normalized_path"),
	counter("downstream_rq_too_large"), counter("rs_too_large"), counter("downstream_rq_response_before_rq_complete"),
	counter("downstream_rq_idle_timeout"), counter("downstream_rq_timeout"), counter("downstream_rq_header_timeout"),
	counter("downstream_rq_max_duration_reached"), counter("downstream_rq_too_many_premature_resets"),
	counter("tracing.random_sampling"), counter("tracing.not_traceable"), counter("tracing.client_enabled"), counter("tracing.service_forced"), counter("tracing.health_check"),
	counter("downstream_rq_overload_close"), counter("downstream_cx_overload_disable_keepalive"), counter("downstream_rq_ws_on_non_ws_route"),
	histogram("downstream_rq_route_resolution_time_us"), histogram("downstream_rq_route_resolutions"), counter("downstream_rq_rejected_via_ip_detection"),
)

// Counters of the listener, in the order of listenerSet.
const (
	listenerCompleted = iota
	listener1xx       // listener1xx+i is of class i+1
)

var listenerSet = stats.NewSet(
	counter("downstream_rq_completed"),
	counter("downstream_rq_1xx"), counter("downstream_rq_2xx"), counter("downstream_rq_3xx"), counter("downstream_rq_4xx"), counter("downstream_rq_5xx"),
)

// answered counts an answer of a class from 1 to 5.
func (w *worker) answered(class int) {
	w.inc(rqCompleted)
	w.inc(rq1xx + class - 1)
	w.shard.Inc(w.m.perListener.Counter(listenerCompleted))
	w.shard.Inc(w.m.perListener.Counter(listener1xx + class - 1))
}

func counter(n string) stats.Item   { return stats.Item{Name: n} }
func gauge(n string) stats.Item     { return stats.Item{Name: n, Kind: stats.KindGauge} }
func histogram(n string) stats.Item { return stats.Item{Name: n, Kind: stats.KindHistogram} }

func (w *worker) inc(i int)              { w.shard.Add(w.m.stats.Counter(i), 1) }
func (w *worker) add(i int, n uint64)    { w.shard.Add(w.m.stats.Counter(i), n) }
func (w *worker) gauge(i int, d int64)   { w.shard.GaugeAdd(w.m.stats.Gauge(i), d) }
func (w *worker) record(i int, v uint64) { w.shard.Record(w.m.stats.Histogram(i), v) }

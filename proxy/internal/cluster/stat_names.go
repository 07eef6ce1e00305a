package cluster

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// Stat is one of the statistics that every cluster has, named as in Envoy's
// "cluster.<name>.*" (https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats).
type Stat int

// Statistics of a cluster. The router and the pools count the traffic ones.
const (
	CxTotal Stat = iota
	CxHTTP1Total
	CxHTTP2Total
	CxConnectFail
	CxConnectTimeout
	CxConnectAttemptsExceeded
	CxIdleTimeout
	CxMaxDurationReached
	CxOverflow
	CxPoolOverflow
	CxDestroy
	CxDestroyLocal
	CxDestroyRemote
	CxDestroyWithActiveRq
	CxDestroyLocalWithActiveRq
	CxDestroyRemoteWithActiveRq
	CxCloseNotify
	CxMaxRequests
	CxNoneHealthy
	CxProtocolError
	CxRxBytesTotal
	CxTxBytesTotal
	CxActive         // gauge
	CxRxBytesBuffers // gauge
	CxTxBytesBuffers // gauge
	RqTotal
	RqActive // gauge
	RqPendingTotal
	RqPendingOverflow
	RqActiveOverflow // max_requests
	RqPendingFailureEject
	RqPendingActive // gauge
	RqCancelled
	RqMaintenanceMode
	RqTimeout
	RqMaxDurationReached
	RqPerTryTimeout
	RqPerTryIdleTimeout
	RqRxReset
	RqTxReset
	RqRetry
	RqRetryBackoffExponential
	RqRetryBackoffRatelimited
	RqRetryLimitExceeded
	RqRetrySuccess
	RqRetryOverflow
	RqCompleted
	FlowControlPausedReadingTotal
	FlowControlResumedReadingTotal
	FlowControlBackedUpTotal
	FlowControlDrainedTotal
	InternalRedirectSucceeded
	InternalRedirectFailed
	RetryOrShadowAbandoned
	BindErrors
	LBHealthyPanic
	LBRecalculateZoneStructures
	LBLocalClusterNotOK
	LBZoneClusterTooSmall
	LBZoneNoCapacityLeft
	LBZoneRoutingAllDirectly
	LBZoneRoutingSampled
	LBZoneRoutingCrossZone
	LBSubsetsActive // gauge
	LBSubsetsCreated
	LBSubsetsRemoved
	LBSubsetsSelected
	LBSubsetsFallback
	LBSubsetsFallbackPanic
	OriginalDstHostInvalid
	MembershipChange
	MembershipHealthy  // gauge
	MembershipDegraded // gauge
	MembershipExcluded // gauge
	MembershipTotal    // gauge
	InitFetchTimeout
	UpdateAttempt
	UpdateSuccess
	UpdateFailure
	UpdateEmpty
	UpdateNoRebuild
	AssignmentStale
	AssignmentTimeoutReceived
	MaxHostWeight // gauge
	CxOpen        // gauge: 1 while the circuit breaker of connections is open
	RqPendingOpen // gauge
	RqOpen        // gauge
	RqRetryOpen   // gauge
	HighCxOpen    // the same four of the high priority
	HighRqPendingOpen
	HighRqOpen
	HighRqRetryOpen
	CxPoolOpen // gauge; the number of pools is not limited
	HighCxPoolOpen
	WarmingState // gauge
	CxConnectMs  // histogram
	CxLengthMs   // histogram
	RqTime       // histogram, ms
	RqPerCx      // histogram
	baseStats
)

// Statistics of a cluster that only those have which outlier detection is
// configured for. The manager counts them.
const (
	EjectionsActive = iota + baseStats // gauge
	EjectionsTotal
	EjectionsOverflow
	EjectionsEnforcedTotal
	EjectionsConsecutive5xx
	EjectionsDetectedConsecutive5xx
	EjectionsEnforcedConsecutive5xx
	EjectionsDetectedConsecutiveGateway
	EjectionsEnforcedConsecutiveGateway
	EjectionsDetectedConsecutiveLocal
	EjectionsEnforcedConsecutiveLocal
	EjectionsDetectedSuccessRate
	EjectionsEnforcedSuccessRate
	EjectionsSuccessRate
	EjectionsDetectedLocalSuccessRate
	EjectionsEnforcedLocalSuccessRate
	EjectionsDetectedFailurePercentage
	EjectionsEnforcedFailurePercentage
	EjectionsDetectedLocalFailurePercentage
	EjectionsEnforcedLocalFailurePercentage
	EjectionsDetectedDegradation
)

// Statistics of a health check. The manager counts them.
const (
	healthAttempt = iota
	healthSuccess
	healthFailure
	healthPassiveFailure
	healthNetworkFailure
	healthVerifyCluster
	healthHealthy  // gauge
	healthDegraded // gauge
)

// statSet lists the names in the order of the constants above.
var statSet = stats.NewSet(
	counter("upstream_cx_total"), counter("upstream_cx_http1_total"), counter("upstream_cx_http2_total"),
	counter("upstream_cx_connect_fail"), counter("upstream_cx_connect_timeout"),
	counter("upstream_cx_connect_attempts_exceeded"), counter("upstream_cx_idle_timeout"),
	counter("upstream_cx_max_duration_reached"), counter("upstream_cx_overflow"), counter("upstream_cx_pool_overflow"),
	counter("upstream_cx_destroy"), counter("upstream_cx_destroy_local"), counter("upstream_cx_destroy_remote"),
	counter("upstream_cx_destroy_with_active_rq"), counter("upstream_cx_destroy_local_with_active_rq"),
	counter("upstream_cx_destroy_remote_with_active_rq"), counter("upstream_cx_close_notify"),
	counter("upstream_cx_max_requests"), counter("upstream_cx_none_healthy"), counter("upstream_cx_protocol_error"),
	counter("upstream_cx_rx_bytes_total"), counter("upstream_cx_tx_bytes_total"),
	gauge("upstream_cx_active"), gauge("upstream_cx_rx_bytes_buffered"), gauge("upstream_cx_tx_bytes_buffered"),
	counter("upstream_rq_total"), gauge("upstream_rq_active"), counter("upstream_rq_pending_total"),
	counter("upstream_rq_pending_overflow"), counter("upstream_rq_active_overflow"), counter("upstream_rq_pending_failure_eject"),
	gauge("upstream_rq_pending_active"), counter("upstream_rq_cancelled"), counter("upstream_rq_maintenance_mode"),
	counter("upstream_rq_timeout"), counter("upstream_rq_max_duration_reached"), counter("upstream_rq_per_try_timeout"),
	counter("upstream_rq_per_try_idle_timeout"), counter("upstream_rq_rx_reset"), counter("upstream_rq_tx_reset"),
	counter("upstream_rq_retry"), counter("upstream_rq_retry_backoff_exponential"),
	counter("upstream_rq_retry_backoff_ratelimited"), counter("upstream_rq_retry_limit_exceeded"),
	counter("upstream_rq_retry_success"), counter("upstream_rq_retry_overflow"), counter("upstream_rq_completed"),
	counter("upstream_flow_control_paused_reading_total"), counter("upstream_flow_control_resumed_reading_total"),
	counter("upstream_flow_control_backed_up_total"), counter("upstream_flow_control_drained_total"),
	counter("upstream_internal_redirect_succeeded_total"), counter("upstream_internal_redirect_failed_total"),
	counter("retry_or_shadow_abandoned"),
	counter("bind_errors"), counter("lb_healthy_panic"),
	counter("lb_recalculate_zone_structures"), counter("lb_local_cluster_not_ok"), counter("lb_zone_cluster_too_small"),
	counter("lb_zone_no_capacity_left"), counter("lb_zone_routing_all_directly"),
	counter("lb_zone_routing_sampled"), counter("lb_zone_routing_cross_zone"), gauge("lb_subsets_active"),
	counter("lb_subsets_created"), counter("lb_subsets_removed"), counter("lb_subsets_selected"),
	counter("lb_subsets_fallback"), counter("lb_subsets_fallback_panic"),
	counter("original_dst_host_invalid"),
	counter("membership_change"), gauge("membership_healthy"), gauge("membership_degraded"),
	gauge("membership_excluded"), gauge("membership_total"),
	counter("init_fetch_timeout"),
	counter("update_attempt"), counter("update_success"), counter("update_failure"), counter("update_empty"),
	counter("update_no_rebuild"), counter("assignment_stale"), counter("assignment_timeout_received"), gauge("max_host_weight"),
	gauge("circuit_breakers.default.cx_open"), gauge("circuit_breakers.default.rq_pending_open"),
	gauge("circuit_breakers.default.rq_open"), gauge("circuit_breakers.default.rq_retry_open"),
	gauge("circuit_breakers.high.cx_open"), gauge("circuit_breakers.high.rq_pending_open"),
	gauge("circuit_breakers.high.rq_open"), gauge("circuit_breakers.high.rq_retry_open"),
	gauge("circuit_breakers.default.cx_pool_open"), gauge("circuit_breakers.high.cx_pool_open"), gauge("warming_state"),
	histogram("upstream_cx_connect_ms"), histogram("upstream_cx_length_ms"), histogram("upstream_rq_time"),
	histogram("upstream_rq_per_cx"),
)

// outlierSet and healthSet list those of the other groups.
var outlierSet = stats.NewSet(
	gauge("outlier_detection.ejections_active"), counter("outlier_detection.ejections_total"),
	counter("outlier_detection.ejections_overflow"), counter("outlier_detection.ejections_enforced_total"),
	counter("outlier_detection.ejections_consecutive_5xx"),
	counter("outlier_detection.ejections_detected_consecutive_5xx"),
	counter("outlier_detection.ejections_enforced_consecutive_5xx"),
	counter("outlier_detection.ejections_detected_consecutive_gateway_failure"),
	counter("outlier_detection.ejections_enforced_consecutive_gateway_failure"),
	counter("outlier_detection.ejections_detected_consecutive_local_origin_failure"),
	counter("outlier_detection.ejections_enforced_consecutive_local_origin_failure"),
	counter("outlier_detection.ejections_detected_success_rate"),
	counter("outlier_detection.ejections_enforced_success_rate"),
	counter("outlier_detection.ejections_success_rate"),
	counter("outlier_detection.ejections_detected_local_origin_success_rate"),
	counter("outlier_detection.ejections_enforced_local_origin_success_rate"),
	counter("outlier_detection.ejections_detected_failure_percentage"),
	counter("outlier_detection.ejections_enforced_failure_percentage"),
	counter("outlier_detection.ejections_detected_local_origin_failure_percentage"),
	counter("outlier_detection.ejections_enforced_local_origin_failure_percentage"),
	counter("outlier_detection.ejections_detected_degradation"),
)

var healthSet = stats.NewSet(
	counter("attempt"), counter("success"), counter("failure"),
	counter("passive_failure"), counter("network_failure"),
	counter("verify_cluster"), gauge("healthy"), gauge("degraded"),
)

// healthTotalSet is what several health checks have together.
var healthTotalSet = stats.NewSet(gauge("healthy"), gauge("degraded"))

func counter(n string) stats.Item   { return stats.Item{Name: n, Kind: stats.KindCounter} }
func gauge(n string) stats.Item     { return stats.Item{Name: n, Kind: stats.KindGauge} }
func histogram(n string) stats.Item { return stats.Item{Name: n, Kind: stats.KindHistogram} }

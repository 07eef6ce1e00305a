package xdsresource

// upstreamFields continues supportedFields for clusters, endpoints and balancing.
var upstreamFields = map[string]string{
	"envoy.config.cluster.v3.Cluster": `transport_socket_matches name alt_stat_name type cluster_type eds_cluster_config
		connect_timeout per_connection_buffer_limit_bytes lb_policy load_assignment
		max_requests_per_connection circuit_breakers upstream_http_protocol_options common_http_protocol_options
		http_protocol_options http2_protocol_options typed_extension_protocol_options dns_refresh_rate respect_dns_ttl
		dns_lookup_family outlier_detection upstream_bind_config ring_hash_lb_config maglev_lb_config
		original_dst_lb_config least_request_lb_config round_robin_lb_config common_lb_config transport_socket metadata
		upstream_connection_options filters lb_subset_config load_balancing_policy preconnect_policy health_checks dns_failure_refresh_rate dns_jitter
		cleanup_interval wait_for_warm_on_init protocol_selection ignore_health_on_host_removal
		close_connections_on_host_health_failure track_timeout_budgets track_cluster_stats connection_pool_per_downstream_connection dns_resolvers
		use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config`,
	"envoy.config.cluster.v3.TrackClusterStats":                        "timeout_budgets request_response_sizes",
	"envoy.config.cluster.v3.Cluster.PreconnectPolicy":                 "per_upstream_preconnect_ratio predictive_preconnect_ratio",
	"envoy.config.cluster.v3.Cluster.CustomClusterType":                "name typed_config",
	"envoy.extensions.clusters.aggregate.v3.ClusterConfig":             "clusters",
	"envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig": "dns_cache_config allow_insecure_cluster_options",
	"envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig": `name dns_lookup_family dns_refresh_rate dns_min_refresh_rate host_ttl max_hosts
		disable_dns_refresh_on_failure dns_failure_refresh_rate dns_cache_circuit_breaker use_tcp_for_dns_lookups dns_resolution_config
		typed_dns_resolver_config preresolve_hostnames dns_query_timeout resolved_address_filter`,
	"envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheCircuitBreakers":          "max_pending_requests",
	"envoy.extensions.clusters.dns.v3.DnsCluster":                                       "dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter dns_lookup_family all_addresses_in_single_endpoint dns_min_refresh_rate typed_dns_resolver_config",
	"envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig":             "resolvers use_resolvers_as_fallback dns_resolver_options query_timeout_seconds query_tries",
	"envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": "",
	"envoy.config.core.v3.DnsResolutionConfig":                                          "resolvers dns_resolver_options",
	"envoy.config.core.v3.DnsResolverOptions":                                           "use_tcp_for_dns_lookups no_default_search_domain",
	"envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate":                           "base_interval max_interval",
	"envoy.config.cluster.v3.Cluster.RefreshRate":                                       "base_interval max_interval",
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig":                                  "eds_config service_name",
	"envoy.config.cluster.v3.Cluster.TransportSocketMatch":                              "name match transport_socket",
	"envoy.config.cluster.v3.Cluster.OriginalDstLbConfig":                               "use_http_header http_header_name upstream_port_override metadata_key",

	// Balancing, the older form.
	"envoy.config.cluster.v3.Cluster.CommonLbConfig": `healthy_panic_threshold zone_aware_lb_config
		locality_weighted_lb_config consistent_hashing_lb_config override_host_status
		close_connections_on_host_set_change update_merge_window ignore_new_hosts_until_first_hc`,
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig":  "",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig":         "routing_enabled min_cluster_size fail_traffic_on_panic",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig": "use_hostname_for_hashing hash_balance_factor",
	"envoy.config.cluster.v3.Cluster.SlowStartConfig":                          "slow_start_window aggression min_weight_percent",
	"envoy.config.cluster.v3.Cluster.RoundRobinLbConfig":                       "slow_start_config",
	"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig":                     "choice_count active_request_bias slow_start_config",
	"envoy.config.cluster.v3.Cluster.RingHashLbConfig":                         "minimum_ring_size hash_function maximum_ring_size",
	"envoy.config.cluster.v3.Cluster.MaglevLbConfig":                           "table_size",
	"envoy.config.cluster.v3.Cluster.LbSubsetConfig": `fallback_policy default_subset subset_selectors locality_weight_aware
		scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy`,
	"envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector": "keys single_host_per_subset fallback_policy fallback_keys_subset",
	"envoy.config.core.v3.HealthStatusSet":                            "statuses",
	"envoy.config.core.v3.RuntimeDouble":                              "default_value runtime_key",

	// Balancing, the typed form.
	"envoy.config.cluster.v3.LoadBalancingPolicy":                                                          "policies",
	"envoy.config.cluster.v3.LoadBalancingPolicy.Policy":                                                   "typed_extension_config",
	"envoy.config.core.v3.TypedExtensionConfig":                                                            "name typed_config",
	"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":                                   "slow_start_config locality_lb_config",
	"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest":                               "choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan selection_method",
	"envoy.extensions.load_balancing_policies.random.v3.Random":                                            "locality_lb_config",
	"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash":                                       "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.maglev.v3.Maglev":                                            "table_size consistent_hashing_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided":                         "",
	"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality":                                 "endpoint_picking_policy",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset":                                            "fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy",
	"envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector":                           "keys single_host_per_subset fallback_policy fallback_keys_subset",
	"envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost":                               "override_host_sources selected_host_key fallback_policy",
	"envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource":            "header metadata",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig":                                  "zone_aware_lb_config locality_weighted_lb_config",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig":                "routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing force_local_zone locality_basis",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone": "min_size",
	"envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig":         "",
	"envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig":                                   "slow_start_window aggression min_weight_percent",
	"envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig":                         "use_hostname_for_hashing hash_balance_factor hash_policy",

	"envoy.config.cluster.v3.CircuitBreakers": "thresholds per_host_thresholds",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds": `priority max_connections max_pending_requests max_requests
		max_retries retry_budget track_remaining`,
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": "budget_percent budget_interval min_retry_concurrency",
	"envoy.config.cluster.v3.OutlierDetection": `consecutive_5xx interval base_ejection_time max_ejection_percent
		enforcing_consecutive_5xx enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume
		success_rate_stdev_factor consecutive_gateway_failure enforcing_consecutive_gateway_failure
		split_external_local_origin_errors consecutive_local_origin_failure enforcing_consecutive_local_origin_failure
		max_ejection_time always_eject_one_host enforcing_local_origin_success_rate failure_percentage_threshold
		enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts
		failure_percentage_request_volume max_ejection_time_jitter successful_active_health_check_uneject_host detect_degraded_hosts`,

	"envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": "config transport_socket tlv_as_pool_key",
	"envoy.config.core.v3.ProxyProtocolConfig":                                            "version pass_through_tlvs added_tlvs",
	"envoy.config.core.v3.ProxyProtocolPassThroughTLVs":                                   "match_type tlv_type",
	"envoy.config.core.v3.TlvEntry":                                                       "type value",
	"envoy.config.core.v3.PerHostConfig":                                                  "added_tlvs",

	// Health checks.
	"envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": "event_log_path",
	"envoy.config.core.v3.HealthCheck": `name event_logger timeout interval initial_jitter interval_jitter interval_jitter_percent
		unhealthy_threshold healthy_threshold reuse_connection no_traffic_interval no_traffic_healthy_interval
		unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path always_log_health_check_failures
		always_log_health_check_success tls_options transport_socket_match_criteria http_health_check tcp_health_check
		grpc_health_check`,
	"envoy.config.core.v3.HealthCheck.HttpHealthCheck": `host path send receive response_buffer_size request_headers_to_add
		request_headers_to_remove expected_statuses retriable_statuses codec_client_type service_name_matcher method`,
	"envoy.config.core.v3.HealthCheck.TcpHealthCheck":     "send receive",
	"envoy.config.core.v3.HealthCheck.GrpcHealthCheck":    "service_name authority initial_metadata",
	"envoy.config.core.v3.HealthCheck.Payload":            "text binary",
	"envoy.config.core.v3.HealthCheck.TlsOptions":         "alpn_protocols",
	"envoy.config.endpoint.v3.Endpoint.HealthCheckConfig": "port_value hostname address disable_active_health_check",

	"envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig": "first_address_family_version first_address_family_count",

	// Endpoints.
	"envoy.config.endpoint.v3.ClusterLoadAssignment":                     "cluster_name endpoints policy",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy":              "overprovisioning_factor weighted_priority_health endpoint_stale_after drop_overloads",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload": "category drop_percentage",
	"envoy.config.endpoint.v3.LocalityLbEndpoints":                       "locality lb_endpoints load_balancing_weight priority metadata",
	"envoy.config.endpoint.v3.LbEndpoint":                                "endpoint health_status metadata load_balancing_weight",
	"envoy.config.endpoint.v3.Endpoint":                                  "address hostname health_check_config additional_addresses",
	"envoy.config.endpoint.v3.Endpoint.AdditionalAddress":                "address",
	"envoy.config.core.v3.Locality":                                      "region zone sub_zone",

	"envoy.config.bootstrap.v3.ClusterManager":                  "local_cluster_name outlier_detection upstream_bind_config",
	"envoy.config.bootstrap.v3.ClusterManager.OutlierDetection": "event_log_path",
}

// upstreamHarmless continues harmlessFields.
var upstreamHarmless = []harmlessField{
	{"envoy.config.bootstrap.v3.ClusterManager", "enable_deferred_cluster_creation", "when clusters are built"},
	{"envoy.config.cluster.v3.UpstreamConnectionOptions", "set_local_interface_name_on_upstream_connections", "nothing prints the name of an interface, in Envoy only its mobile library reads it"},
	{"envoy.config.cluster.v3.UpstreamConnectionOptions", "set_local_interface_name_on_upstream_connections happy_eyeballs_config", "diagnostics, and the order of address families"},
	{"envoy.config.endpoint.v3.LocalityLbEndpoints", "proximity", "read by nobody, in Envoy either"},
	{"envoy.config.endpoint.v3.Endpoint", "observability_name", "names statistics of endpoints, which are refused (per_endpoint_stats)"},
}

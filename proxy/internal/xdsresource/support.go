package xdsresource

// supportedFields lists, per message, the fields that this package reads. A populated field
// that stands neither here nor in harmlessFields is refused by name. The test of this table
// holds every name against the proto, so that a typing error cannot open a hole.
var supportedFields = map[string]string{
	// Listener.
	"envoy.config.listener.v3.Listener": `name address additional_addresses stat_prefix filter_chains use_original_dst
		default_filter_chain per_connection_buffer_limit_bytes metadata deprecated_v1 listener_filters
		listener_filters_timeout continue_on_listener_filters_timeout traffic_direction access_log bind_to_port drain_type
		enable_reuse_port reuse_port connection_balance_config tcp_backlog_size tcp_fast_open_queue_length freebind
		transparent socket_options max_connections_to_accept_per_socket_event enable_mptcp tcp_keepalive ignore_global_conn_limit bypass_overload_manager`,
	"envoy.config.listener.v3.Listener.DeprecatedV1":                         "bind_to_port",
	"envoy.config.listener.v3.Listener.ConnectionBalanceConfig":              "exact_balance",
	"envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance": "",
	"envoy.config.core.v3.SocketOption":                                      "level name int_value buf_value state type",
	"envoy.config.core.v3.SocketOption.SocketType":                           "stream datagram",
	"envoy.config.core.v3.SocketOption.SocketType.Stream":                    "",
	"envoy.config.core.v3.SocketOption.SocketType.Datagram":                  "",
	"envoy.config.listener.v3.AdditionalAddress":                             "address",
	"envoy.config.listener.v3.FilterChain": `filter_chain_match filters metadata transport_socket
		transport_socket_connect_timeout name`,
	"envoy.config.listener.v3.FilterChainMatch": `destination_port prefix_ranges direct_source_prefix_ranges source_type
		source_prefix_ranges source_ports server_names transport_protocol application_protocols`,
	"envoy.config.listener.v3.Filter":                                     "name typed_config config_discovery",
	"envoy.config.listener.v3.ListenerFilter":                             "name typed_config filter_disabled",
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate":          "or_match and_match not_match any_match destination_port_range",
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": "rules",
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":     "max_client_hello_size close_connection_on_client_hello_parsing_errors",
	"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":   "",
	"envoy.extensions.filters.listener.original_dst.v3.OriginalDst":       "",

	// HTTP connection manager.
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": `codec_type stat_prefix rds scoped_routes
		route_config http_filters tracing common_http_protocol_options http_protocol_options http2_protocol_options
		server_name server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout
		request_headers_timeout access_log use_remote_address xff_num_trusted_hops
		skip_xff_append append_x_forwarded_port via generate_request_id preserve_external_request_id always_set_request_id_in_response
		forward_client_cert_details set_current_client_cert_details proxy_100_continue upgrade_configs normalize_path
		merge_slashes path_with_escaped_slashes_action local_reply_config strip_matching_host_port strip_any_host_port
		stream_error_on_invalid_http_message strip_trailing_host_dot request_id_extension path_normalization_options
		internal_address_config drain_timeout delayed_close_timeout record_route_resolution_stats
		stream_flush_timeout scheme_header_transformation access_log_options access_log_flush_interval
		flush_access_log_on_new_request original_ip_detection_extensions early_header_mutation_extensions add_user_agent append_local_overload
		drain_timeout_jitter http1_safe_max_connection_duration forward_proto_config
		proxy_status_config`,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ProxyStatusConfig": `remove_details
		remove_connection_termination_details remove_response_flags set_recommended_response_code use_node_id literal_proxy_name`,
	"envoy.extensions.filters.network.http_connection_manager.v3.ForwardProtoConfig":  "https_destination_ports http_destination_ports",
	"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig":                    "xff_num_trusted_hops xff_trusted_cidrs skip_xff_append",
	"envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs":              "cidrs",
	"envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig": "header_name allow_extension_to_set_address_as_trusted reject_with_status",
	"envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation":   "mutations",
	"envoy.config.core.v3.SchemeHeaderTransformation":                                 "scheme_to_overwrite",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.HcmAccessLogOptions": `access_log_flush_interval
		flush_access_log_on_new_request flush_log_on_tunnel_successfully_established`,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig":                                 "unix_sockets cidr_ranges",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathNormalizationOptions":                              "",
	"envoy.extensions.filters.network.http_connection_manager.v3.Rds":                                                                         "config_source route_config_name",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter":                                                                  "name typed_config config_discovery disabled",
	"envoy.config.core.v3.ExtensionConfigSource":                                                                                              "config_source default_config apply_default_config_without_warming type_urls",
	"envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension":                                                          "typed_config",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes":                                                                "name scope_key_builder rds_config_source scoped_route_configurations_list scoped_rds",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder":                                                "fragments",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder":                                "header_value_extractor",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor":           "name element_separator index element",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement": "separator key",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRouteConfigurationsList":                                               "scoped_route_configurations",
	"envoy.config.route.v3.ScopedRouteConfiguration":                                                                                          "name route_configuration_name route_configuration key on_demand",
	"envoy.extensions.filters.network.http_connection_manager.v3.ScopedRds":                                                                   "scoped_rds_config_source",
	"envoy.config.route.v3.ScopedRouteConfiguration.Key":                                                                                      "fragments",
	"envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment":                                                                             "string_key",
	"envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig":                                                                                 "pack_trace_reason use_request_id_for_trace_sampling",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails":                           "subject cert chain dns uri",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig":                                         "upgrade_type enabled",
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing": `client_sampling
		random_sampling overall_sampling verbose max_path_tag_length custom_tags provider spawn_upstream_span no_context_propagation
		operation upstream_operation`,
	"envoy.config.trace.v3.Tracing.Http": "name typed_config",
	"envoy.config.trace.v3.ZipkinConfig": `collector_cluster collector_endpoint trace_id_128bit shared_span_context
		collector_endpoint_version collector_hostname split_spans_for_request trace_context_option collector_service`,
	"envoy.config.trace.v3.DatadogConfig":                                                             "collector_cluster service_name collector_hostname",
	"envoy.config.trace.v3.SkyWalkingConfig":                                                          "grpc_service client_config",
	"envoy.config.trace.v3.ClientConfig":                                                              "service_name instance_name backend_token max_cache_size",
	"envoy.config.trace.v3.OpenTelemetryConfig":                                                       "grpc_service http_service service_name resource_detectors sampler",
	"envoy.extensions.tracers.opentelemetry.samplers.v3.DynatraceSamplerConfig":                       "tenant cluster_id http_service root_spans_per_minute",
	"envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig":  "",
	"envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig": "attributes",
	"envoy.extensions.tracers.opentelemetry.resource_detectors.v3.DynatraceResourceDetectorConfig":    "",
	"envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig":                    "mappers body_format",
	"envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper": `filter status_code body
		body_format_override headers_to_add`,
	"envoy.config.core.v3.HttpProtocolOptions": `idle_timeout max_connection_duration max_headers_count
		max_response_headers_kb max_stream_duration headers_with_underscores_action max_requests_per_connection max_connection_duration_jitter`,
	"envoy.config.core.v3.Http1ProtocolOptions": `allow_absolute_url accept_http_10 default_host_for_http_10
		header_key_format enable_trailers allow_chunked_length override_stream_error_on_invalid_http_message ignore_http_11_upgrade`,
	"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat":                            "proper_case_words stateful_formatter",
	"envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": "forward_reason_phrase formatter_type_on_envoy_headers",
	"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords":            "",
	"envoy.config.core.v3.Http2ProtocolOptions": `hpack_table_size max_concurrent_streams initial_stream_window_size
		initial_connection_window_size allow_connect max_outbound_frames max_outbound_control_frames
		max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
		max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
		override_stream_error_on_invalid_http_message connection_keepalive enable_huffman_encoding`,
	"envoy.config.core.v3.KeepaliveSettings": "interval timeout interval_jitter connection_idle_interval",

	// Routes.
	"envoy.config.route.v3.RouteConfiguration": `name virtual_hosts response_headers_to_add response_headers_to_remove
		request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins validate_clusters
		max_direct_response_body_size_bytes request_mirror_policies internal_only_headers ignore_port_in_host_matching typed_per_filter_config
		metadata vhds vhost_header ignore_path_parameters_in_path_matching`,
	"envoy.config.route.v3.Vhds": "config_source",
	"envoy.config.route.v3.VirtualHost": `name domains routes require_tls request_headers_to_add
		request_headers_to_remove response_headers_to_add response_headers_to_remove typed_per_filter_config
		include_request_attempt_count include_attempt_count_in_response retry_policy request_mirror_policies metadata rate_limits
		include_is_timeout_retry_header hedge_policy per_request_buffer_limit_bytes request_body_buffer_limit matcher
		virtual_clusters cors`,
	"envoy.config.route.v3.VirtualCluster":                              "name headers",
	"envoy.config.route.v3.RouteList":                                   "routes",
	"xds.type.matcher.v3.Matcher":                                       "matcher_list matcher_tree on_no_match",
	"xds.type.matcher.v3.Matcher.OnMatch":                               "matcher action",
	"xds.type.matcher.v3.Matcher.MatcherList":                           "matchers",
	"xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher":              "predicate on_match",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate":                 "single_predicate or_matcher and_matcher not_matcher",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate.PredicateList":   "predicate",
	"xds.type.matcher.v3.Matcher.MatcherList.Predicate.SinglePredicate": "input value_match custom_match",
	"xds.type.matcher.v3.Matcher.MatcherTree":                           "input exact_match_map prefix_match_map custom_match",
	"xds.type.matcher.v3.Matcher.MatcherTree.MatchMap":                  "map",
	"xds.type.matcher.v3.StringMatcher":                                 "exact prefix suffix safe_regex contains ignore_case custom",
	"xds.type.matcher.v3.RegexMatcher":                                  "google_re2 regex",
	"xds.type.matcher.v3.RegexMatcher.GoogleRE2":                        "",
	"xds.core.v3.TypedExtensionConfig":                                  "name typed_config",
	"envoy.type.matcher.v3.HttpRequestHeaderMatchInput":                 "header_name",
	"envoy.config.route.v3.Route": `name match route redirect direct_response metadata decorator
		typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove stat_prefix per_request_buffer_limit_bytes request_body_buffer_limit tracing`,
	"envoy.config.route.v3.Tracing": "client_sampling random_sampling overall_sampling custom_tags operation upstream_operation",
	"envoy.config.route.v3.RouteMatch": `prefix path safe_regex connect_matcher path_separated_prefix path_match_policy case_sensitive
		runtime_fraction headers query_parameters cookies grpc tls_context dynamic_metadata filter_state`,
	"envoy.config.route.v3.CookieMatcher":                     "name string_match invert_match",
	"envoy.config.route.v3.RouteMatch.ConnectMatcher":         "",
	"envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions":  "",
	"envoy.config.route.v3.RouteMatch.TlsContextMatchOptions": "presented validated",
	"envoy.config.core.v3.RuntimeFractionalPercent":           "default_value runtime_key",
	"envoy.type.v3.FractionalPercent":                         "numerator denominator",
	"envoy.type.v3.Percent":                                   "value",
	"envoy.type.v3.Int64Range":                                "start end",
	"envoy.config.route.v3.HeaderMatcher":                     `name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match invert_match treat_missing_header_as_empty`,
	"envoy.config.route.v3.QueryParameterMatcher":             "name string_match present_match",
	"envoy.type.matcher.v3.StringMatcher":                     "exact prefix suffix safe_regex contains ignore_case",
	"envoy.type.matcher.v3.RegexMatcher":                      "google_re2 regex",
	"envoy.type.matcher.v3.RegexMatcher.GoogleRE2":            "",
	"envoy.type.matcher.v3.RegexMatchAndSubstitute":           "pattern substitution",
	"envoy.type.matcher.v3.MetadataMatcher":                   "filter path value invert",
	"envoy.type.matcher.v3.MetadataMatcher.PathSegment":       "key",
	"envoy.type.matcher.v3.ValueMatcher":                      "null_match double_match string_match bool_match present_match list_match or_match",
	"envoy.type.matcher.v3.ValueMatcher.NullMatch":            "",
	"envoy.type.matcher.v3.DoubleMatcher":                     "range exact",
	"envoy.type.v3.DoubleRange":                               "start end",
	"envoy.type.matcher.v3.ListMatcher":                       "one_of",
	"envoy.type.matcher.v3.OrMatcher":                         "value_matchers",
	"envoy.type.matcher.v3.PathMatcher":                       "path",
	"envoy.type.matcher.v3.FilterStateMatcher":                "key string_match address_match",
	"envoy.type.matcher.v3.AddressMatcher":                    "ranges invert_match",
	"xds.core.v3.CidrRange":                                   "address_prefix prefix_len",
	"envoy.type.v3.Int32Range":                                "start end",
	"envoy.config.route.v3.RouteAction": `cluster cluster_header weighted_clusters cluster_not_found_response_code
		metadata_match prefix_rewrite regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header
		host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout retry_policy request_mirror_policies priority
		hash_policy max_grpc_timeout grpc_timeout_offset max_stream_duration rate_limits include_vh_rate_limits upgrade_configs
		internal_redirect_policy internal_redirect_action max_internal_redirects path_rewrite_policy hedge_policy path_rewrite host_rewrite cors`,
	"envoy.config.route.v3.HedgePolicy":                                      "initial_requests additional_request_chance hedge_on_per_try_timeout",
	"envoy.config.route.v3.RouteAction.UpgradeConfig":                        "upgrade_type enabled connect_config",
	"envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig":          "proxy_protocol_config allow_post",
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig":     "path_template",
	"envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "path_template_rewrite",
	"envoy.config.route.v3.InternalRedirectPolicy": `max_internal_redirects redirect_response_codes predicates
		allow_cross_scheme_redirect response_headers_to_copy`,
	"envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig":     "",
	"envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig":        "",
	"envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig": "allowed_route_names",
	"envoy.extensions.internal_redirect.filter_state.v3.FilterStateConfig":              "redirect_enabled_key redirect_if_absent",
	"envoy.config.route.v3.RateLimit":                                                   "stage disable_key actions limit hits_addend apply_on_stream_done x_ratelimit_option",
	"envoy.config.route.v3.RateLimit.HitsAddend":                                        "number format is_negative_hits",
	"envoy.config.route.v3.RateLimit.Override":                                          "dynamic_metadata rate_limit",
	"envoy.config.route.v3.RateLimit.Override.DynamicMetadata":                          "metadata_key",
	"envoy.config.route.v3.RateLimit.Override.RateLimitOverride":                        "requests_per_unit unit",
	"envoy.config.route.v3.RateLimit.Action": `source_cluster destination_cluster request_headers query_parameters
		remote_address generic_key header_value_match metadata dynamic_metadata masked_remote_address query_parameter_value_match
		remote_address_match`,
	"envoy.config.route.v3.RateLimit.Action.DynamicMetaData":          "descriptor_key metadata_key default_value",
	"envoy.config.route.v3.RateLimit.Action.RemoteAddressMatch":       "descriptor_value descriptor_key default_value address_matcher",
	"envoy.config.route.v3.RateLimit.Action.SourceCluster":            "",
	"envoy.config.route.v3.RateLimit.Action.DestinationCluster":       "",
	"envoy.config.route.v3.RateLimit.Action.RequestHeaders":           "header_name descriptor_key skip_if_absent",
	"envoy.config.route.v3.RateLimit.Action.QueryParameters":          "query_parameter_name descriptor_key skip_if_absent",
	"envoy.config.route.v3.RateLimit.Action.RemoteAddress":            "",
	"envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress":      "v4_prefix_mask_len v6_prefix_mask_len",
	"envoy.config.route.v3.RateLimit.Action.GenericKey":               "descriptor_value default_value descriptor_key",
	"envoy.config.route.v3.RateLimit.Action.HeaderValueMatch":         "descriptor_value default_value descriptor_key expect_match headers",
	"envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch": "descriptor_value default_value descriptor_key expect_match query_parameters",
	"envoy.config.route.v3.RateLimit.Action.MetaData":                 "descriptor_key metadata_key default_value source skip_if_absent",
	"envoy.type.metadata.v3.MetadataKey":                              "key path",
	"envoy.type.metadata.v3.MetadataKey.PathSegment":                  "key",
	"envoy.config.route.v3.WeightedCluster":                           "runtime_key_prefix clusters total_weight header_name use_hash_policy",
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": `name cluster_header weight metadata_match
		request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove
		typed_per_filter_config host_rewrite_literal`,
	"envoy.config.route.v3.RouteAction.RequestMirrorPolicy": `cluster cluster_header runtime_fraction trace_sampled
		disable_shadow_host_suffix_append host_rewrite_literal request_headers_mutations`,
	"envoy.config.route.v3.RouteAction.HashPolicy":                      "header cookie connection_properties query_parameter filter_state terminal",
	"envoy.config.route.v3.RouteAction.HashPolicy.FilterState":          "key",
	"envoy.config.route.v3.RouteAction.HashPolicy.Header":               "header_name regex_rewrite",
	"envoy.config.route.v3.RouteAction.HashPolicy.Cookie":               "name ttl path attributes",
	"envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute":      "name value",
	"envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties": "source_ip",
	"envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter":       "name",
	"envoy.config.route.v3.RouteAction.MaxStreamDuration":               "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",
	"envoy.config.route.v3.RetryPolicy": `retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate
		host_selection_retry_max_attempts retriable_status_codes retry_back_off
		retriable_headers retriable_request_headers rate_limited_retry_back_off retry_priority retry_options_predicates`,
	"envoy.config.route.v3.RetryPolicy.RetryPriority":                                 "name typed_config",
	"envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff":                       "reset_headers max_interval",
	"envoy.config.route.v3.RetryPolicy.ResetHeader":                                   "name format",
	"envoy.config.route.v3.RetryPolicy.RetryHostPredicate":                            "name typed_config",
	"envoy.config.route.v3.RetryPolicy.RetryBackOff":                                  "base_interval max_interval",
	"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate":            "",
	"envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate":       "",
	"envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig":        "metadata_match",
	"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": "update_frequency",
	"envoy.config.route.v3.RedirectAction": `https_redirect scheme_redirect host_redirect port_redirect path_redirect
		prefix_rewrite regex_rewrite path_rewrite response_code strip_query`,
	"envoy.config.route.v3.DirectResponseAction": "status body body_format",
	"envoy.config.route.v3.Decorator":            "operation propagate",
	"envoy.config.route.v3.FilterConfig":         "config disabled",
	"envoy.config.core.v3.HeaderValueOption":     "header append append_action keep_empty_value",
	"envoy.config.core.v3.HeaderValue":           "key value",

	// HTTP filters.
	"envoy.extensions.filters.http.fault.v3.HTTPFault": `delay abort upstream_cluster headers max_active_faults
		delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime abort_grpc_status_runtime max_active_faults_runtime
		disable_downstream_cluster_stats response_rate_limit response_rate_limit_percent_runtime downstream_nodes filter_metadata`,
	"envoy.extensions.filters.http.fault.v3.FaultAbort":                   "http_status grpc_status header_abort percentage response_body",
	"envoy.extensions.filters.http.fault.v3.FaultAbort.HeaderAbort":       "",
	"envoy.extensions.filters.common.fault.v3.FaultDelay":                 "fixed_delay header_delay percentage",
	"envoy.extensions.filters.common.fault.v3.FaultDelay.HeaderDelay":     "",
	"envoy.extensions.filters.common.fault.v3.FaultRateLimit":             "fixed_limit header_limit percentage",
	"envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit":  "limit_kbps",
	"envoy.extensions.filters.common.fault.v3.FaultRateLimit.HeaderLimit": "",
	"envoy.extensions.filters.http.cors.v3.Cors":                          "",
	"envoy.config.route.v3.CorsPolicy": `allow_origin_string_match allow_methods allow_headers
		expose_headers max_age allow_credentials filter_enabled shadow_enabled allow_private_network_access
		forward_not_matching_preflights`,
	"envoy.extensions.filters.http.cors.v3.CorsPolicy": `allow_origin_string_match allow_methods allow_headers
		expose_headers max_age allow_credentials filter_enabled shadow_enabled allow_private_network_access
		forward_not_matching_preflights`,

	// Other filters: see filterFields.
	// Clusters and endpoints: see upstreamFields.
	"envoy.config.cluster.v3.UpstreamConnectionOptions": "tcp_keepalive happy_eyeballs_config",
	"envoy.config.cluster.v3.Filter":                    "name typed_config",
	"envoy.config.core.v3.TcpKeepalive":                 "keepalive_probes keepalive_time keepalive_interval",
	"envoy.config.core.v3.BindConfig":                   "source_address freebind socket_options extra_source_addresses additional_source_addresses",
	"envoy.config.core.v3.ExtraSourceAddress":           "address socket_options",
	"envoy.config.core.v3.SocketOptionsOverride":        "socket_options",
	"envoy.config.core.v3.UpstreamHttpProtocolOptions":  "auto_sni auto_san_validation override_auto_sni_header",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": `common_http_protocol_options upstream_http_protocol_options
		explicit_http_config use_downstream_protocol_config auto_config outlier_detection hash_policy retry_policy`,
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection":        "error_matcher",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":      "http_protocol_options http2_protocol_options",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig": "http_protocol_options http2_protocol_options",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig":          "http_protocol_options http2_protocol_options",

	// TLS and secrets.
	"envoy.config.core.v3.TransportSocket":                                            "name typed_config",
	"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":                      "",
	"envoy.extensions.transport_sockets.tls.v3.Secret":                                "name tls_certificate validation_context session_ticket_keys",
	"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys":                  "keys",
	"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig":             "trust_domains trust_bundles",
	"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain": "name trust_bundle",
	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": `common_tls_context require_client_certificate disable_stateless_session_resumption
		session_ticket_keys session_ticket_keys_sds_secret_config session_timeout full_scan_certs_on_sni_mismatch ocsp_staple_policy`,
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":                                    "common_tls_context sni allow_renegotiation max_session_keys auto_host_sni auto_sni_san_validation",
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext":                                      `tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config combined_validation_context alpn_protocols`,
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext": "default_validation_context validation_context_sds_secret_config",
	"envoy.extensions.transport_sockets.tls.v3.TlsParameters":                                         "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves",
	"envoy.extensions.transport_sockets.tls.v3.TlsCertificate":                                        "certificate_chain private_key watched_directory password pkcs12 ocsp_staple",
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": `trusted_ca verify_certificate_spki
		verify_certificate_hash match_typed_subject_alt_names match_subject_alt_names crl trust_chain_verification
		allow_expired_certificate only_verify_leaf_cert_crl max_verify_depth suppress_client_ca_list custom_validator_config watched_directory`,
	"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher": "san_type matcher oid",
	"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":       "name sds_config",

	"envoy.extensions.filters.http.router.v3.Router": `suppress_envoy_headers dynamic_stats suppress_grpc_request_failure_code_stats
		respect_expected_rq_timeout strict_check_headers start_child_span upstream_log upstream_log_options`,
	"envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions": "flush_upstream_log_on_upstream_stream upstream_log_flush_interval",

	// TCP proxy and Istio's network filters.
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": `stat_prefix cluster weighted_clusters metadata_match
		idle_timeout access_log max_connect_attempts max_downstream_connection_duration backoff_options tunneling_config hash_policy
		max_downstream_connection_duration_jitter_percentage access_log_options access_log_flush_interval flush_access_log_on_connected
		check_drain_close upstream_connect_mode max_early_data_bytes proxy_protocol_tlvs proxy_protocol_tlv_merge_policy on_demand`,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions": "access_log_flush_interval flush_access_log_on_connected flush_access_log_on_start",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand":            "odcds_config timeout",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig": `hostname use_post headers_to_add post_path request_id_extension
		request_id_header request_id_metadata_key`,
	"envoy.type.v3.HashPolicy":                                                             "source_ip filter_state",
	"envoy.type.v3.HashPolicy.FilterState":                                                 "key",
	"envoy.type.v3.HashPolicy.SourceIp":                                                    "",
	"envoy.config.core.v3.BackoffStrategy":                                                 "base_interval max_interval",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster":               "clusters",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": "name weight metadata_match",

	// Access logs.
	"envoy.config.accesslog.v3.AccessLog":                             "name filter typed_config",
	"envoy.extensions.access_loggers.file.v3.FileAccessLog":           "path format json_format typed_json_format log_format",
	"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":       "log_format",
	"envoy.extensions.access_loggers.stream.v3.StderrAccessLog":       "log_format",
	"envoy.config.core.v3.SubstitutionFormatString":                   "text_format json_format text_format_source omit_empty_values",
	"envoy.config.accesslog.v3.AccessLogFilter":                       `status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter and_filter or_filter header_filter response_flag_filter extension_filter grpc_status_filter log_type_filter metadata_filter`,
	"envoy.config.accesslog.v3.ExtensionFilter":                       "name typed_config",
	"envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter": "expression",
	"envoy.config.accesslog.v3.StatusCodeFilter":                      "comparison",
	"envoy.config.accesslog.v3.DurationFilter":                        "comparison",
	"envoy.config.accesslog.v3.ComparisonFilter":                      "op value",
	"envoy.config.accesslog.v3.NotHealthCheckFilter":                  "",
	"envoy.config.accesslog.v3.TraceableFilter":                       "",
	"envoy.config.accesslog.v3.RuntimeFilter":                         "percent_sampled runtime_key",
	"envoy.config.accesslog.v3.AndFilter":                             "filters",
	"envoy.config.accesslog.v3.OrFilter":                              "filters",
	"envoy.config.accesslog.v3.HeaderFilter":                          "header",
	"envoy.config.accesslog.v3.ResponseFlagFilter":                    "flags",
	"envoy.config.accesslog.v3.GrpcStatusFilter":                      "statuses exclude",
	"envoy.config.accesslog.v3.LogTypeFilter":                         "types exclude",
	"envoy.config.accesslog.v3.MetadataFilter":                        "matcher match_if_key_not_found",
	"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": `common_config additional_request_headers_to_log
		additional_response_headers_to_log additional_response_trailers_to_log`,
	"envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig":    "common_config",
	"envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": "log_name grpc_service buffer_flush_interval buffer_size_bytes custom_tags filter_state_objects_to_log",
	"envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": `common_config grpc_service http_service
		resource_attributes body attributes disable_builtin_labels stat_prefix log_name buffer_flush_interval
		buffer_size_bytes custom_tags resource_detectors filter_state_objects_to_log`,
	"envoy.config.core.v3.HttpService":            "http_uri request_headers_to_add",
	"envoy.config.core.v3.HttpUri":                "uri cluster timeout",
	"envoy.type.tracing.v3.CustomTag":             "tag literal environment request_header metadata value",
	"envoy.type.tracing.v3.CustomTag.Literal":     "value",
	"envoy.type.tracing.v3.CustomTag.Environment": "name default_value",
	"envoy.type.tracing.v3.CustomTag.Header":      "name default_value",
	"envoy.type.tracing.v3.CustomTag.Metadata":    "kind metadata_key default_value",
	"envoy.type.metadata.v3.MetadataKind":         "request route cluster host",
	"envoy.type.metadata.v3.MetadataKind.Request": "",
	"envoy.type.metadata.v3.MetadataKind.Route":   "",
	"envoy.type.metadata.v3.MetadataKind.Cluster": "",
	"envoy.type.metadata.v3.MetadataKind.Host":    "",
	"opentelemetry.proto.common.v1.AnyValue":      "string_value array_value kvlist_value bool_value int_value double_value",
	"opentelemetry.proto.common.v1.ArrayValue":    "values",
	"opentelemetry.proto.common.v1.KeyValueList":  "values",
	"opentelemetry.proto.common.v1.KeyValue":      "key value",
	"envoy.config.core.v3.RuntimeUInt32":          "default_value runtime_key",

	// Runtime.
	"envoy.config.bootstrap.v3.LayeredRuntime":         "layers",
	"envoy.config.bootstrap.v3.RuntimeLayer":           "name static_layer disk_layer admin_layer rtds_layer",
	"envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer": "symlink_root subdirectory append_service_cluster",
	"envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer": "name rtds_config",
	"envoy.service.runtime.v3.Runtime":                 "name layer",

	// Bootstrap.
	"envoy.config.bootstrap.v3.Bootstrap":                  "node static_resources dynamic_resources admin cluster_manager stats_config stats_sinks stats_flush_interval stats_flush_on_admin overload_manager layered_runtime watchdog watchdogs use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config default_regex_engine",
	"envoy.extensions.regex_engines.v3.GoogleRE2":          "",
	"envoy.config.bootstrap.v3.Bootstrap.StaticResources":  "listeners clusters secrets",
	"envoy.config.bootstrap.v3.Bootstrap.DynamicResources": "lds_config cds_config ads_config",
	"envoy.config.bootstrap.v3.Watchdogs":                  "main_thread_watchdog worker_watchdog",
	"envoy.config.bootstrap.v3.Watchdog":                   "miss_timeout megamiss_timeout kill_timeout max_kill_timeout_jitter multikill_timeout multikill_threshold",
	"envoy.config.metrics.v3.StatsConfig":                  "stats_tags use_all_default_tags stats_matcher histogram_bucket_settings",
	"envoy.config.metrics.v3.TagSpecifier":                 "tag_name regex fixed_value",
	"envoy.config.metrics.v3.StatsMatcher":                 "reject_all exclusion_list inclusion_list",
	"envoy.type.matcher.v3.ListStringMatcher":              "patterns",
	"envoy.config.metrics.v3.HistogramBucketSettings":      "match buckets",
	"envoy.config.metrics.v3.MetricsServiceConfig": `grpc_service transport_api_version report_counters_as_deltas
		emit_tags_as_labels histogram_emit_mode batch_size`,
	"envoy.config.metrics.v3.StatsSink":                                                        "name typed_config",
	"envoy.config.metrics.v3.StatsdSink":                                                       "address tcp_cluster_name prefix",
	"envoy.config.metrics.v3.DogStatsdSink":                                                    "address prefix max_bytes_per_datagram",
	"envoy.config.overload.v3.OverloadManager":                                                 "refresh_interval resource_monitors actions loadshed_points",
	"envoy.config.overload.v3.ResourceMonitor":                                                 "name typed_config",
	"envoy.config.overload.v3.OverloadAction":                                                  "name triggers typed_config",
	"envoy.config.overload.v3.LoadShedPoint":                                                   "name triggers",
	"envoy.config.overload.v3.ScaleTimersOverloadActionConfig":                                 "timer_scale_factors",
	"envoy.config.overload.v3.ScaleTimersOverloadActionConfig.ScaleTimer":                      "timer min_timeout min_scale",
	"envoy.config.overload.v3.Trigger":                                                         "name threshold scaled",
	"envoy.config.overload.v3.ThresholdTrigger":                                                "value",
	"envoy.config.overload.v3.ScaledTrigger":                                                   "scaling_threshold saturation_threshold",
	"envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig":                         "max_heap_size_bytes",
	"envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": "max_active_downstream_connections",
	"envoy.config.bootstrap.v3.Admin":                                                          "address profile_path",

	// Shared.
	"envoy.config.core.v3.Address":               "socket_address pipe",
	"envoy.config.core.v3.SocketAddress":         "protocol address port_value ipv4_compat",
	"envoy.config.core.v3.Pipe":                  "path mode",
	"envoy.config.core.v3.CidrRange":             "address_prefix prefix_len",
	"envoy.config.core.v3.DataSource":            "filename inline_bytes inline_string environment_variable",
	"envoy.config.core.v3.Metadata":              "filter_metadata",
	"envoy.config.core.v3.ConfigSource":          "ads api_config_source path path_config_source initial_fetch_timeout",
	"envoy.config.core.v3.PathConfigSource":      "path watched_directory",
	"envoy.config.core.v3.WatchedDirectory":      "path",
	"envoy.config.core.v3.ApiConfigSource":       "api_type grpc_services",
	"envoy.config.core.v3.GrpcService":           "envoy_grpc initial_metadata retry_policy",
	"envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority max_receive_message_length retry_policy",
}

// harmlessFields lists fields that may be set though nothing reads them, with the reason why
// nobody outside can tell.
var harmlessFields = []harmlessField{
	{"envoy.config.core.v3.SubstitutionFormatString", "json_format_options", "properties are sorted always, as in Envoy"},
	{"envoy.config.core.v3.JsonFormatOptions", "sort_properties", "as above"},
	{"envoy.config.bootstrap.v3.Bootstrap", "inline_headers", "how Envoy keeps headers in memory"},
	{"envoy.config.core.v3.HttpService", "formatters", "the operators of Envoy's formatter extensions are built in"},
	{"envoy.extensions.filters.http.header_mutation.v3.Mutations", "formatters", "as above"},
	{"envoy.config.bootstrap.v3.Bootstrap", "deferred_stat_options", "upkeep of Envoy's own process"},
	{"envoy.config.bootstrap.v3.Bootstrap", "enable_worker_cpu_affinity memory_allocator_manager",
		"hints for the speed of Envoy's process"},
	{"envoy.config.bootstrap.v3.Bootstrap", "bootstrap_extensions application_log_config", "named in the log when the proxy starts: see bootstrap.Unread"},
	{"envoy.config.bootstrap.v3.Admin", "access_log access_log_path ignore_global_conn_limit", "access logs are named in the log when the proxy starts: see bootstrap.Unread; the admin API is not limited"},
	{"envoy.config.core.v3.Node", "id cluster metadata dynamic_parameters locality user_agent_name user_agent_version user_agent_build_version extensions client_features listening_addresses",
		"goes to the control plane as it is"},
	{"envoy.config.core.v3.GrpcService.EnvoyGrpc", "skip_envoy_headers", "filters read it; others send no headers of Envoy's"},
	{"envoy.config.core.v3.ConfigSource", "resource_api_version", "resources are always V3"},
	{"envoy.config.core.v3.ConfigSource", "self",
		"means the source that the holder came from, which is the one ADS stream here"},
	{"envoy.config.core.v3.ApiConfigSource", "transport_api_version set_node_on_first_message_only request_timeout",
		"only V3 exists, the node goes out on the first message always, and streams have no request timeout"},
	{"envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig", "transport_api_version", "only V3 exists"},
	{"envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", "formatters", "the operators of Envoy's formatter extensions are built in"},
	{"envoy.config.rbac.v3.Policy", "cel_config", "the functions that it enables are there in any case, and bounded"},
	{"envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", "cel_config", "the functions that it enables are there in any case, and bounded"},
	{"envoy.config.core.v3.GrpcService", "timeout", "filters read it; streams, and exporters as in Envoy, have no deadline"},
	{"envoy.config.core.v3.Metadata", "typed_filter_metadata", "for filters that name it; of those that do, an endpoint's PROXY protocol reads its own"},
	{"envoy.config.core.v3.SubstitutionFormatString", "content_type", "read where bodies are formatted, meaningless in logs"},
	{"envoy.config.core.v3.SubstitutionFormatString", "formatters", "the operators of Envoy's formatter extensions are built in"},

	{"envoy.config.core.v3.SocketOption", "description", "a name for people"},

	{"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "initial_read_buffer_size enable_ja3_fingerprinting enable_ja4_fingerprinting",
		"buffer tuning; fingerprints that nothing can read"},

	{"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig", "propagate_response_headers propagate_response_trailers",
		"state that only filters of one's own making can read: it has no text"},
	{"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig", "formatters", "the operators of Envoy's formatter extensions are built in"},

	{"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter", "is_optional", "an unknown filter is refused either way, by name"},
	{"envoy.config.core.v3.Http1ProtocolOptions", "use_balsa_parser allow_custom_methods", "parser choice; there is one parser, and it takes any token as method"},
	{"envoy.config.core.v3.Http2ProtocolOptions", "use_oghttp2_codec", "which of Envoy's codecs; there is one here"},

	{"envoy.config.accesslog.v3.RuntimeFilter", "use_independent_randomness", "every decision draws its own random number"},
	{"envoy.extensions.compression.gzip.compressor.v3.Gzip", "memory_level compression_strategy window_bits chunk_size", "tuning of zlib's buffers and search; any window is read by every client"},
	{"envoy.extensions.compression.brotli.compressor.v3.Brotli", "encoder_mode input_block_bits chunk_size disable_literal_context_modeling", "tuning of the encoder's search"},
	{"envoy.extensions.compression.zstd.compressor.v3.Zstd", "strategy chunk_size", "as above"},
	{"envoy.extensions.compression.gzip.decompressor.v3.Gzip", "window_bits chunk_size", "tuning of buffers"},
	{"envoy.extensions.compression.brotli.decompressor.v3.Brotli", "disable_ring_buffer_reallocation chunk_size", "as above"},
	{"envoy.extensions.compression.zstd.decompressor.v3.Zstd", "chunk_size", "as above"},
	{"envoy.config.route.v3.FilterConfig", "is_optional", "an unknown filter is refused either way, by name"},

	{"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "prefer_client_ciphers", "a hint: crypto/tls chooses of the suites that both ends take by what both do in hardware"},
	{"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "disable_stateful_session_resumption", "no session is kept here: clients keep them, in tickets"},
	{"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "enforce_rsa_key_usage", "it is enforced always, as in Envoy"},
}

type harmlessField struct{ message, fields, why string }

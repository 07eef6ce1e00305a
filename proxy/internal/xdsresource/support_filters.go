package xdsresource

// filterFields continues supportedFields for filters, HTTP, network and listener.
var filterFields = map[string]string{
	"envoy.extensions.filters.http.health_check.v3.HealthCheck": "pass_through_mode cache_time cluster_min_healthy_percentages headers",
	"envoy.extensions.filters.http.tap.v3.Tap":                  "common_config record_headers_received_time record_downstream_connection record_upstream_connection",
	"envoy.extensions.common.tap.v3.CommonExtensionConfig":      "static_config",
	"envoy.config.tap.v3.TapConfig":                             "match_config match output_config tap_enabled",
	"envoy.config.tap.v3.OutputConfig":                          "sinks max_buffered_rx_bytes max_buffered_tx_bytes streaming",
	"envoy.config.tap.v3.OutputSink":                            "format file_per_tap",
	"envoy.config.tap.v3.FilePerTapSink":                        "path_prefix",
	"envoy.config.tap.v3.MatchPredicate": `or_match and_match not_match any_match http_request_headers_match http_request_trailers_match http_response_headers_match
		http_response_trailers_match http_request_generic_body_match http_response_generic_body_match`,
	"envoy.config.tap.v3.MatchPredicate.MatchSet":               "rules",
	"envoy.config.tap.v3.HttpHeadersMatch":                      "headers",
	"envoy.config.tap.v3.HttpGenericBodyMatch":                  "bytes_limit patterns",
	"envoy.config.tap.v3.HttpGenericBodyMatch.GenericTextMatch": "string_match binary_match",
	"envoy.config.common.matcher.v3.MatchPredicate": `or_match and_match not_match any_match http_request_headers_match http_request_trailers_match http_response_headers_match
		http_response_trailers_match http_request_generic_body_match http_response_generic_body_match`,
	"envoy.config.common.matcher.v3.MatchPredicate.MatchSet":               "rules",
	"envoy.config.common.matcher.v3.HttpHeadersMatch":                      "headers",
	"envoy.config.common.matcher.v3.HttpGenericBodyMatch":                  "bytes_limit patterns",
	"envoy.config.common.matcher.v3.HttpGenericBodyMatch.GenericTextMatch": "string_match binary_match",
	"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": `emit_filter_state individual_method_stats_allowlist stats_for_all_methods
		enable_upstream_stats replace_dots_in_grpc_service_name`,
	"envoy.config.core.v3.GrpcMethodList":                                            "services",
	"envoy.config.core.v3.GrpcMethodList.Service":                                    "name method_names",
	"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb":                              "",
	"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":              "rules allow_requests_without_proxy_protocol disallowed_versions stat_prefix tlv_location pass_through_tlvs",
	"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.Rule":         "tlv_type on_tlv_present",
	"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol.KeyValuePair": "metadata_namespace key value_string_encoding",
	"envoy.extensions.filters.network.rbac.v3.RBAC":                                  "rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type delay_deny matcher shadow_matcher",
	"envoy.extensions.filters.network.ratelimit.v3.RateLimit":                        "stat_prefix domain descriptors timeout failure_mode_deny rate_limit_service",
	"envoy.extensions.common.ratelimit.v3.RateLimitDescriptor":                       "entries",
	"envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit":             "stat_prefix token_bucket runtime_enabled",
	"envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit":           "stat_prefix max_connections delay runtime_enabled",
	"envoy.extensions.filters.network.sni_cluster.v3.SniCluster":                     "",
	"envoy.extensions.filters.network.direct_response.v3.Config":                     "response",
	"envoy.extensions.filters.network.echo.v3.Echo":                                  "",
	"envoy.extensions.filters.network.set_filter_state.v3.Config":                    "on_new_connection on_downstream_tls_handshake",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication":                   "providers rules filter_state_rules bypass_cors_preflight requirement_map strip_failure_response stat_prefix",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtProvider": `issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward
		from_headers from_params from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata normalize_payload_in_metadata
		header_in_metadata failed_status_in_metadata clock_skew_seconds jwt_cache_config claim_to_headers clear_route_cache`,
	"envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload": "space_delimited_claims",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig":               "jwt_cache_size jwt_max_token_size",
	"envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks":                   "http_uri cache_duration async_fetch retry_policy",
	"envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch":               "fast_listener failed_refetch_duration",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtHeader":                    "name value_prefix",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader":             "header_name claim_name claim_path",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader.PathSegment": "key",
	"envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences":        "provider_name audiences",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement":               "provider_name provider_and_audiences requires_any requires_all allow_missing_or_failed allow_missing extract_only_without_validation",
	"envoy.extensions.filters.http.jwt_authn.v3.ExtractOnlyWithoutValidation": "verification_status_header",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList":         "requirements",
	"envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList":        "requirements",
	"envoy.extensions.filters.http.jwt_authn.v3.RequirementRule":              "match requires requirement_name",
	"envoy.extensions.filters.http.jwt_authn.v3.FilterStateRule":              "name requires",
	"envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig":               "disabled requirement_name",
	"envoy.extensions.filters.network.ext_authz.v3.ExtAuthz": `stat_prefix grpc_service failure_mode_allow include_peer_certificate
		transport_api_version filter_enabled_metadata bootstrap_metadata_labels_key include_tls_session metadata_context_namespaces`,
	"envoy.extensions.filters.http.compressor.v3.Compressor": `content_length content_type disable_on_etag_header
		remove_accept_encoding_header runtime_enabled compressor_library request_direction_config
		response_direction_config choose_first`,
	"envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig":  "enabled min_content_length content_type content_type_matcher",
	"envoy.extensions.filters.http.compressor.v3.Compressor.RequestDirectionConfig": "common_config",
	"envoy.extensions.filters.http.compressor.v3.Compressor.ResponseDirectionConfig": `common_config disable_on_etag_header
		weaken_etag_on_compress remove_accept_encoding_header uncompressible_response_codes`,
	"envoy.extensions.filters.http.compressor.v3.CompressorPerRoute":         "disabled overrides",
	"envoy.extensions.filters.http.compressor.v3.CompressorOverrides":        "response_direction_config",
	"envoy.extensions.filters.http.compressor.v3.ResponseDirectionOverrides": "remove_accept_encoding_header",
	"envoy.config.core.v3.TypedExtensionConfig":                              "name typed_config",
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": `grpc_service http_service transport_api_version failure_mode_allow
		failure_mode_allow_header_add with_request_body clear_route_cache status_on_error validate_mutations
		metadata_context_namespaces route_metadata_context_namespaces filter_enabled filter_enabled_metadata deny_at_disable
		include_peer_certificate stat_prefix bootstrap_metadata_labels_key allowed_headers disallowed_headers include_tls_session
		charge_cluster_response_stats encode_raw_headers enable_dynamic_metadata_ingestion max_denied_response_body_bytes
		decoder_header_mutation_rules clear_route_cache_headers`,
	"envoy.config.common.mutation_rules.v3.HeaderMutationRules": `allow_all_routing allow_envoy disallow_system disallow_all allow_expression
		disallow_expression disallow_is_error`,
	"envoy.extensions.filters.http.ext_authz.v3.BufferSettings":       "max_request_bytes allow_partial_message pack_as_bytes",
	"envoy.extensions.filters.http.ext_authz.v3.HttpService":          "server_uri path_prefix path_override authorization_request authorization_response retry_policy",
	"envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest": "allowed_headers headers_to_add",
	"envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse": `allowed_upstream_headers allowed_upstream_headers_to_append
		allowed_client_headers allowed_client_headers_on_success dynamic_metadata_from_headers`,
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute":                        "disabled check_settings",
	"envoy.extensions.filters.http.ext_authz.v3.CheckSettings":                           "context_extensions disable_request_body_buffering with_request_body grpc_service http_service",
	"envoy.config.core.v3.RetryPolicy":                                                   "retry_back_off num_retries retry_on",
	"envoy.config.core.v3.BackoffStrategy":                                               "base_interval max_interval",
	"envoy.config.core.v3.RuntimeFeatureFlag":                                            "default_value runtime_key",
	"envoy.extensions.compression.gzip.compressor.v3.Gzip":                               "compression_level",
	"envoy.extensions.compression.brotli.compressor.v3.Brotli":                           "quality window_bits",
	"envoy.extensions.compression.zstd.compressor.v3.Zstd":                               "compression_level enable_checksum",
	"envoy.extensions.compression.gzip.decompressor.v3.Gzip":                             "max_inflate_ratio",
	"envoy.extensions.compression.brotli.decompressor.v3.Brotli":                         "",
	"envoy.extensions.compression.zstd.decompressor.v3.Zstd":                             "",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor":                         "decompressor_library request_direction_config response_direction_config",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor.CommonDirectionConfig":   "enabled ignore_no_transform_header",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor.RequestDirectionConfig":  "common_config advertise_accept_encoding",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor.ResponseDirectionConfig": "common_config",
	"envoy.extensions.filters.http.buffer.v3.Buffer":                                     "max_request_bytes",
	"envoy.extensions.filters.http.buffer.v3.BufferPerRoute":                             "disabled buffer",
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation":                    "mutations most_specific_header_mutations_wins",
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute":            "mutations",
	"envoy.extensions.filters.http.header_mutation.v3.Mutations": `request_mutations query_parameter_mutations
		response_mutations response_trailers_mutations request_trailers_mutations`,
	"envoy.config.common.mutation_rules.v3.HeaderMutation":                   "remove append remove_on_match",
	"envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch":     "key_matcher",
	"envoy.config.core.v3.KeyValueMutation":                                  "append remove",
	"envoy.config.core.v3.KeyValueAppend":                                    "record action",
	"envoy.config.core.v3.KeyValuePair":                                      "key value",
	"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig":              "alpn_override",
	"istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig.AlpnOverride": "upstream_protocol alpn_override",
	"envoy.extensions.filters.http.stateful_session.v3.StatefulSession": `session_state strict stat_prefix
		status_on_strict_destination_not_found`,
	"envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute": "disabled stateful_session",
	"envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState":  "cookie",
	"envoy.type.http.v3.Cookie":                                                      "name ttl path attributes",
	"envoy.type.http.v3.CookieAttribute":                                             "name value",
	"envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState":       "name",
	"envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState":        "header",
	"envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState.Header": "name",
	"envoy.extensions.filters.http.set_filter_state.v3.Config":                       "on_request_headers clear_route_cache",
	"envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": `object_key factory_key format_string
		skip_if_empty read_only`,
	"envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": `stat_prefix status token_bucket filter_enabled
		filter_enforced request_headers_to_add_when_not_enforced response_headers_to_add descriptors stage
		local_rate_limit_per_downstream_connection enable_x_ratelimit_headers vh_rate_limits
		always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits max_dynamic_descriptors
		enable_retry_after_header`,
	"envoy.extensions.filters.http.ratelimit.v3.RateLimit": `domain stage request_type timeout failure_mode_deny
		rate_limited_as_resource_exhausted rate_limit_service enable_x_ratelimit_headers disable_x_envoy_ratelimited_header
		rate_limited_status response_headers_to_add status_on_error stat_prefix filter_enabled filter_enforced
		failure_mode_deny_percent rate_limits metadata_namespace enable_retry_after_header`,
	"envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute":            "vh_rate_limits rate_limits domain",
	"envoy.extensions.filters.http.on_demand.v3.OnDemand":                     "odcds",
	"envoy.extensions.filters.http.on_demand.v3.PerRouteConfig":               "odcds",
	"envoy.extensions.filters.http.on_demand.v3.OnDemandCds":                  "source timeout",
	"envoy.config.ratelimit.v3.RateLimitServiceConfig":                        "grpc_service transport_api_version",
	"envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor":           "entries token_bucket shadow_mode",
	"envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry":          "key value",
	"envoy.type.v3.TokenBucket":                                               "max_tokens tokens_per_fill fill_interval",
	"envoy.type.v3.HttpStatus":                                                "code",
	"envoy.extensions.filters.http.rbac.v3.RBAC":                              "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats matcher shadow_matcher",
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute":                      "rbac",
	"envoy.config.rbac.v3.RBAC":                                               "action policies",
	"envoy.config.rbac.v3.Action":                                             "name action",
	"envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput":   "",
	"envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput": "",
	"envoy.extensions.matching.common_inputs.network.v3.SourceIPInput":        "",
	"envoy.extensions.matching.common_inputs.network.v3.SourcePortInput":      "",
	"envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput":  "",
	"envoy.extensions.matching.common_inputs.network.v3.ServerNameInput":      "",
	"envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput":              "",
	"envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput":              "",
	"envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput":             "",
	"envoy.extensions.matching.input_matchers.ip.v3.Ip":                       "cidr_ranges stat_prefix",
	"envoy.config.rbac.v3.Policy":                                             "permissions principals",
	"envoy.config.rbac.v3.Permission": `and_rules or_rules any header url_path uri_template destination_ip destination_port
		destination_port_range metadata not_rule requested_server_name sourced_metadata`,
	"envoy.config.rbac.v3.Permission.Set": "rules",
	"envoy.config.rbac.v3.Principal": `and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header
		url_path metadata filter_state not_id sourced_metadata`,
	"envoy.config.rbac.v3.Principal.Set":           "ids",
	"envoy.config.rbac.v3.Principal.Authenticated": "principal_name",
	"envoy.config.rbac.v3.SourcedMetadata":         "metadata_matcher metadata_source",
}

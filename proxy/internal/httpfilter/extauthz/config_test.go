package extauthz_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestRefused: what is not performed is refused by name.
func TestRefused(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("its messages are its own")
	}
	const start = "- {name: envoy.filters.http.ext_authz, typed_config: {'@type': " + message + "ExtAuthz, "
	const grpc = "grpc_service: {envoy_grpc: {cluster_name: authz}}, "
	const http = "http_service: {server_uri: {uri: http://a, cluster: authz, timeout: 1s}, "
	for fields, want := range map[string]string{
		"transport_api_version: V3": "services: one of grpc_service and http_service is required",
		grpc[:len(grpc)-2]:          "transport_api_version: must be V3",
		"transport_api_version: V3, grpc_service: {google_grpc: {target_uri: x, stat_prefix: x}}":                  "grpc_service.google_grpc: this field is not supported",
		"transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: a}, retry_policy: {num_retries: 1}}": "grpc_service.retry_policy: this field is not supported",
		grpc + "transport_api_version: V3, with_request_body: {}":                                                  "with_request_body.max_request_bytes: value must be greater than 0",
		grpc + "transport_api_version: V3, shadow_mode: true":                                                      "shadow_mode: this field is not supported",
		grpc + "transport_api_version: V3, emit_client_span: true":                                                 "emit_client_span: calls to the service have no spans of their own",
		grpc + "transport_api_version: V3, emit_filter_state_stats: true":                                          "emit_filter_state_stats: this field is not supported",
		grpc + "transport_api_version: V3, decoder_header_mutation_rules: {allow_expression: {regex: '('}}":        "decoder_header_mutation_rules.allow_expression",
		grpc + "transport_api_version: V3, typed_metadata_context_namespaces: [a]":                                 "typed_metadata_context_namespaces: this field is not supported",
		grpc + "transport_api_version: V3, status_on_error: {code: 77}":                                            "status_on_error.code: value must be one of the defined enum values",
		http + "path_prefix: nope}":                                                                                   `http_service.path_prefix: "nope" must begin with a slash`,
		http + "path_prefix: /a, path_override: /b}":                                                                  "http_service.path_override: stands beside path_prefix",
		http + "retry_policy: {retry_on: retriable-headers}}":                                                         "http_service.retry_policy.retry_on: only 5xx,",
		http + "authorization_request: {headers_to_add: [{key: a, value: '%NOPE%'}]}}":                                "http_service.authorization_request.headers_to_add",
		http + "authorization_request: {allowed_headers: {patterns: [{exact: a}]}}}, allowed_headers: {patterns: []}": "allowed_headers: stands in http_service.authorization_request as well",
		"http_service: {path_prefix: /a}":                                                                             "http_service.server_uri: is required",
		http + "authorization_response: {allowed_client_headers: {patterns: [{safe_regex: {regex: '('}}]}}}":          "http_service.authorization_response.allowed_client_headers.patterns[0].safe_regex",
	} {
		err := proxytest.Check(proxytest.Config{Filters: start + fields + "}}", Clusters: authz("authz", "127.0.0.1:1", true)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", fields, err, want)
		}
	}
	for fields, want := range map[string]string{
		"{}": "override: value is required",
		"check_settings: {disable_request_body_buffering: true, with_request_body: {max_request_bytes: 1}}": "disable_request_body_buffering: stands beside with_request_body",
		"check_settings: {stat_prefix: a}": "unknown field",
		"check_settings: {http_service: {server_uri: {uri: http://a, cluster: c, timeout: 1s}, authorization_request: {allowed_headers: {}}}}": "authorization_request.allowed_headers: this field is not supported",
	} {
		if fields == "{}" {
			fields = ""
		}
		err := proxytest.Check(proxytest.Config{
			Filters: overGRPC(""), Clusters: authz("authz", "127.0.0.1:1", true),
			Routes: "- {match: {prefix: /}, route: {cluster: up}, " + perRoute(fields) + "}",
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", fields, err, want)
		}
	}
}

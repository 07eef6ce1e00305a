package xdsresource

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// testDecoder knows the router, a filter with per-route configuration, and one that comes as
// a TypedStruct.
func testDecoder() *Decoder {
	routerType := string((&routerv3.Router{}).ProtoReflect().Descriptor().FullName())
	pass := func(_ *Decoder, a *anypb.Any) (any, error) { return TypeName(a), nil }
	return NewDecoder(Extensions{
		HTTP: map[string]HTTPFilterType{
			routerType:           {Name: "envoy.filters.http.router", Terminal: true, OptionalConfig: true, Parse: func(*Decoder, *anypb.Any) (any, error) { return "router", nil }, ParseRoute: pass},
			"stats.PluginConfig": {Name: "istio.stats", Parse: pass},
			"broken.Config":      {Name: "broken", Parse: func(*Decoder, *anypb.Any) (any, error) { return nil, errors.New("no good") }},
		},
		Network: map[string]NetworkFilterType{"stats.PluginConfig": {Parse: pass}},
	})
}

// encode makes a resource of YAML.
func encode(m proto.Message, text string) (*anypb.Any, error) {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(asJSON, m); err != nil {
		return nil, err
	}
	return anypb.New(m)
}

// decode reads a resource from YAML and judges it.
func decode(t *testing.T, m proto.Message, text string) (any, error) {
	t.Helper()
	a, err := encode(m, text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := testDecoder().Decode(a)
	return r.Value, err
}

const hcmYAML = `
name: l
address: {socket_address: {address: 0.0.0.0, port_value: 80}}
filter_chains:
- filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: x
      http_filters: [{name: envoy.filters.http.router}]
      rds: {route_config_name: "80", config_source: {ads: {}, resource_api_version: V3}}
`

// refusal is a resource that is refused, and what is said of it.
type refusal struct {
	name string
	msg  func() proto.Message
	text string
	want []string
}

func refusals() []refusal {
	listener := func() proto.Message { return &listenerv3.Listener{} }
	cluster := func() proto.Message { return &clusterv3.Cluster{} }
	routes := func() proto.Message { return &routev3.RouteConfiguration{} }
	endpoints := func() proto.Message { return &endpointv3.ClusterLoadAssignment{} }
	route := func(r string) string {
		return "name: r\nvirtual_hosts: [{name: v, domains: ['*'], routes: [" + r + "]}]"
	}
	const at = "virtual_hosts[0].routes[0]"
	hcm := "filter_chains[0].filters[0].typed_config"
	return []refusal{
		{"listener without chains", listener, "name: l\naddress: {socket_address: {address: 1.2.3.4, port_value: 80}}", []string{"filter_chains: a listener needs at least one"}},
		{"listener by host name", listener, strings.Replace(hcmYAML, "0.0.0.0", "example.com", 1), []string{`address.socket_address.address: "example.com" is not an IP address`}},
		{"udp", listener, strings.Replace(hcmYAML, "address: 0.0.0.0,", "address: 0.0.0.0, protocol: UDP,", 1), []string{"address.socket_address.protocol: only TCP"}},
		{"http3 codec", listener, strings.Replace(hcmYAML, "stat_prefix: x", "stat_prefix: x\n      codec_type: HTTP3", 1), []string{hcm + ".codec_type: HTTP3 is not supported"}},
		{"http2 options out of range", listener, strings.Replace(hcmYAML, "stat_prefix: x", "stat_prefix: x\n      http2_protocol_options: {max_concurrent_streams: 0, initial_stream_window_size: 1000, allow_metadata: true, connection_keepalive: {interval: 1s}}", 1),
			[]string{hcm + ".http2_protocol_options.max_concurrent_streams: must be", hcm + ".http2_protocol_options.initial_stream_window_size: must be", hcm + ".http2_protocol_options.allow_metadata: this field is not supported", hcm + ".http2_protocol_options.connection_keepalive.timeout: is required"}},
		{"streams that outlive invalid messages, with HTTP/1", listener, strings.Replace(hcmYAML, "stat_prefix: x", "stat_prefix: x\n      stream_error_on_invalid_http_message: true", 1), []string{hcm + ".stream_error_on_invalid_http_message: cannot be turned on for HTTP/1"}},
		{"http3 and scoped fields", listener, strings.Replace(hcmYAML, "stat_prefix: x", "stat_prefix: x\n      http3_protocol_options: {}\n      add_proxy_protocol_connection_state: true", 1), []string{hcm + ".http3_protocol_options: this field", hcm + ".add_proxy_protocol_connection_state: this field"}},
		{"scopes that cannot be told apart", listener, strings.Replace(hcmYAML, `rds: {route_config_name: "80", config_source: {ads: {}, resource_api_version: V3}}`, `
      scoped_routes:
        name: s
        scope_key_builder: {fragments: [{header_value_extractor: {name: x, index: 1}}]}
        scoped_route_configurations_list: {scoped_route_configurations: [
          {name: a, key: {fragments: [{string_key: k}]}, route_configuration: {name: r}},
          {name: a, key: {fragments: [{string_key: k}]}, route_configuration_name: r},
          {name: b, key: {fragments: [{string_key: k}, {string_key: l}]}, on_demand: true}]}`, 1),
			[]string{hcm + ".scoped_routes.scoped_route_configurations_list.scoped_route_configurations[2].on_demand: is for scopes from scoped_rds",
				hcm + ".scoped_routes.scope_key_builder.fragments[0].header_value_extractor.index: is 1, but",
				hcm + ".scoped_routes.scoped_route_configurations_list.scoped_route_configurations[1].route_configuration_name: needs rds_config_source",
				hcm + `.scoped_routes.scoped_route_configurations_list.scoped_route_configurations[1].name: scope "a" stands twice`,
				hcm + `.scoped_routes.scoped_route_configurations_list.scoped_route_configurations[1].key: is that of scope "a"`,
				hcm + ".scoped_routes.scoped_route_configurations_list.scoped_route_configurations[2]: route_configuration or",
				hcm + ".scoped_routes.scoped_route_configurations_list.scoped_route_configurations[2].key.fragments: has 2 fragments"}},
		{"router not last", listener, strings.Replace(hcmYAML, "[{name: envoy.filters.http.router}]", `[{name: envoy.filters.http.router}, {name: s, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig, value: {}}}]`, 1), []string{hcm + ".http_filters[0]: the router must be the last", hcm + `.http_filters[1]: filter "s" cannot stand last`}},
		{"a filter's own error", listener, strings.Replace(hcmYAML, "[{name", `[{name: b, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/broken.Config}}, {name`, 1), []string{hcm + ".http_filters[0].typed_config: no good"}},
		{"a network filter at the end", listener, `
name: l
address: {socket_address: {address: 0.0.0.0, port_value: 80}}
filter_chains:
- filters: [{name: s, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig}}]`, []string{`filter_chains[0].filters[0]: filter "s" cannot stand last`}},

		{"the same domain twice", routes, "name: r\nvirtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [X]}]", []string{`virtual_hosts[1].domains[0]: domain "x" belongs to virtual host "a"`}},
		{"a wildcard in the middle", routes, "name: r\nvirtual_hosts: [{name: a, domains: ['a.*.b']}]", []string{"virtual_hosts[0].domains[0]:"}},
		{"weights of nothing", routes, route("{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}}"), []string{at + ".route.weighted_clusters: the weights add up to 0"}},
		{"old total_weight that does not fit", routes, route("{match: {prefix: /}, route: {weighted_clusters: {total_weight: 90, clusters: [{name: a, weight: 100}]}}}"), []string{"total_weight: is 90, but the weights add up to 100"}},
		{"retry word", routes, route("{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: '5xx,sometimes'}}}"), []string{at + `.route.retry_policy.retry_on: "sometimes" is no retry condition`}},
		{"connect_config of another upgrade", routes, route("{match: {prefix: /}, route: {cluster: a, upgrade_configs: [{upgrade_type: websocket, connect_config: {}}]}}"), []string{at + `.route.upgrade_configs[0].connect_config: goes with upgrade_type CONNECT, not "websocket"`}},
		{"connect_config with TLVs", routes, route("{match: {connect_matcher: {}}, route: {cluster: a, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {pass_through_tlvs: {match_type: INCLUDE_ALL}, added_tlvs: [{type: 1, value: YQ==}]}}}]}}"),
			[]string{"proxy_protocol_config.pass_through_tlvs: is not supported here", "proxy_protocol_config.added_tlvs: is not supported here"}},
		{"regex substitution", routes, route(`{match: {prefix: /}, route: {cluster: a, regex_rewrite: {pattern: {regex: "(a)"}, substitution: '\2'}}}`), []string{`names group \2`}},
		{"path templates", routes, route(`{match: {path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/{a"}}}, route: {cluster: a}}`),
			[]string{at + `.match.path_match_policy.typed_config.path_template: path template "/{a": a variable has no closing brace`}},
		{"path template rewrite without a template", routes, route(`{match: {prefix: /}, route: {cluster: a, prefix_rewrite: /, path_rewrite_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "/{b}"}}}}`),
			[]string{"path_rewrite_policy: stands beside prefix_rewrite", "path_rewrite_policy: needs path_match_policy"}},
		{"path template rewrite of other variables", routes, route(`{match: {path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/{a}"}}}, route: {cluster: a, path_rewrite_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "/{b}"}}}}`),
			[]string{`path_template_rewrite: path template rewrite "/{b}": the path template "/{a}" has no variable "b"`}},
		{"prefix rewrite of a template", routes, route(`{match: {path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/{a}"}}}, route: {cluster: a, prefix_rewrite: /}}`),
			[]string{".route.prefix_rewrite: a path template has no prefix"}},
		{"redirect by prefix of a template", routes, route(`{match: {path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/{a}"}}}, redirect: {prefix_rewrite: /}}`),
			[]string{".redirect.prefix_rewrite: a path template has no prefix"}},
		{"path match policy of another kind", routes, route(`{match: {path_match_policy: {name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}}, route: {cluster: a}}`),
			[]string{".match.path_match_policy.typed_config: type"}},
		{"two body limits", routes, route("{match: {prefix: /}, per_request_buffer_limit_bytes: 1, request_body_buffer_limit: 1, route: {cluster: a}}"), []string{at + ".per_request_buffer_limit_bytes: stands beside request_body_buffer_limit"}},
		{"hedging that nobody does", routes, route("{match: {prefix: /}, route: {cluster: a, hedge_policy: {initial_requests: 2, additional_request_chance: {numerator: 1}}}}"), []string{"hedge_policy.initial_requests: 2 requests at a time are not supported", "hedge_policy.additional_request_chance: further requests"}},
		{"retry extensions", routes, route(`{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_host_predicate: [{name: x}], retry_options_predicates: [{name: o, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}], retry_priority: {name: z, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}}}}`),
			[]string{`retry_host_predicate[0]: retry host predicate "x" (type ) is not supported`, `retry_options_predicates[0]: retry options predicate "o"`, "retry_priority.typed_config: type"}},
		{"matcher's parts", routes, `name: r
virtual_hosts:
- name: a
  domains: ["*"]
  routes: [{match: {prefix: /}, route: {cluster: a}}]
  matcher:
    matcher_list:
      matchers:
      - predicate: {or_matcher: {predicate: [{single_predicate: {input: {name: i, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}, value_match: {safe_regex: {google_re2: {}, regex: "("}}}}, {single_predicate: {input: {name: h, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x}}, custom_match: {name: c, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}}}]}}
        on_match: {action: {name: act, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}}
    on_no_match: {action: {name: act, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.RouteList, routes: [{match: {prefix: /}, route: {cluster: a, early_data_policy: {name: e}}}]}}}
`, []string{"matcher: stands beside routes", `input "i" (type no.Such) is not supported`, `value_match.safe_regex.regex: "(" is no regular expression`, `custom_match: matcher "c"`, `on_match.action: action "act" (type no.Such)`,
			"on_no_match.action.typed_config.routes[0].route.early_data_policy: this field is not supported"}},
		{"internal redirects", routes, route(`{match: {prefix: /}, route: {cluster: a, internal_redirect_policy: {response_headers_to_copy: [":path", Host], predicates: [{name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}]}}}`),
			[]string{`internal_redirect_policy.response_headers_to_copy[0]: ":path" cannot be copied`, `response_headers_to_copy[1]: "host" cannot`, `predicates[0]: redirect predicate "x" (type no.Such) is not supported`}},
		{"per-route configuration of an unknown filter", routes, route(`{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {f: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.Such}}}`), []string{at + `.typed_per_filter_config["f"]: filter type no.Such is not supported`}},

		{"host name outside of DNS", cluster, "name: c\ntype: STATIC\nload_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: x, port_value: 1}}}}]}]}", []string{`load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "x" is not an IP`}},
		{"http2 upstream", cluster, "name: c\nhttp2_protocol_options: {max_concurrent_streams: 0}", []string{"http2_protocol_options.max_concurrent_streams: must be between"}},
		{"auto without TLS", cluster, "name: c\ntyped_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, auto_config: {}}}", []string{"auto_config: needs a transport_socket"}},
		{"health checks", cluster, "name: c\nhealth_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, custom_health_check: {name: x}}]", []string{"health_checks[0].custom_health_check: this field is not supported"}},
		{"two health checks", cluster, "name: c\nhealth_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}, {timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]", []string{"health_checks[0].name: is required where there are several health checks", "health_checks[1].name: is required"}},
		{"two rewrites of the path", routes, route("{match: {prefix: /}, route: {cluster: c, prefix_rewrite: /a, path_rewrite: /b}}"), []string{at + ".route.path_rewrite: stands beside another rewrite of the path"}},
		{"health checks of one name", cluster, "name: c\nhealth_checks: [{name: a, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}, {name: a, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]", []string{`health_checks[1].name: "a" is the name of another health check of the cluster`}},
		{"nine health checks", cluster, "name: c\nhealth_checks: [" + strings.Repeat("{name: a, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}, ", 9) + "]", []string{"health_checks: value must contain no more than 8 item(s)"}},
		{"health check's request", cluster, "name: c\nhealth_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: x, method: GET, send: {text: zz}, expected_statuses: [{start: 1, end: 2}], request_headers_to_add: [{header: {key: a, value: '%X%'}}]}}]",
			[]string{`path: "x" is not a path`, `send.text: "zz" is not hexadecimal`, "expected_statuses[0]: [1, 2) is not a range", "operators are not supported in health checks"}},
		{"eds without config", cluster, "name: c\ntype: EDS", []string{"eds_cluster_config: is required"}},
		{"maglev table", cluster, "name: c\nlb_policy: MAGLEV\nmaglev_lb_config: {table_size: 10}", []string{"maglev_lb_config.table_size: 10 is not a prime"}},
		{"two endpoints of LOGICAL_DNS", cluster, "name: c\ntype: LOGICAL_DNS\nload_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: x, port_value: 1}}}}, {endpoint: {address: {socket_address: {address: z, port_value: 1}}}}]}]}", []string{"exactly one endpoint, this has 2"}},
		{"cluster provided", cluster, "name: c\nlb_policy: CLUSTER_PROVIDED", []string{"lb_policy: CLUSTER_PROVIDED goes with type ORIGINAL_DST"}},

		{"priorities with a gap", endpoints, "cluster_name: c\nendpoints: [{priority: 0}, {priority: 2}]", []string{"priorities must count from 0"}},
		{"endpoint by name", endpoints, "cluster_name: c\nendpoints: [{lb_endpoints: [{endpoint_name: x}]}]", []string{"endpoints[0].lb_endpoints[0].endpoint_name: this field is not supported"}},
	}
}

// TestRefusals holds the path and the reason of what is refused.
func TestRefusals(t *testing.T) {
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decode(t, tt.msg(), tt.text)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("error is a %T, want *Error: %v", err, err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

func TestRouteForms(t *testing.T) {
	v, err := decode(t, &routev3.RouteConfiguration{}, `
name: "80"
virtual_hosts:
- name: catalog
  domains: [Catalog.Example, catalog]
  include_request_attempt_count: true
  routes:
  - name: old forms
    match:
      safe_regex: {google_re2: {}, regex: "/a/[0-9]+"}
      headers: [{name: X-A, exact_match: v}, {name: x-b, prefix_match: p, invert_match: true}, {name: x-c, range_match: {start: 1, end: 5}}, {name: x-d, present_match: true}, {name: x-e}]
    route:
      cluster: a
      timeout: 0s
      retry_policy:
        retry_on: connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes
        num_retries: 2
        retriable_status_codes: [503]
        host_selection_retry_max_attempts: "5"
        retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]
      request_mirror_policies: [{cluster: b, runtime_fraction: {default_value: {numerator: 100}}, trace_sampled: false}]
  - match: {prefix: /, headers: [{name: x-istio-cohort, string_match: {exact: INTERNAL, ignore_case: true}}]}
    route:
      weighted_clusters: {clusters: [{name: a, weight: 90}, {name: b, weight: 10}], total_weight: 100}
      regex_rewrite: {pattern: {regex: "^/(.*)/(.*)$"}, substitution: '/\2/$\1'}
    request_headers_to_add: [{header: {key: X-New, value: "1"}, append: false}, {header: {key: X-Add, value: "2"}}]
`)
	if err != nil {
		t.Fatal(err)
	}
	vh := v.(*RouteConfig).VirtualHosts[0]
	if !reflect.DeepEqual(vh.Domains, []string{"catalog.example", "catalog"}) {
		t.Errorf("domains = %v", vh.Domains)
	}
	r := vh.Routes[0]
	if r.Match.Kind != PathRegex || !r.Match.Regex.MatchString("/a/12") || r.Match.Regex.MatchString("/a/12/b") {
		t.Errorf("regex does not match the whole path: %v", r.Match.Regex)
	}
	h := r.Match.Headers
	if h[0].Name != "x-a" || h[0].String.Kind != StringExact || !h[1].Invert || h[1].String.Kind != StringPrefix || *h[2].Range != [2]int64{1, 5} || !*h[3].Present || !*h[4].Present {
		t.Errorf("headers = %+v", h)
	}
	f := r.Forward
	want := RetryConnectFailure | RetryRefusedStream | RetryGRPCUnavailable | RetryGRPCCancelled | RetryStatusCodes
	if f.Timeout != 0 || f.Retry.On != want || f.Retry.NumRetries != 2 || !f.Retry.AvoidPreviousHosts || f.Retry.HostSelectionMaxAttempts != 5 ||
		f.Retry.BackOffBase != 25*time.Millisecond || f.Retry.BackOffMax != 250*time.Millisecond {
		t.Errorf("retry = %+v", f.Retry)
	}
	if m := f.Mirrors[0]; m.Cluster != "b" || *m.TraceSampled || *m.Fraction != (FractionalPercent{Numerator: 100, Denominator: 100}) {
		t.Errorf("mirror = %+v", m)
	}
	r = vh.Routes[1]
	if sm := r.Match.Headers[0].String; !sm.Match("Internal") || sm.Match("external") {
		t.Errorf("string match = %+v", sm)
	}
	if r.Forward.TotalWeight != 100 || r.Forward.Timeout != 15*time.Second {
		t.Errorf("action = %+v", r.Forward)
	}
	if got := r.Forward.RegexRewrite.Regex.ReplaceAllString("/x/y", r.Forward.RegexRewrite.Substitution); got != "/y/$x" {
		t.Errorf("rewritten to %q", got)
	}
	if a := r.RequestHeaders.Add; a[0].Name != "x-new" || a[0].Action != OverwriteIfExistsOrAdd || a[1].Action != AppendIfExistsOrAdd {
		t.Errorf("header ops = %+v", a)
	}
}

func TestClusterAsIstioSendsIt(t *testing.T) {
	v, err := decode(t, &clusterv3.Cluster{}, `
name: outbound|80|version-v1|catalog.istioinaction.svc.cluster.local
type: EDS
eds_cluster_config: {eds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}, service_name: svc}
connect_timeout: 10s
lb_policy: LEAST_REQUEST
common_lb_config: {locality_weighted_lb_config: {}}
circuit_breakers: {thresholds: [{max_connections: 4294967295, max_pending_requests: 4294967295, max_requests: 4294967295, max_retries: 4294967295, track_remaining: true}]}
outlier_detection: {consecutive_5xx: 10, interval: 5s, base_ejection_time: 180s, max_ejection_percent: 100}
metadata: {filter_metadata: {istio: {subset: version-v1}}}
transport_socket_matches:
- name: tlsMode-istio
  match: {tlsMode: istio}
  transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      sni: outbound_.80_.version-v1_.catalog.istioinaction.svc.cluster.local
      common_tls_context:
        alpn_protocols: [istio]
        tls_params: {tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3}
        tls_certificate_sds_secret_configs:
        - {name: default, sds_config: {api_config_source: {api_type: GRPC, transport_api_version: V3, set_node_on_first_message_only: true, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}, initial_fetch_timeout: 0s, resource_api_version: V3}}
        combined_validation_context:
          default_validation_context: {match_subject_alt_names: [{exact: spiffe://cluster.local/ns/istioinaction/sa/catalog}]}
          validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
- name: tlsMode-disabled
  match: {}
  transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
`)
	if err != nil {
		t.Fatal(err)
	}
	c := v.(*Cluster)
	if c.EDSServiceName != "svc" || c.LB.Policy != LBLeastRequest || !c.LB.LocalityWeighted || c.LB.Choices != 2 || c.Breakers[0].MaxRetries != Unlimited || c.Breakers[1].MaxRetries != 3 {
		t.Errorf("cluster = %+v", c)
	}
	if o := c.Outlier; o.Consecutive5xx != 10 || o.Interval != 5*time.Second || o.MaxEjectionTime != 300*time.Second || o.EnforcingSuccessRate != 100 {
		t.Errorf("outlier = %+v", o)
	}
	m := c.TransportMatches
	if len(m) != 2 || m[0].Match["tlsMode"] != "istio" || m[1].Transport != nil {
		t.Fatalf("matches = %+v", m)
	}
	ctx := m[0].Transport.TLS
	if ctx.Certificates[0].SDS != "default" || ctx.Certificates[0].SDSCluster != "sds-grpc" || ctx.Validation.SDS != "ROOTCA" || ctx.Validation.SDSCluster != "" ||
		ctx.MinVersion != tls.VersionTLS12 || len(ctx.Default.SANs) != 1 || !ctx.Default.SANs[0].Value.Match("spiffe://cluster.local/ns/istioinaction/sa/catalog") {
		t.Errorf("tls = %+v", ctx)
	}
}

// TestHTTP2Options: what the options of HTTP/2 mean, and ALPN is left as it is.
func TestHTTP2Options(t *testing.T) {
	text := strings.Replace(hcmYAML, "- filters:", `- transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      common_tls_context:
        alpn_protocols: [h2, http/1.1]
        tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]
  filters:`, 1)
	text = strings.Replace(text, "stat_prefix: x", `stat_prefix: x
      codec_type: HTTP2
      stream_error_on_invalid_http_message: true
      drain_timeout: 3s
      delayed_close_timeout: 0s
      http2_protocol_options:
        max_concurrent_streams: 100
        initial_stream_window_size: 65536
        initial_connection_window_size: 1048576
        hpack_table_size: 0
        allow_connect: true
        enable_huffman_encoding: false
        max_consecutive_inbound_frames_with_empty_payload: 0
        max_inbound_window_update_frames_per_data_frame_sent: 7
        connection_keepalive: {interval: 30s, timeout: 5s, interval_jitter: {value: 20}}`, 1)
	v, err := decode(t, &listenerv3.Listener{}, text)
	if err != nil {
		t.Fatal(err)
	}
	fc := v.(*Listener).FilterChains[0]
	if got := fc.TLS.ALPN; !reflect.DeepEqual(got, []string{"h2", "http/1.1"}) {
		t.Errorf("ALPN = %v", got)
	}
	h := fc.Filters[0].Config.(*HTTPConnectionManager)
	var zero uint32
	want := HTTP2Options{
		HPACKTableSize: &zero, MaxConcurrentStreams: 100, StreamWindow: 65536, ConnectionWindow: 1 << 20, AllowConnect: true, StreamErrors: true,
		PlainStrings: true, MaxEmptyFrames: &zero, MaxWindowUpdates: 7,
		Keepalive: &HTTP2Keepalive{Interval: 30 * time.Second, JitterPercent: 20, Timeout: 5 * time.Second},
	}
	if h.Codec != CodecHTTP2 || h.DrainTimeout != 3*time.Second || h.DelayedCloseTimeout != 0 || !reflect.DeepEqual(h.HTTP2, want) {
		t.Errorf("codec %v, drain timeout %v, delayed close %v, options %+v, want %+v", h.Codec, h.DrainTimeout, h.DelayedCloseTimeout, h.HTTP2, want)
	}
}

func TestSecretErrorsHideTheKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM := func(k *ecdsa.PrivateKey) string {
		raw, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	}
	secret := func(key string) string {
		raw, _ := json.Marshal(map[string]any{"name": "default", "tls_certificate": map[string]any{
			"certificate_chain": map[string]any{"inline_string": chain}, "private_key": map[string]any{"inline_string": key},
		}})
		return string(raw)
	}
	if _, err := decode(t, &tlsv3.Secret{}, secret(keyPEM(key))); err != nil {
		t.Errorf("a good secret was refused: %v", err)
	}
	bad := keyPEM(other)
	_, err = decode(t, &tlsv3.Secret{}, secret(bad))
	if err == nil || strings.Contains(err.Error(), strings.Split(bad, "\n")[1]) {
		t.Errorf("error = %v", err)
	}
	if _, err := decode(t, &tlsv3.Secret{}, "name: x\nvalidation_context: {trusted_ca: {inline_string: nonsense}}"); err == nil {
		t.Error("a bundle without a certificate was taken")
	}
}

// FuzzDecode: whatever a control plane sends is taken or refused with reasons. Each seed is a whole
// resource with one mistake.
func FuzzDecode(f *testing.F) {
	types := []string{TypeListener, TypeRoute, TypeCluster, TypeEndpoints, TypeSecret}
	add := func(m proto.Message, text string) {
		a, err := encode(m, text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Value, uint8(slices.Index(types, a.TypeUrl)))
	}
	add(&listenerv3.Listener{}, hcmYAML)
	for _, r := range refusals() {
		add(r.msg(), r.text)
	}
	f.Fuzz(func(t *testing.T, raw []byte, kind uint8) {
		_, err := testDecoder().Decode(&anypb.Any{TypeUrl: types[int(kind)%len(types)], Value: raw})
		if err == nil || errors.Is(err, proto.Error) { // what is no message at all has no name and no fields
			return
		}
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 {
			t.Fatalf("%T without a problem: %v", err, err)
		}
		for _, p := range e.Problems {
			if p.Reason == "" {
				t.Errorf("%q: no reason", p.Path)
			}
		}
	})
}

// TestRegexEngine: RE2 is the engine that is here.
func TestRegexEngine(t *testing.T) {
	d := NewDecoder(Extensions{})
	for kind, refuse := range map[string]string{
		"envoy.extensions.regex_engines.v3.GoogleRE2": "",
		"google.protobuf.Empty":                       "type google.protobuf.Empty is not supported here, want envoy.extensions.regex_engines.v3.GoogleRE2",
	} {
		err := d.RegexEngine(&corev3.TypedExtensionConfig{Name: "e", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/" + kind}})
		if (err == nil) != (refuse == "") || err != nil && !strings.Contains(err.Error(), refuse) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if err := d.RegexEngine(nil); err != nil {
		t.Error(err)
	}
}

package main

import (
	"fmt"
	"strings"
)

// envoyConfig is one bootstrap for Envoy and for our proxy. Ours also carries Istio's filters for peer metadata and standard metrics,
// which Envoy's own build does not have.
func envoyConfig(mesh bool) string {
	return node + `
{{if .Profile}}admin: {address: {socket_address: ` + splitAddr("{{.Admin}}") + `}, profile_path: "{{.Profile}}"}{{end}}
static_resources:
  listeners:` +
		httpListener("plain", "{{.Plain}}", mesh, "", "") +
		httpListener("policed", "{{.Policed}}", mesh, policyFilters(), "") +
		httpListener("secure", "{{.TLS}}", mesh, "", serverTLS("h2, http/1.1", "")) +
		httpListener("rpc", "{{.GRPC}}", mesh, "", serverTLS("h2", "")) +
		listener("tcp", "{{.TCP}}", `
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: v1}`, "") + `
  clusters:` + cluster("v1", "{{.Origin}}", "") + cluster("v2", "{{.Origin}}", "") + cluster("rpc", "{{.GRPCOrigin}}", upstreamHTTP2) + "\n"
}

const node = `node:
  id: sidecar~127.0.0.1~bench.default~default.svc.cluster.local
  cluster: bench.default
  metadata: {NAME: bench, NAMESPACE: default, WORKLOAD_NAME: bench, CLUSTER_ID: Kubernetes, LABELS: {app: bench}}`

const meshFilters = `
          - name: istio.metadata_exchange
            typed_config:
              "@type": type.googleapis.com/xds.type.v3.TypedStruct
              type_url: type.googleapis.com/io.istio.http.peer_metadata.Config
              value: {downstream_discovery: [{istio_headers: {}}], upstream_discovery: [{istio_headers: {}}], downstream_propagation: [{istio_headers: {}}], upstream_propagation: [{istio_headers: {}}]}
          - name: istio.stats
            typed_config:
              "@type": type.googleapis.com/xds.type.v3.TypedStruct
              type_url: type.googleapis.com/stats.PluginConfig
              value: {}`

// listener is a listener with one chain that ends in the given filter.
func listener(name, addr, filter, transport string) string {
	return `
  - name: ` + name + `
    address: {socket_address: ` + splitAddr(addr) + `}
    traffic_direction: OUTBOUND
    filter_chains:
    - filters:` + filter + transport
}

// splitAddr turns HOST:PORT, or a template's field that gives one, into an address.
func splitAddr(addr string) string {
	if field, ok := strings.CutPrefix(addr, "{{"); ok {
		return "{address: 127.0.0.1, port_value: {{port " + strings.TrimSuffix(field, "}}") + "}}}"
	}
	return fmt.Sprintf("{address: 127.0.0.1, port_value: %s}", port(addr))
}

// httpListener is one that routes requests. policies are filters behind those of the mesh.
func httpListener(name, addr string, mesh bool, policies, transport string) string {
	filters := ""
	if mesh {
		filters = meshFilters
	}
	inside, others := "v2", "v1"
	switch name {
	case "rpc":
		others = "rpc"
	case "fresh":
		inside, others = "fresh", "fresh"
	}
	return listener(name, addr, `
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: `+name+`
          codec_type: AUTO
          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - header: {key: x-first, value: one}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              - header: {key: x-second, value: two}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:
              - match: {prefix: "/", headers: [{name: x-cohort, string_match: {exact: internal}}]}
                route: {cluster: `+inside+`, timeout: 0s}
              - {match: {prefix: "/"}, route: {cluster: `+others+`, timeout: 0s}}
          http_filters:`+filters+policies+`
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router`, transport)
}

// serverTLS ends TLS with the bench's certificate; with a trust it asks for one of the client.
func serverTLS(alpn, trust string) string {
	return `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext` + trust + `
          common_tls_context:
            alpn_protocols: [` + alpn + `]
            tls_certificates:
            - certificate_chain: {filename: {{.Cert}}}
              private_key: {filename: {{.Key}}}`
}

const upstreamHTTP2 = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`

func cluster(name, addr, more string) string {
	return `
  - name: ` + name + `
    type: STATIC
    connect_timeout: 5s
    lb_policy: LEAST_REQUEST
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: ` + name + `
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: ` + splitAddr(addr) + `}}` + more
}

// hopConfigs are the bootstraps of two sidecars: the client's listens in the clear and speaks mutual TLS to the server's. What comes to its listener "fresh" has
// a connection of its own for each request, with a whole handshake, since no session is kept.
func hopConfigs(mesh bool) (client, server string) {
	const trust = `
          require_client_certificate: true`
	const validation = `
            validation_context: {trusted_ca: {filename: {{.Cert}}}}`
	clientTLS := func(sessions string) string {
		return `
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost` + sessions + `
        common_tls_context:
          alpn_protocols: [istio]
          validation_context: {trusted_ca: {filename: {{.Cert}}}}
          tls_certificates:
          - certificate_chain: {filename: {{.Cert}}}
            private_key: {filename: {{.Key}}}`
	}
	once := `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {max_requests_per_connection: 1}
        explicit_http_config: {http_protocol_options: {}}`
	head := node + `
static_resources:
  listeners:`
	client = head + httpListener("plain", "{{.Plain}}", mesh, "", "") + httpListener("fresh", "{{.Fresh}}", mesh, "", "") + `
  clusters:` + cluster("v1", "{{.TLS}}", clientTLS("")) + cluster("v2", "{{.TLS}}", clientTLS("")) + cluster("fresh", "{{.TLS}}", clientTLS("\n        max_session_keys: 0")+once) + "\n"
	server = head + httpListener("secure", "{{.TLS}}", mesh, "", serverTLS("istio", trust)+validation) + `
  clusters:` + cluster("v1", "{{.Origin}}", "") + cluster("v2", "{{.Origin}}", "") + "\n"
	return client, server
}

// largeConfig is a bootstrap of many services: clusters with endpoints, and routes to them in one route configuration. addr is where
// its one listener listens.
func largeConfig(addr, admin string, services, endpoints, routes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s
admin: {address: {socket_address: %s}}
static_resources:
  listeners:
  - name: large
    address: {socket_address: %s}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: large
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: routes
            virtual_hosts:
`, node, splitAddr(admin), splitAddr(addr))
	each := max(routes/services, 1)
	for s := range services {
		fmt.Fprintf(&b, "            - name: svc-%d\n              domains: [svc-%d.default.svc.cluster.local, svc-%d.default]\n              routes:\n", s, s, s)
		for r := range each {
			fmt.Fprintf(&b, "              - {match: {prefix: /part-%d/, headers: [{name: x-version, string_match: {exact: v%d}}]}, route: {cluster: svc-%d, timeout: 3s}}\n", r, r, s)
		}
	}
	b.WriteString("  clusters:\n")
	for s := range services {
		fmt.Fprintf(&b, "  - name: svc-%d\n    type: STATIC\n    connect_timeout: 5s\n    lb_policy: LEAST_REQUEST\n    load_assignment:\n      cluster_name: svc-%d\n      endpoints:\n      - lb_endpoints:\n", s, s)
		for e := range endpoints {
			fmt.Fprintf(&b, "        - endpoint: {address: {socket_address: {address: 127.%d.%d.%d, port_value: 8080}}}\n", 1+s/250, s%250, e+1)
		}
	}
	return b.String()
}

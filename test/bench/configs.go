package main

import "strings"

// The configurations do the same work: a route by header, two request headers added, pooled
// keep-alive connections to the origin, no access log, one worker.

const originConfig = `worker_processes 1;
pid %s;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  server { listen %s backlog=4096; location / { default_type text/plain; return 200 "%s"; } }
}
`

const nginxConfig = `worker_processes 1;
pid {{.PID}};
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  ssl_certificate {{.Cert}};
  ssl_certificate_key {{.Key}};
  map $http_x_cohort $pool { default v1; internal v2; }
  upstream v1 { server {{.Origin}}; keepalive 256; keepalive_requests 100000000; }
  upstream v2 { server {{.Origin}}; keepalive 256; keepalive_requests 100000000; }
  server {
    listen {{.Plain}};
    listen {{.TLS}} ssl;
    location / {
      proxy_pass http://$pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-First one;
      proxy_set_header X-Second two;
    }
  }
}
`

const haproxyConfig = `global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
frontend in
  bind {{.Plain}}
  bind {{.TLS}} ssl crt {{.Combined}}
  http-request set-header X-First one
  http-request set-header X-Second two
  acl internal hdr(x-cohort) -m str internal
  use_backend v2 if internal
  default_backend v1
backend v1
  server s1 {{.Origin}} pool-max-conn 512
backend v2
  server s1 {{.Origin}} pool-max-conn 512
`

// envoyConfig is one bootstrap for Envoy and for our proxy. Ours also carries Istio's filters
// for peer metadata and standard metrics, which Envoy's own build does not have.
func envoyConfig(mesh bool) string {
	filters := ""
	if mesh {
		filters = `
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
	}
	listener := func(name, port, tls string) string {
		return `
  - name: ` + name + `
    address: {socket_address: {address: 127.0.0.1, port_value: ` + port + `}}
    traffic_direction: OUTBOUND
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ` + name + `
          codec_type: HTTP1
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
                route: {cluster: v2, timeout: 0s}
              - match: {prefix: "/"}
                route: {cluster: v1, timeout: 0s}
          http_filters:` + filters + `
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router` + tls
	}
	cluster := func(name string) string {
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
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.OriginPort}}}}}`
	}
	tls := `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {filename: {{.Cert}}}
              private_key: {filename: {{.Key}}}`
	return strings.Join([]string{`node:
  id: sidecar~127.0.0.1~bench.default~default.svc.cluster.local
  cluster: bench.default
  metadata: {NAME: bench, NAMESPACE: default, WORKLOAD_NAME: bench, CLUSTER_ID: Kubernetes, LABELS: {app: bench}}
static_resources:
  listeners:`, listener("plain", "{{.PlainPort}}", ""), listener("secure", "{{.TLSPort}}", tls), `
  clusters:`, cluster("v1"), cluster("v2"), "\n"}, "")
}

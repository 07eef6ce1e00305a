package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// fetching is a bootstrap whose listeners and clusters need what a control plane has: %[1]s is its address,
// %[2]s the config source that all name, %[3]s more of the listeners, %[4]s a host.
const fetching = `
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
layered_runtime: {layers: [{name: remote, rtds_layer: {name: layer, rtds_config: %[2]s}}]}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: %[2]s
  cds_config: %[2]s
static_resources:
  listeners:
  - name: routes
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config: &manager
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: routes
          rds: {route_config_name: r, config_source: %[2]s}
          http_filters: [{name: envoy.filters.http.router}]
  - name: hosts
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, sds_config: %[2]s}]}
      filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: secret}}]
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /hosts}, route: {cluster: hosts}}, {match: {prefix: /}, route: {cluster: secret}}]}]}
          http_filters: [{name: envoy.filters.http.router}]
%[3]s
  clusters:
  - {name: hosts, type: EDS, connect_timeout: 1s, eds_cluster_config: {eds_config: %[2]s}}
  - name: secret
    type: STATIC
    load_assignment: {cluster_name: secret, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[4]s}}}]}]}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {tls_certificate_sds_secret_configs: [{name: client, sds_config: %[2]s}]}
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[1]s}}}]}]}
`

func fetchingFrom(t *testing.T, addr, source, more string) string {
	at := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf("{address: %s, port_value: %s}", host, port)
	}
	return fmt.Sprintf(fetching, at(addr), source, more, at(greeter(t, "hello")))
}

func (r *running) stats(filter string) string {
	_, text := r.admin("GET", "/stats?filter="+filter)
	return text
}

// TestFetchTimeout: when a control plane does not answer within initial_fetch_timeout, the proxy serves
// without what it has not got, and counts that; what comes later is taken.
func TestFetchTimeout(t *testing.T) {
	r := run(t, fetchingFrom(t, freeAddr(t), "{ads: {}, initial_fetch_timeout: 0.05s}", ""))
	if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["routes"]+"/"); code != 404 {
		t.Errorf("without routes: %d", code)
	}
	plain := "http://" + r.ListenerAddrs()["plain"]
	if code, _, body := do(t, "GET", plain+"/hosts"); code != 503 || body != "no healthy upstream" {
		t.Errorf("without endpoints: %d %s", code, body)
	}
	if code, _, body := do(t, "GET", plain+"/"); code != 503 || !strings.Contains(body, "connect error") {
		t.Errorf("without a client's certificate: %d %s", code, body)
	}
	if c, err := tls.Dial("tcp", r.ListenerAddrs()["hosts"], &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("a handshake without a certificate")
	}
	eventually(t, "the connections are counted", func() bool {
		return strings.Count(r.stats("_context_secrets_not_ready"), ": 1\n") == 2
	})
	want := `cluster.hosts.init_fetch_timeout: 1
cluster.secret.init_fetch_timeout: 0
cluster_manager.cds.init_fetch_timeout: 1
http.routes.rds.r.init_fetch_timeout: 1
listener_manager.lds.init_fetch_timeout: 1
`
	if got := r.stats("init_fetch_timeout"); got != want {
		t.Errorf("statistics:\n%s\nwant\n%s", got, want)
	}
}

// TestFetchLate: what comes after the time-out serves, as if it had come in time.
func TestFetchLate(t *testing.T) {
	cp := startADS(t)
	cp.silent = true
	r := run(t, fetchingFrom(t, cp.addr, "{ads: {}, initial_fetch_timeout: 0.05s}", ""))
	if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["routes"]+"/"); code != 404 {
		t.Fatalf("without routes: %d", code)
	}
	cp.set(xdsresource.TypeRoute, "r", &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{
		Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 204}},
		}},
	}}})
	cp.set(xdsresource.TypeEndpoints, "hosts", endpoints("hosts", backend(t, "here")))
	cp.set(xdsresource.TypeSecret, "default", certificate(t, 1))
	eventually(t, "routes", func() bool {
		code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["routes"]+"/")
		return code == 204
	})
	eventually(t, "endpoints", func() bool {
		_, _, body := do(t, "GET", "http://"+r.ListenerAddrs()["plain"]+"/hosts")
		return body == "here"
	})
	eventually(t, "a certificate", func() bool {
		c, err := tls.Dial("tcp", r.ListenerAddrs()["hosts"], &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// TestFetchRefused: an answer that is refused ends the wait as well.
func TestFetchRefused(t *testing.T) {
	cp := startADS(t)
	cp.silent = true
	bad := &routev3.RouteConfiguration{Name: "r", VirtualHosts: []*routev3.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{{}}}}}
	cp.set(xdsresource.TypeRoute, "r", bad)
	cp.set(xdsresource.TypeEndpoints, "hosts", endpoints("hosts", "name.example:1"))
	secret := certificate(t, 1)
	secret.GetTlsCertificate().PrivateKey = nil
	cp.set(xdsresource.TypeSecret, "default", secret)
	secret.Name = "client"
	cp.set(xdsresource.TypeSecret, "client", secret)
	// The layer and the first answers to LDS and CDS come at once in this control plane. A start that waited for more
	// would take the 600 s, which run does not allow it.
	r := run(t, strings.Replace(fetchingFrom(t, cp.addr, "{ads: {}, initial_fetch_timeout: 600s}", ""), "rtds_config: {ads: {}, initial_fetch_timeout: 600s}", "rtds_config: {ads: {}, initial_fetch_timeout: 0.01s}", 1))
	if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["routes"]+"/"); code != 404 {
		t.Errorf("without routes: %d", code)
	}
	if got := r.stats("init_fetch_timeout"); strings.Contains(got, ": 1") {
		t.Errorf("statistics:\n%s", got)
	}
}

// TestFetchFile: what is not in a file is known not to be there, and nobody waits for it.
func TestFetchFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.yaml")
	moveTo(t, file, "resources: []\n")
	r := run(t, fetchingFrom(t, freeAddr(t), "{path_config_source: {path: "+file+"}, initial_fetch_timeout: 600s}", ""))
	if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["routes"]+"/"); code != 404 {
		t.Errorf("without routes: %d", code)
	}
	if code, _, _ := do(t, "GET", "http://"+r.ListenerAddrs()["plain"]+"/hosts"); code != 503 {
		t.Errorf("without endpoints: %d", code)
	}
}

// TestFetchWithoutEnd: a time-out of 0 is none; others do not wait for who has it.
func TestFetchWithoutEnd(t *testing.T) {
	cp := startADS(t)
	cp.silent = true
	patient := `
  - name: patient
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: patient
          rds: {route_config_name: late, config_source: {ads: {}, initial_fetch_timeout: 0s}}
          http_filters: [{name: envoy.filters.http.router}]
`
	r, _ := launch(t, Config{Bootstrap: []byte(fetchingFrom(t, cp.addr, "{ads: {}, initial_fetch_timeout: 0.05s}", patient))})
	eventually(t, "the others serve", func() bool { return len(r.ListenerAddrs()) == 3 })
	eventually(t, "their time-outs are over", func() bool { return strings.Contains(r.stats("rds.r.init"), ": 1") })
	select {
	case <-r.Ready():
		t.Error("ready, with a listener that waits")
	default:
	}
	cp.set(xdsresource.TypeRoute, "late", &routev3.RouteConfiguration{Name: "late"})
	<-r.Ready()
	if got := r.stats("rds.late.init"); got != "http.patient.rds.late.init_fetch_timeout: 0\n" {
		t.Errorf("statistics:\n%s", got)
	}
}

package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// fromYAML reads a resource as it stands in files for Envoy.
func fromYAML[M proto.Message](t *testing.T, m M, text string) M {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = protojson.Unmarshal(b, m)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return m
}

// The resources of one round. Names hold the round's, so that whatever one leaves behind adds up.
const (
	churnCluster = `
name: cluster-NAME
connect_timeout: 2s
type: EDS
eds_cluster_config: {eds_config: {ads: {}}}
outlier_detection: {consecutive_5xx: 3}
circuit_breakers: {thresholds: [{track_remaining: true}]}
track_cluster_stats: {request_response_sizes: true, timeout_budgets: true}
health_checks:
- timeout: 2s
  interval: 30s
  unhealthy_threshold: 1
  healthy_threshold: 1
  tcp_health_check: {}
  event_log_path: DIR/health-NAME.log
transport_socket: &tls
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      tls_certificate_sds_secret_configs: [{name: secret-NAME, sds_config: {ads: {}}}]
transport_socket_matches:
- name: other
  match: {zone: other}
  transport_socket:
    name: tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      sni: other.example
      common_tls_context:
        tls_certificate_sds_secret_configs: [{name: second-NAME, sds_config: {ads: {}}}]
`
	churnListener = `
name: listener-NAME
address: {socket_address: {address: 127.0.0.1, port_value: PORT}}
access_log:
- name: connections
  typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: DIR/connections-NAME.log}
listener_filters:
- {name: inspect, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}
filter_chains:
- transport_socket:
    name: tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      common_tls_context:
        tls_certificate_sds_secret_configs: [{name: secret-NAME, sds_config: {ads: {}}}]
  filters:
  - name: limit
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, stat_prefix: limit-NAME, max_connections: 100}
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: http-NAME
      common_http_protocol_options: {idle_timeout: IDLEs}
      rds: {route_config_name: routes-NAME, config_source: {ads: {}}}
      tracing:
        provider:
          name: zipkin
          typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: collector, collector_endpoint: /NAME, collector_endpoint_version: HTTP_JSON}
      access_log:
      - name: file
        typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: DIR/access-NAME.log}
      - name: service
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
          common_config: {log_name: log-NAME, transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: collector}}}
      http_filters:
      - name: fault
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
      - name: limit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: rate-NAME
          token_bucket: {max_tokens: 1000, fill_interval: 1s}
          filter_enabled: {default_value: {numerator: 100}}
      - name: keys
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
          stat_prefix: keys-NAME
          providers: {p: {issuer: NAME, remote_jwks: {http_uri: {uri: http://collector/NAME, cluster: collector, timeout: 1s}}}}
      - name: tap
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap
          common_config: {static_config: {match: {any_match: true}, output_config: {sinks: [{file_per_tap: {path_prefix: DIR/tap-NAME}}]}}}
      - name: router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`
	churnRoutes = `
name: routes-NAME
virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: cluster-NAME}}]}]
`
)

// held is what a process has that does not come back by itself.
type held struct {
	goroutines, descriptors int
	heap                    uint64
	stats                   string // names of statistics
	dump                    int    // length of all configuration
}

func holds(p *running, names *regexp.Regexp) held {
	for range 3 { // what a cleanup lets go is collected by the next turn
		runtime.GC()
		_, _ = p.admin("GET", "/ready")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		p.t.Fatal(err)
	}
	_, list := p.admin("GET", "/stats?filter="+names.String())
	_, dump := p.admin("GET", "/config_dump?include_eds")
	return held{runtime.NumGoroutine(), len(fds), m.HeapAlloc, list, len(dump)}
}

// TestChurn adds and takes away everything that a control plane can, each time under another name, with traffic in
// between. Nothing of it may stay: no subscription, goroutine, descriptor, statistic or memory.
func TestChurn(t *testing.T) {
	warm, rounds := 20, 100
	if testing.Short() {
		warm, rounds = 5, 20
	}
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer backend.Close()
	cp := startADS(t)
	host, port, _ := net.SplitHostPort(cp.addr)
	p := runWith(t, Config{DrainTime: 50 * time.Millisecond, Bootstrap: fmt.Appendf(nil, `
node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources:
  lds_config: {ads: {}}
  cds_config: {ads: {}}
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - name: xds
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]}
  - name: collector
    load_assignment: {cluster_name: collector, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
`, host, port)})

	c := &churn{t: t, cp: cp, p: p, dir: t.TempDir(), backend: backend.Listener.Addr().String()}
	for range 2 {
		c.addrs = append(c.addrs, freeAddr(t))
	}
	for _, url := range []string{xdsresource.TypeCluster, xdsresource.TypeListener} {
		cp.answer(url) // that there are none yet
	}
	for range warm {
		c.round()
	}
	ours := regexp.MustCompile(`-r[0-9]`)
	before := holds(p, ours)
	for range rounds {
		c.round()
	}
	after := holds(p, ours)
	for end := time.Now().Add(10 * time.Second); !after.within(&before); after = holds(p, ours) {
		if time.Now().After(end) {
			t.Fatalf("after %d rounds there is\n%+v, before\n%+v", rounds, after, before)
		}
	}
}

// noise is by how much the heap differs from one moment to the next. A cluster, a listener or a context of TLS that
// stays is more than that after a hundred rounds.
const noise = 256 << 10

// within reports whether no more is held than before.
func (h *held) within(before *held) bool {
	return h.goroutines <= before.goroutines+2 && h.descriptors <= before.descriptors+2 && h.stats == "" &&
		h.dump <= before.dump+1024 && h.heap <= before.heap+noise
}

// churn is a control plane that changes everything.
type churn struct {
	t       *testing.T
	cp      *ads
	p       *running
	dir     string
	backend string
	addrs   []string
	n       int
}

func (c *churn) text(template, name string, more ...string) string {
	return strings.NewReplacer(append([]string{"NAME", name, "DIR", c.dir}, more...)...).Replace(template)
}

func (c *churn) set(url, name string, m proto.Message) {
	c.t.Helper()
	c.cp.set(url, name, m)
	if d := c.cp.answer(url).GetErrorDetail(); d != nil {
		c.t.Fatalf("%s was refused: %v", name, d)
	}
}

// round brings a cluster and a listener with all that they need, changes both while they serve, and
// takes them away.
func (c *churn) round() {
	t, cp := c.t, c.cp
	c.n++
	name := fmt.Sprintf("r%d", c.n)
	addr := c.addrs[c.n%len(c.addrs)]
	_, port, _ := net.SplitHostPort(addr)
	secret := func(prefix string) *tlsv3.Secret {
		s := certificate(t, int64(c.n))
		s.Name = prefix + name
		return s
	}
	listener := func(idle string) *listenerv3.Listener {
		return fromYAML(t, &listenerv3.Listener{}, c.text(churnListener, name, "PORT", port, "IDLE", idle))
	}
	// The things that are asked for by name, then those that ask.
	for _, prefix := range []string{"secret-", "second-"} {
		cp.set(xdsresource.TypeSecret, prefix+name, secret(prefix))
	}
	cp.set(xdsresource.TypeEndpoints, "cluster-"+name, endpoints("cluster-"+name, c.backend))
	cp.set(xdsresource.TypeRoute, "routes-"+name, fromYAML(t, &routev3.RouteConfiguration{}, c.text(churnRoutes, name)))
	cluster := fromYAML(t, &clusterv3.Cluster{}, c.text(churnCluster, name))
	c.set(xdsresource.TypeCluster, "cluster-"+name, cluster)
	c.set(xdsresource.TypeListener, "listener-"+name, listener("30"))
	c.ask(addr)

	// New versions of everything, in place.
	cp.set(xdsresource.TypeSecret, "secret-"+name, secret("secret-"))
	cp.set(xdsresource.TypeEndpoints, "cluster-"+name, endpoints("cluster-"+name, c.backend, "127.0.0.1:1"))
	cp.set(xdsresource.TypeEndpoints, "cluster-"+name, endpoints("cluster-"+name, c.backend))
	cluster.TransportSocketMatches = nil
	c.set(xdsresource.TypeCluster, "cluster-"+name, cluster)
	c.set(xdsresource.TypeListener, "listener-"+name, listener("31"))
	bad := listener("31")
	bad.Name = "bad-" + name
	bad.UdpListenerConfig = &listenerv3.UdpListenerConfig{}
	cp.set(xdsresource.TypeListener, "bad-"+name, bad)
	if cp.answer(xdsresource.TypeListener).GetErrorDetail() == nil {
		t.Fatal("a listener for UDP was taken")
	}
	c.ask(addr)
	if strings.Contains(cp.wants(xdsresource.TypeSecret), "second-") {
		eventually(t, "the secret of a transport that is gone is given back", func() bool {
			return !strings.Contains(cp.wants(xdsresource.TypeSecret), "second-")
		})
	}

	for _, l := range []string{"listener-", "bad-"} {
		cp.remove(xdsresource.TypeListener, l+name)
		cp.answer(xdsresource.TypeListener)
	}
	cp.remove(xdsresource.TypeCluster, "cluster-"+name)
	cp.answer(xdsresource.TypeCluster)
	eventually(t, "every subscription of the round is given back", func() bool {
		return cp.wants(xdsresource.TypeSecret)+cp.wants(xdsresource.TypeEndpoints)+cp.wants(xdsresource.TypeRoute) == ""
	})
	cp.forget(name)
	files, err := filepath.Glob(filepath.Join(c.dir, "*"+name+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		_ = os.Remove(f)
	}
}

// ask sends a request over a connection of its own, as soon as the listener is there.
func (c *churn) ask(addr string) {
	c.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}, Timeout: 5 * time.Second}
	eventually(c.t, "the listener answers", func() bool {
		resp, err := client.Get("https://" + addr + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// forget drops the resources of a round that are asked for by name.
func (a *ads) forget(suffix string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.resources {
		for name := range m {
			if strings.HasSuffix(name, "-"+suffix) {
				delete(m, name)
			}
		}
	}
}

package differential

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// shortConfig is what config.yaml of a subject holds. Everything left out gets the same
// default for both proxies; nothing is there that is not Envoy's own configuration.
type shortConfig struct {
	Listeners []shortListener `json:"listeners"`
	// Clusters beside the one called origin, which leads to the origin of that name.
	Clusters []map[string]any `json:"clusters"`
	// Bootstrap is merged over the whole.
	Bootstrap map[string]any `json:"bootstrap"`
	// XDS is what the management server (the origin xds) has at first, Updates what cases publish later, by name.
	XDS     []published            `json:"xds"`
	Updates map[string][]published `json:"updates"`
	// Names is what the name server (the origin dns) knows: see answerName.
	Names map[string]string `json:"names"`
}

type shortListener struct {
	Name string `json:"name"`
	// HCM is merged over the default connection manager; Filters come before the router.
	HCM     map[string]any `json:"hcm"`
	Filters []any          `json:"filters"`
	// Router is the router's configuration. "upstream_log: compared" stands for the log whose lines are compared.
	Router map[string]any `json:"router"`
	// Routes are those of one virtual host for all domains, unless VirtualHosts are given.
	Routes       []any          `json:"routes"`
	VirtualHosts []any          `json:"virtual_hosts"`
	RouteConfig  map[string]any `json:"route_config"`
	// TLS is a downstream TLS context.
	TLS map[string]any `json:"tls"`
	// FilterChains replace the one chain that is made of the above. A connection manager or
	// TCP proxy in them that has no access log gets the default one.
	FilterChains []any `json:"filter_chains"`
	// Listener is merged over the listener.
	Listener map[string]any `json:"listener"`
}

// place is what differs between the two proxies of a subject.
type place struct {
	dir, log string
	ports    map[string]int // listeners and "admin"
	origins  map[string]int
	certs    *certificates
	xds      []published
	updates  map[string][]published
	names    map[string]string
}

var placeholder = regexp.MustCompile(`\$\{(port|origin|file):([a-z0-9-]+)\}`)

// expand puts ports and paths in. A port that was not asked for before is taken now.
func (p *place) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		switch m[1] {
		case "port":
			return strconv.Itoa(take(p.ports, m[2]))
		case "origin":
			return strconv.Itoa(take(p.origins, m[2]))
		}
		if m[2] == "log" {
			return p.log
		}
		return p.certs.path(m[2])
	})
}

func take(ports map[string]int, name string) int {
	if ports[name] == 0 {
		ports[name] = freePort()
	}
	return ports[name]
}

const routerType = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

// bootstrap makes the whole file.
func (p *place) bootstrap(text string) ([]byte, error) {
	var in shortConfig
	if err := yaml.UnmarshalStrict([]byte(p.expand(text)), &in); err != nil {
		return nil, err
	}
	p.xds, p.updates, p.names = in.XDS, in.Updates, in.Names
	var listeners, clusters []any
	for i := range in.Listeners {
		listeners = append(listeners, p.listener(&in.Listeners[i]))
	}
	for _, c := range append([]map[string]any{{"name": "origin"}}, in.Clusters...) {
		clusters = append(clusters, p.cluster(c))
	}
	boot := map[string]any{
		"node":             map[string]any{"id": "differential", "cluster": "test"},
		"admin":            map[string]any{"address": address(take(p.ports, "admin"))},
		"static_resources": map[string]any{"listeners": listeners, "clusters": clusters},
	}
	return yaml.Marshal(merge(boot, in.Bootstrap))
}

func (p *place) listener(l *shortListener) map[string]any {
	chains := l.FilterChains
	if chains == nil {
		chain := map[string]any{"filters": []any{map[string]any{
			"name": "envoy.filters.network.http_connection_manager", "typed_config": p.hcm(l),
		}}}
		if l.TLS != nil {
			l.TLS["@type"] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
			chain["transport_socket"] = map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": l.TLS}
		}
		chains = []any{chain}
	}
	p.addAccessLogs(chains)
	return merge(map[string]any{
		"name": l.Name, "address": address(take(p.ports, l.Name)), "filter_chains": chains,
	}, l.Listener)
}

func (p *place) hcm(l *shortListener) map[string]any {
	hosts := l.VirtualHosts
	if hosts == nil {
		routes := l.Routes
		if routes == nil {
			routes = []any{map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "origin"}}}
		}
		hosts = []any{map[string]any{"name": "all", "domains": []any{"*"}, "routes": routes}}
	}
	table := merge(map[string]any{"name": "local", "virtual_hosts": hosts}, l.RouteConfig)
	if l.Router["upstream_log"] == "compared" {
		l.Router["upstream_log"] = []any{p.comparedLog()}
	}
	router := map[string]any{"name": "envoy.filters.http.router", "typed_config": merge(map[string]any{"@type": routerType}, l.Router)}
	m := map[string]any{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": l.Name, "delayed_close_timeout": "0s", "http_filters": append(append([]any{}, l.Filters...), router),
	}
	if l.HCM["scoped_routes"] == nil && l.HCM["rds"] == nil {
		m["route_config"] = table
	}
	return merge(m, l.HCM)
}

// addAccessLogs gives the terminal filters of chains the log that is compared.
func (p *place) addAccessLogs(chains []any) {
	for _, c := range chains {
		filters, _ := c.(map[string]any)["filters"].([]any)
		for _, f := range filters {
			cfg, _ := f.(map[string]any)["typed_config"].(map[string]any)
			kind, _ := cfg["@type"].(string)
			if cfg["access_log"] == nil && (strings.HasSuffix(kind, ".HttpConnectionManager") || strings.HasSuffix(kind, ".TcpProxy")) {
				cfg["access_log"] = []any{p.comparedLog()}
			}
		}
	}
}

// comparedLog is the log whose lines are compared.
func (p *place) comparedLog() map[string]any {
	return map[string]any{
		"name": "envoy.access_loggers.file",
		"typed_config": map[string]any{
			"@type":      "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
			"path":       p.log,
			"log_format": map[string]any{"json_format": logFormat()},
		},
	}
}

func (p *place) cluster(c map[string]any) map[string]any {
	name := fmt.Sprint(c["name"])
	to, ok := c["origin"].(string)
	if !ok {
		to = name
	}
	delete(c, "origin")
	if c["cluster_type"] != nil {
		return c // neither of a built-in type nor with hosts of its own
	}
	out := map[string]any{"connect_timeout": "1s", "type": "STATIC"}
	if c["load_assignment"] == nil && c["type"] != "EDS" {
		out["load_assignment"] = map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": address(take(p.origins, to))}}},
		}}}
	}
	return merge(out, c)
}

func address(port int) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": port}}
}

// merge lays over's fields over base's, maps into maps.
func merge(base, over map[string]any) map[string]any {
	for k, v := range over {
		if b, ok := base[k].(map[string]any); ok {
			if o, ok := v.(map[string]any); ok {
				base[k] = merge(b, o)
				continue
			}
		}
		base[k] = v
	}
	return base
}

// logFormat is a JSON access log with every operator that both know and that has a value
// which can be compared.
func logFormat() map[string]any {
	out := map[string]any{}
	for _, op := range []string{
		"PROTOCOL", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "CONNECTION_TERMINATION_DETAILS", "UPSTREAM_TRANSPORT_FAILURE_REASON",
		"RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "BYTES_RECEIVED", "BYTES_SENT", "REQUEST_HEADERS_BYTES", "RESPONSE_HEADERS_BYTES",
		"UPSTREAM_REQUEST_ATTEMPT_COUNT", "CONNECTION_ID", "DURATION", "REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_DURATION",
		"RESPONSE_TX_DURATION", "UPSTREAM_HOST", "UPSTREAM_HOST_NAME", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW",
		"UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "UPSTREAM_REMOTE_PORT", "UPSTREAM_LOCAL_ADDRESS",
		"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS",
		"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_REMOTE_ADDRESS",
		"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_SUBJECT",
		"DOWNSTREAM_TLS_VERSION", "REQUESTED_SERVER_NAME", "ROUTE_NAME", "VIRTUAL_CLUSTER_NAME", "GRPC_STATUS", "GRPC_STATUS_NUMBER",
		"REQ(:method)", "REQ(:path)", "REQ(:authority)", "REQ(:scheme)", "REQ(x-envoy-original-path?:path)", "REQ(x-request-id)",
		"REQ(x-forwarded-for)", "REQ(x-forwarded-proto)", "REQ(user-agent)", "REQ(:path):5",
		"RESP(content-type)", "RESP(server)", "RESP(x-origin)", "TRAILER(x-trailer)", "QUERY_PARAM(q)", "START_TIME", "START_TIME(%s)", "STREAM_ID",
	} {
		f := "%" + op + "%"
		if i := strings.LastIndex(op, "):"); i > 0 {
			f = "%" + op[:i+1] + op[i+1:] + "%"
		}
		out[strings.ToLower(op)] = f
	}
	return out
}

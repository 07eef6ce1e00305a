package listener

import (
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Statistics of a listener, "listener.<address>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats).
const (
	cxTotal = iota
	cxDestroy
	cxActive
	cxLength
	preCxActive
	preCxTimeout
	noFilterChain
	cxOverflow
	globalCxOverflow
	overloadReject
	transportTimeout
	filterError
	filterRemoteClose
	acceptedPerEvent
)

var statSet = stats.NewSet(
	stats.Item{Name: "downstream_cx_total"},
	stats.Item{Name: "downstream_cx_destroy"},
	stats.Item{Name: "downstream_cx_active", Kind: stats.KindGauge},
	stats.Item{Name: "downstream_cx_length_ms", Kind: stats.KindHistogram},
	stats.Item{Name: "downstream_pre_cx_active", Kind: stats.KindGauge},
	stats.Item{Name: "downstream_pre_cx_timeout"},
	stats.Item{Name: "no_filter_chain_match"},
	stats.Item{Name: "downstream_cx_overflow"},
	stats.Item{Name: "downstream_global_cx_overflow"},
	stats.Item{Name: "downstream_cx_overload_reject"},
	stats.Item{Name: "downstream_cx_transport_socket_connect_timeout"},
	stats.Item{Name: "downstream_listener_filter_error"},
	stats.Item{Name: "downstream_listener_filter_remote_close"},
	stats.Item{Name: "connections_accepted_per_socket_event", Kind: stats.KindHistogram},
)

// Statistics of a listener on one worker, "listener.<address>.worker_<n>.*".
const (
	workerTotal = iota
	workerActive
)

var workerSet = stats.NewSet(
	stats.Item{Name: "downstream_cx_total"},
	stats.Item{Name: "downstream_cx_active", Kind: stats.KindGauge},
)

// Statistics of the inspector, for all listeners together.
const (
	tlsFound = iota
	tlsNotFound
	alpnFound
	alpnNotFound
	sniFound
	sniNotFound
	inspectClosed
	helloTooLarge
)

var inspectorSet = stats.NewSet(
	stats.Item{Name: "tls_found"},
	stats.Item{Name: "tls_not_found"},
	stats.Item{Name: "alpn_found"},
	stats.Item{Name: "alpn_not_found"},
	stats.Item{Name: "sni_found"},
	stats.Item{Name: "sni_not_found"},
	stats.Item{Name: "connection_closed"},
	stats.Item{Name: "client_hello_too_large"},
)

// Statistics of proxy_protocol, "proxy_proto.*". Those of version 2 follow those of version 1.
const (
	notFoundAllowed = iota
	notFoundDisallowed
	v1Found
	v1Disallowed
	v1Error

	perVersion = 3
)

var proxySet = stats.NewSet(
	stats.Item{Name: "not_found_allowed"},
	stats.Item{Name: "not_found_disallowed"},
	stats.Item{Name: "versions.v1.found"},
	stats.Item{Name: "versions.v1.disallowed"},
	stats.Item{Name: "versions.v1.error"},
	stats.Item{Name: "versions.v2.found"},
	stats.Item{Name: "versions.v2.disallowed"},
	stats.Item{Name: "versions.v2.error"},
)

// StatScope is where a listener's statistics are: "listener.<address>.". What serves its connections
// may count below it.
func StatScope(s *stats.Store, cfg *xdsresource.Listener) stats.Scope {
	return s.Scope("listener").Tagged("envoy.listener_address", scopeName(cfg))
}

// scopeName is the listener's name in statistics: stat_prefix, or the address with colons
// made underscores.
func scopeName(cfg *xdsresource.Listener) string {
	if cfg.StatPrefix != "" {
		return cfg.StatPrefix
	}
	return strings.ReplaceAll(addressText(cfg.Address), ":", "_")
}

// opened and ended count a connection, and the process's.
func (w *worker) opened() {
	w.inc(cxTotal)
	w.gauge(cxActive, 1)
	w.shard().Inc(w.own.Counter(workerTotal))
	w.shard().GaugeAdd(w.own.Gauge(workerActive), 1)
	w.shard().GaugeAdd(w.l.total, 1)
}

func (w *worker) ended() {
	w.inc(cxDestroy)
	w.gauge(cxActive, -1)
	w.shard().GaugeAdd(w.own.Gauge(workerActive), -1)
	w.shard().GaugeAdd(w.l.total, -1)
}

func (w *worker) inc(i int)              { w.shard().Inc(w.l.stats.Counter(i)) }
func (w *worker) gauge(i int, d int64)   { w.shard().GaugeAdd(w.l.stats.Gauge(i), d) }
func (w *worker) inspected(i int)        { w.shard().Inc(w.l.config.Load().inspector.Counter(i)) }
func (w *worker) record(i int, v uint64) { w.shard().Record(w.l.stats.Histogram(i), v) }
func (w *worker) shard() *stats.Shard    { return w.l.o.Stats.Shard(w.loop.ID()) }

// handshakes are the statistics of TLS, made when first needed.
func (w *worker) handshakes() *transportsocket.Stats {
	if w.tls == nil {
		w.tls = transportsocket.NewServerStats(w.l.scope, w.shard())
	}
	return w.tls
}

package istiostats

import (
	"bytes"
	"fmt"
	"log/slog"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Deps is what a reporter needs of the process.
type Deps struct {
	Stats   *stats.Store
	Workers int
	// Own is our node; Own.Principal is its SPIFFE identity.
	Own       peermetadata.Peer
	Direction xdsresource.Direction // of the listener: inbound reports as "destination"
	Logger    *slog.Logger
}

// Reporter counts the streams of one filter chain. It is the HTTP filter's factory, and
// tcpproxy's through TCP.
type Reporter struct {
	cfg     Config
	deps    Deps
	server  bool
	workers []*worker // each written by its worker

	requests, duration, requestBytes, responseBytes metric
	tcpSent, tcpReceived, tcpOpened, tcpClosed      metric
}

// metric is a metric with what its override leaves of it.
type metric struct {
	name   string
	drop   bool
	remove []string
}

// New returns a reporter for one filter chain.
func New(cfg any, d Deps) (*Reporter, error) {
	c, ok := cfg.(*Config)
	if !ok {
		return nil, fmt.Errorf("istio.stats: configuration is a %T", cfg)
	}
	if len(c.Ignored) > 0 {
		d.Logger.Debug("istio.stats: fields have no effect", "fields", c.Ignored)
	}
	r := &Reporter{cfg: *c, deps: d, workers: make([]*worker, d.Workers)}
	r.server = d.Direction == xdsresource.DirectionInbound || c.ServerGateway
	m := func(short, name string) metric {
		o := c.override(short)
		return metric{name, o.Drop, o.Remove}
	}
	r.requests = m("requests_total", "istio_requests_total")
	r.duration = m("request_duration_milliseconds", "istio_request_duration_milliseconds")
	r.requestBytes = m("request_bytes", "istio_request_bytes")
	r.responseBytes = m("response_bytes", "istio_response_bytes")
	r.tcpSent = m("tcp_sent_bytes_total", "istio_tcp_sent_bytes_total")
	r.tcpReceived = m("tcp_received_bytes_total", "istio_tcp_received_bytes_total")
	r.tcpOpened = m("tcp_connections_opened_total", "istio_tcp_connections_opened_total")
	r.tcpClosed = m("tcp_connections_closed_total", "istio_tcp_connections_closed_total")
	return r, nil
}

func (r *Reporter) counter(m *metric, tags []stats.Tag) stats.Counter {
	if m.drop {
		return 0
	}
	return r.deps.Stats.CustomCounter(m.name, without(tags, m.remove))
}

func (r *Reporter) histogram(m *metric, tags []stats.Tag) stats.Histogram {
	if m.drop {
		return 0
	}
	return r.deps.Stats.CustomHistogram(m.name, without(tags, m.remove))
}

// maxSeries bounds a worker's map of series, which is a cache: it begins anew beyond that.
// maxHosts bounds the host names that become labels; somebody who makes up more of them is
// counted as an unknown service.
const (
	maxSeries = 4096
	maxHosts  = 1024
)

// worker is one worker's series.
type worker struct {
	*Reporter
	shard *stats.Shard

	lastKey series
	last    *httpHandles
	http    map[series]*httpHandles
	tcp     map[series]*tcpHandles

	hosts map[string]string // known host names
	// Whether streams of this cluster are named by their host header.
	hostCluster *xdsresource.Cluster
	hostNeeded  bool
	hostChecked bool
}

type httpHandles struct {
	requests                              stats.Counter
	duration, requestBytes, responseBytes stats.Histogram
}

type tcpHandles struct {
	sent, received, opened, closed stats.Counter
}

func (r *Reporter) worker(i int) *worker {
	if r.workers[i] == nil {
		r.workers[i] = &worker{Reporter: r, shard: r.deps.Stats.Shard(i),
			http: make(map[series]*httpHandles), hosts: make(map[string]string),
		}
	}
	return r.workers[i]
}

// NewFilter returns the worker's one filter: it keeps nothing of a stream.
func (r *Reporter) NewFilter(l *eventloop.Loop) httpfilter.Filter { return r.worker(l.ID()) }

// OnComplete counts the request.
func (w *worker) OnComplete(s httpfilter.Stream) {
	c := format.Context{Request: s.RequestHeaders(), Response: s.ResponseHeaders(), Trailers: s.ResponseTrailers(), Info: s.Info()}
	w.countRequest(&c, s.Info().Duration(s.Loop().Now()).Milliseconds())
}

func (w *worker) countRequest(c *format.Context, ms int64) {
	i := c.Info
	k := w.key(i)
	k.protocol, k.code, k.grpcStatus = "http", i.ResponseCode, -1
	if bytes.HasPrefix(c.Request.Value(header.ContentType), []byte("application/grpc")) {
		k.protocol = "grpc"
		if n, ok := format.GRPCStatus(c); ok {
			k.grpcStatus = n
		}
	}
	h := w.handles(&k, c.Request)
	w.shard.Inc(h.requests)
	w.shard.Record(h.duration, uint64(max(ms, 0)))
	w.shard.Record(h.requestBytes, i.BytesReceived)
	w.shard.Record(h.responseBytes, i.BytesSent)
}

// key fills in what HTTP and TCP have in common.
func (w *worker) key(i *streaminfo.Info) series {
	k := series{cluster: i.Cluster, flags: i.Flags}
	if i.Cluster == nil {
		k.clusterID = i.UpstreamCluster
	}
	if w.server {
		k.peer = i.DownstreamPeer
		if d := i.Downstream; d != nil && d.TLS != nil {
			k.peerURI, k.mutual = d.PeerURI, d.PeerURI != ""
		}
		return k
	}
	k.peer = i.UpstreamPeer
	k.peerURI, k.mutual = i.UpstreamURI, i.UpstreamURI != ""
	if k.peer == nil && i.Host != nil {
		if info := i.Host.Info(); info != nil {
			k.workload, _ = info.Metadata["istio"]["workload"].(string)
		}
	}
	return k
}

// handles finds the series of a request, the last one's first. Nothing is allocated unless
// the series is new.
func (w *worker) handles(k *series, h *header.Map) *httpHandles {
	if w.namedByHost(k.cluster) {
		k.host = w.host(trimPort(h.Value(header.Authority)))
	}
	if w.last != nil && *k == w.lastKey {
		return w.last
	}
	hh := w.http[*k]
	if hh == nil {
		if len(w.http) >= maxSeries {
			clear(w.http)
		}
		tags := w.labels(k)
		hh = &httpHandles{
			requests: w.counter(&w.requests, tags), duration: w.histogram(&w.duration, tags),
			requestBytes: w.histogram(&w.requestBytes, tags), responseBytes: w.histogram(&w.responseBytes, tags),
		}
		w.http[*k] = hh
	}
	w.lastKey, w.last = *k, hh
	return hh
}

// namedByHost reports whether the host header stands in for the service of a cluster.
func (w *worker) namedByHost(c *xdsresource.Cluster) bool {
	if w.cfg.NoHostFallback {
		return false
	}
	if !w.hostChecked || c != w.hostCluster {
		w.hostCluster, w.hostChecked = c, true
		w.hostNeeded = c == nil || serviceOf(c.Metadata).host == ""
	}
	return w.hostNeeded
}

// host returns a host name as a string that is made once.
func (w *worker) host(b []byte) string {
	if s, ok := w.hosts[string(b)]; ok {
		return s
	}
	if len(w.hosts) >= maxHosts {
		return ""
	}
	s := string(b)
	w.hosts[s] = s
	return s
}

// trimPort cuts ":80" off a host, but not a part of an IPv6 address.
func trimPort(host []byte) []byte {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 || host[0] != '[' && bytes.IndexByte(host, ':') != i {
		return host
	}
	return host[:i]
}

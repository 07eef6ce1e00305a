package tcpproxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/uuid"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Meter counts one connection for telemetry; Istio's TCP metrics are one.
type Meter interface {
	Opened() // the upstream connection is there, or it will not be
	Report() // bytes since the last report; every fifteen seconds, and within Closed
	Closed()
}

// Deps are what the proxy needs; Clusters and Stats are required.
type Deps struct {
	Clusters *cluster.Manager
	Stats    *stats.Store
	// AccessLogs are those of the filter, compiled.
	AccessLogs []*accesslog.Logger
	// Exchange is Istio's metadata exchange; the zero value: none.
	Exchange Exchange
	// OnDemand fetches clusters; required where the configuration has an OnDemand.
	OnDemand Clusters
	// NewMeter begins to meter a connection; nil: none.
	NewMeter func(worker int, info *streaminfo.Info) Meter
}

// Proxy is the filter of one filter chain, shared by all workers.
type Proxy struct {
	cfg   *xdsresource.TCPProxy
	d     Deps
	stats stats.Block
	// demand and early are there where the configuration has what they count.
	demand, early stats.Block
	// subsets are metadata_match of the weighted clusters, over that of the filter.
	subsets []*xdsresource.MetadataMatch
	tunnel  *tunnelling // nil: bytes go upstream as they are
}

var _ listener.NetworkHandler = (*Proxy)(nil)

// New checks the configuration and makes the filter.
func New(cfg *xdsresource.TCPProxy, d Deps) (*Proxy, error) {
	switch {
	case cfg.Cluster == "" && len(cfg.WeightedClusters) == 0:
		return nil, errors.New("tcp_proxy: neither cluster nor weighted_clusters is set")
	case cfg.Cluster != "" && len(cfg.WeightedClusters) > 0:
		return nil, errors.New("tcp_proxy: both cluster and weighted_clusters are set")
	case len(cfg.WeightedClusters) > 0 && totalWeight(cfg) == 0:
		return nil, errors.New("tcp_proxy: the weights of weighted_clusters sum to 0")
	}
	for i := range cfg.WeightedClusters {
		if cfg.WeightedClusters[i].Name == "" {
			return nil, fmt.Errorf("tcp_proxy: weighted_clusters[%d] has no name", i)
		}
	}
	tunnel, err := newTunnelling(cfg.Tunnel)
	if err != nil {
		return nil, err
	}
	scope := d.Stats.Scope("tcp").Tagged("envoy.tcp_prefix", cfg.StatPrefix)
	p := &Proxy{cfg: cfg, d: d, stats: scope.Block(statSet), tunnel: tunnel}
	if cfg.OnDemand != nil {
		p.demand = scope.Block(demandSet)
	}
	if cfg.EarlyData {
		p.early = scope.Block(earlySet)
	}
	for i := range cfg.WeightedClusters {
		p.subsets = append(p.subsets, cfg.MetadataMatch.Merge(cfg.WeightedClusters[i].MetadataMatch))
	}
	return p, nil
}

func totalWeight(cfg *xdsresource.TCPProxy) uint64 {
	if cfg.TotalWeight > 0 {
		return uint64(cfg.TotalWeight)
	}
	var sum uint64
	for i := range cfg.WeightedClusters {
		sum += uint64(cfg.WeightedClusters[i].Weight)
	}
	return sum
}

// target draws the cluster of a connection, and what its host's metadata must have.
func (p *Proxy) target(random uint64) (string, *xdsresource.MetadataMatch) {
	if p.cfg.Cluster != "" {
		return p.cfg.Cluster, p.cfg.MetadataMatch
	}
	at := random % totalWeight(p.cfg)
	for i := range p.cfg.WeightedClusters {
		w := &p.cfg.WeightedClusters[i]
		if at < uint64(w.Weight) || i == len(p.cfg.WeightedClusters)-1 {
			return w.Name, p.subsets[i]
		}
		at -= uint64(w.Weight)
	}
	return "", nil
}

// OnNewConnection implements listener.NetworkHandler.
func (p *Proxy) OnNewConnection(c *conn.Conn, _ *listener.Context) {
	s := &session{p: p, loop: c.Loop(), shard: p.d.Stats.Shard(c.Loop().ID()), down: c}
	s.begin()
}

// OnRefused implements networkfilter.Logger: as in Envoy, connections that a filter has ended are logged, with its reason.
func (p *Proxy) OnRefused(c *conn.Conn) {
	loop, at := c.Loop(), c.Info()
	p.log(loop, &streaminfo.Info{
		StartWall: loop.WallNow().Add(-time.Duration(loop.Now() - at.Created)), Start: at.Created, End: loop.Now(),
		Downstream: at, ConnectionID: at.ID, Metadata: at.Metadata, TerminationDetails: at.Termination,
	}, format.TCPConnectionEnd)
}

// log writes a line of a connection.
func (p *Proxy) log(loop *eventloop.Loop, info *streaminfo.Info, of format.LogType) {
	if len(p.d.AccessLogs) == 0 {
		return
	}
	if info.RequestID == nil {
		info.RequestID = uuid.Append(nil, loop.Rand(), loop.Rand()) // for %STREAM_ID%, as in Envoy
	}
	ctx := format.Context{Info: info, LogType: of}
	for _, l := range p.d.AccessLogs {
		l.Log(loop.ID(), &ctx)
	}
}

// Statistics, "tcp.<prefix>.*"
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/tcp_proxy_filter#statistics).
const (
	cxTotal = iota
	cxNoRoute
	rxBytes
	txBytes
	pausedReading
	resumedReading
	idleTimeout
	maxDuration
)

var statSet = stats.NewSet(
	stats.Item{Name: "downstream_cx_total"},
	stats.Item{Name: "downstream_cx_no_route"},
	stats.Item{Name: "downstream_cx_rx_bytes_total"},
	stats.Item{Name: "downstream_cx_tx_bytes_total"},
	stats.Item{Name: "downstream_flow_control_paused_reading_total"},
	stats.Item{Name: "downstream_flow_control_resumed_reading_total"},
	stats.Item{Name: "idle_timeout"},
	stats.Item{Name: "max_downstream_connection_duration"},
)

package connpool

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Ahead connects to the hosts that requests to come will be given to (predictive_preconnect_ratio),
// before a request is started. As in Envoy at most three at a time, and none to a host in doubt.
func Ahead(l *eventloop.Loop, c *cluster.Local) {
	ratio := c.Config().PredictiveRatio
	if ratio <= 1 {
		return
	}
	for range 3 {
		if !c.Short(ratio) {
			return
		}
		h := c.Ahead(l.Rand())
		if h == nil || !For(l, h).connectAhead(ratio) {
			return
		}
	}
}

// connectAhead begins a connection if the pool has too few for one request more. One of HTTP/2 is
// for many.
func (p *Pool) connectAhead(ratio float64) bool {
	if p.closed || !p.host.Host.Healthy() || p.conns > 0 && (len(p.muxes) > 0 || p.version() == xdsresource.UpstreamHTTP2) {
		return false
	}
	busy := p.conns - p.connecting - len(p.idle)
	return float64(p.waiting+busy+1)*ratio > float64(p.conns) && p.connect(false)
}

package cluster

import (
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Ahead picks the host of a request to come, so that it can be connected to before. Pick gives the
// hosts that were picked ahead to the next requests. nil: there is no telling, because the choice
// depends on the request or on what other hosts have to do then.
func (l *Local) Ahead(random uint64) *LocalHost {
	switch l.cfg.LB.Policy {
	case xdsresource.LBRoundRobin, xdsresource.LBRandom:
	default:
		return nil
	}
	healthy, _, _ := l.version.set.counts()
	if l.special || len(l.ahead) >= healthy { // one ahead for each host, as in Envoy
		return nil
	}
	h := l.pickFrom(l.main, &lb.Context{Rand: random})
	if h != nil {
		l.ahead = append(l.ahead, h)
	}
	return h
}

// Short reports whether the cluster has fewer connections than a ratio wants for the requests that
// wait, are under way, and one more.
func (l *Local) Short(ratio float64) bool {
	return float64(l.waiting+l.active+1)*ratio > float64(l.conns)
}

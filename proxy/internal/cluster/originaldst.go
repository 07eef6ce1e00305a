package cluster

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// originalDst holds a worker's hosts of an ORIGINAL_DST cluster: made when a request names
// an address, dropped when nothing has used them for a while.
type originalDst struct {
	hosts map[netip.AddrPort]*dstHost
}

type dstHost struct {
	LocalHost
	used bool // since the last cleanup
}

func (l *Local) pickOriginalDst(c *lb.Context) *LocalHost {
	addr := c.OriginalDst
	if !addr.IsValid() || addr.Port() == 0 || l.version.set == nil || l.lm.byName[l.cluster.name] != l {
		return nil
	}
	if p := l.cfg.OriginalDstPort; p != 0 {
		addr = netip.AddrPortFrom(addr.Addr(), p)
	}
	if l.dst == nil {
		l.dst = &originalDst{hosts: make(map[netip.AddrPort]*dstHost)}
		l.cluster.cleaning.Store(true)
	}
	h := l.dst.hosts[addr]
	if h == nil {
		h = &dstHost{LocalHost: LocalHost{Local: l, Host: &Host{
			Address: xdsresource.Address{IP: addr.Addr(), Port: addr.Port()},
			Name:    addr.String(),
			dynamic: l.cluster,
		}}}
		h.Weight = 1
		h.Host.TLS, h.Host.Transport = l.version.tls, l.version.transport
		h.Host.successRates = [2]float64{-1, -1}
		h.Host.info.Store(&HostInfo{Weight: 1})
		l.dst.hosts[addr] = h
	}
	h.used = true
	return &h.LocalHost
}

// clean drops hosts that were not used since the last call and have nothing in flight;
// Envoy's cleanup_interval.
func (l *Local) cleanOriginalDst() {
	for addr, h := range l.dst.hosts {
		if h.used || h.Active > 0 || h.Stats.RqActive > 0 {
			h.used = false
			continue
		}
		delete(l.dst.hosts, addr)
		h.remove()
	}
}

func (l *Local) dropOriginalDst() {
	if l.dst == nil {
		return
	}
	for addr, h := range l.dst.hosts {
		delete(l.dst.hosts, addr)
		h.remove()
	}
}

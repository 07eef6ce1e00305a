package cluster

import (
	"net/netip"
	"time"

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
	}
	h := l.dst.hosts[addr]
	if h == nil {
		h = &dstHost{LocalHost: LocalHost{Local: l, Host: &Host{
			Address: xdsresource.Address{IP: addr.Addr(), Port: addr.Port()},
			Name:    addr.String(),
			dynamic: l.cluster,
		}}}
		h.Weight = 1
		h.Host.transport, h.Host.Transport = l.version.transport.cfg, l.version.transport.own
		h.Host.history = newHistory()
		h.Host.info.Store(&HostInfo{Weight: 1})
		l.dst.hosts[addr] = h
	}
	h.used = true
	return &h.LocalHost
}

// Destination is the address that stands at a path of dynamic metadata.
func (l *Local) Destination(md map[string]map[string]any, path []string) netip.AddrPort {
	var v any = map[string]any(md[path[0]])
	for _, key := range path[1:] {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	if text, ok := v.(string); ok {
		return l.ParseDestination(text)
	}
	return netip.AddrPort{}
}

// ParseDestination reads "IP:PORT", and counts what is none. A name is none: it is not for the data
// path to resolve.
func (l *Local) ParseDestination(text string) netip.AddrPort {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		l.Inc(OriginalDstHostInvalid)
	}
	return a
}

// cleanAll lets workers drop hosts of ORIGINAL_DST clusters that nothing uses any more, where it
// is time to, and returns when it next is.
func (m *Manager) cleanAll(now time.Time) (next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clusters {
		if c.cfg.Type != xdsresource.ClusterOriginalDst {
			continue
		}
		if !now.Before(c.nextClean) {
			c.nextClean = now.Add(max(c.cfg.CleanupInterval, time.Millisecond))
			m.post(c, func(lm *LocalManager) {
				if l := lm.byName[c.name]; l != nil && l.cluster == c && l.dst != nil {
					l.cleanOriginalDst()
				}
			})
		}
		next = earlier(next, c.nextClean)
	}
	return next
}

// cleanOriginalDst drops hosts that were not used since the last call and have nothing in flight;
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

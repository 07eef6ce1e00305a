package cluster

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Resolver turns a host name into addresses.
type Resolver interface {
	// Resolve returns the addresses of host for a family and how long they are good
	// (0: unknown).
	Resolve(ctx context.Context, host string, family xdsresource.DNSFamily) ([]netip.Addr, time.Duration, error)
}

// startDNS begins to resolve the cluster's names, once Run has begun.
func (m *Manager) startDNS(c *Cluster) {
	if m.ctx == nil || c.cfg.Type != xdsresource.ClusterStrictDNS && c.cfg.Type != xdsresource.ClusterLogicalDNS {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	c.cancelDNS = cancel
	cfg := c.cfg
	m.wg.Go(func() { m.resolveLoop(ctx, c, cfg) })
}

// resolveLoop resolves the names of one version of a cluster until ctx ends.
func (m *Manager) resolveLoop(ctx context.Context, c *Cluster, cfg *xdsresource.Cluster) {
	next := dnscache.NewPace(&cfg.DNS)
	good := make(map[string][]netip.Addr) // last good answer by name
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		ttl, ok, failed := m.resolveAll(ctx, c, cfg, good)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		if m.clusters[c.name] == c && c.cfg == cfg {
			if e := resolvedEndpoints(cfg, good); c.endpoints == nil || ok && !slices.EqualFunc(c.endpoints.Localities, e.Localities, sameEndpoints) {
				c.endpoints = e
				m.rebuild(c)
			} else {
				m.count(c, UpdateNoRebuild)
			}
		}
		m.mu.Unlock()
		timer.Reset(next.Wait(!failed, ttl))
	}
}

// resolveAll asks for every name of the cluster. Names that fail keep their last answer; ok
// is false when none was answered, and failed true when not all were.
func (m *Manager) resolveAll(ctx context.Context, c *Cluster, cfg *xdsresource.Cluster, good map[string][]netip.Addr) (ttl time.Duration, ok, failed bool) {
	if cfg.Endpoints == nil {
		return 0, true, false
	}
	resolver := m.cfg.Resolver
	if r := cfg.DNS.Resolver; r != nil {
		resolver = NewResolver(r)
	}
	asked := make(map[string]bool)
	for li := range cfg.Endpoints.Localities {
		for ei := range cfg.Endpoints.Localities[li].Endpoints {
			name := cfg.Endpoints.Localities[li].Endpoints[ei].Address.Host
			if name == "" {
				ok = true // an IP address or a pipe needs no resolution
				continue
			}
			if asked[name] {
				continue
			}
			asked[name] = true
			m.count(c, UpdateAttempt)
			addrs, t, err := resolver.Resolve(ctx, name, cfg.DNS.Family)
			if l, can := resolver.(lifetimes); can && cfg.DNS.RespectTTL && err == nil {
				t = l.Lifetime(ctx, name, cfg.DNS.Family)
			}
			if err != nil {
				if ctx.Err() != nil {
					return 0, false, true
				}
				failed = true
				m.count(c, UpdateFailure)
				m.log.Warn("cannot resolve host, keeping what was known", "cluster", cfg.Name, "host", name, "error", err)
				continue
			}
			m.count(c, UpdateSuccess)
			if len(addrs) == 0 {
				m.count(c, UpdateEmpty)
			}
			ok = true
			if t > 0 && (ttl == 0 || t < ttl) {
				ttl = t
			}
			if cfg.Type == xdsresource.ClusterLogicalDNS {
				good[name] = logical(good[name], addrs)
				continue
			}
			slices.SortFunc(addrs, netip.Addr.Compare)
			good[name] = slices.Compact(addrs)
		}
	}
	return ttl, ok, failed
}

// logical puts the address in use first while the name still has it, so that servers that rotate
// their answers do not cost connections. The others are for when it cannot be connected to.
func logical(current, answer []netip.Addr) []netip.Addr {
	if len(answer) == 0 {
		return current // Envoy: an empty answer changes nothing for LOGICAL_DNS
	}
	first := answer[0]
	if len(current) > 0 && slices.Contains(answer, current[0]) {
		first = current[0]
	}
	out := []netip.Addr{first}
	for _, a := range answer {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// resolvedEndpoints replaces the names in a cluster's endpoints by addresses.
func resolvedEndpoints(cfg *xdsresource.Cluster, good map[string][]netip.Addr) *xdsresource.Endpoints {
	if cfg.Endpoints == nil {
		return &xdsresource.Endpoints{}
	}
	out := *cfg.Endpoints
	out.Localities = slices.Clone(out.Localities)
	for li := range out.Localities {
		l := &out.Localities[li]
		var es []xdsresource.Endpoint
		for _, e := range l.Endpoints {
			if e.Address.Host == "" {
				es = append(es, e)
				continue
			}
			name := e.Address.Host
			if e.Hostname == "" {
				e.Hostname = name // what auto_host_rewrite sends
			}
			addrs := addresses(good[name], e.Address.Port)
			for i := range addrs {
				r := e
				r.Address = addrs[i]
				if cfg.Type == xdsresource.ClusterLogicalDNS { // one host, whatever addresses it has
					r.More, addrs = addrs[1:], nil
				}
				es = append(es, r)
				if addrs == nil {
					break
				}
			}
		}
		l.Endpoints = es
	}
	return &out
}

func addresses(ips []netip.Addr, port uint16) []xdsresource.Address {
	out := make([]xdsresource.Address, len(ips))
	for i, ip := range ips {
		out[i] = xdsresource.Address{IP: ip, Port: port}
	}
	return out
}

func sameEndpoints(a, b xdsresource.LocalityEndpoints) bool {
	return slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y xdsresource.Endpoint) bool {
		return x.Address == y.Address && x.Hostname == y.Hostname && slices.Equal(x.More, y.More)
	})
}

// addressName is an address as logs and admin show it.
func addressName(a xdsresource.Address) string {
	switch {
	case a.Pipe != "":
		return a.Pipe
	case a.IP.IsValid():
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

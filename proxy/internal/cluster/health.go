package cluster

import (
	"context"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/healthcheck"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// checks are the active health checks of a cluster; under Manager.mu.
type checks struct {
	list  []*checker // none: hosts are not asked
	hosts map[*Host]hostChecks
	total stats.Block // gauges of hosts by all checks together, where there are several
}

// checker is one of a cluster's health checks.
type checker struct {
	cfg   *xdsresource.HealthCheck
	stats stats.Block
	logs  []EventLog
}

// hostChecks are the checks of one host, in the order of the configuration. As in Envoy, it is well when each finds it well, and what
// a check finds besides shows when all have been there once.
type hostChecks []*hostCheck

// hostCheck is one check of one host. Its session is fed under Manager.mu.
type hostCheck struct {
	by      *checker
	session *healthcheck.Session
	subject healthcheck.Subject
	cancel  context.CancelFunc // nil: not running yet
}

// EventLog is a file for events, one line each.
type EventLog interface {
	Write(line []byte)
	Close()
}

// Secure makes TLS of a connection by a host's transport, for health checks; see
// Config.Secure.
type Secure func(ctx context.Context, c net.Conn, transport any, protocols []string) (net.Conn, error)

// same reports whether a configuration has the checks that are there.
func (k *checks) same(list []*xdsresource.HealthCheck) bool {
	return slices.EqualFunc(k.list, list, func(a *checker, b *xdsresource.HealthCheck) bool { return reflect.DeepEqual(a.cfg, b) })
}

// newCheckers opens the logs of health checks that are not the cluster's present ones; nil: they are.
func (m *Manager) newCheckers(c *Cluster, list []*xdsresource.HealthCheck) ([]*checker, error) {
	if c.checks.same(list) {
		return nil, nil
	}
	out := make([]*checker, 0, len(list))
	for _, cfg := range list {
		k := &checker{cfg: cfg}
		out = append(out, k)
		if m.cfg.OpenLog == nil {
			continue
		}
		for _, path := range cfg.EventLogs {
			w, err := m.cfg.OpenLog(path)
			if err != nil {
				closeLogs(out)
				return nil, err
			}
			k.logs = append(k.logs, w)
		}
	}
	return out, nil
}

func closeLogs(list []*checker) {
	for _, k := range list {
		for _, log := range k.logs {
			log.Close()
		}
	}
}

// setChecks takes over the health checks of a new configuration; nil: those that are there. Hosts keep what is known
// of them while the checks stay the same; new ones begin from there.
func (m *Manager) setChecks(c *Cluster, list []*checker) {
	if list == nil {
		return
	}
	m.endChecks(c)
	c.checks = checks{list: list}
	if len(list) == 0 {
		for _, h := range c.ordered {
			h.setFlag(checkFlags|activeHCTimeout, false)
		}
		return
	}
	scope := c.scope.Scope("health_check")
	for _, k := range list {
		own := scope
		if k.cfg.Name != "" {
			own = scope.Scope("name").Scope(k.cfg.Name)
		}
		k.stats = own.Block(healthSet)
	}
	if len(list) > 1 {
		c.checks.total = scope.Block(healthTotalSet)
	}
	c.checks.hosts = make(map[*Host]hostChecks)
}

// stopChecks ends the checks of hosts that are not kept; nil keeps none.
func (m *Manager) stopChecks(c *Cluster, keep map[*Host]bool) {
	for h, all := range c.checks.hosts {
		if keep[h] {
			continue
		}
		for _, hc := range all {
			if hc.cancel != nil {
				hc.cancel()
			}
		}
		delete(c.checks.hosts, h)
	}
}

// endChecks ends all checks of a cluster.
func (m *Manager) endChecks(c *Cluster) {
	m.stopChecks(c, nil)
	closeLogs(c.checks.list)
	c.checks.list = nil
}

// checkHosts begins to check the cluster's hosts, and ends it for those that have left. Hosts
// that were never checked are out until they have been.
func (m *Manager) checkHosts(c *Cluster) {
	if len(c.checks.list) == 0 {
		return
	}
	keep := make(map[*Host]bool, len(c.ordered))
	for _, h := range c.ordered {
		if h.check != nil && h.check.Disabled {
			h.setFlag(failedActiveHC|pendingActiveHC, false)
			continue
		}
		keep[h] = true
		if c.checks.hosts[h] != nil {
			continue
		}
		i := h.Info()
		all := make(hostChecks, len(c.checks.list))
		for n, k := range c.checks.list {
			all[n] = &hostCheck{
				by:      k,
				session: healthcheck.NewSession(k.cfg, c.cfg.IgnoreNewHosts),
				subject: healthcheck.Subject{
					Type: k.cfg.Type(), Cluster: c.name, Address: h.Address,
					Region: i.Locality.Region, Zone: i.Locality.Zone, Sub: i.Locality.SubZone,
				},
			}
		}
		c.checks.hosts[h] = all
		all.mark(h)
		m.startHost(c, h, all)
	}
	m.stopChecks(c, keep)
	m.countHealth(c)
}

// checkFlags are what checks decide a host's use by.
const checkFlags = failedActiveHC | degradedActiveHC | pendingActiveHC | excludedImmediateHC

// mark sets a host's flags as the sessions see it.
func (all hostChecks) mark(h *Host) {
	checked := all.checked()
	h.setFlag(failedActiveHC, all.any((*healthcheck.Session).Failed)) // as those are that have not been asked
	h.setFlag(pendingActiveHC, all.any((*healthcheck.Session).Waiting))
	h.setFlag(degradedActiveHC, checked && all.any((*healthcheck.Session).Degraded))
	h.setFlag(excludedImmediateHC, checked && all.any((*healthcheck.Session).Excluded))
	h.setFlag(activeHCTimeout, checked && all.any((*healthcheck.Session).TimedOut))
}

func (all hostChecks) any(f func(*healthcheck.Session) bool) bool {
	return slices.ContainsFunc(all, func(hc *hostCheck) bool { return f(hc.session) })
}

// checked reports whether each check has had a result.
func (all hostChecks) checked() bool {
	return !slices.ContainsFunc(all, func(hc *hostCheck) bool { return !hc.session.Checked() })
}

// startChecks starts what had to wait for Run.
func (m *Manager) startChecks(c *Cluster) {
	for h, all := range c.checks.hosts {
		m.startHost(c, h, all)
	}
}

func (m *Manager) startHost(c *Cluster, h *Host, all hostChecks) {
	for _, hc := range all {
		m.startCheck(c, h, hc)
	}
}

func (m *Manager) startCheck(c *Cluster, h *Host, hc *hostCheck) {
	if m.ctx == nil || hc.cancel != nil {
		return
	}
	cfg := hc.by.cfg
	t := healthcheck.Target{Address: h.Address, Hostname: c.name}
	own := valueOf(h.check)
	if own.Address != (xdsresource.Address{}) {
		t.Address = own.Address
	}
	if own.Port != 0 {
		t.Address.Port = own.Port
	}
	if name := cfg.Host(); name != "" {
		t.Hostname = name
	}
	if own.Hostname != "" {
		t.Hostname = own.Hostname
	}
	transport := h.Transport
	if cfg.TransportMatch != nil {
		transport = c.transport.match(cfg.TransportMatch)
	}
	if transport != nil && m.cfg.Secure != nil {
		t.Secure = func(ctx context.Context, nc net.Conn, protocols []string) (net.Conn, error) {
			return m.cfg.Secure(ctx, nc, transport, protocols)
		}
	}
	ctx, cancel := context.WithCancel(m.ctx)
	hc.cancel = cancel
	first, probe := hc.session.First(rand.Uint64N), healthcheck.New(cfg, t)
	m.wg.Go(func() {
		healthcheck.Watch(ctx, first, cfg.Timeout, &counted{probe, m, hc.by}, func(r healthcheck.Result) time.Duration { return m.onCheck(c, h, hc, r) })
	})
}

// counted counts attempts before they are made, as Envoy does.
type counted struct {
	healthcheck.Prober
	m  *Manager
	by *checker
}

// Probe implements healthcheck.Prober.
func (p *counted) Probe(ctx context.Context) healthcheck.Result {
	p.m.countCheck(p.by, healthAttempt)
	return p.Prober.Probe(ctx)
}

// onCheck takes a check's result and returns the time to the next.
func (m *Manager) onCheck(c *Cluster, h *Host, hc *hostCheck, r healthcheck.Result) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clusters[c.name] != c || !slices.Contains(c.checks.hosts[h], hc) {
		return time.Hour // the watch is being ended
	}
	ch := m.takeResult(c, h, hc, r)
	return c.cfg.Keys.ProbeInterval(hc.session.Next(r.Outcome == healthcheck.Success, ch, m.hasTraffic(c), rand.Uint64N))
}

// takeResult updates a host by a result, and the cluster if that changes it.
func (m *Manager) takeResult(c *Cluster, h *Host, hc *hostCheck, r healthcheck.Result) healthcheck.Change {
	before := h.health.Load()
	ch, events := hc.session.On(r)
	c.checks.hosts[h].mark(h)
	m.countResult(hc.by, r)
	hc.log(events)
	after := h.health.Load()
	failed := after&failedActiveHC != 0
	if before&failedActiveHC != 0 && r.Outcome == healthcheck.Success {
		h.healthySince.Store(m.now()) // its slow start begins
	}
	if (before^after)&failedActiveHC != 0 {
		m.log.Info("health checks changed a host", "cluster", c.name, "host", h.Name, "healthy", !failed)
	}
	publish := (before^after)&checkFlags != 0
	if r.Outcome == healthcheck.Success && !failed && h.Ejected() && c.det != nil && c.det.cfg.UnejectOnHealthCheck {
		c.det.uneject(c.ordered, h, time.Now())
		publish = true
	}
	switch {
	case failed && after&pendingDynamicRemoval != 0:
		m.rebuild(c) // nothing keeps it any more
	case publish:
		m.countHealth(c)
		m.change(c, true)
	case ch == healthcheck.Changed:
		m.countHealth(c)
	}
	m.warmChecked(c)
	return ch
}

func (hc *hostCheck) log(events []healthcheck.Event) {
	for _, e := range events {
		for _, log := range hc.by.logs {
			log.Write(e.Line(&hc.subject, time.Now()))
		}
	}
}

// stays reports whether a host that discovery no longer names is kept: while it passes its
// checks, it is more likely that discovery is wrong (Envoy's table of discovery and health).
// EDS health or ignore_health_on_host_removal let it go.
func (c *Cluster) stays(h *Host) bool {
	switch c.cfg.Type {
	case xdsresource.ClusterEDS, xdsresource.ClusterStrictDNS:
	default:
		return false
	}
	return c.checks.hosts[h] != nil && !c.cfg.RemoveHealthyHosts && h.health.Load()&(failedActiveHC|failedEDSHealth|edsDraining) == 0
}

func (m *Manager) countCheck(by *checker, stat int) {
	m.cfg.Stats.Main().Inc(by.stats.Counter(stat))
}

func (m *Manager) countResult(by *checker, r healthcheck.Result) {
	if r.Verified {
		m.countCheck(by, healthVerifyCluster)
	}
	switch r.Outcome {
	case healthcheck.Success:
		m.countCheck(by, healthSuccess)
		return
	case healthcheck.Network, healthcheck.Timeout:
		m.countCheck(by, healthNetworkFailure)
	case healthcheck.Passive:
		m.countCheck(by, healthPassiveFailure)
	}
	m.countCheck(by, healthFailure)
}

// countHealth shows how many hosts are well, and how many degraded, by each check and by all.
func (m *Manager) countHealth(c *Cluster) {
	sums := make([]struct{ healthy, degraded int64 }, len(c.checks.list)+1)
	count := func(i int, healthy, degraded bool) {
		if healthy {
			sums[i].healthy++
		}
		if degraded {
			sums[i].degraded++
		}
	}
	for h, all := range c.checks.hosts {
		for i, hc := range all {
			count(i, !hc.session.Failed(), hc.session.Degraded())
		}
		flags := h.health.Load()
		count(len(all), flags&failedActiveHC == 0, flags&degradedActiveHC != 0)
	}
	shard := m.cfg.Stats.Main()
	for i, k := range c.checks.list {
		shard.GaugeSet(k.stats.Gauge(healthHealthy), sums[i].healthy)
		shard.GaugeSet(k.stats.Gauge(healthDegraded), sums[i].degraded)
	}
	if len(c.checks.list) > 1 {
		shard.GaugeSet(c.checks.total.Gauge(0), sums[len(sums)-1].healthy)
		shard.GaugeSet(c.checks.total.Gauge(1), sums[len(sums)-1].degraded)
	}
}

// warmChecked warms a cluster whose hosts have all been checked. Checks wait for Run: a cluster that came before it is not warm until then, else what is
// served first would depend on which of two goroutines of the start is the faster.
func (m *Manager) warmChecked(c *Cluster) {
	if c.isWarm || c.endpoints == nil {
		return
	}
	for _, all := range c.checks.hosts {
		if !all.checked() {
			return
		}
	}
	m.warm(c)
}

// hasTraffic reports whether the cluster was ever asked for a connection.
func (m *Manager) hasTraffic(c *Cluster) bool { return c.traffic.Load() }

// ImmediateFailure is told that a response of the host carried
// x-envoy-immediate-health-check-fail: the host leaves at once, until a check succeeds. Of several checks it
// is the last one's, as in Envoy.
func (h *LocalHost) ImmediateFailure() {
	l := h.Local
	if !l.version.checked {
		return
	}
	m, c, host := l.lm.m, l.cluster, h.Host
	m.queue.put(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if all := c.checks.hosts[host]; all != nil && m.clusters[c.name] == c {
			m.takeResult(c, host, all[len(all)-1], healthcheck.Result{Outcome: healthcheck.Passive, Exclude: true})
		}
	})
}

// match returns the transport of the first match that the labels satisfy, else the cluster's.
func (t *transports) match(labels map[string]string) any {
	md := make(map[string]any, len(labels))
	for k, v := range labels {
		md[k] = v
	}
	for i := range t.matches {
		if matchesAll(t.matches[i].Match, md) {
			return t.matches[i].transport
		}
	}
	return t.own
}

package cluster

import (
	"context"
	"math/rand/v2"
	"net"
	"reflect"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/healthcheck"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// checks are the active health checks of a cluster; under Manager.mu.
type checks struct {
	cfg   *xdsresource.HealthCheck // nil: none
	hosts map[*Host]*hostCheck
	logs  []EventLog
}

// hostCheck is the check of one host. Its session is fed under Manager.mu.
type hostCheck struct {
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

// eventLogs opens the logs of a health check that is not the cluster's present one.
func (m *Manager) eventLogs(c *Cluster, cfg *xdsresource.HealthCheck) ([]EventLog, error) {
	if cfg == nil || m.cfg.OpenLog == nil || reflect.DeepEqual(cfg, c.checks.cfg) {
		return nil, nil
	}
	var logs []EventLog
	for _, path := range cfg.EventLogs {
		w, err := m.cfg.OpenLog(path)
		if err != nil {
			for _, open := range logs {
				open.Close()
			}
			return nil, err
		}
		logs = append(logs, w)
	}
	return logs, nil
}

// setChecks takes over the health check of a new configuration, with its logs. Hosts keep what is known
// of them while the check stays the same; a new kind of check begins from there.
func (m *Manager) setChecks(c *Cluster, logs []EventLog) {
	cfg := c.cfg.Health
	if reflect.DeepEqual(cfg, c.checks.cfg) {
		return
	}
	m.endChecks(c)
	c.checks = checks{cfg: cfg, logs: logs}
	if cfg == nil {
		for _, h := range c.ordered {
			h.setFlag(failedActiveHC|degradedActiveHC|pendingActiveHC|excludedImmediateHC|activeHCTimeout, false)
		}
		return
	}
	scope := c.scope.Scope("health_check")
	if cfg.Name != "" {
		scope = scope.Scope("name").Scope(cfg.Name)
	}
	c.healthStats = scope.Block(healthSet)
	c.checks.hosts = make(map[*Host]*hostCheck)
}

// stopChecks ends the checks of hosts that are not kept; nil keeps none.
func (m *Manager) stopChecks(c *Cluster, keep map[*Host]bool) {
	for h, hc := range c.checks.hosts {
		if !keep[h] {
			if hc.cancel != nil {
				hc.cancel()
			}
			delete(c.checks.hosts, h)
		}
	}
}

// endChecks ends all checks of a cluster.
func (m *Manager) endChecks(c *Cluster) {
	m.stopChecks(c, nil)
	for _, log := range c.checks.logs {
		log.Close()
	}
	c.checks.logs = nil
}

// checkHosts begins to check the cluster's hosts, and ends it for those that have left. Hosts
// that were never checked are out until they have been.
func (m *Manager) checkHosts(c *Cluster) {
	if c.checks.cfg == nil {
		return
	}
	keep := make(map[*Host]bool, len(c.ordered))
	for _, h := range c.ordered {
		if h.check.Disabled {
			h.setFlag(failedActiveHC|pendingActiveHC, false)
			continue
		}
		keep[h] = true
		if c.checks.hosts[h] != nil {
			continue
		}
		i := h.Info()
		hc := &hostCheck{
			session: healthcheck.NewSession(c.checks.cfg, c.cfg.IgnoreNewHosts),
			subject: healthcheck.Subject{
				Type: c.checks.cfg.Type(), Cluster: c.name, Address: h.Address,
				Region: i.Locality.Region, Zone: i.Locality.Zone, Sub: i.Locality.SubZone,
			},
		}
		c.checks.hosts[h] = hc
		hc.mark(h)
		m.startCheck(c, h, hc)
	}
	m.stopChecks(c, keep)
	m.countHealth(c)
}

// mark sets a host's flags as the session sees it.
func (hc *hostCheck) mark(h *Host) {
	s := hc.session
	h.setFlag(failedActiveHC, s.Failed())
	h.setFlag(degradedActiveHC, s.Degraded())
	h.setFlag(pendingActiveHC, s.Waiting())
	h.setFlag(excludedImmediateHC, s.Excluded())
	h.setFlag(activeHCTimeout, s.TimedOut())
}

// startChecks starts what had to wait for Run.
func (m *Manager) startChecks(c *Cluster) {
	for h, hc := range c.checks.hosts {
		m.startCheck(c, h, hc)
	}
}

func (m *Manager) startCheck(c *Cluster, h *Host, hc *hostCheck) {
	if m.ctx == nil || hc.cancel != nil {
		return
	}
	cfg := c.checks.cfg
	t := healthcheck.Target{Address: h.Address, Hostname: c.name}
	if h.check.Address != (xdsresource.Address{}) {
		t.Address = h.check.Address
	}
	if h.check.Port != 0 {
		t.Address.Port = h.check.Port
	}
	if name := cfg.Host(); name != "" {
		t.Hostname = name
	}
	if h.check.Hostname != "" {
		t.Hostname = h.check.Hostname
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
		healthcheck.Watch(ctx, first, cfg.Timeout, &counted{probe, m, c}, func(r healthcheck.Result) time.Duration { return m.onCheck(c, h, hc, r) })
	})
}

// counted counts attempts before they are made, as Envoy does.
type counted struct {
	healthcheck.Prober
	m *Manager
	c *Cluster
}

// Probe implements healthcheck.Prober.
func (p *counted) Probe(ctx context.Context) healthcheck.Result {
	p.m.count(p.c, HealthCheckAttempt)
	return p.Prober.Probe(ctx)
}

// onCheck takes a check's result and returns the time to the next.
func (m *Manager) onCheck(c *Cluster, h *Host, hc *hostCheck, r healthcheck.Result) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clusters[c.name] != c || c.checks.hosts[h] != hc {
		return time.Hour // the watch is being ended
	}
	ch := m.takeResult(c, h, hc, r)
	return c.cfg.Keys.ProbeInterval(hc.session.Next(r.Outcome == healthcheck.Success, ch, m.hasTraffic(c), rand.Uint64N))
}

// takeResult updates a host by a result, and the cluster if that changes it.
func (m *Manager) takeResult(c *Cluster, h *Host, hc *hostCheck, r healthcheck.Result) healthcheck.Change {
	wasFailed, wasExcluded := hc.session.Failed(), hc.session.Excluded()
	ch, events := hc.session.On(r)
	hc.mark(h)
	m.countResult(c, r)
	m.logChecks(c, hc, events)
	publish := ch == healthcheck.Changed || hc.session.Excluded() != wasExcluded
	if wasFailed && r.Outcome == healthcheck.Success {
		h.healthySince.Store(m.now()) // its slow start begins
	}
	if r.Outcome == healthcheck.Success && !hc.session.Failed() && h.Ejected() && c.det != nil && c.det.cfg.UnejectOnHealthCheck {
		c.det.uneject(c.ordered, h, time.Now())
		publish = true
	}
	switch {
	case hc.session.Failed() && h.health.Load()&pendingDynamicRemoval != 0:
		m.rebuild(c) // nothing keeps it any more
	case publish:
		m.countHealth(c)
		m.change(c, true)
	}
	m.warmChecked(c)
	return ch
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
	hc := c.checks.hosts[h]
	return hc != nil && !c.cfg.RemoveHealthyHosts && !hc.session.Failed() && h.health.Load()&failedEDSHealth == 0
}

func (m *Manager) countResult(c *Cluster, r healthcheck.Result) {
	if r.Verified {
		m.count(c, HealthCheckVerifyCluster)
	}
	switch r.Outcome {
	case healthcheck.Success:
		m.count(c, HealthCheckSuccess)
		return
	case healthcheck.Network, healthcheck.Timeout:
		m.count(c, HealthCheckNetworkFailure)
	case healthcheck.Passive:
		m.count(c, HealthCheckPassiveFailure)
	}
	m.count(c, HealthCheckFailure)
}

func (m *Manager) countHealth(c *Cluster) {
	var healthy, degraded int64
	for _, hc := range c.checks.hosts {
		if !hc.session.Failed() {
			healthy++
		}
		if hc.session.Degraded() {
			degraded++
		}
	}
	m.gauge(c, HealthCheckHealthy, healthy)
	m.gauge(c, HealthCheckDegraded, degraded)
}

func (m *Manager) logChecks(c *Cluster, hc *hostCheck, events []healthcheck.Event) {
	for _, e := range events {
		switch e.Kind {
		case healthcheck.EjectUnhealthy, healthcheck.AddHealthy:
			m.log.Info("health check changed a host", "cluster", c.name, "host", addressName(hc.subject.Address), "healthy", e.Kind == healthcheck.AddHealthy)
		}
		for _, log := range c.checks.logs {
			log.Write(e.Line(&hc.subject, time.Now()))
		}
	}
}

// warmChecked warms a cluster whose hosts have all been checked.
func (m *Manager) warmChecked(c *Cluster) {
	if c.isWarm || c.endpoints == nil {
		return
	}
	for _, hc := range c.checks.hosts {
		if !hc.session.Checked() && m.ctx != nil {
			return
		}
	}
	m.warm(c)
}

// hasTraffic reports whether the cluster was ever asked for a connection.
func (m *Manager) hasTraffic(c *Cluster) bool { return c.traffic.Load() }

// ImmediateFailure is told that a response of the host carried
// x-envoy-immediate-health-check-fail: the host leaves at once, until a check succeeds.
func (h *LocalHost) ImmediateFailure() {
	l := h.Local
	if !l.version.checked {
		return
	}
	m, c, host := l.lm.m, l.cluster, h.Host
	m.queue.put(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if hc := c.checks.hosts[host]; hc != nil && m.clusters[c.name] == c {
			m.takeResult(c, host, hc, healthcheck.Result{Outcome: healthcheck.Passive, Exclude: true})
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

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Worker is where a LocalManager lives: an event loop.
type Worker interface {
	// Post runs f on the loop; false when the loop has stopped.
	Post(f func()) bool
}

// Config is what a Manager needs; all fields but Resolver are required, Names only where a cluster needs it.
type Config struct {
	Workers []Worker
	Stats   *stats.Store
	Logger  *slog.Logger
	// Resolver resolves STRICT_DNS and LOGICAL_DNS names; nil: the system's.
	Resolver Resolver
	// Names are the DNS caches that clusters have their hosts from, for clusters of that type.
	Names *dnscache.Set
	// NewTransport makes what connpool dials with (a *transportsocket.Upstream). It is called
	// once per distinct transport of a cluster, never with nil.
	NewTransport func(*xdsresource.UpstreamTransport) (any, error)
	// EndTransport is told of each of those that no configuration has any more; connections may go
	// on with it. nil: nobody is.
	EndTransport func(any)
	// LocalCluster is cluster_manager.local_cluster_name, and Locality the node's: for routing
	// by zone. Empty: there is none.
	LocalCluster string
	Locality     Locality
	// Secure begins a connection as NewTransport's transport says; for health checks. nil:
	// they are plain.
	Secure Secure
	// OpenLog opens a file for events of health checks; nil: they are not written.
	OpenLog func(path string) (EventLog, error)
	// Bind is where connections of clusters come from that have no Bind of their own; nil: the
	// system chooses.
	Bind *xdsresource.Bind
	// OutlierLog gets the events of outlier detection; nil: nobody does.
	OutlierLog EventLog
}

// Manager owns all clusters. Its methods may be called from any goroutine.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	locals []*LocalManager

	mu       sync.RWMutex
	clusters map[string]*Cluster
	ctx      context.Context // of Run; nil before
	wg       sync.WaitGroup  // DNS goroutines

	merges struct{ updated, merged, cancelled, outside stats.Counter }

	queue queue // work handed over by workers
	began time.Time
}

// Cluster is a cluster as all workers share it.
type Cluster struct {
	name         string
	owned        *stats.Store // all statistics of the cluster, until it is removed
	scope        stats.Scope
	stats        stats.Block
	remaining    [2]stats.Block // gauges of track_remaining by priority; zero: none
	outlierStats stats.Block    // zero: not configured
	shared       shared
	open         [2][resources]atomic.Bool // circuit breakers, for their gauges
	used         []atomic.Bool             // by worker: it has a Local
	version      atomic.Pointer[version]

	// Under Manager.mu:
	cfg       *xdsresource.Cluster
	endpoints *xdsresource.Endpoints // last good; resolved ones for DNS types
	ordered   []*Host
	det       *detector
	nextSweep time.Time
	subsets   map[string]*hostSet // of the current version, to count what comes and goes
	warmed    chan struct{}
	isWarm    bool
	transport transports
	cancelDNS context.CancelFunc
	names     names // of a dynamic forward proxy cluster
	checks    checks
	stale     *time.Timer // of endpoint_stale_after; nil: none
	seen      bool        // it was warm once: workers may have it
	merge     merge
	nextClean time.Time // of hosts of an ORIGINAL_DST cluster
	traffic   atomic.Bool
}

// version is everything about a cluster that workers use; immutable.
type version struct {
	cfg       *xdsresource.Cluster
	limits    *limits
	set       *hostSet
	detector  *detector
	transport transports
	lostTLVs  stats.Counter
	remaining [2]stats.Block // gauges of track_remaining
	budgets   stats.Block    // of track_cluster_stats, as sizes
	sizes     stats.Block
	checked   bool // hosts have health checks
	drop      *xdsresource.FractionalPercent
	names     *dnscache.Cache // nil: the hosts are not those of a cache
}

// hostKey is the identity of a host within its cluster.
type hostKey struct {
	name      string
	hostname  string
	transport *xdsresource.UpstreamTransport
	check     xdsresource.EndpointCheck
}

// valueOf tells equal checks by their contents.
func valueOf(c *xdsresource.EndpointCheck) xdsresource.EndpointCheck {
	if c == nil {
		return xdsresource.EndpointCheck{}
	}
	return *c
}

// New returns a manager without clusters. It starts nothing: Run does.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, log: cfg.Logger, clusters: make(map[string]*Cluster), began: time.Now()}
	if m.cfg.Resolver == nil {
		m.cfg.Resolver = SystemResolver()
	}
	m.merges.updated, m.merges.merged = cfg.Stats.Counter("cluster_manager.cluster_updated"), cfg.Stats.Counter("cluster_manager.cluster_updated_via_merge")
	m.merges.cancelled, m.merges.outside = cfg.Stats.Counter("cluster_manager.update_merge_cancelled"), cfg.Stats.Counter("cluster_manager.update_out_of_merge_window")
	m.queue.wake = make(chan struct{}, 1)
	for i := range cfg.Workers {
		m.locals = append(m.locals, &LocalManager{m: m, worker: i, shard: cfg.Stats.Shard(i), byName: make(map[string]*Local)})
	}
	return m
}

// Local returns a worker's clusters, to be used on that worker only.
func (m *Manager) Local(worker int) *LocalManager { return m.locals[worker] }

func (m *Manager) lookup(name string) *Cluster {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.clusters[name]; c != nil && c.seen {
		return c
	}
	return nil
}

// Known reports whether there is a cluster of a name, warm or not yet.
func (m *Manager) Known(name string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.clusters[name] != nil
}

// Update adds a cluster or replaces its configuration. The channel is closed when the
// cluster is warm: it has its first endpoints (EDS), its first resolution has ended, well or
// not (DNS), or at once. A new cluster is not seen by workers before it is warm; a replaced
// one keeps serving with what it had. Hosts whose address and transport stay the same keep
// their pools and statistics.
func (m *Manager) Update(cfg *xdsresource.Cluster) (<-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cfg.Bind == nil && m.cfg.Bind != nil {
		bound := *cfg
		bound.Bind = m.cfg.Bind
		cfg = &bound
	}
	c := m.clusters[cfg.Name]
	isNew := c == nil
	if isNew {
		c = &Cluster{name: cfg.Name, used: make([]atomic.Bool, len(m.locals))}
	}
	t, err := c.transport.update(cfg, m.cfg.NewTransport, m.endTransport)
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w", cfg.Name, err)
	}
	names, err := m.useNames(cfg)
	if err != nil {
		t.retire(&c.transport, m.endTransport)
		return nil, fmt.Errorf("cluster %q: %w", cfg.Name, err)
	}
	checkers, err := m.newCheckers(c, cfg.HealthChecks)
	if err != nil {
		t.retire(&c.transport, m.endTransport)
		names.end()
		return nil, fmt.Errorf("cluster %q: health_checks: event log: %w", cfg.Name, err)
	}
	if isNew {
		name := cfg.AltStatName
		if name == "" {
			name = cfg.Name
		}
		c.owned = m.cfg.Stats.Owned()
		c.scope = c.owned.Scope("cluster").Tagged(stats.TagCluster, name)
		c.stats = c.scope.Block(statSet)
		m.clusters[cfg.Name] = c
	}
	c.transport.retire(&t, m.endTransport)
	c.names.end()
	c.names = names
	old := c.cfg
	c.cfg, c.transport = cfg, t
	c.merge.end()
	m.setDetector(c)
	m.setChecks(c, checkers)
	if c.warmed == nil || c.isWarm {
		c.warmed = make(chan struct{})
		c.isWarm = false
		m.gauge(c, WarmingState, 1)
	}
	m.start(c, old)
	return c.warmed, nil
}

// start brings the hosts of a new configuration in, or begins to fetch them.
func (m *Manager) start(c *Cluster, old *xdsresource.Cluster) {
	if c.cancelDNS != nil {
		c.cancelDNS()
		c.cancelDNS = nil
	}
	switch c.cfg.Type {
	case xdsresource.ClusterEDS:
		// Endpoints of the same resource stay good; a control plane sends them again only
		// when they change.
		if old != nil && old.Type == xdsresource.ClusterEDS && edsName(old) == edsName(c.cfg) && c.endpoints != nil {
			m.rebuild(c)
			return
		}
		c.endpoints = nil
	case xdsresource.ClusterStrictDNS, xdsresource.ClusterLogicalDNS:
		same := old != nil && old.Type == c.cfg.Type && reflect.DeepEqual(old.Endpoints, c.cfg.Endpoints) && c.endpoints != nil
		if same {
			m.rebuild(c)
		} else {
			c.endpoints = nil
		}
		if c.cfg.DNS.WarmAtOnce && c.endpoints == nil {
			c.endpoints = resolvedEndpoints(c.cfg, nil)
			m.rebuild(c)
		}
		m.startDNS(c)
	case xdsresource.ClusterDynamic:
		m.startNames(c)
	default:
		if c.cfg.Type == xdsresource.ClusterOriginalDst {
			c.nextClean = time.Now().Add(c.cfg.CleanupInterval)
			m.queue.put(func() {}) // let Run see the new timer
		}
		c.endpoints = c.cfg.Endpoints
		if c.endpoints == nil {
			c.endpoints = &xdsresource.Endpoints{}
		}
		m.rebuild(c)
	}
}

func edsName(c *xdsresource.Cluster) string {
	if c.EDSServiceName != "" {
		return c.EDSServiceName
	}
	return c.Name
}

// UpdateEndpoints gives every EDS cluster of that service name (default: the cluster's
// name) new endpoints. It reports whether there was one.
func (m *Manager) UpdateEndpoints(name string, e *xdsresource.Endpoints) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	// The usual case first: clusters and their EDS resources share names.
	if c := m.clusters[name]; c != nil && c.cfg.Type == xdsresource.ClusterEDS && edsName(c.cfg) == name {
		m.setEndpoints(c, e)
		found = true
	}
	for _, c := range m.clusters {
		if c.name != name && c.cfg.Type == xdsresource.ClusterEDS && edsName(c.cfg) == name {
			m.setEndpoints(c, e)
			found = true
		}
	}
	return found
}

// SetEndpoints gives one EDS cluster new endpoints; for any other name it does nothing.
func (m *Manager) SetEndpoints(name string, e *xdsresource.Endpoints) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[name]; c != nil && c.cfg.Type == xdsresource.ClusterEDS {
		m.setEndpoints(c, e)
	}
}

// WithoutEndpoints has an EDS cluster that has no endpoints yet go on without any. late: because they
// have not come in time, which is counted.
func (m *Manager) WithoutEndpoints(name string, late bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[name]
	if c == nil || c.cfg.Type != xdsresource.ClusterEDS || c.endpoints != nil {
		return
	}
	if late {
		m.count(c, InitFetchTimeout)
	}
	c.endpoints = &xdsresource.Endpoints{ClusterName: edsName(c.cfg), OverprovisioningFactor: 140}
	m.rebuild(c)
}

func (m *Manager) setEndpoints(c *Cluster, e *xdsresource.Endpoints) {
	c.endpoints = e
	m.count(c, UpdateSuccess)
	m.watchStale(c, e)
	if countEndpoints(e) == 0 {
		m.count(c, UpdateEmpty)
	}
	m.rebuild(c)
}

// watchStale drops endpoints that their sender does not confirm in time (endpoint_stale_after):
// better none than ones that may be anybody's by now.
func (m *Manager) watchStale(c *Cluster, e *xdsresource.Endpoints) {
	if c.stale != nil {
		c.stale.Stop()
		c.stale = nil
	}
	if e.StaleAfter <= 0 {
		return
	}
	m.count(c, AssignmentTimeoutReceived)
	c.stale = time.AfterFunc(e.StaleAfter, func() {
		m.queue.put(func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.clusters[c.name] != c || c.endpoints != e {
				return
			}
			m.count(c, AssignmentStale)
			c.endpoints = &xdsresource.Endpoints{ClusterName: e.ClusterName, OverprovisioningFactor: e.OverprovisioningFactor}
			m.rebuild(c)
		})
	})
}

func countEndpoints(e *xdsresource.Endpoints) int {
	n := 0
	for i := range e.Localities {
		n += len(e.Localities[i].Endpoints)
	}
	return n
}

// Remove takes a cluster away: workers close its pools, streams on it find no host.
func (m *Manager) Remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[name]
	if c == nil {
		return
	}
	delete(m.clusters, name)
	if c.cancelDNS != nil {
		c.cancelDNS()
	}
	m.endChecks(c)
	c.merge.end()
	if c.stale != nil {
		c.stale.Stop()
	}
	m.warm(c)
	c.seen = false
	c.transport.retire(&transports{}, m.endTransport)
	c.names.end()
	c.owned.Close()
	m.post(c, func(lm *LocalManager) { lm.remove(c) })
}

func (m *Manager) endTransport(t any) {
	if m.cfg.EndTransport != nil {
		m.cfg.EndTransport(t)
	}
}

// Names returns the names of all clusters, warm or not, in no order.
func (m *Manager) Names() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	names := make([]string, 0, len(m.clusters))
	for n := range m.clusters {
		names = append(names, n)
	}
	return names
}

func (m *Manager) warm(c *Cluster) {
	if !c.isWarm {
		c.isWarm, c.seen = true, true
		m.gauge(c, WarmingState, 0)
		close(c.warmed)
	}
}

// post runs f on every worker that uses the cluster.
func (m *Manager) post(c *Cluster, f func(*LocalManager)) {
	for i, w := range m.cfg.Workers {
		if c.used[i].Load() {
			lm := m.locals[i]
			w.Post(func() { f(lm) })
		}
	}
}

// rebuild makes hosts of the cluster's endpoints and publishes them.
func (m *Manager) rebuild(c *Cluster) {
	before := len(c.ordered)
	changed := m.buildHosts(c)
	if changed || before != len(c.ordered) {
		m.count(c, MembershipChange)
	}
	m.checkHosts(c)
	m.change(c, !changed && before == len(c.ordered))
	m.warmChecked(c)
}

// buildHosts fills c.ordered from c.endpoints, keeping the hosts that it has. It reports
// whether a host came or went.
func (m *Manager) buildHosts(c *Cluster) bool {
	// The maps live for this call only: thousands of clusters have hosts.
	old := make(map[hostKey]*Host, len(c.ordered))
	for _, h := range c.ordered {
		old[h.key()] = h
	}
	n := countEndpoints(c.endpoints)
	hosts := make(map[hostKey]*Host, n)
	ordered := make([]*Host, 0, n)
	changed := false
	var info *HostInfo
	for li := range c.endpoints.Localities {
		l := &c.endpoints.Localities[li]
		loc := Locality{l.Region, l.Zone, l.SubZone}
		for ei := range l.Endpoints {
			e := &l.Endpoints[ei]
			cfg, match, transport := c.transport.choose(e)
			key := hostKey{addressName(e.Address), e.Hostname, cfg, valueOf(e.Check)}
			if hosts[key] != nil {
				continue // the same endpoint twice: the first counts, as in Envoy
			}
			h := old[key]
			if h == nil {
				h = &Host{Address: e.Address, Name: key.name, Hostname: e.Hostname, Transport: transport, transport: cfg, TransportMatch: match, check: e.Check}
				m.cfg.Stats.Main().Inc(c.scope.Counter(cmp.Or(match, "default") + ".total_match_count"))
				changed = true
			}
			if info == nil || info.Weight != max(e.Weight, 1) || info.Priority != l.Priority || info.Health != e.Health ||
				info.Locality != loc || e.Metadata != nil || info.Metadata != nil || e.More != nil || info.Addresses != nil || e.TLVs != nil || info.TLVs != nil {
				// Hosts of which the same is known share it: most of a cluster do.
				info = &HostInfo{Weight: max(e.Weight, 1), Priority: l.Priority, Health: e.Health, Locality: loc, Metadata: e.Metadata,
					Addresses: connectOrder(&c.cfg.Eyeballs, e.Address, e.More), TLVs: e.TLVs}
			}
			if c.cfg.Outlier != nil && h.history == nil {
				h.history = newHistory()
			}
			h.info.Store(info)
			h.setFlag(failedEDSHealth, e.Health == xdsresource.HealthUnhealthy || e.Health == xdsresource.HealthTimeout)
			h.setFlag(edsDraining, e.Health == xdsresource.HealthDraining)
			h.setFlag(degradedEDSHealth, e.Health == xdsresource.HealthDegraded)
			h.setFlag(pendingDynamicRemoval, false)
			hosts[key] = h
			ordered = append(ordered, h)
		}
	}
	for _, h := range c.ordered {
		if hosts[h.key()] != nil {
			continue
		}
		if c.stays(h) {
			h.setFlag(pendingDynamicRemoval, true)
			ordered = append(ordered, h)
			continue
		}
		changed = true
	}
	c.ordered = ordered
	return changed
}

// now is the manager's clock in nanoseconds, never 0. It may be read anywhere.
func (m *Manager) now() int64 { return int64(time.Since(m.began)) + 1 }

func (m *Manager) count(c *Cluster, s Stat) {
	b, i := c.block(s)
	m.cfg.Stats.Main().Inc(b.Counter(i))
}

func (m *Manager) gauge(c *Cluster, s Stat, v int64) {
	b, i := c.block(s)
	m.cfg.Stats.Main().GaugeSet(b.Gauge(i), v)
}

// block is where a statistic stands; those of what is not configured stand nowhere.
func (c *Cluster) block(s Stat) (stats.Block, int) {
	if s < baseStats {
		return c.stats, int(s)
	}
	return c.outlierStats, int(s - baseStats)
}

// setDetector gives the cluster a detector for its configuration, or takes it away; hosts
// that are out come back when detection is turned off.
func (m *Manager) setDetector(c *Cluster) {
	o := c.cfg.Outlier
	if o == nil {
		if c.det != nil {
			for _, h := range c.ordered {
				h.setFlag(failedOutlierCheck|degradedOutlier, false)
			}
			m.gauge(c, EjectionsActive, 0)
		}
		c.det = nil
		return
	}
	for _, h := range c.ordered {
		if h.history == nil {
			h.history = newHistory()
		}
	}
	c.outlierStats = c.scope.Block(outlierSet)
	c.det = &detector{
		cfg:    o,
		notify: func(h *Host, why cause) { m.queue.put(func() { m.onOutlier(c, h, why) }) },
		count:  func(s Stat) { m.count(c, s) },
		gauge:  func(s Stat, v int64) { m.gauge(c, s, v) },
		random: randomBelow, average: [2]float64{-1, -1}, threshold: [2]float64{-1, -1},
	}
	if log := m.cfg.OutlierLog; log != nil {
		c.det.event = func(e *outlierEvent) { log.Write(e.line(c.name)) }
	}
	if c.nextSweep.IsZero() {
		c.nextSweep = time.Now().Add(o.Interval)
		m.queue.put(func() {}) // let Run see the new timer
	}
}

package autoregistration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

const (
	// defaultGrace is Istio's PILOT_WORKLOAD_ENTRY_GRACE_PERIOD.
	defaultGrace = 10 * time.Second
	// defaultAbsence is how long the proxies of an earlier process may take to come back; Envoy tries every 30 s at the latest.
	defaultAbsence = 5 * time.Minute
	// visibleTimeout bounds how long a stream waits for its workload's entry to be part of the mesh.
	visibleTimeout = 5 * time.Second
	// retryAfter is when a file that could not be written is tried again.
	retryAfter = time.Second
)

// Options say how a registrar works. Instance is required.
type Options struct {
	// Dir is the folder of the registry of local workloads. "" refuses every registration.
	Dir string
	// Instance is this control plane's name, which entries carry.
	Instance string
	// Grace is how long an entry stays when its proxy has gone. Default 10 s.
	Grace time.Duration
	// Absence is how long entries of an earlier process stay whose proxies do not come back. Default 5 min.
	Absence time.Duration
	// Logger gets a line for each entry that comes or goes. Default: none.
	Logger *slog.Logger
	// Registerer gets Istio's auto_registration_* metrics; nil for none.
	Registerer prometheus.Registerer
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Registrar keeps the entries. Make one with New; its methods may be called from any goroutine.
type Registrar struct {
	opts    Options
	log     *slog.Logger
	files   files
	metrics metrics
	wake    chan struct{} // one place: Run has something to look at

	mu      sync.Mutex
	snap    *model.Snapshot
	renewed chan struct{} // closed with the next snapshot
	members map[string]*member
}

// member is a workload that has registered.
type member struct {
	entry
	proxy       *model.Proxy // as it connected; nil until it has come back to this process
	connections int
	removeAt    time.Time // zero while it is connected
	rewrite     bool      // the file is not what it should be
	removed     bool      // there is no file: its group is gone
}

// New returns a registrar that knows nothing yet; Load and Run follow.
func New(opts Options) *Registrar {
	if opts.Grace <= 0 {
		opts.Grace = defaultGrace
	}
	if opts.Absence <= 0 {
		opts.Absence = defaultAbsence
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Registrar{
		opts: opts, log: opts.Logger, files: files{opts.Dir}, metrics: newMetrics(opts.Registerer), wake: make(chan struct{}, 1),
		snap: &model.Snapshot{}, renewed: make(chan struct{}), members: map[string]*member{},
	}
}

// Load reads what an earlier process has left. Call it before the first connection.
func (r *Registrar) Load() error {
	if r.opts.Dir == "" {
		return nil
	}
	left, err := r.files.read()
	if err != nil {
		return err
	}
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range left {
		m := &member{entry: e, removeAt: now.Add(r.opts.Absence)}
		if !e.disconnected.IsZero() {
			m.removeAt = now.Add(r.opts.Grace)
		}
		r.members[e.key()] = m
	}
	return nil
}

// Connect registers the workload of a proxy that names a group, and returns the proxy as it is to be served: with its entry's name and labels, and with the
// entry's place and network where the node names none. It waits until the entry is part of the mesh. The caller calls leave when the connection has
// ended. A proxy that names no group is returned as it is. The error says why the workload is not registered; its proxy is to be sent away.
func (r *Registrar) Connect(ctx context.Context, p *model.Proxy) (served *model.Proxy, leave func(), err error) {
	if p.Group == "" {
		return p, func() {}, nil
	}
	name, err := r.check(p)
	if err != nil {
		r.metrics.errors.Inc()
		return nil, nil, fmt.Errorf("registration by WorkloadGroup %s/%s: %w", p.Namespace, p.Group, err)
	}
	key := p.Namespace + "/" + name
	m, err := r.connect(key, name, p)
	if err != nil {
		r.metrics.errors.Inc()
		return nil, nil, fmt.Errorf("registration by WorkloadGroup %s/%s: %w", p.Namespace, p.Group, err)
	}
	r.await(ctx, key)
	q := *p
	q.Entry, q.Labels = name, m.workload.Labels
	if q.Locality == (model.Locality{}) {
		q.Locality = m.workload.Locality
	}
	if q.Network == "" {
		q.Network = m.workload.Network
	}
	return &q, sync.OnceFunc(func() { r.leave(key) }), nil
}

// check says whether a proxy may register, and returns its entry's name.
func (r *Registrar) check(p *model.Proxy) (string, error) {
	g := r.group(p.Namespace, p.Group)
	switch {
	case r.opts.Dir == "":
		return "", errors.New("this control plane has no folder for WorkloadEntries (--workloads-dir)")
	case g == nil:
		return "", errors.New("there is no such WorkloadGroup")
	case !p.Verified:
		return "", errors.New("the proxy has not proved who it is; it must connect to the TLS port")
	case g.Template.ServiceAccount != "" && g.Template.ServiceAccount != p.ServiceAccount:
		return "", fmt.Errorf("the group is for service account %q, and the proxy's is %q", g.Template.ServiceAccount, p.ServiceAccount)
	}
	return entryName(p)
}

func (r *Registrar) group(namespace, name string) *model.WorkloadGroup {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, _ := r.snap.WorkloadGroups.Get(namespace + "/" + name)
	return g
}

// connect counts a connection and writes the entry. It returns a copy of the member.
func (r *Registrar) connect(key, name string, p *model.Proxy) (member, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, ok := r.snap.WorkloadGroups.Get(p.Namespace + "/" + p.Group)
	if !ok {
		return member{}, errors.New("there is no such WorkloadGroup")
	}
	now := r.opts.Now()
	m, known := r.members[key]
	next := member{entry: newEntry(name, p, g, r.probed()), proxy: p}
	next.created, next.connected, next.controller = now, now, r.opts.Instance
	if known {
		next.created, next.health, next.checks, next.connections = m.created, m.health, next.checks || m.checks && m.health.Type != "", m.connections
	}
	if err := r.files.write(&next.entry); err != nil {
		return member{}, err
	}
	next.connections++
	r.members[key] = &next
	if known {
		r.metrics.updates.Inc()
	} else {
		r.metrics.success.Inc()
		r.log.Info("workload registered", "entry", key, "group", g.Name, "node", p.ID)
	}
	return next, nil
}

// leave ends a connection. With the last one the entry's time begins to run.
func (r *Registrar) leave(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[key]
	if m == nil {
		return
	}
	if m.connections--; m.connections > 0 {
		return
	}
	now := r.opts.Now()
	m.removeAt, m.disconnected, m.connected = now.Add(r.opts.Grace), now, time.Time{}
	r.metrics.unregistrations.Inc()
	r.save(m)
	r.look()
}

// Health notes what a workload's agent has said of it.
func (r *Registrar) Health(p *model.Proxy, healthy bool, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[p.Namespace+"/"+p.Entry]
	if p.Entry == "" || m == nil {
		r.log.Warn("a proxy tells of its workload's health that no WorkloadGroup has registered; it has no effect", "node", p.ID)
		return
	}
	c := healthCondition(healthy, message, r.opts.Now())
	if m.checks && m.health.Status == c.Status && m.health.Message == c.Message {
		return
	}
	m.health, m.checks = c, true
	r.log.Info("workload's health", "entry", m.key(), "healthy", healthy, "message", message)
	r.save(m)
}

// save writes a member's file, and has Run try again when it cannot. Called with the lock held.
func (r *Registrar) save(m *member) {
	m.rewrite = false
	if m.proxy == nil || m.removed {
		return
	}
	if err := r.files.write(&m.entry); err != nil {
		r.metrics.errors.Inc()
		r.log.Error("workload's entry not written; trying again", "err", err)
		m.rewrite = true
		r.look()
	}
}

// Update tells of a new snapshot. It does not wait for what follows from it.
func (r *Registrar) Update(s *model.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.snap.Version == 0
	differs := !slices.Equal(r.snap.WorkloadGroups.Values(), s.WorkloadGroups.Values())
	r.snap = s
	close(r.renewed)
	r.renewed = make(chan struct{})
	if first || differs {
		r.look()
	}
}

func (r *Registrar) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// await returns once the entry is part of the mesh, or after a while.
func (r *Registrar) await(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	for {
		r.mu.Lock()
		_, there := r.snap.Workloads.Get(key)
		renewed := r.renewed
		r.mu.Unlock()
		if there {
			return
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return
		}
	}
}

// Run removes entries whose time is over and has the others follow their groups, until ctx ends.
func (r *Registrar) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		if at := r.settle(); !at.IsZero() {
			timer.Reset(max(at.Sub(r.opts.Now()), time.Millisecond))
		}
	}
}

// settle does what is due, and returns when it has to be called again; zero for when something happens.
func (r *Registrar) settle() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	var next time.Time
	soonest := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.members)) {
		m := r.members[key]
		if !m.removeAt.IsZero() && !now.Before(m.removeAt) {
			if err := r.files.remove(m.namespace, m.name); err != nil {
				r.metrics.errors.Inc()
				r.log.Error("workload's entry not removed; trying again", "err", err)
				soonest(now.Add(retryAfter))
				continue
			}
			delete(r.members, key)
			r.metrics.deletes.Inc()
			r.log.Info("workload's entry removed: its proxy has gone", "entry", key)
			continue
		}
		if !m.removeAt.IsZero() {
			soonest(m.removeAt)
		}
		r.follow(m)
		if m.rewrite {
			r.save(m)
		}
		if m.rewrite {
			soonest(now.Add(retryAfter))
		}
	}
	return next
}

// probed reports whether the mesh has a probe for groups without one.
func (r *Registrar) probed() bool { return r.snap.Mesh != nil && r.snap.Mesh.Probe != nil }

// follow has a member's entry be what its group says now. Without its group it has none, as in Kubernetes, where the group owns it.
func (r *Registrar) follow(m *member) {
	if r.snap.Version == 0 {
		return // nothing is known yet
	}
	g, ok := r.snap.WorkloadGroups.Get(m.namespace + "/" + m.group.Name)
	switch {
	case !ok && !m.removed:
		if err := r.files.remove(m.namespace, m.name); err != nil {
			r.log.Error("entry of a WorkloadGroup that is gone not removed", "err", err)
			return
		}
		m.removed, m.rewrite = true, false
		r.log.Info("workload's entry removed: its WorkloadGroup is gone", "entry", m.key())
	case ok && m.proxy != nil && (m.removed || g.Rev != m.group.Rev || r.probed() != m.probed):
		e := newEntry(m.name, m.proxy, g, r.probed())
		e.created, e.connected, e.disconnected, e.controller, e.health = m.created, m.connected, m.disconnected, m.controller, m.health
		m.entry, m.removed, m.rewrite = e, false, true
	}
}

// metrics carry Istio's names.
type metrics struct{ success, updates, unregistrations, deletes, errors prometheus.Counter }

func newMetrics(reg prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	return metrics{
		success:         counter("auto_registration_success_total", "Total number of successful auto registrations."),
		updates:         counter("auto_registration_updates_total", "Total number of auto registration updates."),
		unregistrations: counter("auto_registration_unregister_total", "Total number of unregistrations."),
		deletes:         counter("auto_registration_deletes_total", "Total number of auto registration cleaned up by periodic timer."),
		errors:          counter("auto_registration_errors_total", "Total number of auto registration errors."),
	}
}

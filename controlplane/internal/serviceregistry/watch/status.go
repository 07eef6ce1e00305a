package watch

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Status is how a registry is doing.
type Status struct {
	Registry string `json:"registry"` // "Consul", "Nomad"
	Name     string `json:"name"`     // the registry's name as a source, with its address
	// Connected says that the list of services is being followed: the last query for it was answered.
	Connected bool `json:"connected"`
	// LastContact is when the list was last answered.
	LastContact time.Time `json:"lastContact,omitzero"`
	// LastError and LastErrorAt are kept after the registry has come back.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	Services    int       `json:"services"`
	Endpoints   int       `json:"endpoints"`
	// Warning is what is wrong with the list as a whole.
	Warning string `json:"warning,omitempty"`
	// Failing are services that cannot be read now; what was last read of them stays.
	Failing map[string]string `json:"failing,omitempty"`
	// Problems are what has no effect, by service.
	Problems map[string][]string `json:"problems,omitempty"`
}

// Metrics are the metrics of all registries. A nil *Metrics counts nothing.
type Metrics struct {
	connected, services, endpoints, lastError *prometheus.GaugeVec
	errors, events, queries                   *prometheus.CounterVec
}

// NewMetrics registers the metrics of registries.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"registry"})
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"registry"}, labels...))
	}
	m := &Metrics{
		connected: gauge("lateen_registry_connected", "1 while the registry's list of services is being followed, else 0."),
		services:  gauge("lateen_registry_services", "Services that the registry has given."),
		endpoints: gauge("lateen_registry_endpoints", "Endpoints that the registry has given, unhealthy ones included."),
		lastError: gauge("lateen_registry_last_error_timestamp_seconds", "When a query to the registry last failed, as Unix time; 0 for never."),
		errors:    counter("lateen_registry_errors_total", "Queries to the registry that failed."),
		queries:   counter("lateen_registry_queries_total", "Queries that the registry answered."),
		events:    counter("lateen_registry_events_total", "Services that changed or went, as the registry told.", "event"),
	}
	reg.MustRegister(m.connected, m.services, m.endpoints, m.lastError, m.errors, m.queries, m.events)
	return m
}

// Begin makes the series of a registry, so that they exist before the first event.
func (m *Metrics) Begin(registry string) {
	if m == nil {
		return
	}
	m.connected.WithLabelValues(registry).Set(0)
	m.lastError.WithLabelValues(registry).Set(0)
	m.services.WithLabelValues(registry).Set(0)
	m.endpoints.WithLabelValues(registry).Set(0)
	m.errors.WithLabelValues(registry).Add(0)
	m.queries.WithLabelValues(registry).Add(0)
}

// Contact counts an answer of a registry, which is followed whole or not.
func (m *Metrics) Contact(registry string, connected bool) {
	if m == nil {
		return
	}
	m.queries.WithLabelValues(registry).Inc()
	if connected {
		m.connected.WithLabelValues(registry).Set(1)
	} else {
		m.Away(registry)
	}
}

// Away says that a registry is not followed now.
func (m *Metrics) Away(registry string) {
	if m != nil {
		m.connected.WithLabelValues(registry).Set(0)
	}
}

// Failed counts a query that failed.
func (m *Metrics) Failed(registry string, at time.Time) {
	if m == nil {
		return
	}
	m.errors.WithLabelValues(registry).Inc()
	m.lastError.WithLabelValues(registry).Set(float64(at.UnixMilli()) / 1000)
}

// Delivered counts a delta, and what there is after it.
func (m *Metrics) Delivered(registry string, d Delta, services, endpoints int) {
	if m == nil {
		return
	}
	m.events.WithLabelValues(registry, "update").Add(float64(len(d.Changed) + len(d.Placed)))
	m.events.WithLabelValues(registry, "delete").Add(float64(len(d.Removed) + len(d.Gone)))
	m.services.WithLabelValues(registry).Set(float64(services))
	m.endpoints.WithLabelValues(registry).Set(float64(endpoints))
}

// board is the status that many goroutines write and pages read.
type board struct {
	metrics *Metrics
	now     func() time.Time

	mu         sync.Mutex
	s          Status
	listError  string            // the last failure of the list
	unlistable map[string]string // names that cannot be services
}

func newBoard(registry, name string, m *Metrics, now func() time.Time) *board {
	b := &board{metrics: m, now: now, s: Status{Registry: registry, Name: name, Failing: map[string]string{}, Problems: map[string][]string{}}}
	m.Begin(name)
	return b
}

func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.s
	s.Failing, s.Problems = maps.Clone(s.Failing), maps.Clone(s.Problems)
	for name, why := range b.unlistable {
		s.Problems[name] = []string{why}
	}
	return s
}

// listed notes an answer to the query for the list; it reports whether the registry was away before, and whether the warning is a new one.
func (b *board) listed(l List) (back, warn bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	back, warn = !b.s.Connected, l.Warning != "" && l.Warning != b.s.Warning
	b.s.Connected, b.s.LastContact, b.s.Warning = true, b.now(), l.Warning
	b.unlistable, b.listError = l.Problems, ""
	b.metrics.Contact(b.s.Name, true)
	return back, warn
}

// unlisted notes a failure of that query, and reports whether it is the first after an answer or says something new.
func (b *board) unlisted(err error) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	news = b.s.Connected || b.listError != err.Error()
	b.s.Connected, b.listError = false, err.Error()
	b.failed(err)
	b.metrics.Away(b.s.Name)
	return news
}

// read notes an answer to the query for a service; it returns the problems that are new.
func (b *board) read(name string, problems []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.s.Failing, name)
	var news []string
	for _, p := range problems {
		if !slices.Contains(b.s.Problems[name], p) {
			news = append(news, p)
		}
	}
	if len(problems) > 0 {
		b.s.Problems[name] = problems
	} else {
		delete(b.s.Problems, name)
	}
	if b.metrics != nil {
		b.metrics.queries.WithLabelValues(b.s.Name).Inc()
	}
	return news
}

// unread notes a failure of that query, and reports whether to say so: it is the service's own, since the list is answered.
func (b *board) unread(name string, err error) (own bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Failing[name] = err.Error()
	b.failed(err)
	return b.s.Connected
}

// failed is called with the lock held.
func (b *board) failed(err error) {
	b.s.LastError, b.s.LastErrorAt = err.Error(), b.now()
	b.metrics.Failed(b.s.Name, b.s.LastErrorAt)
}

// forget drops what is known of a service that is no longer listed.
func (b *board) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.s.Failing, name)
	delete(b.s.Problems, name)
}

// delivered counts a delta, and what there is after it.
func (b *board) delivered(d Delta, services, endpoints int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Services, b.s.Endpoints = services, endpoints
	b.metrics.Delivered(b.s.Name, d, services, endpoints)
}

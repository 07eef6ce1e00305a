package cluster

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/healthcheck"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// memoryLog is an event log that is read back.
type memoryLog struct {
	mu     sync.Mutex
	lines  strings.Builder
	closed bool
}

func (l *memoryLog) Write(line []byte) { l.mu.Lock(); l.lines.Write(line); l.mu.Unlock() }
func (l *memoryLog) Close()            { l.mu.Lock(); l.closed = true; l.mu.Unlock() }

func (l *memoryLog) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.lines.String() }

// checkedMesh is a running manager with one worker that applies updates at once.
func checkedMesh(t *testing.T) (*mesh, *memoryLog) {
	t.Helper()
	events := &memoryLog{}
	m := &mesh{store: stats.NewStore(stats.Options{Workers: 1})}
	w := &inline{}
	m.workers = []*inline{w}
	m.Manager = New(Config{Workers: []Worker{w}, Stats: m.store, Logger: slog.New(slog.DiscardHandler),
		OpenLog: func(string) (EventLog, error) { return events, nil }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	m.until(t, "running", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.ctx != nil })
	return m, events
}

func (m *mesh) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		m.run()
	}
}

// unchecked warms a cluster by hand, for a test that feeds the results of checks and so has no Run.
func (m *mesh) unchecked(name string) *Local {
	m.mu.Lock()
	m.warm(m.clusters[name])
	m.mu.Unlock()
	return m.Local(0).Get(name)
}

func quick() *xdsresource.HealthCheck {
	d := 5 * time.Millisecond
	return &xdsresource.HealthCheck{
		Timeout: time.Second, Interval: d, NoTrafficInterval: d, NoTrafficHealthyInterval: d, UnhealthyInterval: d, UnhealthyEdgeInterval: d, HealthyEdgeInterval: d,
		HealthyThreshold: 2, UnhealthyThreshold: 2, ReuseConnection: true, EventLogs: []string{"x"},
		HTTP: &xdsresource.HTTPHealthCheck{Path: "/", Method: "GET", Expected: []xdsresource.StatusRange{{Start: 200, End: 201}}},
	}
}

// web is a host that is well or not.
func web(t *testing.T) (addr string, up *atomic.Bool) {
	up = &atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(503)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), up
}

func (m *mesh) flags(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.clusters["c"].ordered {
		if h.Name == name {
			return strings.Join(h.HealthFlags(), "/")
		}
	}
	return "gone"
}

// TestActiveHealthChecks is the whole way: a cluster warms when all hosts were asked, hosts
// come and go by what they answer, and stay as they are over an update that keeps the check.
func TestActiveHealthChecks(t *testing.T) {
	m, events := checkedMesh(t)
	a, aUp := web(t)
	b, bUp := web(t)
	aUp.Store(true)
	c := static("c", a, b)
	c.PanicThreshold = 0
	c.HealthChecks = []*xdsresource.HealthCheck{quick()}
	warm := m.update(t, c)
	m.until(t, "warm", func() bool { return closed(warm) })
	l := m.Local(0).Get("c")
	if got := picks(l, 10); got[a] != 10 {
		t.Fatalf("picks %v, want only the host that is well", got)
	}
	if m.flags(b) != "failed_active_hc" {
		t.Errorf("flags %q", m.flags(b))
	}
	bUp.Store(true)
	m.until(t, "the second host comes", func() bool { return picks(l, 10)[b] == 5 })
	aUp.Store(false)
	m.until(t, "the first host goes", func() bool { return picks(l, 10)[a] == 0 })

	same := *c
	same.ConnectTimeout = time.Minute
	if !closed(m.update(t, &same)) || m.flags(b) != "" {
		t.Errorf("after an update flags are %q", m.flags(b))
	}
	m.until(t, "statistics", func() bool {
		return m.stat(t, "cluster.c.health_check.healthy") == 1 && m.stat(t, "cluster.c.health_check.success") > 2 &&
			m.stat(t, "cluster.c.health_check.failure") > 2 && m.stat(t, "cluster.c.health_check.attempt") > 4
	})
	for _, want := range []string{`"add_healthy_event":{"first_check":true}`, `"add_healthy_event":{"first_check":false}`, `"eject_unhealthy_event":{"failure_type":"ACTIVE"`, `"health_checker_type":"HTTP"`} {
		if !strings.Contains(events.String(), want) {
			t.Errorf("no %s in the event log:\n%s", want, events)
		}
	}
	without := *c
	without.HealthChecks = nil
	m.update(t, &without)
	m.run()
	if m.flags(a) != "" || !events.closed {
		t.Error("without checks hosts keep their marks")
	}
}

// TestChecksBeforeRun: a cluster that is there before the manager runs is checked before it is warm.
func TestChecksBeforeRun(t *testing.T) {
	m := newMesh(t, 1, nil)
	a, up := web(t)
	up.Store(true)
	c := static("c", a)
	c.HealthChecks = []*xdsresource.HealthCheck{quick()}
	c.HealthChecks[0].EventLogs = nil
	warm := m.update(t, c)
	if closed(warm) || m.Local(0).Get("c") != nil {
		t.Error("warm without a check")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	defer func() { cancel(); <-done }()
	m.until(t, "warm", func() bool { return closed(warm) })
	if m.stat(t, "cluster.c.health_check.success") == 0 || m.flags(a) != "" {
		t.Errorf("warm with flags %q", m.flags(a))
	}
}

// TestHealthFlags feeds results by hand: exclusion, passive failures, ejected hosts, new ones.
func TestHealthFlags(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := static("c", "10.0.0.1:80", "10.0.0.2:80")
	c.HealthChecks, c.IgnoreNewHosts = []*xdsresource.HealthCheck{quick()}, true
	o := defaults()
	o.UnejectOnHealthCheck = true
	c.Outlier = &o
	if closed(m.update(t, c)) {
		t.Fatal("warm before its hosts were checked")
	}
	l := m.unchecked("c")
	if got := m.flags("10.0.0.1:80"); got != "failed_active_hc/pending_active_hc" {
		t.Errorf("a new host has flags %q", got)
	}
	if m.stat(t, "cluster.c.membership_excluded") != 2 {
		t.Error("new hosts are not excluded")
	}
	cl := m.clusters["c"]
	feed := func(name string, r healthcheck.Result) {
		m.mu.Lock()
		for h, all := range cl.checks.hosts {
			if h.Name == name {
				m.takeResult(cl, h, all[0], r)
			}
		}
		m.mu.Unlock()
		m.run()
	}
	feed("10.0.0.1:80", healthcheck.Result{})
	// One of one counted host is well: no panic, though half of all are not.
	if got := picks(l, 10); got["10.0.0.1:80"] != 10 || m.stat(t, "cluster.c.lb_healthy_panic") != 0 {
		t.Errorf("picks %v", got)
	}
	feed("10.0.0.2:80", healthcheck.Result{Degraded: true})
	if m.flags("10.0.0.2:80") != "degraded_active_hc" || m.stat(t, "cluster.c.health_check.degraded") != 1 || m.stat(t, "cluster.c.membership_degraded") != 1 {
		t.Errorf("flags %q", m.flags("10.0.0.2:80"))
	}
	for h, lh := range l.hosts {
		if h.Name == "10.0.0.2:80" {
			lh.ImmediateFailure()
		}
	}
	for _, f := range m.queue.take() {
		f()
	}
	if got := m.flags("10.0.0.2:80"); got != "failed_active_hc/degraded_active_hc/excluded_via_immediate_hc_fail" || m.stat(t, "cluster.c.health_check.passive_failure") != 1 {
		t.Errorf("after an immediate failure flags are %q", got)
	}
	for h := range l.hosts {
		h.setFlag(failedOutlierCheck, true)
	}
	feed("10.0.0.1:80", healthcheck.Result{})
	if m.flags("10.0.0.1:80") != "" {
		t.Errorf("a successful check leaves flags %q", m.flags("10.0.0.1:80"))
	}
	feed("10.0.0.1:80", healthcheck.Result{Outcome: healthcheck.Timeout})
	feed("10.0.0.1:80", healthcheck.Result{Outcome: healthcheck.Timeout})
	if got := m.flags("10.0.0.1:80"); got != "failed_active_hc/active_hc_timeout" {
		t.Errorf("after two time-outs flags are %q", got)
	}
}

// TestRemovedButHealthy: a host that discovery forgets stays while it passes its checks.
func TestRemovedButHealthy(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		m := newMesh(t, 1, nil)
		c := eds("c")
		c.HealthChecks, c.RemoveHealthyHosts = []*xdsresource.HealthCheck{quick()}, atOnce
		m.update(t, c)
		m.UpdateEndpoints("c", endpoints("10.0.0.1:80", "10.0.0.2:80"))
		cl := m.clusters["c"]
		feed := func(name string, r healthcheck.Result) {
			m.mu.Lock()
			for h, all := range cl.checks.hosts {
				if h.Name == name {
					m.takeResult(cl, h, all[0], r)
				}
			}
			m.mu.Unlock()
			m.run()
		}
		feed("10.0.0.1:80", healthcheck.Result{})
		feed("10.0.0.2:80", healthcheck.Result{})
		l := m.Local(0).Get("c")
		m.UpdateEndpoints("c", endpoints("10.0.0.1:80"))
		m.run()
		want := "pending_dynamic_removal"
		if atOnce {
			want = "gone"
		}
		if got := m.flags("10.0.0.2:80"); got != want || atOnce != (picks(l, 10)["10.0.0.2:80"] == 0) {
			t.Fatalf("at once %v: flags %q, picks %v", atOnce, got, picks(l, 10))
		}
		if atOnce {
			continue
		}
		m.UpdateEndpoints("c", endpoints("10.0.0.1:80", "10.0.0.2:80"))
		if got := m.flags("10.0.0.2:80"); got != "" {
			t.Errorf("named again, it has flags %q", got)
		}
		m.UpdateEndpoints("c", endpoints("10.0.0.1:80"))
		feed("10.0.0.2:80", healthcheck.Result{Outcome: healthcheck.Active})
		if got := m.flags("10.0.0.2:80"); got != "gone" || picks(l, 10)["10.0.0.2:80"] != 0 {
			t.Errorf("after a failed check it has flags %q", got)
		}
	}
}

// TestSeveralHealthChecks: a host is well when every check finds it well; what else they find shows when all have been there.
func TestSeveralHealthChecks(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := static("c", "10.0.0.1:80", "10.0.0.2:80")
	c.PanicThreshold = 0
	one, two := quick(), quick()
	one.Name, two.Name = "one", "two"
	one.UnhealthyThreshold, two.UnhealthyThreshold = 1, 1
	one.HealthyThreshold, two.HealthyThreshold = 1, 1
	c.HealthChecks = []*xdsresource.HealthCheck{one, two}
	m.update(t, c)
	l := m.unchecked("c")
	cl := m.clusters["c"]
	const addr = "10.0.0.1:80"
	feed := func(check int, r healthcheck.Result) {
		m.mu.Lock()
		for h, all := range cl.checks.hosts {
			if h.Name == addr {
				m.takeResult(cl, h, all[check], r)
			}
		}
		m.mu.Unlock()
		m.run()
	}
	bad, good := healthcheck.Result{Outcome: healthcheck.Timeout}, healthcheck.Result{}
	for i, s := range []struct {
		check   int
		result  healthcheck.Result
		flags   string
		healthy int64 // of all checks
		picks   int
	}{
		{0, healthcheck.Result{Degraded: true}, "failed_active_hc", 0, 0},
		{0, bad, "failed_active_hc", 0, 0},
		{1, good, "failed_active_hc/degraded_active_hc/active_hc_timeout", 0, 0},
		{0, good, "", 1, 10},
		{1, bad, "failed_active_hc/active_hc_timeout", 0, 0},
		{0, healthcheck.Result{Degraded: true}, "failed_active_hc/degraded_active_hc/active_hc_timeout", 0, 0},
		{1, good, "degraded_active_hc", 1, 10},
	} {
		feed(s.check, s.result)
		if got := m.flags(addr); got != s.flags || m.stat(t, "cluster.c.health_check.healthy") != s.healthy || picks(l, 10)[addr] != s.picks {
			t.Errorf("step %d: flags %q, want %q; healthy %d, picks %v", i, got, s.flags, m.stat(t, "cluster.c.health_check.healthy"), picks(l, 10))
		}
	}
	for h, lh := range l.hosts {
		if h.Name == addr {
			lh.ImmediateFailure()
		}
	}
	for _, f := range m.queue.take() {
		f()
	}
	if got := m.flags(addr); got != "failed_active_hc/degraded_active_hc/excluded_via_immediate_hc_fail" {
		t.Errorf("after an immediate failure flags are %q", got)
	}
	for name, want := range map[string]int64{"name.one.success": 3, "name.one.failure": 1, "name.one.healthy": 1, "name.two.success": 2,
		"name.two.healthy": 0, "name.two.passive_failure": 1, "degraded": 1, "name.one.degraded": 1} {
		if got := m.stat(t, "cluster.c.health_check."+name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

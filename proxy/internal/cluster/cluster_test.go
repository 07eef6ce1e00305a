package cluster

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inline is a worker whose posted functions wait for the test to run them.
type inline struct {
	mu  sync.Mutex
	fns []func()
}

func (w *inline) Post(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns = append(w.fns, f)
	return true
}

func (w *inline) run() {
	for {
		w.mu.Lock()
		fns := w.fns
		w.fns = nil
		w.mu.Unlock()
		if len(fns) == 0 {
			return
		}
		for _, f := range fns {
			f()
		}
	}
}

// atOnce runs what is posted where it is posted: for tests that read statistics.
type atOnce struct{}

func (atOnce) Post(f func()) bool { f(); return true }

type mesh struct {
	*Manager
	workers []*inline
	store   *stats.Store
}

func newMesh(t *testing.T, workers int, r Resolver) *mesh {
	t.Helper()
	m := &mesh{store: stats.NewStore(stats.Options{Workers: workers})}
	cfg := Config{Stats: m.store, Logger: slog.New(slog.DiscardHandler), Resolver: r,
		NewTransport: func(c *xdsresource.UpstreamTransport) (any, error) { return "tls:" + c.TLS.SNI, nil }}
	for range workers {
		w := &inline{}
		m.workers = append(m.workers, w)
		cfg.Workers = append(cfg.Workers, w)
	}
	m.Manager = New(cfg)
	return m
}

func (m *mesh) run() {
	for _, w := range m.workers {
		w.run()
	}
}

func (m *mesh) stat(t *testing.T, name string) int64 {
	t.Helper()
	s, err := m.store.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := s.Value(name)
	if !ok {
		t.Fatalf("no statistic %q", name)
	}
	return v
}

func endpoint(addr string) xdsresource.Endpoint {
	a := netip.MustParseAddrPort(addr)
	return xdsresource.Endpoint{Address: xdsresource.Address{IP: a.Addr(), Port: a.Port()}, Weight: 1}
}

func endpoints(addrs ...string) *xdsresource.Endpoints {
	l := xdsresource.LocalityEndpoints{}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, endpoint(a))
	}
	return &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{l}}
}

func unlimited() [2]xdsresource.Breakers {
	b := xdsresource.Breakers{MaxConnections: math.MaxUint32, MaxPendingRequests: math.MaxUint32, MaxRequests: math.MaxUint32, MaxRetries: math.MaxUint32}
	return [2]xdsresource.Breakers{b, b}
}

func eds(name string) *xdsresource.Cluster {
	return &xdsresource.Cluster{Name: name, Type: xdsresource.ClusterEDS, Breakers: unlimited(), PanicThreshold: 50}
}

func static(name string, addrs ...string) *xdsresource.Cluster {
	return &xdsresource.Cluster{Name: name, Type: xdsresource.ClusterStatic, Breakers: unlimited(), PanicThreshold: 50, Endpoints: endpoints(addrs...)}
}

func (m *mesh) update(t *testing.T, c *xdsresource.Cluster) <-chan struct{} {
	t.Helper()
	ch, err := m.Update(c)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// picks counts hosts over n picks.
func picks(l *Local, n int) map[string]int {
	out := make(map[string]int)
	for i := range n {
		c := lb.Context{Rand: uint64(i) * 0x9e3779b97f4a7c15}
		if h := l.Pick(&c); h != nil {
			out[h.Host.Name]++
		} else {
			out[""]++
		}
	}
	return out
}

// advance lets a synctest bubble's clock pass d.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

type fakePool struct{ closed, drained, aborted int }

func (p *fakePool) Close() { p.closed++ }
func (p *fakePool) Drain() { p.drained++ }
func (p *fakePool) Abort() { p.aborted++ }

func TestEDSWarmsAndKeepsHosts(t *testing.T) {
	m := newMesh(t, 2, nil)
	warm := m.update(t, eds("c"))
	if closed(warm) || m.Local(0).Get("c") != nil {
		t.Fatal("warm before its endpoints have come")
	}
	if !m.UpdateEndpoints("c", endpoints("10.0.0.1:80", "10.0.0.2:80")) || !closed(warm) {
		t.Fatal("not warm with endpoints")
	}
	l := m.Local(0).Get("c")
	if got := picks(l, 10); got["10.0.0.1:80"] != 5 || got["10.0.0.2:80"] != 5 {
		t.Fatalf("picks %v", got)
	}
	pools := map[string]*fakePool{}
	for h, lh := range l.hosts {
		p := &fakePool{}
		pools[h.Name], lh.Pool = p, p
		lh.OnRequest()
	}
	// Endpoints change: what stays keeps its pool and statistics, what goes is closed.
	m.UpdateEndpoints("c", endpoints("10.0.0.2:80", "10.0.0.3:80"))
	if got := picks(l, 2); got["10.0.0.3:80"] != 0 {
		t.Fatal("the worker saw the change before it was posted")
	}
	m.run()
	if got := picks(l, 10); got["10.0.0.2:80"] != 5 || got["10.0.0.3:80"] != 5 {
		t.Fatalf("picks %v", got)
	}
	if pools["10.0.0.1:80"].closed != 1 || pools["10.0.0.2:80"].closed != 0 {
		t.Error("the wrong pools were closed")
	}
	// A new version of the cluster keeps them, too, and its endpoints need not come again.
	c2 := eds("c")
	c2.LB.Policy = xdsresource.LBRandom
	if !closed(m.update(t, c2)) {
		t.Error("an update with endpoints at hand is not warm")
	}
	m.run()
	for h, lh := range l.hosts {
		if h.Name == "10.0.0.2:80" && (lh.Stats.RqTotal != 1 || lh.Pool != pools["10.0.0.2:80"]) {
			t.Error("the host lost its statistics or pool")
		}
	}
	if m.stat(t, "cluster.c.membership_total") != 2 {
		t.Error("membership_total")
	}
	m.Remove("c")
	m.run()
	if m.Local(0).Get("c") != nil || pools["10.0.0.2:80"].closed != 1 || l.Pick(&lb.Context{}) != nil {
		t.Error("the removed cluster lives on")
	}
}

func TestTransportSocketMatch(t *testing.T) {
	m := newMesh(t, 1, nil)
	build := func() *xdsresource.Cluster {
		c := eds("c")
		c.TransportMatches = []xdsresource.TransportSocketMatch{
			{Name: "tlsMode-istio", Match: map[string]string{"tlsMode": "istio"}, Transport: &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{SNI: "a"}}},
			{Name: "tlsMode-disabled", Match: map[string]string{}},
		}
		return c
	}
	m.update(t, build())
	e := endpoints("10.0.0.1:80", "10.0.0.2:80")
	e.Localities[0].Endpoints[0].Metadata = xdsresource.Metadata{"envoy.transport_socket_match": {"tlsMode": "istio"}}
	m.UpdateEndpoints("c", e)
	l := m.Local(0).Get("c")
	before := map[string]*LocalHost{}
	for h, lh := range l.hosts {
		before[h.Name] = lh
	}
	if h := before["10.0.0.1:80"].Host; h.Transport != "tls:a" || h.TransportMatch != "tlsMode-istio" {
		t.Errorf("host with metadata: %v %q", h.Transport, h.TransportMatch)
	}
	if h := before["10.0.0.2:80"].Host; h.Transport != nil || h.TransportMatch != "tlsMode-disabled" {
		t.Errorf("host without metadata: %v %q", h.Transport, h.TransportMatch)
	}
	// The same TLS in a new object keeps the hosts; another one does not.
	m.update(t, build())
	m.run()
	for _, lh := range l.hosts {
		if before[lh.Host.Name] != lh {
			t.Error("an equal configuration replaced hosts")
		}
	}
	c := build()
	c.TransportMatches[0].Transport.TLS.SNI = "b"
	m.update(t, c)
	m.run()
	for _, lh := range l.hosts {
		if lh.Host.Name == "10.0.0.1:80" && (lh == before["10.0.0.1:80"] || lh.Host.Transport != "tls:b") {
			t.Error("a new TLS configuration kept the host's connections")
		}
	}
}

func TestHealthPrioritiesAndPanic(t *testing.T) {
	type tier struct{ healthy, unhealthy, degraded int }
	tests := []struct {
		name  string
		panic float64
		tiers []tier
		want  map[uint32]int // percent by priority; 99: unhealthy hosts were picked
		none  bool
	}{
		{"all healthy", 50, []tier{{2, 0, 0}, {2, 0, 0}}, map[uint32]int{0: 100}, false},
		// 1 of 2 healthy times 1.4 is 70 percent, the rest spills over.
		{"spill", 50, []tier{{1, 1, 0}, {2, 0, 0}}, map[uint32]int{0: 70, 1: 30}, false},
		{"first down", 50, []tier{{0, 2, 0}, {2, 0, 0}}, map[uint32]int{1: 100}, false},
		// Together 56 percent: scaled to 100, and both are below the panic threshold.
		{"panic", 50, []tier{{1, 4, 0}, {1, 4, 0}}, map[uint32]int{0: 50, 1: 50}, false},
		{"no panic allowed", 0, []tier{{1, 4, 0}}, map[uint32]int{0: 100}, false},
		{"all down, panic", 50, []tier{{0, 4, 0}}, map[uint32]int{0: 100}, false},
		{"all down, no panic", 0, []tier{{0, 4, 0}}, nil, true},
		{"degraded last", 50, []tier{{0, 0, 2}, {2, 0, 0}}, map[uint32]int{1: 100}, false},
		{"degraded only", 50, []tier{{0, 0, 2}}, map[uint32]int{0: 100}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t, 1, nil)
			c := eds("c")
			c.PanicThreshold = tt.panic
			m.update(t, c)
			e := &xdsresource.Endpoints{}
			n := 0
			for p, x := range tt.tiers {
				l := xdsresource.LocalityEndpoints{Priority: uint32(p)}
				add := func(count int, h xdsresource.HealthStatus) {
					for range count {
						n++
						ep := endpoint(fmt.Sprintf("10.0.%d.%d:80", p, n))
						ep.Health = h
						l.Endpoints = append(l.Endpoints, ep)
					}
				}
				add(x.healthy, xdsresource.HealthHealthy)
				add(x.unhealthy, xdsresource.HealthUnhealthy)
				add(x.degraded, xdsresource.HealthDegraded)
				e.Localities = append(e.Localities, l)
			}
			m.UpdateEndpoints("c", e)
			l := m.Local(0).Get("c")
			got := map[uint32]int{}
			for i := range 100 {
				h := l.Pick(&lb.Context{Rand: uint64(i)})
				if h == nil {
					if !tt.none {
						t.Fatal("no host")
					}
					continue
				}
				got[h.Host.Info().Priority]++
			}
			for p, want := range tt.want {
				if got[p] != want {
					t.Errorf("priority %d got %d percent, want %d (%v)", p, got[p], want, got)
				}
			}
			if tt.none && len(got) > 0 {
				t.Errorf("picked %v", got)
			}
		})
	}
}

func TestLocalityWeights(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := eds("c")
	c.LB.LocalityWeighted = true
	m.update(t, c)
	e := &xdsresource.Endpoints{Localities: []xdsresource.LocalityEndpoints{
		{Region: "a", Weight: 3, Endpoints: []xdsresource.Endpoint{endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80")}},
		{Region: "b", Weight: 1, Endpoints: []xdsresource.Endpoint{endpoint("10.0.1.1:80")}},
	}}
	m.UpdateEndpoints("c", e)
	got := picks(m.Local(0).Get("c"), 4000)
	if got["10.0.1.1:80"] != 1000 || got["10.0.0.1:80"] != 1500 {
		t.Errorf("picks %v, want 1500, 1500, 1000", got)
	}
}

func TestAvoidPreviousHosts(t *testing.T) {
	m := newMesh(t, 1, nil)
	m.update(t, static("c", "10.0.0.1:80", "10.0.0.2:80"))
	l := m.Local(0).Get("c")
	first := l.Pick(&lb.Context{Rand: 1})
	second := l.Pick(&lb.Context{Rand: 1, Avoid: []*lb.Load{&first.Load}, Attempts: 5})
	if first == second {
		t.Error("the retry went to the host that failed")
	}
	both := []*lb.Load{&first.Load, &second.Load}
	if l.Pick(&lb.Context{Rand: 1, Avoid: both, Attempts: 5}) == nil {
		t.Error("with all hosts tried, one of them must be taken")
	}
}

func TestBreakers(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			m := newMesh(t, workers, nil)
			c := static("c", "10.0.0.1:80")
			c.Breakers[0].MaxRequests = 3
			m.update(t, c)
			l := m.Local(0).Get("c")
			last := m.Local(workers - 1).Get("c")
			for i := range 3 {
				if !l.Try(Requests, false) {
					t.Fatalf("request %d refused", i)
				}
			}
			if last.Try(Requests, false) {
				t.Error("the fourth request passed")
			}
			if m.stat(t, "cluster.c.circuit_breakers.default.rq_open") != 1 {
				t.Error("the open circuit does not show")
			}
			if !last.Try(Requests, true) {
				t.Error("the high priority shares the default's limit")
			}
			l.Release(Requests, false)
			if m.stat(t, "cluster.c.circuit_breakers.default.rq_open") != 0 {
				t.Error("the closed circuit does not show")
			}
			if !last.Try(Requests, false) {
				t.Error("a released request is not free")
			}
			// A new limit counts what is held already.
			c = static("c", "10.0.0.1:80")
			m.update(t, c)
			m.run()
			for range 10 {
				if !l.Try(Requests, false) {
					t.Fatal("unlimited refused")
				}
			}
			c = static("c", "10.0.0.1:80")
			c.Breakers[0].MaxRequests = 14 // 13 are held
			m.update(t, c)
			m.run()
			if !l.Try(Requests, false) || l.Try(Requests, false) {
				t.Error("held requests do not count after a change of the limit")
			}
		})
	}
}

func TestRetryBudget(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := static("c", "10.0.0.1:80")
	c.Breakers[0].MaxRetries = 3
	c.Breakers[0].RetryBudgetPercent, c.Breakers[0].RetryBudgetMin = 20, 1
	m.update(t, c)
	l := m.Local(0).Get("c")
	if !l.Try(Retries, false) || l.Try(Retries, false) {
		t.Error("want the minimum of 1 retry")
	}
	for range 10 {
		l.Try(Requests, false)
	}
	if !l.Try(Retries, false) || l.Try(Retries, false) {
		t.Error("want 2 retries with 10 requests active")
	}
}

func TestStatus(t *testing.T) {
	store := stats.NewStore(stats.Options{Workers: 2})
	m := New(Config{Workers: []Worker{atOnce{}, atOnce{}}, Stats: store, Logger: slog.New(slog.DiscardHandler)})
	if _, err := m.Update(static("b", "10.0.0.1:80")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Update(eds("a")); err != nil {
		t.Fatal(err)
	}
	for w := range 2 {
		h := m.Local(w).Get("b").Pick(&lb.Context{})
		h.OnConnecting()
		h.OnRequest()
		h.OnResult(Result{Code: 200 + 300*w})
		h.OnDone()
	}
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 2 || s[0].Name != "a" || s[0].Warm || !s[1].Warm {
		t.Fatalf("%+v", s)
	}
	if got, want := s[1].Hosts[0].Stats, (HostStats{CxTotal: 2, CxActive: 2, RqTotal: 2, RqSuccess: 1, RqError: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPickAllocations(t *testing.T) {
	for _, p := range []xdsresource.LBPolicy{xdsresource.LBRoundRobin, xdsresource.LBLeastRequest, xdsresource.LBRandom, xdsresource.LBRingHash} {
		m := newMesh(t, 1, nil)
		c := static("c", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
		c.LB.Policy = p
		m.update(t, c)
		lm := m.Local(0)
		ctx := &lb.Context{Rand: 1}
		if n := testing.AllocsPerRun(1000, func() {
			l := lm.Get("c")
			h := l.Pick(ctx)
			h.OnRequest()
			h.OnResult(Result{Code: 200})
			h.OnDone()
			l.Inc(RqTotal)
			l.CountResponse(200, false)
		}); n != 0 {
			t.Errorf("policy %d: %v allocations", p, n)
		}
	}
}

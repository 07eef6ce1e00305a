package cluster

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestBreakersModel takes and gives back at random, on several workers and while limits
// change, against one plain count for each resource: what a limit or a retry budget allows,
// what shows as open, and what is left.
func TestBreakersModel(t *testing.T) {
	names := []string{"cx", "pending", "rq", "retries"}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 12))
		workers := 1 + r.IntN(3)
		m := newMesh(t, workers, nil)
		var b xdsresource.Breakers
		var held [resources]int
		change := func() {
			limit := func() uint32 {
				if r.IntN(3) == 0 {
					return math.MaxUint32
				}
				return 1 + r.Uint32N(8)
			}
			b = xdsresource.Breakers{MaxConnections: limit(), MaxPendingRequests: limit(), MaxRequests: limit(), MaxRetries: limit(), TrackRemaining: true}
			if r.IntN(2) == 0 {
				b.RetryBudgetPercent, b.RetryBudgetMin = float64(r.IntN(100))+0.5, r.Uint32N(4)
			}
			c := static("c", "10.0.0.1:80")
			c.Breakers[0] = b
			m.update(t, c)
			m.run()
		}
		change()
		var locals []*Local
		for w := range workers {
			locals = append(locals, m.Local(w).Get("c"))
		}
		allowed := func(res Resource) int {
			limits := [...]uint32{b.MaxConnections, b.MaxPendingRequests, b.MaxRequests, b.MaxRetries}
			if res == Retries && b.RetryBudgetPercent > 0 {
				return max(int(b.RetryBudgetPercent/100*float64(held[Requests]+held[Pending])), int(b.RetryBudgetMin))
			}
			return int(limits[res])
		}
		var own [3][resources]int
		for range 300 {
			w, res := r.IntN(workers), Resource(r.IntN(int(resources)))
			switch {
			case r.IntN(40) == 0:
				change()
			case r.IntN(5) < 3:
				want := held[res] < allowed(res)
				if got := locals[w].Try(res, false); got != want {
					t.Fatalf("seed %d: %s with %d of %d held: taken %v, want %v", seed, names[res], held[res], allowed(res), got, want)
				}
				if want {
					held[res]++
					own[w][res]++
				}
			case own[w][res] > 0:
				locals[w].Release(res, false)
				held[res]--
				own[w][res]--
			}
		}
		change()
		for res, name := range names {
			limit := [...]uint32{b.MaxConnections, b.MaxPendingRequests, b.MaxRequests, b.MaxRetries}[res]
			if got, want := m.stat(t, "cluster.c.circuit_breakers.default.remaining_"+name), int64(limit)-int64(held[res]); got != want {
				t.Errorf("seed %d: remaining_%s is %d, want %d", seed, name, got, want)
			}
			if res == int(Retries) {
				continue // a budget's limit moves with requests; retries show it when next taken
			}
			open := int64(0)
			if limit != math.MaxUint32 && held[res] >= int(limit) {
				open = 1
			}
			if got := m.stat(t, "cluster.c.circuit_breakers.default."+[...]string{"cx_open", "rq_pending_open", "rq_open"}[res]); got != open {
				t.Errorf("seed %d: %s with %d of %d shows %d", seed, name, held[res], limit, got)
			}
		}
	}
}

// TestHostConnections: per_host_thresholds counts the connections of all workers.
func TestHostConnections(t *testing.T) {
	m := newMesh(t, 2, nil)
	c := static("c", "10.0.0.1:80", "10.0.0.2:80")
	c.Breakers[0].MaxConnectionsPerHost = 2
	m.update(t, c)
	var hosts [2][]*LocalHost
	for w := range hosts {
		for range 2 {
			hosts[w] = append(hosts[w], m.Local(w).Get("c").Pick(&lb.Context{}))
		}
	}
	by := func(w int, name string) *LocalHost {
		for _, h := range hosts[w] {
			if h.Host.Name == name {
				return h
			}
		}
		t.Fatal("no host " + name)
		return nil
	}
	for w := range 2 {
		h := by(w, "10.0.0.1:80")
		if !h.TryConnection(false) {
			t.Fatalf("connection %d refused", w)
		}
		h.OnConnecting()
	}
	if by(1, "10.0.0.1:80").TryConnection(false) {
		t.Error("a third connection to the host")
	}
	if !by(1, "10.0.0.2:80").TryConnection(false) || !by(1, "10.0.0.1:80").TryConnection(true) {
		t.Error("the limit holds for another host or priority")
	}
	by(0, "10.0.0.1:80").OnDisconnected()
	if !by(1, "10.0.0.1:80").TryConnection(false) {
		t.Error("a connection that has ended still counts")
	}
}

// TestDrains: pools let their connections go when a host fails, and when hosts change where
// that is asked for.
func TestDrains(t *testing.T) {
	for _, closing := range []bool{false, true} {
		t.Run(fmt.Sprint(closing), func(t *testing.T) {
			m := newMesh(t, 1, nil)
			c := eds("c")
			c.CloseOnHostChange = closing
			l := m.local(t, c, endpoints("10.0.0.1:80", "10.0.0.2:80"))
			pools := map[string]*fakePool{}
			for h, lh := range l.hosts {
				p := &fakePool{}
				pools[h.Name], lh.Pool = p, p
			}
			m.UpdateEndpoints("c", endpoints("10.0.0.1:80", "10.0.0.2:80")) // no change
			m.run()
			m.UpdateEndpoints("c", endpoints("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
			m.run()
			want := 0
			if closing {
				want = 1
			}
			if got := pools["10.0.0.1:80"].drained; got != want {
				t.Errorf("drained %d times after a new host, want %d", got, want)
			}
			for h := range l.hosts {
				if h.Name == "10.0.0.1:80" {
					h.setFlag(failedOutlierCheck, true)
				}
			}
			m.mu.Lock()
			m.publish(m.clusters["c"])
			m.mu.Unlock()
			m.run()
			if pools["10.0.0.1:80"].drained != want+1 || pools["10.0.0.2:80"].drained != want {
				t.Errorf("after a failure drained %d and %d times, want %d and %d", pools["10.0.0.1:80"].drained, pools["10.0.0.2:80"].drained, want+1, want)
			}
		})
	}
}

type dependent int

func (d *dependent) OnHostFailed() { *d++ }

// TestCloseOnHealthFailure: connections to a host that fails are ended, of pools and others,
// and those to other hosts are not.
func TestCloseOnHealthFailure(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := eds("c")
	c.CloseOnHealthFailure = true
	l := m.local(t, c, endpoints("10.0.0.1:80", "10.0.0.2:80"))
	pools, told, left := map[string]*fakePool{}, map[string]*dependent{}, new(dependent)
	var failing *Host
	for h, lh := range l.hosts {
		pools[h.Name], told[h.Name] = &fakePool{}, new(dependent)
		lh.Pool = pools[h.Name]
		lh.Depend(told[h.Name])
		lh.Depend(left)
		lh.Leave(left)
		if h.Name == "10.0.0.1:80" {
			failing = h
		}
	}
	for range 2 { // once is enough
		failing.setFlag(failedActiveHC, true)
		m.mu.Lock()
		m.publish(m.clusters["c"])
		m.mu.Unlock()
		m.run()
	}
	if p := pools["10.0.0.1:80"]; p.aborted != 1 || p.drained != 0 || *told["10.0.0.1:80"] != 1 {
		t.Errorf("the pool of the host that failed: %+v, connections told %d times", *p, *told["10.0.0.1:80"])
	}
	if p := pools["10.0.0.2:80"]; p.aborted != 0 || *told["10.0.0.2:80"] != 0 || *left != 0 {
		t.Errorf("the other host: %+v, told %d times; one that has left: %d", *p, *told["10.0.0.2:80"], *left)
	}
}

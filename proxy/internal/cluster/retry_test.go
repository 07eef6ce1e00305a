package cluster

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestRetryPriorities follows one request through its attempts: which priority each goes to.
func TestRetryPriorities(t *testing.T) {
	f := func(name string, ts []tier, frequency int, want ...int) {
		t.Helper()
		m := newMesh(t, 1, nil)
		l := m.local(t, eds("a"), tiers(ts))
		r := &Retry{UpdateFrequency: frequency}
		var got []int
		for i := range want {
			c := lb.Context{Rand: 0} // the first of what has any share
			h := l.Pick(&c)
			if i > 0 {
				h = l.PickAgain(&c, r)
			}
			if h == nil {
				got = append(got, -1)
				continue
			}
			r.Tried(h)
			got = append(got, priorityOf(h))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: priorities %v, want %v", name, got, want)
		}
	}
	three := []tier{{healthy: 1}, {healthy: 1}, {healthy: 1}}
	f("off", three, 0, 0, 0, 0)
	f("each in turn", three, 1, 0, 1, 2, 0, 1, 2, 0)
	f("every second attempt", three, 2, 0, 0, 1, 1, 2, 2, 0, 0)
	f("one priority", []tier{{healthy: 2}}, 1, 0, 0, 0)
	f("an unhealthy one between", []tier{{healthy: 1}, {unhealthy: 1}, {healthy: 1}}, 1, 0, 2, 0, 2)
	f("degraded ones count", []tier{{healthy: 1}, {degraded: 1}}, 1, 0, 1, 0)
	f("nothing is well: as ever", []tier{{unhealthy: 1}, {unhealthy: 1}}, 1, 0, 0, 0)
}

// TestRetryShares: what is left of the priorities shares the load as priorities do.
func TestRetryShares(t *testing.T) {
	m := newMesh(t, 1, nil)
	l := m.local(t, eds("a"), tiers([]tier{{healthy: 4}, {healthy: 1, unhealthy: 3}, {healthy: 4}}))
	r := &Retry{UpdateFrequency: 1}
	r.Tried(l.Pick(&lb.Context{}))
	var picks [3]int
	for i := range 100 {
		picks[priorityOf(l.PickAgain(&lb.Context{Rand: uint64(i)}, r))]++
	}
	if want := [3]int{0, 35, 65}; picks != want { // a quarter of its hosts, times 1.4
		t.Errorf("picks %v, want %v", picks, want)
	}
}

// TestShunnedHosts: a host that is not wanted is taken after so many picks all the same.
func TestShunnedHosts(t *testing.T) {
	m := newMesh(t, 1, nil)
	e := tiers([]tier{{healthy: 1}})
	e.Localities[0].Endpoints[0].Metadata = xdsresource.Metadata{"envoy.lb": {"canary": true}}
	l := m.local(t, eds("a"), e)
	if l.PickAgain(&lb.Context{Attempts: 3}, &Retry{OmitCanary: true}) == nil {
		t.Error("no host, though there is one")
	}
}

package cluster

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func aggregated(name string, members ...string) *xdsresource.Cluster {
	return &xdsresource.Cluster{Name: name, Type: xdsresource.ClusterAggregate, Members: members, Breakers: unlimited(), PanicThreshold: 50,
		LB: xdsresource.LoadBalancing{Policy: xdsresource.LBClusterProvided}}
}

// memberShare is how many of a hundred picks go to hosts of a cluster.
func memberShare(l *Local, name string) int {
	n := 0
	for i := range 100 {
		if h := l.Pick(&lb.Context{Rand: uint64(i)}); h != nil && h.Local.Name() == name {
			n++
		}
	}
	return n
}

// TestAggregate: priorities of the members follow one another; load spills over as it does
// between priorities of one cluster.
func TestAggregate(t *testing.T) {
	m := newMesh(t, 1, nil)
	m.update(t, aggregated("all", "first", "second", "later"))
	l := m.Local(0).Get("all")
	if l == nil || l.Pick(&lb.Context{}) != nil {
		t.Fatal("picks from members that do not exist")
	}
	set := func(name string, ts ...tier) {
		if m.Local(0).Get(name) == nil {
			m.update(t, eds(name))
		}
		m.UpdateEndpoints(name, tiers(ts))
		m.run()
	}
	set("first", tier{2, 0, 0})
	set("second", tier{2, 0, 0}, tier{4, 0, 0})
	if got := memberShare(l, "first"); got != 100 {
		t.Errorf("the first member gets %d percent", got)
	}
	set("first", tier{1, 3, 0}) // a quarter, times 1.4
	if a, b := memberShare(l, "first"), memberShare(l, "second"); a != 35 || b != 65 {
		t.Errorf("the members get %d and %d percent, want 35 and 65", a, b)
	}
	set("first", tier{0, 4, 0})
	set("second", tier{0, 2, 0}, tier{1, 3, 0})
	set("later", tier{2, 0, 0})
	if a, b := memberShare(l, "second"), memberShare(l, "later"); a != 35 || b != 65 {
		t.Errorf("the members get %d and %d percent, want 35 and 65", a, b)
	}
	h := l.Pick(&lb.Context{Rand: 99})
	h.OnRequest()
	if h.Local.Name() != "later" || h.Local.active != 1 || l.active != 0 {
		t.Error("requests count with the aggregate, not with the member")
	}
	m.Remove("later")
	m.run()
	if got := memberShare(l, "second"); got == 0 || memberShare(l, "later") != 0 {
		t.Errorf("after the last member has gone the second gets %d percent", got)
	}
}

// TestAggregateOfAggregates: they are taken apart, and circles end.
func TestAggregateOfAggregates(t *testing.T) {
	m := newMesh(t, 1, nil)
	m.update(t, aggregated("outer", "inner", "web"))
	m.update(t, aggregated("inner", "outer", "db"))
	m.update(t, eds("web"))
	m.update(t, eds("db"))
	m.UpdateEndpoints("web", tiers([]tier{{1, 0, 0}}))
	m.UpdateEndpoints("db", tiers([]tier{{1, 1, 0}}))
	m.run()
	l := m.Local(0).Get("outer")
	if a, b := memberShare(l, "db"), memberShare(l, "web"); a != 70 || b != 30 {
		t.Errorf("%d percent to the inner member and %d to the other, want 70 and 30", a, b)
	}
}

// TestAggregateDiamonds: layers of aggregates whose members all lead to the next layer have
// 2^40 ways down. Each cluster is looked at once, and has one place.
func TestAggregateDiamonds(t *testing.T) {
	m := newMesh(t, 1, nil)
	const layers = 40
	for i := range layers {
		next := []string{fmt.Sprint("a", i+1), fmt.Sprint("b", i+1)}
		if i == layers-1 {
			next = []string{"web", "db"}
		}
		m.update(t, aggregated(fmt.Sprint("a", i), next...))
		m.update(t, aggregated(fmt.Sprint("b", i), next...))
	}
	m.update(t, eds("web"))
	m.update(t, eds("db"))
	m.UpdateEndpoints("web", tiers([]tier{{1, 3, 0}}))
	m.UpdateEndpoints("db", tiers([]tier{{1, 0, 0}}))
	m.run()
	l := m.Local(0).Get("a0")
	if a, b := memberShare(l, "web"), memberShare(l, "db"); a != 35 || b != 65 {
		t.Errorf("%d and %d percent, want 35 and 65", a, b)
	}
	if n := len(l.aggregate.members); n != 2*layers {
		t.Errorf("%d members are watched, want %d", n, 2*layers)
	}
}

func TestAggregatePickDoesNotAllocate(t *testing.T) {
	m := newMesh(t, 1, nil)
	m.update(t, aggregated("all", "web"))
	m.update(t, eds("web"))
	m.UpdateEndpoints("web", tiers([]tier{{3, 0, 0}, {1, 0, 0}}))
	m.run()
	l := m.Local(0).Get("all")
	c := lb.Context{}
	if n := testing.AllocsPerRun(100, func() { l.Pick(&c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// byHeader hashes by the first policy's header name, as a stand-in for a request.
type byHeader map[string]uint64

func (b byHeader) HashBy(p []xdsresource.HashPolicy) (uint64, bool) {
	n, ok := b[p[0].Header.Name]
	return n, ok
}

// TestOwnHashPolicies: a cluster with policies of its own never looks at the route's hash, be it alone or an aggregate's member, whose
// aggregate goes on by the route's.
func TestOwnHashPolicies(t *testing.T) {
	m := newMesh(t, 1, nil)
	c := eds("own")
	c.LB = xdsresource.LoadBalancing{Policy: xdsresource.LBMaglev, MaglevTableSize: 251, HashPolicies: []xdsresource.HashPolicy{{Header: header.KeyOf("x-own")}}}
	m.local(t, c, endpoints("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))
	m.update(t, aggregated("all", "own"))
	for _, name := range []string{"own", "all"} {
		l := m.Local(0).Get(name)
		chosen := make(map[*LocalHost]bool)
		for i := range uint64(60) {
			ctx := lb.Context{Rand: i * 7919, Hash: i * 104729, HasHash: true, Hasher: byHeader{"x-own": 42}}
			chosen[l.Pick(&ctx)] = true
			if name == "all" && (!ctx.HasHash || ctx.Hash != i*104729) {
				t.Fatal("the member's hash has become the aggregate's")
			}
		}
		if len(chosen) != 1 {
			t.Errorf("%s: one hash leads to %d hosts", name, len(chosen))
		}
		clear(chosen)
		for i := range uint64(60) {
			chosen[l.Pick(&lb.Context{Rand: i * 7919, Hash: 1, HasHash: true, Hasher: byHeader{}})] = true
		}
		if len(chosen) != 3 {
			t.Errorf("%s: without a hash %d hosts are chosen", name, len(chosen))
		}
	}
}

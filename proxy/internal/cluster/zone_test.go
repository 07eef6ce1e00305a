package cluster

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// zones makes endpoints, n[i] of them in zone i.
func zones(third int, n ...int) *xdsresource.Endpoints {
	e := &xdsresource.Endpoints{OverprovisioningFactor: 140}
	for i, count := range n {
		l := xdsresource.LocalityEndpoints{Zone: fmt.Sprint(i)}
		for j := range count {
			l.Endpoints = append(l.Endpoints, endpoint(fmt.Sprintf("10.%d.%d.%d:80", third, i, j+1)))
		}
		e.Localities = append(e.Localities, l)
	}
	return e
}

// inZone is a proxy in a zone, whose fellows are spread over the zones as told.
func inZone(t *testing.T, zone int, fellows ...int) *mesh {
	t.Helper()
	m := newMesh(t, 1, nil)
	m.Manager = New(Config{
		Workers: []Worker{m.workers[0]}, Stats: stats.NewStore(stats.Options{Workers: 1}), Logger: slog.New(slog.DiscardHandler),
		LocalCluster: "fellows", Locality: Locality{Zone: fmt.Sprint(zone)},
	})
	m.store = m.cfg.Stats
	m.update(t, eds("fellows"))
	m.UpdateEndpoints("fellows", zones(1, fellows...))
	return m
}

func zonal() *xdsresource.Cluster {
	c := eds("c")
	c.LB.Zone = xdsresource.ZoneAware{RoutingEnabled: 100, MinClusterSize: 6}
	return c
}

func zoneShare(l *Local, zone int) float64 {
	got, _ := shareOf(l, 8000, func(h *Host) bool { return h.Info().Locality.Zone == fmt.Sprint(zone) })
	return got / 100
}

// TestZonesAreFair: whatever the zones look like, when every proxy routes by zone each host
// gets the same load, and no proxy sends more away than it must.
func TestZonesAreFair(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 4))
		n := 2 + r.IntN(3)
		fellows, hosts := make([]int, n), make([]int, n)
		proxies, servers := 0, 0
		for i := range n {
			fellows[i], hosts[i] = 1+r.IntN(5), 2+r.IntN(6)
			proxies += fellows[i]
			servers += hosts[i]
		}
		load := make([]float64, n)
		for from := range n {
			l := inZone(t, from, fellows...).local(t, zonal(), zones(2, hosts...))
			if servers < 6 {
				continue
			}
			mine, theirs := float64(fellows[from])/float64(proxies), float64(hosts[from])/float64(servers)
			if got, want := zoneShare(l, from), min(1, theirs/mine); math.Abs(got-want) > 0.025 {
				t.Fatalf("seed %d: proxies %v, hosts %v: zone %d keeps %.3f, want %.3f", seed, fellows, hosts, from, got, want)
			}
			for to := range n {
				load[to] += mine * zoneShare(l, to)
			}
		}
		for i := range n {
			if want := float64(hosts[i]) / float64(servers); math.Abs(load[i]-want) > 0.025 {
				t.Fatalf("seed %d: proxies %v, hosts %v: zone %d gets %.3f of the load, want %.3f", seed, fellows, hosts, i, load[i], want)
			}
		}
	}
}

// TestZoneRoutingOff: why requests may not keep to their zone, and how that is counted.
func TestZoneRoutingOff(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fellows []int
		hosts   []int
		change  func(*xdsresource.Cluster)
		local   float64 // share that stays, of hosts all alike
		stat    string
	}{
		{"direct", []int{1, 1}, []int{3, 3}, nil, 1, "lb_zone_routing_all_directly"},
		{"sampled", []int{2, 1}, []int{3, 3}, nil, 0.75, "lb_zone_routing_sampled"},
		{"cross zone", []int{2, 1}, []int{3, 3}, nil, 0.75, "lb_zone_routing_cross_zone"},
		{"cluster too small", []int{1, 1}, []int{2, 3}, nil, 0.4, "lb_zone_cluster_too_small"},
		{"fewer needed", []int{1, 1}, []int{2, 2}, func(c *xdsresource.Cluster) { c.LB.Zone.MinClusterSize = 4 }, 1, "lb_zone_routing_all_directly"},
		{"no fellows here", []int{0, 1, 1}, []int{3, 3, 3}, nil, 1. / 3, "lb_local_cluster_not_ok"},
		{"fellows in one zone", []int{2}, []int{3, 3}, nil, 0.5, ""},
		{"forced", []int{2}, []int{3, 3}, func(c *xdsresource.Cluster) { c.LB.Zone.ForceMin = 3 }, 1, "lb_zone_routing_all_directly"},
		{"forced, by too few", []int{2, 1}, []int{3, 3}, func(c *xdsresource.Cluster) { c.LB.Zone.ForceMin = 4 }, 0.75, "lb_zone_routing_sampled"},
		{"half enabled", []int{1, 1}, []int{3, 3}, func(c *xdsresource.Cluster) { c.LB.Zone.RoutingEnabled = 50 }, 0.75, "lb_zone_routing_all_directly"},
		{"disabled", []int{1, 1}, []int{3, 3}, func(c *xdsresource.Cluster) { c.LB.Zone.RoutingEnabled = 0 }, 0.5, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := inZone(t, 0, tt.fellows...)
			c := zonal()
			if tt.change != nil {
				tt.change(c)
			}
			l := m.local(t, c, zones(2, tt.hosts...))
			if got := zoneShare(l, 0); math.Abs(got-tt.local) > 0.025 {
				t.Errorf("%.3f stays, want %.3f", got, tt.local)
			}
			if tt.stat != "" && m.stat(t, "cluster.c."+tt.stat) == 0 {
				t.Errorf("%s is 0", tt.stat)
			}
			if m.stat(t, "cluster.c.lb_recalculate_zone_structures") == 0 {
				t.Error("lb_recalculate_zone_structures is 0")
			}
		})
	}
}

// TestZoneFollowsFellows: a change of the local cluster changes how other clusters route.
func TestZoneFollowsFellows(t *testing.T) {
	m := inZone(t, 0, 1, 1)
	l := m.local(t, zonal(), zones(2, 3, 3))
	if got := zoneShare(l, 0); got != 1 {
		t.Fatalf("%.3f stays, want all", got)
	}
	m.UpdateEndpoints("fellows", zones(1, 3, 1))
	m.run()
	if got := zoneShare(l, 0); math.Abs(got-2./3) > 0.025 {
		t.Errorf("with three fellows of four here %.3f stays, want 0.667", got)
	}
	down := zones(1, 3, 3)
	for i := range down.Localities {
		for j := range down.Localities[i].Endpoints {
			down.Localities[i].Endpoints[j].Health = xdsresource.HealthUnhealthy
		}
	}
	m.UpdateEndpoints("fellows", down)
	m.run()
	if got := zoneShare(l, 0); math.Abs(got-0.5) > 0.025 || m.stat(t, "cluster.c.lb_local_cluster_not_ok") == 0 {
		t.Errorf("with all fellows down %.3f stays, want 0.5", got)
	}
}

// TestZonesByWeight: what a zone can take, and has to send, may go by weights.
func TestZonesByWeight(t *testing.T) {
	for _, tt := range []struct {
		byWeight           bool
		fellowHere, hostOf uint32 // weights: of fellows in our zone, of hosts in the other
		want               float64
	}{
		{false, 1, 3, 1},
		{true, 1, 1, 1},
		{true, 1, 3, 0.5},    // a quarter of the hosts' weight is here, and half of the fellows'
		{true, 3, 3, 1. / 3}, // three quarters of the fellows'
		{false, 3, 3, 1},
	} {
		m := inZone(t, 0)
		fellows, hosts := zones(1, 1, 1), zones(2, 3, 3)
		fellows.Localities[0].Endpoints[0].Weight = tt.fellowHere
		for i := range hosts.Localities[1].Endpoints {
			hosts.Localities[1].Endpoints[i].Weight = tt.hostOf
		}
		m.UpdateEndpoints("fellows", fellows)
		c := zonal()
		c.LB.Zone.ByWeight = tt.byWeight
		if got := zoneShare(m.local(t, c, hosts), 0); math.Abs(got-tt.want) > 0.025 {
			t.Errorf("%+v: %.3f stays", tt, got)
		}
	}
}

// zoneOf is how a zone of a random cluster looks: hosts by their health, and the proxy's fellows.
type zoneOf struct{ up, down, fellows, fellowsDown int }

// TestZoneModel compares where requests go with Envoy's documentation of zone aware routing, put here as a procedure
// of its own, for zones with hosts and fellows that are down, and without any.
func TestZoneModel(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 12))
		zs := make([]zoneOf, 2+r.IntN(3))
		for i := range zs {
			zs[i] = zoneOf{up: 1 + r.IntN(6), down: r.IntN(3), fellows: 1 + r.IntN(5), fellowsDown: r.IntN(2)}
			switch r.IntN(8) {
			case 0:
				zs[i].up = 0
			case 1:
				zs[i].up, zs[i].down = 0, 0
			case 2:
				zs[i].fellows = 0
			}
		}
		hosts, fellows := zones(2, make([]int, len(zs))...), zones(1, make([]int, len(zs))...)
		put := func(l *xdsresource.LocalityEndpoints, address string, up, down int) {
			for i := range up + down {
				ep := endpoint(fmt.Sprintf(address, i+1))
				ep.Health = xdsresource.HealthHealthy
				if i >= up {
					ep.Health = xdsresource.HealthUnhealthy
				}
				l.Endpoints = append(l.Endpoints, ep)
			}
		}
		for i, z := range zs {
			put(&hosts.Localities[i], fmt.Sprintf("10.2.%d.%%d:80", i), z.up, z.down)
			put(&fellows.Localities[i], fmt.Sprintf("10.1.%d.%%d:80", i), z.fellows, z.fellowsDown)
		}
		m := inZone(t, 0)
		m.UpdateEndpoints("fellows", fellows)
		want, why := documentedZones(zs)
		seen[why]++
		l := m.local(t, zonal(), hosts)
		for i := range zs {
			if got := zoneShare(l, i); math.Abs(got-want[i]) > 0.025 {
				t.Fatalf("seed %d: %+v: zone %d gets %.3f, want %.3f (%s)", seed, zs, i, got, want[i], why)
			}
		}
	}
	for why, least := range map[string]int{"direct": 5, "residual": 10, "no hosts here": 3, "too small": 1, "fellows": 1, "panic": 1} {
		if seen[why] < least {
			t.Errorf("%s: %d clusters, want %d", why, seen[why], least)
		}
	}
}

// documentedZones says what part of the requests of a proxy in zone 0 each zone gets, and by which rule
// (Envoy's architecture overview, "zone aware routing").
func documentedZones(zs []zoneOf) (share []float64, why string) {
	var all, total zoneOf
	zonesUp, zonesOfFellows := 0, 0
	for _, z := range zs {
		total.up += z.up
		total.down += z.down
		all.fellows += z.fellows
		all.fellowsDown += z.fellowsDown
		if z.up+z.down > 0 {
			zonesUp++
		}
		if z.fellows+z.fellowsDown > 0 {
			zonesOfFellows++
		}
	}
	share = make([]float64, len(zs))
	for i, z := range zs {
		share[i] = float64(z.up) / float64(total.up)
	}
	switch {
	case 2*total.up < total.up+total.down: // every host, whatever its health
		for i, z := range zs {
			share[i] = float64(z.up+z.down) / float64(total.up+total.down)
		}
		return share, "panic"
	case zonesUp < 2, total.up < 6:
		return share, "too small"
	case zonesOfFellows < 2, zs[0].fellows+zs[0].fellowsDown == 0, all.fellows < all.fellowsDown:
		return share, "fellows"
	}
	mine := func(z zoneOf) float64 { return float64(z.fellows) / float64(all.fellows) }
	theirs := func(z zoneOf) float64 { return float64(z.up) / float64(total.up) }
	why = "residual"
	clear(share)
	switch {
	case zs[0].up == 0:
		why = "no hosts here"
	case theirs(zs[0]) >= mine(zs[0]):
		share[0] = 1
		return share, "direct"
	default:
		share[0] = theirs(zs[0]) / mine(zs[0])
	}
	room := 0.0
	for _, z := range zs[1:] {
		room += max(0, theirs(z)-mine(z))
	}
	for i, z := range zs[1:] {
		share[i+1] = (1 - share[0]) * max(0, theirs(z)-mine(z)) / room
	}
	return share, why
}

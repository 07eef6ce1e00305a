package server

import (
	"fmt"
	"log/slog"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hostsFixture is virtual hosts of the route configuration "rc" without a control plane, and what the control loop and the one event
// loop do next.
type hostsFixture struct {
	*virtualHosts
	rc   *xdsresource.RouteConfig
	loop *eventloop.Loop
	run  func()
}

func newHostsFixture(t *testing.T) *hostsFixture {
	t.Helper()
	l, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	s := &Server{
		boot: &bootstrap.Bootstrap{ADS: &bootstrap.GRPCSource{Delta: true}}, control: newControl(), routes: newRoutes(), routeRecords: records[resource]{},
		listeners: &listenerSet{},
	}
	s.sources = &sources{s: s}
	x := &hostsFixture{newVirtualHosts(s), &xdsresource.RouteConfig{Name: "rc", VHDS: &xdsresource.ConfigSource{}}, l, nil}
	x.run = func() {
		work := s.control.work
		s.control.work = nil
		for _, f := range work {
			f()
		}
		if err := l.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.setRoutes(resource{name: "rc"}, x.rc, "1", &anypb.Any{}); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *hostsFixture) set() *hostSet { return x.sets[resource{*x.rc.VHDS, "rc"}] }

// come delivers a virtual host for a host.
func (x *hostsFixture) come(t *testing.T, host string, domains ...string) error {
	t.Helper()
	raw, err := anypb.New(&routev3.VirtualHost{Name: host, Domains: domains})
	if err != nil {
		t.Fatal(err)
	}
	res, err := xdsresource.NewDecoder(xdsresource.Extensions{}).Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	res.Name = "rc/" + host
	return x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Changed: []xdsclient.Update{{Resource: res}}})[res.Name]
}

// TestHostsBound: hosts beyond the bound are answered at once, and hosts that do not exist make room for one another.
func TestHostsBound(t *testing.T) {
	x := newHostsFixture(t)
	answers := 0
	want := func(host string) func() { return x.WantHost(x.rc, host, x.loop, func(bool) { answers++ }) }
	var cancel func()
	for i := range maxHosts {
		cancel = want(fmt.Sprint(i))
	}
	want("0") // shares
	if x.run(); answers != 0 || len(x.set().asked) != maxHosts {
		t.Fatalf("%d answers, %d hosts are asked for", answers, len(x.set().asked))
	}
	want("more")
	if x.run(); answers != 1 {
		t.Errorf("%d answers beyond the bound, want 1", answers)
	}
	cancel()
	want("more")
	if x.run(); answers != 1 || x.set().asked["more"] == nil {
		t.Errorf("%d answers, want 1: there is room again", answers)
	}
	var removed []string
	for i := range maxAbsentHosts + 10 {
		removed = append(removed, fmt.Sprint("rc/", i))
	}
	x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Removed: removed})
	if x.run(); answers != 1+1+maxAbsentHosts+10 {
		t.Errorf("%d answers for %d hosts that do not exist", answers, maxAbsentHosts+10)
	}
	if got := len(x.set().asked); got != maxHosts-10 || len(x.set().absent) != maxAbsentHosts {
		t.Errorf("%d hosts are asked for, %d noted as absent", got, len(x.set().absent))
	}
}

// TestHostsTaken: what comes for a host that was given back is not kept; the end of the routes is the end of their hosts.
func TestHostsTaken(t *testing.T) {
	x := newHostsFixture(t)
	found := map[string]bool{}
	want := func(host string) func() { return x.WantHost(x.rc, host, x.loop, func(ok bool) { found[host] = ok }) }
	cancel := want("a")
	want("b")
	x.run()
	cancel()
	x.run()
	if err := x.come(t, "a", "a"); err != nil || x.set().have["a"] != nil {
		t.Errorf("took what nobody asks for, %v", err)
	}
	if err := x.come(t, "b", "b"); err != nil {
		t.Error(err)
	}
	if x.run(); !found["b"] || len(found) != 1 {
		t.Errorf("found %v", found)
	}
	want("c")
	x.run()
	x.dropRoutes(resource{name: "rc"})
	if x.run(); len(x.sets)+len(x.of) != 0 || found["c"] || len(found) != 2 {
		t.Errorf("after the end of the routes %d sets are left, found %v", len(x.sets), found)
	}
	want("d")
	if x.run(); len(found) != 3 {
		t.Error("a request that came too late waits")
	}
}

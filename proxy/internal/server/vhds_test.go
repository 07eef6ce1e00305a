package server

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// hostsFixture is the virtual hosts of the route configuration "rc" without a control plane, and what the control
// loop and the one event loop do next.
type hostsFixture struct {
	*vhds
	t     *testing.T
	loop  *eventloop.Loop
	of    resource
	found map[string]int // answers, by host: how many were yes
	none  map[string]int
}

func newHostsFixture(t *testing.T) *hostsFixture {
	t.Helper()
	l, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore(stats.Options{})
	s := &Server{
		boot: &bootstrap.Bootstrap{ADS: &bootstrap.GRPCSource{Delta: true}}, control: newControl(), routes: newRoutes(store), routeRecords: records[resource]{},
		stats: store, done: make(chan struct{}),
	}
	s.listeners = newListenerSet(s)
	s.sources = &sources{s: s}
	s.ads = xdsclient.New(xdsclient.Config{})
	t.Cleanup(func() {
		close(s.done)
		s.wg.Wait()
		l.Close()
	})
	x := &hostsFixture{newVHDS(s), t, l, resource{name: "rc"}, map[string]int{}, map[string]int{}}
	s.vhds = x.vhds
	x.routes("own")
	return x
}

// routes gives the route configuration virtual hosts of its own.
func (x *hostsFixture) routes(own ...string) {
	x.t.Helper()
	cfg := &xdsresource.RouteConfig{Name: "rc", VHDS: &xdsresource.ConfigSource{}}
	for _, n := range own {
		cfg.VirtualHosts = append(cfg.VirtualHosts, &xdsresource.VirtualHost{Name: n, Domains: []string{n}})
	}
	base, err := route.Compile(cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	t, err := x.update(routeNeed{resource: x.of, statPrefix: "main"}, base)
	if err != nil {
		x.t.Fatal(err)
	}
	x.s.routes.set(x.of, t)
	x.renewed(x.of)
}

func (x *hostsFixture) group() *hostGroup { return x.groups[resource{name: "rc"}] }

// want has a request wait for a host.
func (x *hostsFixture) want(host string) (cancel func()) {
	return x.WantHost(&xdsresource.RouteConfig{Name: "rc", VHDS: &xdsresource.ConfigSource{}}, host, x.loop, func(found bool) {
		if found {
			x.found[host]++
		} else {
			x.none[host]++
		}
	})
}

// run does what is due on both loops.
func (x *hostsFixture) run() {
	x.t.Helper()
	work := x.s.control.work
	x.s.control.work = nil
	for _, f := range work {
		f()
	}
	if err := x.loop.Poll(); err != nil {
		x.t.Fatal(err)
	}
}

// come delivers a virtual host, by its name and perhaps aliases.
func (x *hostsFixture) come(name string, domains []string, aliases ...string) error {
	x.t.Helper()
	raw, err := anypb.New(&routev3.VirtualHost{Name: name, Domains: domains})
	if err != nil {
		x.t.Fatal(err)
	}
	res, err := xdsresource.NewDecoder(xdsresource.Extensions{}).Decode(raw)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Changed: []xdsclient.Update{{Resource: res, Aliases: aliases}}})[name]
}

func (x *hostsFixture) remove(names ...string) {
	x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Removed: names})
}

// match has a request for a host looked up.
func (x *hostsFixture) match(host string) bool {
	h := &header.Map{}
	h.Set(header.Authority, []byte(host))
	t := x.tables[x.of].table
	t.Match(&route.Request{Headers: h})
	return t.HasHost(h)
}

// TestHostsBound: hosts beyond the bounds are answered at once, and what is absent makes room for one another.
func TestHostsBound(t *testing.T) {
	x := newHostsFixture(t)
	var cancel func()
	for i := range maxWaited {
		cancel = x.want(fmt.Sprint(i))
	}
	x.want("0") // shares
	if x.run(); len(x.none) != 0 || x.group().waiting != maxWaited || x.held != maxWaited+1 {
		t.Fatalf("%d answers, %d hosts are asked for by %d requests", len(x.none), x.group().waiting, x.held)
	}
	x.want("more")
	if x.run(); x.none["more"] != 1 {
		t.Error("no answer beyond the bound")
	}
	cancel()
	x.want("more")
	if x.run(); x.none["more"] != 1 || x.group().asked["rc/more"] == nil {
		t.Error("there is room again, and it is not asked for")
	}
	for range maxHeld - maxWaited - 1 {
		x.want("0")
	}
	x.run()
	x.want("0")
	if x.run(); x.none["0"] != 1 || x.held != maxHeld {
		t.Errorf("%d requests wait, want %d", x.held, maxHeld)
	}
	var all []string
	for i := range maxWaited - 1 {
		all = append(all, fmt.Sprint("rc/", i))
	}
	x.remove(append(all, "rc/more")...)
	if x.run(); x.held != 0 || x.group().waiting != 0 || x.group().absent.Len() != maxWaited || x.none["0"] != maxHeld-maxWaited+2 {
		t.Errorf("%d wait, %d are asked for, %d absent, %d answers", x.held, x.group().waiting, x.group().absent.Len(), x.none["0"])
	}
	for i := range maxAbsent {
		x.want(fmt.Sprint("new", i))
		x.run()
		x.remove(fmt.Sprint("rc/new", i))
	}
	if len(x.group().asked) != maxAbsent || x.group().absent.Len() != maxAbsent || x.group().asked["rc/0"] != nil {
		t.Errorf("%d names are remembered, want %d", len(x.group().asked), maxAbsent)
	}
	x.sweep(x.s.now().Add(absentFor + time.Second))
	if len(x.group().asked) != 0 {
		t.Errorf("%d names are remembered for too long", len(x.group().asked))
	}
}

// TestHostsAnswers: who waits is told by what comes, by its name, by an alias, or by a domain that serves it.
func TestHostsAnswers(t *testing.T) {
	x := newHostsFixture(t)
	for _, h := range []string{"a", "b", "c", "d", "e", "own2"} {
		x.want(h)
	}
	x.run()
	if err := x.come("rc/a", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if err := x.come("rc/x", []string{"b"}, "rc/b", "rc/other"); err != nil {
		t.Fatal(err)
	}
	if err := x.come("rc/y", []string{"*", "z"}); err != nil {
		t.Fatal(err)
	}
	x.run()
	for _, h := range []string{"a", "b", "c", "d", "e", "own2"} {
		if x.found[h] != 1 || x.none[h] != 0 {
			t.Errorf("%s: %d yes, %d no", h, x.found[h], x.none[h])
		}
	}
	x.remove("rc/y")
	x.want("f")
	x.run()
	x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Absent: []string{"rc/f"}})
	x.want("g")
	if x.run(); x.none["f"] != 1 {
		t.Error("f waits, though there is none")
	}
	x.routes("own", "g") // the route configuration itself brings it
	if x.run(); x.found["g"] != 1 {
		t.Error("g waits, though it is there")
	}
	x.want("h")
	x.run()
	x.release(x.of)
	if x.run(); x.none["h"] != 1 || x.held != 0 || len(x.tables) != 0 || len(x.group().asked) != 0 {
		t.Errorf("after the end of the routes %d wait", x.held)
	}
	x.want("i")
	if x.run(); x.none["i"] != 1 {
		t.Error("a request that came too late waits")
	}
}

// TestHostsForgotten: what was asked for and is not used is given back, what came unasked stays.
func TestHostsForgotten(t *testing.T) {
	x := newHostsFixture(t)
	if err := x.come("rc/base", []string{"base", "more"}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"a", "b1", "b2"} {
		x.want(h)
	}
	x.run()
	for _, err := range []error{x.come("rc/a", []string{"a"}), x.come("rc/b", []string{"b1", "b2"}, "rc/b1", "rc/b2")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	now := x.s.now()
	later := func(d time.Duration, want string) {
		t.Helper()
		now = now.Add(d)
		x.sweep(now)
		var got []string
		for _, h := range []string{"base", "a", "b1"} {
			if x.tables[x.of].table.ServesHost([]byte(h)) {
				got = append(got, h)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("served are %q, want %q", s, want)
		}
	}
	later(forgetAfter-time.Minute, "base a b1")
	x.match("a")
	later(2*time.Minute, "base a")
	x.match("base")
	later(forgetAfter-time.Minute, "base a")
	later(2*time.Minute, "base")
	if len(x.group().asked) != 0 || len(x.group().hosts) != 1 || x.group().found != 0 {
		t.Errorf("%d names and %d virtual hosts are left", len(x.group().asked), len(x.group().hosts))
	}
}

// TestHostsClaimed: what came unasked for one host is asked for by name once it is used, and given back like all that was; what was not
// used, or is for more than its name says, stays as it came.
func TestHostsClaimed(t *testing.T) {
	x := newHostsFixture(t)
	for name, domains := range map[string][]string{"rc/a": {"a"}, "rc/b": {"b"}, "rc/c": {"c", "d"}} {
		if err := x.come(name, domains); err != nil {
			t.Fatal(err)
		}
	}
	asked := func(want string) {
		t.Helper()
		if got := strings.Join(slices.Sorted(maps.Keys(x.group().asked)), " "); got != want {
			t.Errorf("asked for are %q, want %q", got, want)
		}
	}
	now := x.s.now()
	x.match("a")
	x.match("c")
	asked("")
	if !x.sweep(now) {
		t.Error("nothing is looked at again")
	}
	asked("rc/a")
	if err := x.come("rc/a", []string{"a"}); err != nil { // the answer
		t.Fatal(err)
	}
	x.sweep(now.Add(2 * forgetAfter))
	asked("")
	if got := fmt.Sprint(x.match("a"), x.match("b"), x.match("c"), x.group().found); got != "false true true 0" {
		t.Errorf("served are a, b, c: %s names", got)
	}
}

// TestHostsConflict: of two that want the same domain the one that has it keeps it; one that loses its last version
// by that is gone.
func TestHostsConflict(t *testing.T) {
	x := newHostsFixture(t)
	for _, h := range []string{"a", "b"} {
		if err := x.come("rc/"+h, []string{h}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.come("rc/a", []string{"b"}); err == nil || !x.match("a") {
		t.Errorf("error %v, and a is served: %v", err, x.match("a"))
	}
	decode := func(name string, domains ...string) xdsclient.Update {
		raw, _ := anypb.New(&routev3.VirtualHost{Name: name, Domains: domains})
		res, err := xdsresource.NewDecoder(xdsresource.Extensions{}).Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		return xdsclient.Update{Resource: res}
	}
	// b takes a's domain, and a does not fit.
	errs := x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Changed: []xdsclient.Update{decode("rc/b", "a"), decode("rc/a", "own")}})
	if len(errs) != 1 || errs["rc/a"] == nil || x.match("b") || !x.match("a") || x.group().hosts["rc/a"] != nil {
		t.Errorf("errors %v", errs)
	}
	// They swap.
	if err := x.come("rc/a", []string{"b"}); err != nil {
		t.Fatal(err)
	}
	errs = x.apply(xdsresource.ConfigSource{}, xdsclient.Batch{Changed: []xdsclient.Update{decode("rc/b", "b"), decode("rc/a", "a")}})
	if len(errs) != 0 || !x.match("a") || !x.match("b") {
		t.Errorf("errors %v", errs)
	}
}

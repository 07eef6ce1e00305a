package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Bounds on what clients can make a proxy ask for, since hosts are their choice.
const (
	// maxHosts is how many hosts of one route configuration are asked for or kept.
	maxHosts = 4096
	// maxAbsentHosts is how many of them may be hosts without a virtual host. They stay subscribed, so that the next request is
	// answered at once, until others take their place.
	maxAbsentHosts = 256
)

// virtualHosts asks for the virtual hosts that route configurations have by themselves (VHDS), and makes tables of both. The control loop
// owns it; WantHost and what it returns are for event loops.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds
type virtualHosts struct {
	s    *Server
	sets map[resource]*hostSet // by VHDS source and name of the route configuration
	of   map[resource]resource // the set of a route configuration
}

// hostSet is the virtual hosts of one name of route configurations.
type hostSet struct {
	resource
	routes map[resource]*filledRoutes
	have   map[string]*looseHost // by host, without aliases
	asked  map[string]*askedHost
	absent []string // hosts that are answered and have none, oldest first
	stats  *routeStats
}

// filledRoutes is a route configuration as it came.
type filledRoutes struct {
	cfg     *xdsresource.RouteConfig
	version string
	raw     *anypb.Any
}

type looseHost struct {
	*xdsresource.LooseVirtualHost
	aliases []string
}

type askedHost struct {
	by map[*waiter]bool
}

func newVirtualHosts(s *Server) *virtualHosts {
	return &virtualHosts{s: s, sets: map[resource]*hostSet{}, of: map[resource]resource{}}
}

// setRoutes takes a route configuration and publishes it, with the virtual hosts that are there.
func (vs *virtualHosts) setRoutes(r resource, cfg *xdsresource.RouteConfig, version string, raw *anypb.Any) error {
	if cfg.VHDS == nil {
		t, err := route.Compile(cfg)
		if err != nil {
			return err
		}
		vs.dropRoutes(r)
		vs.s.routes.set(r, t)
		vs.s.routeRecords.accept(r, version, raw, false, Active)
		return nil
	}
	if err := vs.s.reachable(*cfg.VHDS, "vhds.config_source"); err != nil {
		return err
	}
	if cfg.VHDS.ADS() && !vs.s.boot.ADS.Delta {
		return fmt.Errorf("vhds.config_source names ads, which the bootstrap has as GRPC; virtual hosts need DELTA_GRPC")
	}
	key := resource{*cfg.VHDS, cfg.Name}
	f := &filledRoutes{cfg, version, raw}
	set := vs.sets[key]
	if set == nil {
		set = &hostSet{resource: key, routes: map[resource]*filledRoutes{}, have: map[string]*looseHost{}, asked: map[string]*askedHost{}}
	}
	t, err := set.table(f)
	if err != nil {
		return err
	}
	if vs.of[r] != key {
		vs.dropRoutes(r)
	}
	if vs.sets[key] == nil {
		vs.sets[key] = set
		if st := vs.s.listeners.routeStats[r]; st != nil {
			set.stats = newHostStats(vs.s.stats.Owned(), r, st.statPrefix)
		}
	}
	vs.of[r], set.routes[r] = key, f
	vs.publish(r, set, f, t)
	return nil
}

// dropRoutes forgets a route configuration. The last one of a set takes its virtual hosts along.
func (vs *virtualHosts) dropRoutes(r resource) {
	set := vs.sets[vs.of[r]]
	if set == nil {
		return
	}
	delete(vs.of, r)
	if delete(set.routes, r); len(set.routes) > 0 {
		return
	}
	delete(vs.sets, set.resource)
	set.stats.end()
	for host := range set.asked {
		set.answer(host, false)
		vs.s.sources.unsubscribe(set.source, xdsresource.TypeVirtualHost, set.name+"/"+host)
	}
}

// table makes a route configuration and its virtual hosts one.
func (set *hostSet) table(f *filledRoutes) (*route.Table, error) {
	cfg := *f.cfg
	cfg.VirtualHosts = slices.Clip(cfg.VirtualHosts)
	for _, host := range slices.Sorted(maps.Keys(set.have)) {
		v, err := set.have[host].In(f.cfg)
		if err != nil {
			return nil, err
		}
		cfg.VirtualHosts = append(cfg.VirtualHosts, v)
	}
	return route.Compile(&cfg)
}

// publish lets requests see a table, and the admin API what it was made of.
func (vs *virtualHosts) publish(r resource, set *hostSet, f *filledRoutes, t *route.Table) {
	vs.s.routes.set(r, t)
	vs.s.routeRecords.accept(r, f.version, set.merged(f), false, Active)
}

// merged is the route configuration with the virtual hosts that came, as Envoy's dump has it.
func (set *hostSet) merged(f *filledRoutes) *anypb.Any {
	m := &routev3.RouteConfiguration{}
	if f.raw.UnmarshalTo(m) != nil {
		return f.raw
	}
	for _, host := range slices.Sorted(maps.Keys(set.have)) {
		m.VirtualHosts = append(m.VirtualHosts, set.have[host].Message)
	}
	out, err := anypb.New(m)
	if err != nil {
		return f.raw
	}
	return out
}

// WantHost implements ondemand.Hosts.
func (vs *virtualHosts) WantHost(rc *xdsresource.RouteConfig, host string, l *eventloop.Loop, done func(found bool)) (cancel func()) {
	w := &waiter{l, done}
	key := resource{*rc.VHDS, rc.Name}
	vs.s.control.post(func() { vs.add(key, host, w) })
	return func() {
		w.done = nil
		vs.s.control.post(func() { vs.drop(key, host, w) })
	}
}

func (vs *virtualHosts) add(key resource, host string, w *waiter) {
	set := vs.sets[key]
	if set == nil {
		w.answer(false) // the route configuration has gone since the request looked
		return
	}
	switch {
	case set.serves(host):
		w.answer(true)
		return
	case slices.Contains(set.absent, host):
		w.answer(false)
		return
	}
	a := set.asked[host]
	if a == nil {
		if len(set.asked) >= maxHosts {
			w.answer(false)
			return
		}
		a = &askedHost{by: map[*waiter]bool{}}
		set.asked[host] = a
		vs.s.sources.subscribe(set.source, xdsresource.TypeVirtualHost, set.name+"/"+host)
	}
	a.by[w] = true
}

// drop forgets a request that waits no more. A host that nobody waits for and that is not answered yet is given up.
func (vs *virtualHosts) drop(key resource, host string, w *waiter) {
	set := vs.sets[key]
	if set == nil {
		return
	}
	a := set.asked[host]
	if a == nil || !a.by[w] {
		return
	}
	if delete(a.by, w); len(a.by) == 0 && !set.serves(host) {
		vs.forget(set, host)
	}
}

func (vs *virtualHosts) forget(set *hostSet, host string) {
	delete(set.asked, host)
	vs.s.sources.unsubscribe(set.source, xdsresource.TypeVirtualHost, set.name+"/"+host)
}

// serves reports whether a virtual host for a host has come.
func (set *hostSet) serves(host string) bool {
	if set.have[host] != nil {
		return true
	}
	for _, v := range set.have {
		if slices.Contains(v.aliases, host) {
			return true
		}
	}
	return false
}

// answer tells those who wait for a host.
func (set *hostSet) answer(host string, found bool) {
	a := set.asked[host]
	if a == nil {
		return
	}
	for w := range a.by {
		w.answer(found)
	}
	clear(a.by)
}

// apply takes a VHDS response. What is refused is returned by its name.
func (vs *virtualHosts) apply(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	keys := slices.SortedFunc(maps.Keys(vs.sets), func(a, b resource) int { return cmp.Compare(a.name, b.name) })
	for _, key := range keys {
		if key.source == src {
			vs.applyTo(vs.sets[key], b, errs)
		}
	}
	return errs
}

// hosts are the hosts among the names of resources of a set.
func (set *hostSet) hosts(names ...string) []string {
	var out []string
	for _, name := range names {
		if host, ok := strings.CutPrefix(name, set.name+"/"); ok {
			out = append(out, host)
		}
	}
	return out
}

// wants reports whether one of the hosts is asked for. The first is a virtual host's own name.
func (set *hostSet) wants(hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return set.asked[h] != nil })
}

func (vs *virtualHosts) applyTo(set *hostSet, b xdsclient.Batch, errs map[string]error) {
	began := time.Now()
	before := maps.Clone(set.have)
	gone := set.hosts(b.Removed...)
	for _, host := range gone {
		delete(set.have, host)
	}
	var changed []xdsclient.Update
	var failed []string
	for _, u := range b.Changed {
		// What comes for names that have been given back would stay for good: nothing would tell of its end.
		if set.wants(append(set.hosts(u.Name), set.hosts(u.Aliases...)...)) {
			set.have[set.hosts(u.Name)[0]] = &looseHost{u.Value.(*xdsresource.LooseVirtualHost), set.hosts(u.Aliases...)}
			changed = append(changed, u)
		}
	}
	for _, f := range b.Failed {
		failed = append(failed, set.hosts(f.Name)...)
	}
	if len(gone)+len(changed)+len(failed) == 0 {
		return
	}
	if err := vs.rebuild(set); err != nil {
		// One of them is wrong: those go in that can.
		set.have = before
		for _, host := range gone {
			delete(set.have, host)
		}
		for _, u := range changed {
			host := set.hosts(u.Name)[0]
			old := set.have[host]
			set.have[host] = &looseHost{u.Value.(*xdsresource.LooseVirtualHost), set.hosts(u.Aliases...)}
			if err := vs.rebuild(set); err != nil {
				errs[u.Name] = err
				failed = append(failed, host)
				if delete(set.have, host); old != nil {
					set.have[host] = old
				}
			}
		}
		if err := vs.rebuild(set); err != nil {
			vs.s.logger("config").Error("the virtual hosts that are left do not fit together; the last table stays", "routes", set.name, "error", err)
		}
	}
	set.stats.applied(b.Version, len(failed) > 0, time.Since(began))
	for host := range set.asked {
		if set.serves(host) {
			set.answer(host, true)
			set.absent = slices.DeleteFunc(set.absent, func(n string) bool { return n == host })
		}
	}
	for _, host := range append(gone, failed...) {
		if set.asked[host] != nil && !set.serves(host) {
			set.answer(host, false)
			vs.setAbsent(set, host)
		}
	}
}

// setAbsent notes that there is no virtual host for a host; the one that was noted first may be forgotten for it.
func (vs *virtualHosts) setAbsent(set *hostSet, host string) {
	if slices.Contains(set.absent, host) {
		return
	}
	set.absent = append(set.absent, host)
	if len(set.absent) > maxAbsentHosts {
		vs.forget(set, set.absent[0])
		set.absent = set.absent[1:]
	}
}

// rebuild publishes the tables of a set, all or none.
func (vs *virtualHosts) rebuild(set *hostSet) error {
	tables := map[resource]*route.Table{}
	for r, f := range set.routes {
		t, err := set.table(f)
		if err != nil {
			return err
		}
		tables[r] = t
	}
	for r, t := range tables {
		vs.publish(r, set, set.routes[r], t)
	}
	return nil
}

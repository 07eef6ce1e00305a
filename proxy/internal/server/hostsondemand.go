package server

import (
	"container/list"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Bounds of what requests can make the proxy ask for and remember: clients choose the names. maxWaited
// bounds the names of a route configuration that are asked for at once.
const (
	maxHeld   = 16384 // requests that wait for virtual hosts
	maxFound  = 16384 // names of a route configuration that have brought something and are in use
	maxAbsent = 1024  // names of a route configuration that there is nothing for

	// A name that there is nothing for stays subscribed for a while, so that the control plane is not
	// asked for each request, and tells when there is something.
	absentFor  = 30 * time.Second
	sweepEvery = 30 * time.Second
	// A virtual host that was asked for and that no request has used for so long is given back.
	forgetAfter = 30 * time.Minute
)

// askedHost is a name that a request had subscribed.
type askedHost struct {
	name, host string
	state      askedState
	by         map[*waiter]bool
	brought    string        // resource name of what came for it
	place      *list.Element // among the absent ones
	since      time.Time     // it was last seen in use, or is absent
}

type askedState uint8

const (
	asking askedState = iota
	found
	absent
)

// WantHost implements ondemand.Hosts.
func (v *vhds) WantHost(rc *xdsresource.RouteConfig, host string, l *eventloop.Loop, done func(found bool)) (cancel func()) {
	w := &waiter{l, done}
	key := resource{*rc.VHDS, rc.Name}
	v.s.control.post(func() { v.want(key, host, w) })
	return func() {
		w.done = nil
		v.s.control.post(func() { v.drop(key, host, w) })
	}
}

// want holds a request until the virtual host of its host has been asked for.
func (v *vhds) want(key resource, host string, w *waiter) {
	g := v.groups[key]
	if g == nil || len(g.tables) == 0 || g.serves(host) {
		w.answer(g != nil && len(g.tables) > 0) // it has come, or the routes have gone, since the request looked
		return
	}
	name := key.name + "/" + host
	a := g.asked[name]
	switch {
	case a == nil && (g.waiting >= maxWaited || g.found >= maxFound), v.held >= maxHeld, a != nil && a.state == absent:
		w.answer(false)
		return
	case a == nil:
		a = &askedHost{name: name, host: host, by: map[*waiter]bool{}}
		g.asked[name] = a
		g.waiting++
		v.s.sources.subscribe(key.source, xdsresource.TypeVirtualHost, name)
		v.sweepLater()
	case a.state == found: // what it has brought does not serve it
		w.answer(false)
		return
	}
	a.by[w] = true
	v.held++
}

// serves reports whether a host has a virtual host.
func (g *hostGroup) serves(host string) bool {
	for _, t := range g.tables {
		if t.table.ServesHost([]byte(host)) {
			return true
		}
	}
	return false
}

// drop forgets a request that waits no more.
func (v *vhds) drop(key resource, host string, w *waiter) {
	g := v.groups[key]
	if g == nil {
		return
	}
	a := g.asked[key.name+"/"+host]
	if a == nil || !a.by[w] {
		return
	}
	delete(a.by, w)
	if v.held--; len(a.by) == 0 && a.state == asking {
		v.forget(g, a)
	}
}

// lead notes that a virtual host has come for the names it answers to.
func (v *vhds) lead(g *hostGroup, u xdsclient.Update) {
	h := g.hosts[u.Name]
	for _, name := range namesOf(u.Name, u.Aliases) {
		a := g.asked[name]
		if a == nil {
			continue
		}
		if a.brought != u.Name {
			v.unlead(g, a)
			a.brought = u.Name
			h.asked++
		}
		h.base = h.base && h.asked == 0
		v.answer(g, a, found)
	}
}

// unlead undoes that.
func (v *vhds) unlead(g *hostGroup, a *askedHost) {
	if h := g.hosts[a.brought]; a.brought != "" && h != nil {
		h.asked--
	}
	a.brought = ""
}

// missing notes that there is nothing for a name.
func (v *vhds) missing(g *hostGroup, name string) {
	if a := g.asked[name]; a != nil {
		v.unlead(g, a)
		v.answer(g, a, absent)
	}
}

// lose drops a virtual host that is in no table any more, and settles the names that have led to it.
func (v *vhds) lose(g *hostGroup, name string) {
	h := g.hosts[name]
	if h == nil {
		return
	}
	delete(g.hosts, name)
	if h.asked == 0 {
		return
	}
	for _, a := range g.asked {
		if a.brought == name {
			a.brought = ""
			v.answer(g, a, absent)
		}
	}
}

// wakeServed tells those whose hosts are served now, by whatever name that came.
func (v *vhds) wakeServed(g *hostGroup) {
	if g.waiting == 0 {
		return
	}
	for _, a := range g.asked {
		if a.state == asking && g.serves(a.host) {
			v.answer(g, a, found)
		}
	}
}

// answer settles a name for now, and tells those who wait for it.
func (v *vhds) answer(g *hostGroup, a *askedHost, s askedState) {
	g.uncount(a)
	a.state, a.since = s, v.s.now()
	for w := range a.by {
		w.answer(s == found)
		v.held--
	}
	clear(a.by)
	if s == found {
		g.found++
		return
	}
	a.place = g.absent.PushBack(a)
	if g.absent.Len() > maxAbsent {
		v.forget(g, g.absent.Front().Value.(*askedHost))
	}
}

// uncount takes a name out of the count of its state.
func (g *hostGroup) uncount(a *askedHost) {
	switch a.state {
	case asking:
		g.waiting--
	case found:
		g.found--
	case absent:
		g.absent.Remove(a.place)
		a.place = nil
	}
}

// forget gives a name back, and with it what nothing else has led to.
func (v *vhds) forget(g *hostGroup, a *askedHost) {
	g.uncount(a)
	delete(g.asked, a.name)
	src := g.key.source
	v.s.sources.unsubscribe(src, xdsresource.TypeVirtualHost, a.name)
	brought := a.brought
	v.unlead(g, a)
	h := g.hosts[brought]
	if h == nil || h.base || h.asked > 0 {
		return
	}
	delete(g.hosts, brought)
	if brought != a.name {
		v.s.sources.unsubscribe(src, xdsresource.TypeVirtualHost, brought)
	}
	for _, t := range g.tables {
		if c := t.compiled[brought]; c != nil {
			e := t.table.Edit()
			e.Remove(c)
			delete(t.compiled, brought)
			v.publish(t, e)
		}
	}
}

// sweepLater has what nobody uses forgotten, in time.
func (v *vhds) sweepLater() {
	if v.sweeping {
		return
	}
	v.sweeping = true
	v.s.after(sweepEvery, func() {
		v.sweeping = false
		if v.sweep(v.s.now()) {
			v.sweepLater()
		}
	})
}

// claim asks by name for what came unasked, for one host, and is used: so its source knows that the workload uses it, and it is given back
// when that has ended. It reports whether some is left that may yet be used.
func (v *vhds) claim(g *hostGroup, now time.Time) (left bool) {
	for _, name := range slices.Sorted(maps.Keys(g.hosts)) {
		h := g.hosts[name]
		_, host, err := xdsresource.SplitHostName(name)
		if !h.base || err != nil || !slices.Equal(h.update.Value.(*xdsresource.VirtualHost).Domains, []string{host}) {
			continue
		}
		left = true
		if g.found >= maxFound || !slices.ContainsFunc(slices.Collect(maps.Values(g.tables)), func(t *hostTable) bool { return t.compiled[name] != nil && t.compiled[name].TakeUsed() }) {
			continue
		}
		g.asked[name] = &askedHost{name: name, host: host, state: found, by: map[*waiter]bool{}, brought: name, since: now}
		g.found++
		h.asked, h.base = h.asked+1, false
		v.s.sources.subscribe(g.key.source, xdsresource.TypeVirtualHost, name)
	}
	return left
}

// sweep forgets what has been absent or unused for long, and reports whether something is left.
func (v *vhds) sweep(now time.Time) (left bool) {
	for _, g := range v.groups {
		used := map[string]bool{}
		for _, t := range g.tables {
			for name, h := range t.compiled {
				if !g.hosts[name].base && h.TakeUsed() {
					used[name] = true
				}
			}
		}
		left = v.claim(g, now) || left
		for _, a := range g.asked {
			if a.state == found && used[a.brought] {
				a.since = now
			}
			switch idle := now.Sub(a.since); {
			case a.state == absent && idle >= absentFor, a.state == found && idle >= forgetAfter:
				v.forget(g, a)
			}
		}
		left = left || len(g.asked) > 0
	}
	return left
}

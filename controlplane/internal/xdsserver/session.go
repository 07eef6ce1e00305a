package xdsserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// session is one stream's state: what its client watches and has, and what it may be sent now. It has no goroutines and no clock; the
// stream calls it, one call at a time.
type session struct {
	sotw       bool
	proxy      *xdscache.Proxy
	ackTimeout time.Duration
	started    time.Time

	names   *xdscache.NameTable
	watches []*watch // in the order of sending, by place and then by first request

	latest View // the newest view offered
	pinned View // the view that is being carried through; equal to latest when idle
	served uint64

	// awaited names the load assignments of clusters that were just added: the client has yet to subscribe to them, or to answer for them.
	// What refers to the clusters waits until then, awaitedUntil at the longest, since a client may have no use for a cluster.
	awaited      *xdscache.Names
	awaitedOf    *xdscache.Set // what was looked at last
	awaitedUntil time.Time

	nonces uint64
	// expired counts requests that answered a response which was no longer the last.
	expired uint64
}

// subscribeTime is how long a client may take to ask for the endpoints of a cluster that it was sent.
const subscribeTime = time.Second

// response is what is to be sent: one message of one type.
type response struct {
	watch   *watch
	nonce   string
	version string // SotW: version_info; delta: system_version_info
	res     []*xdscache.Resource
	whole   *xdscache.Set // delta only: a set whose resources are just res, else nil
	removed []string      // delta only

	workedOut time.Duration // how long that took
}

func newSession(p *xdscache.Proxy, v View, sotw bool, names *xdscache.NameTable, ackTimeout time.Duration, now time.Time) *session {
	return &session{sotw: sotw, proxy: p, latest: v, pinned: v, names: names, ackTimeout: ackTimeout, started: now}
}

func (s *session) watch(typeURL string) *watch {
	for _, w := range s.watches {
		if w.typeURL == typeURL {
			return w
		}
	}
	return nil
}

// request takes a message of the client. An error ends the stream.
func (s *session) request(req request) error {
	if err := s.subscribe(req); err != nil {
		return err
	}
	if req.typeURL != TypeHost || !s.proxy.OnDemand {
		return nil
	}
	hosts := s.watch(TypeHost)
	if s.proxy.Ask(hosts.names, hosts.all, xdscache.NewNames(slices.Clone(req.unsubscribe))) {
		// The clusters that they lead to go out first.
		if cds := s.watch(TypeCluster); cds != nil {
			cds.changed()
		}
	}
	return nil
}

func (s *session) subscribe(req request) error {
	if w := s.watch(req.typeURL); w != nil {
		if req.nonce != "" {
			if !w.answer(req) {
				s.expired++
				if s.sotw {
					// It answers a response that is no longer the last. The client will answer that one too, with its names of then.
					return nil
				}
			}
		}
		return w.next(req)
	}
	if len(s.watches) >= maxTypes {
		return fmt.Errorf("the stream watches %d types already and wants %q as well", maxTypes, req.typeURL)
	}
	w := newWatch(strings.Clone(req.typeURL), s.sotw, s.names)
	i := len(s.watches)
	for i > 0 && s.watches[i-1].place > w.place {
		i--
	}
	s.watches = slices.Insert(s.watches, i, w)
	return w.first(req, s.viewFor(w), s.proxy)
}

// offer tells of a new view. Of several that come while one is carried through, the last counts.
func (s *session) offer(v View) {
	if v.Version() > s.latest.Version() {
		s.latest = v
	}
}

// viewFor returns the view that a type is served from. Endpoints and secrets are always of the latest: they refer to nothing, and must
// not wait for a proxy that is slow to take up something else.
func (s *session) viewFor(w *watch) View {
	if w.place.free() {
		return s.latest
	}
	return s.pinned
}

// send returns the next response that may go out now, nil when there is none. Called again until nil.
func (s *session) send(now time.Time) *response {
	for {
		if r := s.step(now); r != nil {
			return r
		}
		if !s.quiet(now) {
			return nil
		}
		s.served = s.pinned.Version()
		if s.latest == s.pinned {
			return nil
		}
		s.pinned = s.latest
	}
}

// step carries the pinned view one response further.
func (s *session) step(now time.Time) *response {
	firstsDone := true
	for _, w := range s.watches {
		if !w.place.first() && !w.place.free() && (!firstsDone || s.awaitsEndpoints(now)) {
			return nil
		}
		if r := s.add(w, now); r != nil {
			return r
		}
		if w.place.first() && s.waiting(w, now) {
			firstsDone = false
		}
	}
	if !firstsDone || s.awaitsEndpoints(now) || !s.mayRemove(now) {
		return nil
	}
	for _, w := range s.watches {
		if r := s.remove(w, now); r != nil {
			return r
		}
	}
	return nil
}

// waiting says that a type's last response is not answered and that it is not too long ago.
func (s *session) waiting(w *watch, now time.Time) bool {
	return w.inFlight && now.Before(w.sentAt.Add(s.ackTimeout))
}

// awaitsEndpoints says that a cluster was added whose endpoints the client does not have yet. A client that has just dropped a cluster of
// the same name may still be subscribed by mistake, and one that has not may be about to ask: in both cases a route to the cluster would come
// too early if only what is in flight were waited for.
func (s *session) awaitsEndpoints(now time.Time) bool {
	if s.awaited.Len() == 0 {
		return false
	}
	if eds := s.watch(TypeEndpoint); eds != nil && eds.have != s.awaitedOf {
		s.awaited, s.awaitedOf = eds.have.Missing(s.awaited), eds.have
	}
	if !now.Before(s.awaitedUntil) {
		s.awaited = nil
	}
	return s.awaited.Len() > 0
}

// await notes the endpoints that newly added clusters need.
func (s *session) await(before *xdscache.Set, sent []*xdscache.Resource, now time.Time) {
	var names []string
	for _, r := range sent {
		if r.Endpoints != "" && before.Get(r.Name) == nil {
			names = append(names, r.Endpoints)
		}
	}
	if len(names) > 0 {
		s.awaited, s.awaitedOf = s.names.Of(s.awaited.Union(xdscache.NewNames(names))), nil
		s.awaitedUntil = now.Add(subscribeTime)
	}
}

// forgetEndpoints takes the endpoints of removed clusters out of what the client is known to have: it drops them with the cluster, and a
// cluster that comes back needs them sent again.
func (s *session) forgetEndpoints(removed []*xdscache.Resource) {
	eds := s.watch(TypeEndpoint)
	if eds == nil {
		return
	}
	var names []string
	for _, r := range removed {
		if r.Endpoints != "" {
			names = append(names, r.Endpoints)
		}
	}
	gone := xdscache.NewNames(names)
	if gone.Len() == 0 {
		return
	}
	s.awaited = s.awaited.Minus(gone)
	kept := eds.have.Without(gone.Has)
	if kept != eds.have {
		eds.have = kept
		eds.settled = 0
	}
}

// mayRemove says that nothing the client has can still refer to what the pinned view lacks. A client that has just connected may yet
// come with the listeners, routes and virtual hosts that it had: what it has not asked for in the first moments is waited for.
func (s *session) mayRemove(now time.Time) bool {
	listeners, routes, hosts := false, false, !s.proxy.OnDemand
	for _, w := range s.watches {
		if w.settled != s.viewFor(w).Version() || s.waiting(w, now) {
			return false
		}
		listeners = listeners || w.place == placeListener
		routes = routes || w.place == placeRoute
		hosts = hosts || w.place == placeHost
	}
	return listeners && routes && hosts || !now.Before(s.started.Add(s.ackTimeout))
}

// quiet says that the client has all of the pinned view and has answered for it.
func (s *session) quiet(now time.Time) bool {
	if s.awaitsEndpoints(now) {
		return false
	}
	for _, w := range s.watches {
		if w.settled != s.viewFor(w).Version() || s.waiting(w, now) {
			return false
		}
		if w.place.first() && w.removed != w.settled && s.viewFor(w) == s.pinned && s.removals(w) {
			// What is left to remove waits for a time, not for an answer; a newer view need not wait for it and will remove it as well.
			return s.latest != s.pinned
		}
	}
	return true
}

func (s *session) removals(w *watch) bool {
	d := xdscache.Compare(w.have, w.target(s.viewFor(w), s.proxy))
	return len(d.Removed)+len(d.Changed) > 0
}

// add returns a response with what the client lacks of a type. Of clusters and endpoints it removes nothing yet.
func (s *session) add(w *watch, now time.Time) *response {
	v := s.viewFor(w)
	if w.settled == v.Version() && !w.force && w.ask.Len() == 0 || s.waiting(w, now) {
		return nil
	}
	all := w.target(v, s.proxy)
	target, diff := all, xdscache.Compare(w.have, all)
	if w.place == placeEndpoint && len(diff.Changed) > 0 {
		target, diff = s.holdEndpoints(w, v, target, diff)
	}
	if len(diff.Removed) == 0 && target == all {
		defer func() { w.exact, w.exactHave = v.Version(), w.have }()
	}
	removes := len(diff.Removed) > 0 && !w.place.first() && (!w.sotw || w.fullState())
	missing := target.Missing(w.ask).All()
	w.ask = nil
	w.settled = v.Version()
	if !w.force && len(diff.Changed) == 0 && !removes && (w.sotw || len(missing) == 0) {
		if !w.place.first() {
			w.have = target // less what only SotW cannot say: a route configuration that is gone
		}
		return nil
	}
	w.force = false
	before := w.have
	r := s.respond(w, v, now)
	if w.place.first() && len(diff.Removed) > 0 {
		w.have = target.Union(w.have)
	} else {
		w.have = target
	}
	switch {
	case w.fullState():
		r.res, r.version = w.have.All(), w.have.Version()
	case w.sotw:
		r.res, r.version = diff.Changed, w.have.Version()
	default:
		r.res = diff.Changed
		if len(r.res) > 1 && len(r.res) == target.Len() {
			r.whole = target
		}
		for _, name := range missing {
			if before.Get(name) == nil {
				r.removed = append(r.removed, name)
			}
		}
		if removes {
			for _, gone := range diff.Removed {
				if !slices.Contains(r.removed, gone.Name) {
					r.removed = append(r.removed, gone.Name)
				}
			}
		}
		slices.Sort(r.removed)
	}
	w.version = r.version
	if w.place == placeCluster {
		s.await(before, r.res, now)
		s.rewarm(before, r.res)
	}
	return r
}

// holdEndpoints leaves the endpoints of clusters that are about to go as they are: routes still lead there, and what the view has for them is
// an empty assignment. A client that has none of them yet, because the cluster has only just come or has changed, is given those of the view that
// has the cluster. They change, if the client still wants them then, when their cluster has gone.
func (s *session) holdEndpoints(w *watch, v View, target *xdscache.Set, diff xdscache.Diff) (*xdscache.Set, xdscache.Diff) {
	cds := s.watch(TypeCluster)
	if cds == nil || cds.isExact(v.Version()) {
		return target, diff
	}
	clusters := cds.target(v, s.proxy)
	var held []*xdscache.Resource
	var lacking []string
	for _, r := range diff.Changed {
		if clusters.Get(r.Name) != nil || cds.have.Get(r.Name) == nil {
			continue
		}
		if old := w.have.Get(r.Name); old != nil {
			held = append(held, old)
		} else {
			lacking = append(lacking, r.Name)
		}
	}
	if len(lacking) > 0 && s.pinned != v {
		pinned := s.pinned.Resources(s.proxy, w.typeURL, xdscache.Subscription{Names: xdscache.NewNames(lacking)})
		held = append(held, pinned.All()...)
	}
	if len(held) == 0 {
		return target, diff
	}
	target = xdscache.NewSet(held).Union(target)
	return target, xdscache.Compare(w.have, target)
}

// rewarm sees to it that endpoints follow a cluster that changed. Envoy builds such a cluster anew and warms it, and asks for its endpoints
// under the name that it is subscribed to already, of which in delta nothing reaches us.
func (s *session) rewarm(before *xdscache.Set, sent []*xdscache.Resource) {
	eds := s.watch(TypeEndpoint)
	if eds == nil {
		return
	}
	changed := map[string]struct{}{}
	for _, r := range sent {
		if old := before.Get(r.Name); old != nil && old.Version != r.Version {
			changed[r.Name] = struct{}{}
		}
	}
	if len(changed) == 0 {
		return
	}
	kept := eds.have.Without(func(name string) bool { _, ok := changed[name]; return ok })
	if kept != eds.have {
		eds.have = kept
		eds.settled = 0
	}
}

// remove returns a response that takes away what the pinned view no longer has.
func (s *session) remove(w *watch, now time.Time) *response {
	v := s.viewFor(w)
	if w.removed == v.Version() || v != s.pinned || s.waiting(w, now) {
		return nil
	}
	w.removed = v.Version()
	if w.isExact(v.Version()) {
		return nil
	}
	target := w.target(v, s.proxy)
	diff := xdscache.Compare(w.have, target)
	if len(diff.Removed)+len(diff.Changed) == 0 {
		return nil
	}
	w.have = target
	if w.place == placeCluster {
		s.forgetEndpoints(diff.Removed)
	}
	if w.sotw && !w.fullState() && len(diff.Changed) == 0 {
		return nil // there is no way to say it, and no need: the client asks for no such name any more
	}
	r := s.respond(w, v, now)
	switch {
	case w.fullState():
		r.res, r.version = target.All(), target.Version()
	case w.sotw:
		r.res, r.version = diff.Changed, target.Version()
	default:
		r.res = diff.Changed // what holdEndpoints held back
		for _, old := range diff.Removed {
			r.removed = append(r.removed, old.Name)
		}
	}
	w.version = r.version
	return r
}

// respond books a response as sent.
func (s *session) respond(w *watch, v View, now time.Time) *response {
	s.nonces++
	w.nonce = strconv.FormatUint(s.nonces, 10)
	w.inFlight, w.sentAt = true, now
	r := &response{watch: w, nonce: w.nonce, version: strconv.FormatUint(v.Version(), 10)}
	w.debt.sent(r, v.Version())
	return r
}

// deadline returns when send may have something though nothing happened, false when never.
func (s *session) deadline(now time.Time) (time.Time, bool) {
	var at time.Time
	soonest := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	held := false
	if s.awaited.Len() > 0 {
		soonest(s.awaitedUntil)
	}
	for _, w := range s.watches {
		if w.inFlight {
			soonest(w.sentAt.Add(s.ackTimeout))
		}
		held = held || w.place.first() && w.removed != s.viewFor(w).Version()
	}
	if held {
		soonest(s.started.Add(s.ackTimeout))
	}
	return at, !at.IsZero()
}

package xdsserver

import (
	"fmt"
	"maps"
	"slices"
	"time"

	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// wildcard is the name that stands for all resources of a type
// (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return).
const wildcard = "*"

// watch is one stream's subscription to one type, and what the client has of it.
type watch struct {
	typeURL string
	place   place
	sotw    bool

	// Subscription.
	all    bool
	names  map[string]struct{}
	sorted []string // of names; nil when it must be made again

	// have is what the client was sent, or said that it has.
	have *xdscache.Set
	// force wants a response even if there is nothing to say: a client's first request must be answered.
	force bool
	// ask are names that were just asked for; those that do not exist are answered as removed.
	ask map[string]struct{}

	// settled is the view of which the client has everything but removals, 0 when the subscription changed since.
	settled uint64
	// removed is the view whose removals the client has as well.
	removed uint64

	nonce    string // of the last response
	inFlight bool   // the last response is not answered yet
	sentAt   time.Time
	acked    string // nonce of the last response that was accepted
	refusal  string // why the last response was refused, "" when it was not
	version  string // SotW: version_info of the last response
	known    bool   // the client was up to date when it came, and nothing had to be sent
}

func newWatch(typeURL string, sotw bool) *watch {
	return &watch{typeURL: typeURL, place: placeOf(typeURL), sotw: sotw, names: map[string]struct{}{}, ask: map[string]struct{}{}}
}

// fullState says that a SotW response carries everything and what it lacks is removed, which is so for listeners and clusters only
// (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses).
func (w *watch) fullState() bool {
	return w.sotw && (w.place == placeCluster || w.place == placeListener)
}

// changed marks that what the client wants is not what it had wanted.
func (w *watch) changed() { w.sorted, w.settled, w.removed = nil, 0, 0 }

// wanted returns the subscription as a View takes it.
func (w *watch) wanted() []string {
	if w.all {
		return nil
	}
	if w.sorted == nil {
		w.sorted = slices.AppendSeq(make([]string, 0, len(w.names)), maps.Keys(w.names))
		slices.Sort(w.sorted)
	}
	return w.sorted
}

// target returns what the client is to have at a view. A SotW client cannot be told that endpoints do not exist, so it gets an empty
// assignment: its cluster would warm for ever otherwise.
func (w *watch) target(v View, p *xdscache.Proxy) *xdscache.Set {
	names := w.wanted()
	set := v.Resources(p, w.typeURL, names)
	if !w.sotw || w.place != placeEndpoint || len(names) == set.Len() {
		return set
	}
	var missing []*xdscache.Resource
	for _, name := range names {
		if set.Get(name) == nil {
			if r, err := xdscache.Encode(name, &endpointpb.ClusterLoadAssignment{ClusterName: name}); err == nil {
				missing = append(missing, r)
			}
		}
	}
	return set.Union(xdscache.NewSet(missing))
}

// first takes the first request of a type on a stream.
func (w *watch) first(req request, v View, p *xdscache.Proxy) error {
	if w.sotw {
		w.setNames(req.names)
		// A client that comes back with what is current needs nothing. This can be said for types whose whole state a version stands for;
		// for others its subscription may have changed since.
		if req.version != "" && w.fullState() {
			if t := w.target(v, p); t.Version() == req.version {
				w.have, w.version, w.known = t, req.version, true
				return nil
			}
		}
		w.force = true
		return nil
	}
	w.all = len(req.subscribe) == 0
	if err := w.subscribe(req.subscribe); err != nil {
		return err
	}
	for _, name := range req.unsubscribe {
		w.drop(name)
	}
	if len(req.initial) == 0 {
		w.force = true
		return nil
	}
	w.known = true
	t := w.target(v, p)
	had := make([]*xdscache.Resource, 0, len(req.initial))
	for name, version := range req.initial {
		if _, wants := w.names[name]; !wants && !w.all {
			continue // it has what it no longer wants, and will drop that by itself
		}
		if r := t.Get(name); r != nil && r.Version == version {
			had = append(had, r)
			continue
		}
		had = append(had, xdscache.Known(name, version))
	}
	w.have = xdscache.NewSet(had)
	return nil
}

// next takes a later request's subscription.
func (w *watch) next(req request) error {
	if w.sotw {
		w.setNames(req.names)
		return nil
	}
	if len(req.subscribe) == 0 && len(req.unsubscribe) == 0 {
		return nil
	}
	if err := w.subscribe(req.subscribe); err != nil {
		return err
	}
	// Whatever is subscribed to is sent, even if it was before: the client may have forgotten it in between.
	again := map[string]struct{}{}
	for _, name := range req.subscribe {
		again[name] = struct{}{}
	}
	w.have = w.have.Without(func(name string) bool { _, ok := again[name]; return ok })
	for _, name := range req.unsubscribe {
		w.drop(name)
	}
	gone := map[string]struct{}{}
	for _, name := range req.unsubscribe {
		if !w.all {
			gone[name] = struct{}{}
		}
	}
	w.have = w.have.Without(func(name string) bool { _, ok := gone[name]; return ok })
	return nil
}

func (w *watch) subscribe(names []string) error {
	w.changed()
	for _, name := range names {
		if name == wildcard {
			w.all = true
			continue
		}
		w.names[name] = struct{}{}
		w.ask[name] = struct{}{}
	}
	if len(w.names) > maxNames {
		return fmt.Errorf("%s: subscribed to %d names, and %d are allowed", w.typeURL, len(w.names), maxNames)
	}
	return nil
}

func (w *watch) drop(name string) {
	w.changed()
	if name == wildcard {
		w.all = false
		// What only the wildcard brought is no longer wanted; the client drops it by itself.
		w.have = w.have.Without(func(n string) bool { _, ok := w.names[n]; return !ok })
		return
	}
	delete(w.names, name)
	delete(w.ask, name)
}

// setNames takes a SotW subscription, which is whole each time. No names at all mean everything, for types that have that, until names
// were given once.
func (w *watch) setNames(names []string) {
	next := make(map[string]struct{}, len(names))
	all := false
	for _, name := range names {
		if name == wildcard {
			all = true
			continue
		}
		next[name] = struct{}{}
	}
	if len(names) == 0 && len(w.names) == 0 && !w.place.named() {
		all = true
	}
	if all == w.all && maps.Equal(next, w.names) {
		return
	}
	for name := range next {
		if _, had := w.names[name]; !had {
			w.force = true
		}
	}
	// A name that was not asked for a moment ago is not with the client, whatever it was sent before; nor is one that it gave up.
	w.have = w.have.Without(func(n string) bool {
		_, had := w.names[n]
		_, wants := next[n]
		return wants && !had && !w.all || !wants && !all
	})
	w.all, w.names = all, next
	w.changed()
}

// answer takes the acknowledgement or refusal in a request. It returns false for one that belongs to an older response.
func (w *watch) answer(req request) bool {
	if req.nonce != w.nonce {
		return false
	}
	if !w.inFlight {
		return true
	}
	w.inFlight = false
	w.refusal = req.refusal
	if req.refusal == "" {
		w.acked = req.nonce
	}
	return true
}

package xdsserver

import (
	"fmt"
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
	all   bool
	names *xdscache.Names
	table *xdscache.NameTable // through which clients share names

	// have is what the client was sent, or said that it has.
	have *xdscache.Set
	// force wants a response even if there is nothing to say: a client's first request must be answered.
	force bool
	// ask are names that were just asked for; those that do not exist are answered as removed.
	ask *xdscache.Names

	// settled is the view of which the client has everything but removals, 0 when the subscription changed since.
	settled uint64
	// removed is the view whose removals the client has as well.
	removed uint64
	// exact is a view of which have is all, and have as it was then: nothing of what the client has is about to go.
	exact     uint64
	exactHave *xdscache.Set

	nonce    string // of the last response
	inFlight bool   // the last response is not answered yet
	sentAt   time.Time
	acked    string // nonce of the last response that was accepted
	debt     debt
	version  string // SotW: version_info of the last response
	known    bool   // the client was up to date when it came, and nothing had to be sent
}

func newWatch(typeURL string, sotw bool, table *xdscache.NameTable) *watch {
	return &watch{typeURL: typeURL, place: placeOf(typeURL), sotw: sotw, table: table}
}

// fullState says that a SotW response carries everything and what it lacks is removed, which is so for listeners and clusters only
// (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses).
func (w *watch) fullState() bool {
	return w.sotw && (w.place == placeCluster || w.place == placeListener)
}

// changed marks that what the client wants is not what it had wanted.
func (w *watch) changed() { w.settled, w.removed, w.exact = 0, 0, 0 }

// isExact reports whether the client has what it is to have at a view, and nothing else.
func (w *watch) isExact(version uint64) bool { return w.exact == version && w.have == w.exactHave }

// subscription is what the client wants, as a View takes it.
func (w *watch) subscription() xdscache.Subscription {
	return xdscache.Subscription{All: w.all, Names: w.names}
}

// target returns what the client is to have at a view. A SotW client cannot be told that endpoints do not exist, so it gets an empty
// assignment: its cluster would warm for ever otherwise.
func (w *watch) target(v View, p *xdscache.Proxy) *xdscache.Set {
	set := v.Resources(p, w.typeURL, w.subscription())
	if !w.sotw || w.place != placeEndpoint || w.names.Len() == set.Len() {
		return set
	}
	var missing []*xdscache.Resource
	for _, name := range set.Missing(w.names).All() {
		if r, err := xdscache.Encode(name, &endpointpb.ClusterLoadAssignment{ClusterName: name}); err == nil {
			missing = append(missing, r)
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
	w.unsubscribe(req.unsubscribe)
	if len(req.initial) == 0 {
		w.force = true
		return nil
	}
	w.known = true
	w.have = w.target(v, p).Held(req.initial, func(name string) bool {
		// What it has and no longer wants it will drop by itself.
		return w.all || w.names.Has(name)
	})
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
	again := w.ask
	w.have = w.have.Without(again.Has)
	w.unsubscribe(req.unsubscribe)
	return nil
}

func (w *watch) subscribe(names []string) error {
	w.changed()
	asked := names
	if i := slices.Index(names, wildcard); i >= 0 {
		w.all = true
		asked = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == wildcard })
	}
	added := w.table.Of(xdscache.NewNames(asked))
	w.names, w.ask = w.table.Of(w.names.Union(added)), w.ask.Union(added)
	if w.names.Len() > maxNames {
		return fmt.Errorf("%s: subscribed to %d names, and %d are allowed", w.typeURL, w.names.Len(), maxNames)
	}
	return nil
}

// unsubscribe takes names out of a delta subscription. What the client has of them it drops by itself.
func (w *watch) unsubscribe(names []string) {
	if len(names) == 0 {
		return
	}
	w.changed()
	gone := xdscache.NewNames(slices.Clone(names))
	if gone.Has(wildcard) && w.all {
		w.all = false
		// What only the wildcard brought is no longer wanted.
		w.have = w.have.Without(func(n string) bool { return !w.names.Has(n) })
	}
	w.names, w.ask = w.table.Of(w.names.Minus(gone)), w.ask.Minus(gone)
	for _, name := range names {
		w.debt.forgive(name)
	}
	if !w.all {
		w.have = w.have.Without(gone.Has)
	}
}

// setNames takes a SotW subscription, which is whole each time. No names at all mean everything, for types that have that, until names
// were given once.
func (w *watch) setNames(names []string) {
	all := slices.Contains(names, wildcard)
	next := w.table.Of(xdscache.NewNames(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == wildcard })))
	if len(names) == 0 && w.names.Len() == 0 && !w.place.named() {
		all = true
	}
	if all == w.all && slices.Equal(next.All(), w.names.All()) {
		return
	}
	before := w.names
	if next.Minus(before).Len() > 0 {
		w.force = true
	}
	// A name that was not asked for a moment ago is not with the client, whatever it was sent before; nor is one that it gave up.
	w.have = w.have.Without(func(n string) bool {
		had, wants := before.Has(n), next.Has(n)
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
	if req.refusal == "" {
		w.acked = w.nonce
	}
	w.debt.answered(req.refusal, w.fullState())
	return true
}

package server

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxWaited bounds how many clusters, and how many virtual hosts of a route configuration, are asked for at once: their names may be the clients' choice.
const maxWaited = 1024

// onDemand asks for the clusters that requests wait for. A cluster that comes stays, with the
// subscription that brought it, until its source takes it away; one that does not is given up with the
// last request that waits for it. Clusters have one name whatever source they come from, so those who
// want one at the same time share the subscription of the first. The control loop owns it; Known, Want
// and what Want returns are for event loops.
type onDemand struct {
	s       *Server
	waited  map[string]*waitedCluster
	brought map[string]xdsresource.ConfigSource // the clusters that a subscription here has brought
	wrong   map[xdsresource.ConfigSource]bool   // sources that the log has named
}

type waitedCluster struct {
	source xdsresource.ConfigSource
	asked  bool // by name; else it was on its way already
	by     map[*waiter]bool
}

// waiter is one request.
type waiter struct {
	loop *eventloop.Loop
	done func(bool) // nil: it waits no more; only its loop looks at it
}

func newOnDemand(s *Server) *onDemand {
	return &onDemand{
		s: s, waited: map[string]*waitedCluster{}, brought: map[string]xdsresource.ConfigSource{},
		wrong: map[xdsresource.ConfigSource]bool{},
	}
}

// Known implements ondemand.Clusters.
func (o *onDemand) Known(l *eventloop.Loop, name string) bool {
	return o.s.clusters.Local(l.ID()).Get(name) != nil
}

// Want implements ondemand.Clusters.
func (o *onDemand) Want(src xdsresource.ConfigSource, name string, l *eventloop.Loop, done func(found bool)) (cancel func()) {
	w := &waiter{l, done}
	o.s.control.post(func() { o.add(src, name, w) })
	return func() {
		w.done = nil
		o.s.control.post(func() { o.drop(name, w) })
	}
}

// answer tells the request, unless it has ended meanwhile.
func (w *waiter) answer(found bool) {
	w.loop.Post(func() {
		if done := w.done; done != nil {
			w.done = nil
			done(found)
		}
	})
}

// reachable says what is wrong with a source that a field names, if anything is.
func (s *Server) reachable(src xdsresource.ConfigSource, field string) error {
	switch {
	case src.ADS() && s.boot.ADS == nil:
		return fmt.Errorf("%s names ads, but dynamic_resources.ads_config is missing", field)
	case src.Cluster != "" && s.boot.Control[src.Cluster] == nil:
		return fmt.Errorf("%s: cluster %q is not a static cluster of the bootstrap that a config source there names", field, src.Cluster)
	}
	return nil
}

// has reports whether a cluster is there, warm or not. A record may stand for a refusal only.
func (o *onDemand) has(name string) bool {
	rec := o.s.clusterSet.records[name]
	return rec != nil && rec.Raw != nil
}

func (o *onDemand) add(src xdsresource.ConfigSource, name string, w *waiter) {
	if o.has(name) && o.s.clusterSet.records[name].State == Active {
		w.answer(true) // it has come since the request looked
		return
	}
	c := o.waited[name]
	if c == nil {
		if err := o.s.reachable(src, "odcds.source"); err != nil {
			if !o.wrong[src] {
				o.wrong[src] = true
				o.s.logger("config").Error("no cluster can be asked for on demand", "error", err)
			}
			w.answer(false)
			return
		}
		if len(o.waited) >= maxWaited {
			w.answer(false)
			return
		}
		c = &waitedCluster{source: src, by: map[*waiter]bool{}}
		o.waited[name] = c
		if !o.has(name) {
			c.asked = true
			o.s.sources.subscribe(src, xdsresource.TypeCluster, name)
		}
	}
	c.by[w] = true
}

// drop forgets a request that waits no more.
func (o *onDemand) drop(name string, w *waiter) {
	c := o.waited[name]
	if c == nil || !c.by[w] {
		return
	}
	if delete(c.by, w); len(c.by) == 0 {
		o.end(name, c)
	}
}

// end stops waiting for a cluster. One that has come, be it cold, keeps its subscription.
func (o *onDemand) end(name string, c *waitedCluster) {
	delete(o.waited, name)
	switch {
	case !c.asked:
	case o.has(name):
		o.brought[name] = c.source
	default:
		o.s.sources.unsubscribe(c.source, xdsresource.TypeCluster, name)
	}
}

// warm tells those who wait that a cluster may be used.
func (o *onDemand) warm(name string) { o.settle(name, true) }

// gone tells them that there is none: its source has taken it away or never had it, or what came was refused.
func (o *onDemand) gone(name string) {
	if o.has(name) {
		return
	}
	o.settle(name, false)
	if src, ok := o.brought[name]; ok {
		delete(o.brought, name)
		o.s.sources.unsubscribe(src, xdsresource.TypeCluster, name)
	}
}

func (o *onDemand) settle(name string, found bool) {
	c := o.waited[name]
	if c == nil {
		return
	}
	for w := range c.by {
		w.answer(found)
	}
	o.end(name, c)
}

// takes reports whether a cluster from a source is wanted. What comes for a name that has been given
// back would stay for good: nothing would tell of its end.
func (o *onDemand) takes(src xdsresource.ConfigSource, name string) bool {
	if o.s.isCDS(src) {
		return true
	}
	if c := o.waited[name]; c != nil && c.asked && c.source == src {
		return true
	}
	from, ok := o.brought[name]
	return ok && from == src
}

// isCDS reports whether a source is the one that all clusters are asked of.
func (s *Server) isCDS(src xdsresource.ConfigSource) bool {
	return s.boot.CDS != nil && *s.boot.CDS == src
}

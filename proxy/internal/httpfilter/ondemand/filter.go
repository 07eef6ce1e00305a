// Package ondemand is the HTTP filter envoy.filters.http.on_demand: a request to a cluster that is not
// known waits until the control plane has been asked for it.
//
// When the cluster is there and warm the request goes on, to it; when there is none, or it does not come
// in time, the request goes on as well, and the router answers it. How clusters are fetched is their
// owner's matter. Routes are not fetched on demand: virtual hosts (VHDS) are refused where a route
// configuration asks for them, and so is resources_locator here. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/on_demand_updates_filter
package ondemand

import (
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.on_demand"

// Clusters knows clusters and fetches others. Its methods are called on event loops.
type Clusters interface {
	// Known reports whether requests on the loop can go to a cluster.
	Known(l *eventloop.Loop, name string) bool
	// Want asks a source for a cluster. done is called once, on the loop and not within Want, when
	// it is warm or there is none; never after cancel.
	Want(src xdsresource.ConfigSource, name string, l *eventloop.Loop, done func(found bool)) (cancel func())
}

// New returns the factory for a filter chain.
func New(cfg any, c Clusters) httpfilter.Factory { return &factory{cfg.(*Config), c} }

type factory struct {
	cfg      *Config
	clusters Clusters
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{factory: f, loop: l}
	x.done = func(bool) { x.goOn() }
	x.timer.Init(func() {
		x.cancel()
		x.goOn()
	})
	return x
}

// filter serves one stream at a time.
type filter struct {
	*factory
	loop   *eventloop.Loop
	timer  eventloop.Timer
	done   func(bool)
	s      httpfilter.Stream
	cancel func() // nil: nothing is waited for
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	cfg := f.cfg
	if own, ok := s.FilterConfig().(*Config); ok {
		cfg = own
	}
	if !cfg.Enabled {
		return httpfilter.Continue
	}
	t := s.Target()
	if t == nil {
		return httpfilter.Continue
	}
	name := t.ClusterName(h)
	if name == "" || f.clusters.Known(f.loop, name) {
		return httpfilter.Continue
	}
	f.s = s
	f.cancel = f.clusters.Want(cfg.Source, name, f.loop, f.done)
	f.loop.Arm(&f.timer, cfg.Timeout)
	return httpfilter.Stop
}

// goOn lets the request pass, whatever has come of its cluster: the router sees for itself.
func (f *filter) goOn() {
	s := f.s
	f.rest()
	s.ContinueRequest()
}

// rest leaves the filter as it was made.
func (f *filter) rest() {
	f.s, f.cancel = nil, nil
	f.loop.Disarm(&f.timer)
}

// OnComplete implements httpfilter.Completer: a request that ends waits no more.
func (f *filter) OnComplete(httpfilter.Stream) {
	if f.cancel != nil {
		f.cancel()
	}
	f.rest()
}

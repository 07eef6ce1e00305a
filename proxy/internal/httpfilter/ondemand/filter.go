// Package ondemand is the HTTP filter envoy.filters.http.on_demand: a request whose scope has no routes yet, to a host that
// has no virtual host, or to a cluster that is not known, waits until the control plane has been asked for it.
//
// When what is missing is there the request goes on; when there is none, or it does not come in time, the request goes on as well, and
// the router answers it. Routes are asked for where their scope has on_demand, virtual hosts where the route configuration has a vhds,
// clusters where this filter has an odcds, in this order. How they are fetched is their owners' matter. resources_locator is refused.
// Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/on_demand_updates_filter
package ondemand

import (
	"bytes"
	"strings"

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

// Routes fetches route configurations. Its method is called on event loops.
type Routes interface {
	// WantRoutes asks for a route configuration that a scope names. done is as for Hosts.
	WantRoutes(of *xdsresource.ScopedRoutes, name string, l *eventloop.Loop, done func(found bool)) (cancel func())
}

// Hosts fetches virtual hosts. Its method is called on event loops.
type Hosts interface {
	// WantHost asks for the virtual host of a host, in lower case and with the port that it came with, in a route configuration
	// that has a vhds. done is called once, on the loop and not within WantHost, when the configuration has it or there is
	// none; never after cancel.
	WantHost(rc *xdsresource.RouteConfig, host string, l *eventloop.Loop, done func(found bool)) (cancel func())
}

// New returns the factory for a filter chain.
func New(cfg any, c Clusters, h Hosts, r Routes) httpfilter.Factory {
	return &factory{cfg.(*Config), c, h, r}
}

type factory struct {
	cfg      *Config
	clusters Clusters
	hosts    Hosts
	routes   Routes
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{factory: f, loop: l}
	x.done = func(bool) { x.goOn() }
	// What was missing of the routes is there: now for the rest.
	x.routesDone = func(found bool) { x.came(found, x.waitHost, x.waitCluster) }
	x.hostDone = func(found bool) { x.came(found, x.waitCluster) }
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
	s      httpfilter.Stream
	cancel func() // nil: nothing is waited for

	done, hostDone, routesDone func(bool)
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, _ *header.Map, _ bool) httpfilter.Status {
	if f.waitRoutes(s) || f.waitHost(s) || f.waitCluster(s) {
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

// came goes on with what else may be missing, or with the request.
func (f *filter) came(found bool, next ...func(httpfilter.Stream) bool) {
	f.cancel = nil
	if found {
		f.s.RenewRoutes()
		for _, wait := range next {
			if wait(f.s) {
				return
			}
		}
	}
	f.goOn()
}

// waitRoutes asks for the routes of the request's scope, if they are not there.
func (f *filter) waitRoutes(s httpfilter.Stream) bool {
	if s.Routes() != nil {
		return false
	}
	of, name := s.LacksRoutes()
	if name == "" {
		return false
	}
	f.s = s
	f.cancel = f.routes.WantRoutes(of, name, f.loop, f.routesDone)
	f.loop.Arm(&f.timer, f.cfg.Timeout)
	return true
}

// waitHost asks for the virtual host, if there is none and it can be asked for.
func (f *filter) waitHost(s httpfilter.Stream) bool {
	t := s.Routes()
	if t == nil || t.Config.VHDS == nil || t.HasHost(s.RequestHeaders()) {
		return false
	}
	host := s.RequestHeaders().Value(header.Authority)
	if len(host) == 0 || len(host) > maxHost || bytes.IndexByte(host, '/') >= 0 {
		return false
	}
	f.s = s
	f.cancel = f.hosts.WantHost(t.Config, strings.ToLower(string(host)), f.loop, f.hostDone)
	f.loop.Arm(&f.timer, f.cfg.Timeout)
	return true
}

// maxHost is the longest host that is asked for: a DNS name (RFC 1035, section 2.3.4) and a port. A slash would lead to another
// route configuration.
const maxHost = 253 + 1 + 5

// waitCluster asks for the cluster of the route, if it is not known.
func (f *filter) waitCluster(s httpfilter.Stream) bool {
	cfg := f.cfg
	if own, ok := s.FilterConfig().(*Config); ok {
		cfg = own
	}
	if !cfg.Enabled {
		return false
	}
	t := s.Target()
	if t == nil {
		return false
	}
	name := t.ClusterName(s.RequestHeaders())
	if name == "" || f.clusters.Known(f.loop, name) {
		return false
	}
	f.s = s
	f.cancel = f.clusters.Want(cfg.Source, name, f.loop, f.done)
	f.loop.Arm(&f.timer, cfg.Timeout)
	return true
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

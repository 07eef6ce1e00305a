// Package dynamicforward is the HTTP filter envoy.filters.http.dynamic_forward_proxy: a request to a dynamic forward proxy cluster waits
// until its host has been resolved.
//
// It waits as a request does that is held for its cluster (package ondemand): the stream stops, its end ends the waiting, and how many wait
// is bounded by the cache (package dnscache), which also keeps what a name resolves to. A host that has no address is answered here; the
// cluster finds the others by their name. sub_cluster_config is refused. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/dynamic_forward_proxy_filter
package dynamicforward

import (
	"net/http"

	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.dynamic_forward_proxy"

// Deps are what the filter needs.
type Deps struct {
	Cache *dnscache.Cache
	// Cluster returns a cluster as a worker has it; nil: there is none.
	Cluster func(worker int, name string) *xdsresource.Cluster
}

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory { return &factory{cfg.(*Config), d} }

type factory struct {
	cfg *Config
	Deps
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{factory: f, worker: l.ID(), names: f.Cache.Local(l.ID())}
	x.done = x.answered
	return x
}

// filter serves one stream at a time.
type filter struct {
	*factory
	worker int
	names  *dnscache.Local
	done   func(dnscache.Answer)

	s      httpfilter.Stream
	cancel func() // nil: nothing is waited for
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	t := s.Target()
	if t == nil {
		return httpfilter.Continue
	}
	c := f.Cluster(f.worker, t.ClusterName(h))
	if c == nil || c.Type != xdsresource.ClusterDynamic {
		return httpfilter.Continue
	}
	if own, ok := s.FilterConfig().(*RouteConfig); ok {
		own.rewrite(h)
	}
	host, port := h.Value(header.Authority), c.DefaultPort()
	if f.cfg.FromState {
		host, port = fromState(s.Info(), host, port)
	}
	if len(host) == 0 {
		s.Reply(httpfilter.Reply{Code: http.StatusBadRequest, Body: "Empty host header", Details: "empty_host_header"})
		return httpfilter.Stop
	}
	a, cancel := f.names.Load(host, port, f.done)
	if cancel != nil {
		f.s, f.cancel = s, cancel
		return httpfilter.Stop
	}
	if f.settle(s, a) {
		return httpfilter.Continue
	}
	return httpfilter.Stop
}

// rewrite changes the host that the request is for.
func (c *RouteConfig) rewrite(h *header.Map) {
	host := []byte(c.Literal)
	if c.Header != "" {
		host, _ = h.GetName(c.Header)
	}
	if len(host) > 0 {
		h.SetString(header.Authority, string(host)) // the header's own bytes may go with it
	}
}

// fromState is the host and port that filters before this one have left.
func fromState(info *streaminfo.Info, host []byte, port uint16) ([]byte, uint16) {
	if o := info.FilterState(filterstate.UpstreamDynamicHost); o != nil {
		host = []byte(o.String())
	}
	if p := filterstate.Port(info.FilterState(filterstate.UpstreamDynamicPort)); p != 0 {
		port = p
	}
	return host, port
}

// answered goes on with a request that has waited.
func (f *filter) answered(a dnscache.Answer) {
	s := f.s
	f.s, f.cancel = nil, nil
	if f.settle(s, a) {
		s.ContinueRequest()
	}
}

// settle reports whether the request goes on; else it is answered.
func (f *filter) settle(s httpfilter.Stream, a dnscache.Answer) bool {
	r := httpfilter.Reply{Code: http.StatusServiceUnavailable}
	switch a.Outcome {
	case dnscache.Resolved:
		if f.cfg.SaveAddress {
			s.Info().State.Put(filterstate.UpstreamAddress, filterstate.Text(a.Address.String()))
		}
		return true
	case dnscache.Full:
		r.Body, r.Details = "DNS cache overflow", "dns_cache_overflow"
	case dnscache.Busy:
		r.Body, r.Details = "Dynamic forward proxy pending request overflow", "dynamic_forward_proxy_pending_request_overflow"
	default:
		r.Body, r.Details, r.Flags = "DNS resolution failure", "dns_resolution_failure{"+a.Details+"}", streaminfo.DNSResolutionFailed
	}
	s.Reply(r)
	return false
}

// OnComplete implements httpfilter.Completer: a request that ends waits no more.
func (f *filter) OnComplete(httpfilter.Stream) {
	if f.cancel != nil {
		f.cancel()
	}
	f.s, f.cancel = nil, nil
}

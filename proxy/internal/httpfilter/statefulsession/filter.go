// Package statefulsession is the HTTP filter envoy.filters.http.stateful_session: a client's requests keep going to the
// host that has served its first one, by an address that the client carries in a cookie, a header, or an envelope around
// a header of the upstream's.
//
// It only asks for a host, through the stream's record: whether that host may be had is the balancer's to decide
// (override_host_status), and what follows if not, the router's. The address is not signed; as with Envoy, a client may
// name any host of the cluster. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/stateful_session_filter
package statefulsession

import (
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.stateful_session"

// Statistics, "http.<stat_prefix>.stateful_session.<stat_prefix>.*", of a filter that has a prefix; routes of their own
// have none.
const (
	routed       = iota // to the host that was named
	failedOpen          // to another one, since that could not be had, or none was named
	failedClosed        // to none
	noSession           // of requests that keep no session
)

var statSet = stats.NewSet(
	stats.Item{Name: "routed"}, stats.Item{Name: "failed_open"}, stats.Item{Name: "failed_closed"}, stats.Item{Name: "no_session"},
)

// New returns the factory for a filter chain; scope is that of its connection manager.
func New(cfg any, scope stats.Scope) httpfilter.Factory {
	f := &factory{cfg: cfg.(*Config)}
	if f.cfg.statPrefix != "" {
		f.stats = scope.Scope("stateful_session").Scope(f.cfg.statPrefix).Block(statSet)
	}
	return f
}

type factory struct {
	cfg   *Config
	stats stats.Block
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(*eventloop.Loop) httpfilter.Filter { return &filter{factory: f} }

// filter serves one stream at a time.
type filter struct {
	factory *factory
	cfg     *Config // of the stream; nil: the filter is off, or has not seen it
	on      bool    // the request has a session
	address string  // that it has named
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	cfg := f.factory.cfg
	if c, ok := s.FilterConfig().(*Config); ok {
		cfg = c
	}
	if cfg.disabled {
		return httpfilter.Continue
	}
	f.cfg = cfg
	if cfg.session == nil {
		return httpfilter.Continue
	}
	if f.address, f.on = cfg.session.find(h, s.Loop().WallNow()); f.address != "" {
		s.Info().Override = cfg.override(f.address)
	}
	return httpfilter.Continue
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.cfg == nil {
		return httpfilter.Continue
	}
	info := s.Info()
	switch {
	case info.Host == nil:
		if f.on && f.cfg.strict && info.Flags&streaminfo.NoHealthyUpstream != 0 {
			f.count(s, failedClosed)
		}
	case !f.on:
		f.count(s, noSession)
	default:
		moved := info.Host.Name != f.address
		f.cfg.session.keep(h, info.Host.Name, moved, s.Loop().WallNow())
		switch {
		case !moved:
			f.count(s, routed)
		case !f.cfg.strict:
			f.count(s, failedOpen)
		}
	}
	return httpfilter.Continue
}

func (f *filter) count(s httpfilter.Stream, i int) {
	if f.cfg == f.factory.cfg {
		s.Shard().Inc(f.factory.stats.Counter(i))
	}
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) { *f = filter{factory: f.factory} }

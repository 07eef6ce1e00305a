package hcm

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// maxFilters is how many filters a chain may have before the router: one bit for each says which
// a route has turned off.
const maxFilters = 64

// seat is a stream as one of its filters sees it: the same stream, and where the filter sits.
// Seats are made once per stream object. The terminal filter has one behind all others, with no
// gate.
type seat struct {
	*stream
	index int // position in the request's direction
	name  string
}

var _ httpfilter.Responder = (*seat)(nil)

// back is the filter's position in the response's direction.
func (f *seat) back() int { return len(f.seats) - 1 - f.index }

// off reports whether the route has turned the filter off.
func (f *seat) off() bool { return f.disabled&(1<<f.index) != 0 }

// ContinueRequest implements httpfilter.Stream, as do the methods below.
func (f *seat) ContinueRequest()                  { f.reqDir.proceed(f.index) }
func (f *seat) ContinueResponse()                 { f.respDir.proceed(f.back()) }
func (f *seat) InjectRequest(p []byte, end bool)  { f.reqDir.inject(f.index, p, end) }
func (f *seat) InjectResponse(p []byte, end bool) { f.respDir.inject(f.back(), p, end) }
func (f *seat) FilterConfig() any                 { return configured(f.filterConfigs()[f.name]) }

// SetRequestLimit implements httpfilter.Stream.
func (s *stream) SetRequestLimit(n int) { s.reqDir.most = n }

// SetResponseLimit implements httpfilter.Stream.
func (s *stream) SetResponseLimit(n int) { s.respDir.most = n }

// EachFilterConfig implements httpfilter.Stream.
func (f *seat) EachFilterConfig(visit func(any)) {
	e := f.Route()
	if e == nil || f.filterConfigs()[f.name] == nil {
		return
	}
	for _, level := range [...]map[string]any{e.Config.FilterConfigs, e.VirtualHost.FilterConfigs, e.Route.FilterConfigs} {
		if c := configured(level[f.name]); c != nil {
			visit(c)
		}
	}
	if f.target != nil {
		if c := configured(f.target.Own[f.name]); c != nil {
			visit(c)
		}
	}
}

// configured is a per-route configuration without those that only turn a filter on or off.
func configured(c any) any {
	if _, ok := c.(xdsresource.FilterSwitch); ok {
		return nil
	}
	return c
}

// filterConfigs are the per-route configurations of all filters, the most specific of each.
func (s *stream) filterConfigs() map[string]any {
	e := s.Route()
	switch {
	case s.target != nil:
		return s.target.Filters
	case e != nil:
		return e.Filters
	}
	return nil
}

// findDisabled settles which filters run, once the route is known.
func (s *stream) findDisabled() {
	configs := s.filterConfigs()
	s.disabled = s.w.m.disabled
	if s.disabled == 0 && (s.entry == nil || !s.entry.Switches && (s.target == nil || !s.target.Switches)) {
		return
	}
	for i := range s.seats {
		switch c := configs[s.seats[i].name]; c {
		case nil:
		case xdsresource.FilterOff:
			s.disabled |= 1 << i
		default:
			s.disabled &^= 1 << i
		}
	}
}

// AddRequestTrailers implements httpfilter.Stream.
func (s *stream) AddRequestTrailers() *header.Map { return s.reqDir.addTrailers(&s.reqT) }

// AddResponseTrailers implements httpfilter.Stream.
func (s *stream) AddResponseTrailers() *header.Map {
	s.respT = s.respDir.addTrailers(&s.ownT)
	s.logCtx.Trailers = s.respT
	return s.respT
}

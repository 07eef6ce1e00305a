// Package setfilterstate is the HTTP filter envoy.filters.http.set_filter_state: it leaves values
// computed from a request in the filter state, for filters behind it and for logs.
//
// Package setstate does the work. Sharing objects with upstream connections is refused: nothing
// there reads them. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/set_filter_state
package setfilterstate

import (
	"fmt"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/setstate"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.set_filter_state"

// Config is a validated set_filter_state.v3.Config.
type Config struct {
	set        setstate.Setter
	clearRoute bool
}

// ParseConfig reads the configuration, the filter's own or a route's. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &setv3.Config{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{clearRoute: m.GetClearRouteCache(), set: Read(r, "on_request_headers", m.GetOnRequestHeaders())}
	return c, r.Err()
}

// Read converts a list of values; the network filter of that name reads its own with it.
func Read(r *xdsresource.FilterReader, path string, in []*commonv3.FilterStateValue) setstate.Setter {
	var values []setstate.Value
	for i, v := range in {
		//lint:ignore SA1019 configurations have it, and it does something
		readOnly := v.GetReadOnly()
		values = append(values, setstate.Value{
			Key: v.GetObjectKey(), Factory: v.GetFactoryKey(), SkipIfEmpty: v.GetSkipIfEmpty(), ReadOnly: readOnly, OmitEmpty: v.GetFormatString().GetOmitEmptyValues(),
			Format: r.Text(fmt.Sprintf("%s[%d].format_string", path, i), v.GetFormatString()),
		})
	}
	set, err := setstate.Compile(values)
	if err != nil {
		r.Bad(path, "%v", err)
	}
	return set
}

// New returns the factory for a filter chain.
func New(cfg any) httpfilter.Factory { return &filter{cfg.(*Config)} }

// filter has no state of a stream and is its own factory.
type filter struct{ cfg *Config }

// NewFilter implements httpfilter.Factory.
func (f *filter) NewFilter(*eventloop.Loop) httpfilter.Filter { return f }

// OnRequestHeaders implements httpfilter.RequestHeaders: the filter's own values, then those of the
// route's levels, the most specific last.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	info := s.Info()
	ctx := format.Context{Request: h, Info: info}
	clearRoute := f.cfg.clearRoute
	f.cfg.set.Apply(&info.State, &ctx)
	s.EachFilterConfig(func(c any) {
		rc, ok := c.(*Config)
		if !ok {
			return // another filter's, under this one's name
		}
		rc.set.Apply(&info.State, &ctx)
		clearRoute = clearRoute || rc.clearRoute
	})
	if clearRoute {
		s.ClearRoute()
	}
	return httpfilter.Continue
}

// Package buffer is the HTTP filter envoy.filters.http.buffer: it holds a request back until all of
// it is there, for servers that cannot deal with slow or partial requests.
//
// A body beyond the limit is answered with 413 by the connection manager, whose buffer it is. It
// does not touch responses. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/buffer_filter
package buffer

import (
	"strconv"

	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.buffer"

// Config is a validated buffer.v3.Buffer, or a BufferPerRoute.
type Config struct {
	MaxRequestBytes int
	Disabled        bool
}

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &bufferv3.Buffer{}
	r := d.ReadFilter(Name, a, m)
	return &Config{MaxRequestBytes: int(m.GetMaxRequestBytes().GetValue())}, r.Err()
}

// ParseRouteConfig reads a BufferPerRoute.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &bufferv3.BufferPerRoute{}
	r := d.ReadFilter(Name, a, m)
	return &Config{MaxRequestBytes: int(m.GetBuffer().GetMaxRequestBytes().GetValue()), Disabled: m.GetDisabled()}, r.Err()
}

// New returns the factory for a filter chain.
func New(cfg any) httpfilter.Factory { return &filter{cfg.(*Config)} }

// filter has no state of a stream and is its own factory.
type filter struct{ cfg *Config }

// NewFilter implements httpfilter.Factory.
func (f *filter) NewFilter(*eventloop.Loop) httpfilter.Filter { return f }

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, _ *header.Map, end bool) httpfilter.Status {
	c := f.cfg
	if rc, ok := s.FilterConfig().(*Config); ok {
		c = rc
	}
	if end || c.Disabled {
		return httpfilter.Continue
	}
	s.SetRequestLimit(c.MaxRequestBytes)
	return httpfilter.Buffer
}

// OnRequestData implements httpfilter.RequestData. The headers wait at this filter while it
// buffers, so they may still be changed: they get the length that is known now.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if c, ok := s.FilterConfig().(*Config); ok && c.Disabled {
		return httpfilter.Continue
	}
	if !end {
		return httpfilter.Buffer
	}
	if h := s.RequestHeaders(); !h.Has(header.ContentLength) {
		h.SetBuilt(lengthKey, strconv.AppendInt(h.Build(), int64(len(d.Bytes)), 10))
	}
	return httpfilter.Continue
}

var lengthKey = header.KeyOf("content-length")

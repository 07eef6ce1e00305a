// Package headermutation is the HTTP filter envoy.filters.http.header_mutation: it changes headers,
// trailers and query parameters, by its own configuration and by those of every level of the route.
//
// It decides nothing by what it finds but whether a header is there. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_mutation_filter
package headermutation

import (
	"bytes"
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.header_mutation"

// New returns the factory for a filter chain.
func New(cfg any) httpfilter.Factory { return &factory{cfg.(*Config)} }

type factory struct{ cfg *Config }

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(*eventloop.Loop) httpfilter.Filter {
	return &filter{cfg: f.cfg}
}

// filter serves one stream at a time.
type filter struct {
	cfg    *Config
	levels []*Config // of the route, in the order in which they apply
	found  bool
	ctx    format.Context
}

// each calls f with the filter's own configuration and then with those of the route: the wider
// levels last, so that they win, or the other way round.
func (f *filter) each(s httpfilter.Stream, apply func(*Config)) {
	if !f.found {
		f.found = true
		s.EachFilterConfig(func(c any) {
			if own, ok := c.(*Config); ok { // else another filter's, under this one's name
				f.levels = append(f.levels, own)
			}
		})
		if !f.cfg.mostSpecificWins {
			slices.Reverse(f.levels)
		}
	}
	f.ctx = format.Context{Request: s.RequestHeaders(), Response: s.ResponseHeaders(), Trailers: s.ResponseTrailers(), Info: s.Info()}
	apply(f.cfg)
	for _, c := range f.levels {
		apply(c)
	}
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.each(s, func(c *Config) {
		c.request.Apply(h, &f.ctx)
		if len(c.query) > 0 {
			changeQuery(c.query, h, &f.ctx)
		}
	})
	return httpfilter.Continue
}

// OnRequestTrailers implements httpfilter.RequestTrailers.
func (f *filter) OnRequestTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	f.each(s, func(c *Config) { c.requestTrailers.Apply(t, &f.ctx) })
	return httpfilter.Continue
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.each(s, func(c *Config) { c.response.Apply(h, &f.ctx) })
	return httpfilter.Continue
}

// OnResponseTrailers implements httpfilter.ResponseTrailers.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	f.each(s, func(c *Config) { c.responseTrailers.Apply(t, &f.ctx) })
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	clear(f.levels)
	f.levels, f.found, f.ctx = f.levels[:0], false, format.Context{}
}

// parameter is a query parameter as it stands in the path, not decoded.
type parameter struct{ name, value string }

// changeQuery changes the query of the path. A query that stays as it was is not written anew.
func changeQuery(ms []queryMutation, h *header.Map, ctx *format.Context) {
	path := h.Value(header.Path)
	p, query, _ := bytes.Cut(path, []byte("?"))
	params := parseQuery(string(query))
	for i := range ms {
		params = ms[i].apply(params, ctx)
	}
	// In order of name, as Envoy writes a query that it has changed. What the client has encoded
	// stays so; Envoy decodes it, and may make a path that is none.
	slices.SortStableFunc(params, func(a, b parameter) int { return cmp.Compare(a.name, b.name) })
	out := append(h.Build(), p...)
	for i, q := range params {
		if i == 0 {
			out = append(out, '?')
		} else {
			out = append(out, '&')
		}
		out = append(append(append(out, q.name...), '='), q.value...)
	}
	if !bytes.Equal(out, path) {
		h.SetBuilt(pathKey, out)
	}
}

var pathKey = header.KeyOf(":path")

func parseQuery(q string) []parameter {
	var out []parameter
	for kv := range bytes.SplitSeq([]byte(q), []byte("&")) {
		if len(kv) == 0 {
			continue
		}
		k, v, _ := bytes.Cut(kv, []byte("="))
		out = append(out, parameter{string(k), string(v)})
	}
	return out
}

func (m *queryMutation) apply(in []parameter, ctx *format.Context) []parameter {
	is := func(p parameter) bool { return p.name == m.name }
	if m.remove {
		return slices.DeleteFunc(in, is)
	}
	at := slices.IndexFunc(in, is)
	add := func() []parameter {
		return append(in, parameter{m.name, escape(m.value.AppendOrEmpty(nil, ctx))})
	}
	switch m.action {
	case corev3.KeyValueAppend_APPEND_IF_EXISTS_OR_ADD:
		return add()
	case corev3.KeyValueAppend_ADD_IF_ABSENT:
		if at < 0 {
			return add()
		}
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD, corev3.KeyValueAppend_OVERWRITE_IF_EXISTS:
		if at >= 0 || m.action == corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD {
			in = slices.DeleteFunc(in, is)
			return add()
		}
	}
	return in
}

// escape percent-encodes all but unreserved characters (RFC 3986, section 2.3).
func escape(v []byte) string {
	const digits = "0123456789ABCDEF"
	var out []byte
	for _, c := range v {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			out = append(out, c)
		default:
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(out)
}

// Package cors is the HTTP filter envoy.filters.http.cors: it answers preflight requests of browsers and adds the headers that let a
// page of another origin read an answer, by the policy of the route.
//
// It refuses no actual request: that is the browser's part. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter
package cors

import (
	"net/http"
	"slices"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, under which routes configure it.
const Name = "envoy.filters.http.cors"

// ParseConfig reads the filter's own configuration, which has no fields: policies stand at routes.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	return nil, d.ReadFilter(Name, a, &corsv3.Cors{}).Err()
}

// ParseRouteConfig reads a cors.v3.CorsPolicy. It returns an *xdsresource.CORSPolicy.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &corsv3.CorsPolicy{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	p := r.CORS(m)
	return p, r.Err()
}

// Statistics, below "http.<stat_prefix>.cors.".
const (
	originValid = iota
	originInvalid
)

var statSet = stats.NewSet(stats.Item{Name: "origin_valid"}, stats.Item{Name: "origin_invalid"})

// New returns the factory for a filter chain. scope is the connection manager's.
func New(scope stats.Scope) httpfilter.Factory { return factory{scope.Scope("cors").Block(statSet)} }

type factory struct{ stats stats.Block }

// NewFilter implements httpfilter.Factory.
func (f factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	x := &filter{loop: l, stats: f.stats}
	x.collect = func(c any) {
		if p, ok := c.(*xdsresource.CORSPolicy); ok {
			x.policies = append(x.policies, p)
		}
	}
	return x
}

// filter serves one stream at a time.
type filter struct {
	loop     *eventloop.Loop
	stats    stats.Block
	policies policies  // of the request, the most specific one first
	collect  func(any) // made once, so that a request allocates nothing
	origin   []byte    // of a request whose answer the page may read; nil: none
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	origin, ok := h.Get(header.Origin)
	if !ok || len(origin) == 0 || !f.find(s) {
		return httpfilter.Continue
	}
	first := f.policies[0] // only the most specific one says whether
	if !first.Enabled.HitOr(f.loop.Rand(), true) {
		if first.Shadow.HitOr(f.loop.Rand(), false) {
			f.count(s, f.policies.allow(string(origin)))
		}
		return httpfilter.Continue
	}
	allowed := f.policies.allow(string(origin))
	f.count(s, allowed)
	if allowed {
		f.origin = origin
	}
	method := h.Value(header.AccessControlRequestMethod)
	if string(h.Value(header.Method)) != http.MethodOptions || len(method) == 0 || !allowed && f.policies.forward() {
		return httpfilter.Continue
	}
	s.Reply(httpfilter.Reply{Code: http.StatusOK, Details: "cors_response", Bare: true, Headers: func(a *header.Map) { f.preflight(h, a) }})
	return httpfilter.Stop
}

// find collects the policies of a request; false: there are none.
func (f *filter) find(s httpfilter.Stream) bool {
	e := s.Route()
	if e == nil || e.Forward == nil {
		return false // as in Envoy, which has no policies for what leads to no cluster
	}
	f.policies = f.policies[:0]
	s.EachFilterConfig(f.collect)
	slices.Reverse(f.policies)
	if len(f.policies) == 0 { // the older fields count only where there is none of the newer ones
		f.collectOlder(e.Forward.CORS)
		f.collectOlder(e.VirtualHost.CORS)
	}
	return len(f.policies) > 0
}

func (f *filter) collectOlder(p *xdsresource.CORSPolicy) {
	if p != nil {
		f.policies = append(f.policies, p)
	}
}

// preflight writes what the answer to a preflight request, whose headers are req, says beside what every answer says.
func (f *filter) preflight(req, h *header.Map) {
	p := f.policies
	setTrue(h, header.AccessControlAllowCredentials, p.flag(allowCredentials))
	asked(h, header.AccessControlAllowMethods, p.text(allowMethods), req.Value(header.AccessControlRequestMethod))
	asked(h, header.AccessControlAllowHeaders, p.text(allowHeaders), req.Value(header.AccessControlRequestHeaders))
	set(h, header.AccessControlMaxAge, p.text(maxAge))
	if string(req.Value(header.AccessControlRequestPrivateNetwork)) == "true" {
		setTrue(h, header.AccessControlAllowPrivateNetwork, p.flag(allowPrivateNetwork))
	}
}

func (f *filter) count(s httpfilter.Stream, allowed bool) {
	i := originInvalid
	if allowed {
		i = originValid
	}
	s.Shard().Add(f.stats.Counter(i), 1)
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.origin != nil {
		h.Set(header.AccessControlAllowOrigin, f.origin)
		setTrue(h, header.AccessControlAllowCredentials, f.policies.flag(allowCredentials))
		set(h, header.AccessControlExposeHeaders, f.policies.text(exposeHeaders))
	}
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	clear(f.policies)
	f.policies, f.origin = f.policies[:0], nil
}

// asked sets a header to a value; "*" stands for what the client asks for.
func asked(h *header.Map, id header.ID, value string, client []byte) {
	if value == "*" {
		h.Set(id, client)
		return
	}
	set(h, id, value)
}

func set(h *header.Map, id header.ID, value string) {
	if value != "" {
		h.SetString(id, value)
	}
}

func setTrue(h *header.Map, id header.ID, yes bool) {
	if yes {
		h.SetString(id, "true")
	}
}

// Package cors is the HTTP filter envoy.filters.http.cors: it answers preflight requests of browsers and adds the headers that let a
// page of another origin read an answer, by the policy of the route.
//
// It refuses no actual request: that is the browser's part. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter
package cors

import (
	"net/http"

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

// Policy is a validated cors.v3.CorsPolicy of a route. Empty strings add no header.
type Policy struct {
	Origins                                   []xdsresource.StringMatch
	AllowMethods, AllowHeaders, ExposeHeaders string
	MaxAge                                    string
	AllowCredentials, AllowPrivateNetwork     bool
	ForwardNotMatchingPreflights              bool
	Enabled                                   *xdsresource.FractionalPercent // nil: always
	// Shadow: of requests for which the policy is not enabled, origins are counted and nothing else is done; nil: never.
	Shadow *xdsresource.FractionalPercent
}

// ParseConfig reads the filter's own configuration, which has no fields: policies stand at routes.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	return nil, d.ReadFilter(Name, a, &corsv3.Cors{}).Err()
}

// ParseRouteConfig reads a cors.v3.CorsPolicy. It returns a *Policy.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &corsv3.CorsPolicy{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	p := &Policy{
		AllowMethods: m.GetAllowMethods(), AllowHeaders: m.GetAllowHeaders(), ExposeHeaders: m.GetExposeHeaders(), MaxAge: m.GetMaxAge(),
		AllowCredentials: m.GetAllowCredentials().GetValue(), AllowPrivateNetwork: m.GetAllowPrivateNetworkAccess().GetValue(),
		ForwardNotMatchingPreflights: m.GetForwardNotMatchingPreflights() == nil || m.GetForwardNotMatchingPreflights().GetValue(),
	}
	p.Enabled = r.RuntimeFraction("filter_enabled", m.GetFilterEnabled())
	p.Shadow = r.RuntimeFraction("shadow_enabled", m.GetShadowEnabled())
	for _, o := range m.GetAllowOriginStringMatch() {
		p.Origins = append(p.Origins, r.StringMatch("allow_origin_string_match", o))
	}
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
	return &filter{loop: l, stats: f.stats}
}

// filter serves one stream at a time.
type filter struct {
	loop   *eventloop.Loop
	stats  stats.Block
	policy *Policy // of a request whose origin is allowed
	origin []byte
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	origin, ok := h.Get(header.Origin)
	if !ok || len(origin) == 0 {
		return httpfilter.Continue
	}
	p, ok := s.FilterConfig().(*Policy)
	if !ok {
		return httpfilter.Continue
	}
	if !p.Enabled.HitOr(f.loop.Rand(), true) {
		if p.Shadow.HitOr(f.loop.Rand(), false) {
			f.count(s, p.allows(string(origin)))
		}
		return httpfilter.Continue
	}
	preflight := string(h.Value(header.Method)) == http.MethodOptions && len(h.Value(header.AccessControlRequestMethod)) > 0
	allowed := p.allows(string(origin))
	f.count(s, allowed)
	if !allowed {
		if preflight && !p.ForwardNotMatchingPreflights {
			s.Reply(httpfilter.Reply{Code: http.StatusOK, Details: "cors_response", Bare: true})
			return httpfilter.Stop
		}
		return httpfilter.Continue
	}
	f.policy, f.origin = p, origin
	if !preflight {
		return httpfilter.Continue
	}
	private := string(h.Value(header.AccessControlRequestPrivateNetwork)) == "true"
	f.policy = nil // the answer below is complete
	s.Reply(httpfilter.Reply{Code: http.StatusOK, Details: "cors_response", Bare: true, Headers: func(a *header.Map) {
		p.common(a, origin)
		set(a, header.AccessControlAllowMethods, p.AllowMethods)
		set(a, header.AccessControlAllowHeaders, p.AllowHeaders)
		set(a, header.AccessControlExposeHeaders, p.ExposeHeaders)
		set(a, header.AccessControlMaxAge, p.MaxAge)
		if private && p.AllowPrivateNetwork {
			a.SetString(header.AccessControlAllowPrivateNetwork, "true")
		}
	}})
	return httpfilter.Stop
}

func (f *filter) count(s httpfilter.Stream, allowed bool) {
	i := originInvalid
	if allowed {
		i = originValid
	}
	s.Shard().Add(f.stats.Counter(i), 1)
}

func (p *Policy) allows(origin string) bool {
	for i := range p.Origins {
		if m := &p.Origins[i]; m.Kind == xdsresource.StringExact && m.Value == "*" || m.Match(origin) {
			return true
		}
	}
	return false
}

func (p *Policy) common(h *header.Map, origin []byte) {
	h.Set(header.AccessControlAllowOrigin, origin)
	if p.AllowCredentials {
		h.SetString(header.AccessControlAllowCredentials, "true")
	}
}

func set(h *header.Map, id header.ID, value string) {
	if value != "" {
		h.SetString(id, value)
	}
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if f.policy != nil {
		f.policy.common(h, f.origin)
		set(h, header.AccessControlExposeHeaders, f.policy.ExposeHeaders)
	}
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) { f.policy, f.origin = nil, nil }

package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// CORSPolicy is a validated cors.v3.CorsPolicy, or the older route.v3.CorsPolicy, which says the same. What is empty or
// nil is left to the next wider level.
type CORSPolicy struct {
	Origins                                           []StringMatch
	AllowMethods, AllowHeaders, ExposeHeaders, MaxAge string
	AllowCredentials, AllowPrivateNetwork             *bool
	ForwardNotMatchingPreflights                      *bool
	Enabled                                           *FractionalPercent // nil: always
	// Shadow: of requests for which the policy is not enabled, origins are counted and nothing else is done; nil: never.
	Shadow *FractionalPercent
}

// corsMessage is what the two messages have in common.
type corsMessage interface {
	GetAllowOriginStringMatch() []*matcherv3.StringMatcher
	GetAllowMethods() string
	GetAllowHeaders() string
	GetExposeHeaders() string
	GetMaxAge() string
	GetAllowCredentials() *wrapperspb.BoolValue
	GetAllowPrivateNetworkAccess() *wrapperspb.BoolValue
	GetForwardNotMatchingPreflights() *wrapperspb.BoolValue
	GetFilterEnabled() *corev3.RuntimeFractionalPercent
	GetShadowEnabled() *corev3.RuntimeFractionalPercent
}

func (p *parser) cors(path string, m corsMessage) *CORSPolicy {
	out := &CORSPolicy{
		AllowMethods: m.GetAllowMethods(), AllowHeaders: m.GetAllowHeaders(), ExposeHeaders: m.GetExposeHeaders(), MaxAge: m.GetMaxAge(),
		AllowCredentials: optBool(m.GetAllowCredentials()), AllowPrivateNetwork: optBool(m.GetAllowPrivateNetworkAccess()),
		ForwardNotMatchingPreflights: optBool(m.GetForwardNotMatchingPreflights()),
		Enabled:                      p.runtimeFraction(join(path, "filter_enabled"), m.GetFilterEnabled()),
		Shadow:                       p.runtimeFraction(join(path, "shadow_enabled"), m.GetShadowEnabled()),
	}
	for i, o := range m.GetAllowOriginStringMatch() {
		out.Origins = append(out.Origins, p.stringMatch(at(join(path, "allow_origin_string_match"), i), o))
	}
	return out
}

// CORS converts a policy of the CORS filter.
func (r *FilterReader) CORS(m corsMessage) *CORSPolicy { return r.p.cors("", m) }

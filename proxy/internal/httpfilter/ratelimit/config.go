package ratelimit

import (
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/rls"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated ratelimit.v3.RateLimit.
type Config struct {
	Service           rls.Service
	Domain            string
	Stage             uint32
	Internal          bool                           // requests from within are limited
	External          bool                           // those from outside are
	Deny              bool                           // requests are refused when the service fails
	DenyShare         *xdsresource.FractionalPercent // instead of Deny; nil: Deny counts
	Enabled, Enforced *xdsresource.FractionalPercent
	Status            int  // of a refusal
	ErrorStatus       int  // where the service fails
	GRPC              int  // status of a refusal; 0: what Status stands for
	RateLimited       bool // x-envoy-ratelimited tells of it
	Headers           bool // x-ratelimit-*, where a descriptor does not say
	RetryAfter        bool
	ResponseHeaders   route.Ops
	Limits            route.RateLimits // nil: those of the route
	StatPrefix        string
	Namespace         string // of the service's dynamic metadata
}

// RouteConfig is a validated ratelimit.v3.RateLimitPerRoute.
type RouteConfig struct {
	Domain string // "": the filter's
	VHost  vhostLimits
	Limits route.RateLimits // nil: the filter's, or those of the route
}

type vhostLimits uint8

const (
	vhostOverride vhostLimits = iota // only when the route has none
	vhostInclude
	vhostIgnore
)

// all is what runtime keys stand for that nobody can set here.
var all = xdsresource.FractionalPercent{Numerator: 100, Denominator: 100}

// ParseConfig reads the filter's configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &ratelimitv3.RateLimit{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		Domain: m.GetDomain(), Stage: m.GetStage(), Deny: m.GetFailureModeDeny(), Status: status(m.GetRateLimitedStatus().GetCode(), 429),
		ErrorStatus: status(m.GetStatusOnError().GetCode(), 500), RateLimited: !m.GetDisableXEnvoyRatelimitedHeader(),
		Headers: m.GetEnableXRatelimitHeaders() == ratelimitv3.RateLimit_DRAFT_VERSION_03, RetryAfter: m.GetEnableRetryAfterHeader(),
		StatPrefix: m.GetStatPrefix(), Namespace: m.GetMetadataNamespace(), Enabled: &all, Enforced: &all,
		DenyShare: r.RuntimeFraction("failure_mode_deny_percent", m.GetFailureModeDenyPercent()),
	}
	c.Internal, c.External = m.GetRequestType() != "external", m.GetRequestType() != "internal"
	if f := m.GetFilterEnabled(); f != nil {
		c.Enabled = r.RuntimeFraction("filter_enabled", f)
	}
	if f := m.GetFilterEnforced(); f != nil {
		c.Enforced = r.RuntimeFraction("filter_enforced", f)
	}
	if m.GetRateLimitedAsResourceExhausted() {
		c.GRPC = 8
	}
	if c.Namespace == "" {
		c.Namespace = Name
	}
	c.Service = rls.Read(r, "rate_limit_service", m.GetRateLimitService(), m.GetTimeout())
	ops, err := route.CompileOps(&xdsresource.HeaderOps{Add: r.Headers("response_headers_to_add", m.GetResponseHeadersToAdd())})
	if err != nil {
		r.Bad("response_headers_to_add", "%v", err)
	}
	c.ResponseHeaders = ops
	c.Limits = route.ReadRateLimits(r, "rate_limits", r.RateLimits("rate_limits", m.GetRateLimits()))
	return c, r.Err()
}

// status is a configured status, unless that is none of an error.
func status[T ~int32](code T, def int) int {
	if code < 400 {
		return def
	}
	return int(code)
}

// ParseRouteConfig reads a route's configuration. It returns a *RouteConfig.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &ratelimitv3.RateLimitPerRoute{}
	r := d.ReadFilter(Name, a, m)
	c := &RouteConfig{Domain: m.GetDomain(), Limits: route.ReadRateLimits(r, "rate_limits", r.RateLimits("rate_limits", m.GetRateLimits()))}
	switch m.GetVhRateLimits() {
	case ratelimitv3.RateLimitPerRoute_INCLUDE:
		c.VHost = vhostInclude
	case ratelimitv3.RateLimitPerRoute_IGNORE:
		c.VHost = vhostIgnore
	}
	return c, r.Err()
}

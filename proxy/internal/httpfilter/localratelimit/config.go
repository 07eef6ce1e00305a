package localratelimit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/tokenbucket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated local_ratelimit.v3.LocalRateLimit of a filter chain or a route, with its
// live buckets: they are shared by whoever has the configuration.
type Config struct {
	StatPrefix        string
	Status            int
	Enabled, Enforced *xdsresource.FractionalPercent // nil: never
	RequestHeaders    route.Ops                      // of a request over the limit that may pass
	ResponseHeaders   route.Ops
	Limits            route.RateLimits // nil: those of the route
	Stage             uint32
	VHost             vhostLimits
	PerConnection     bool
	Headers           bool // x-ratelimit-*
	RetryAfter        bool
	GRPC              int // status; 0: what Status stands for

	rules   *rules
	limiter *limiter
	base    time.Time // the buckets' clock begins here
}

type vhostLimits uint8

const (
	vhostOverride vhostLimits = iota // only when the route has none
	vhostInclude
	vhostIgnore
)

// rules are the limits themselves, from which buckets are made.
type rules struct {
	bucket        *tokenbucket.Limit // nil: no limit
	descriptors   []rule             // the slowest first
	alwaysDefault bool
	maxDynamic    int
}

type rule struct {
	entries []route.DescriptorEntry // an empty value stands for any, each with a bucket of its own
	dynamic bool
	shadow  bool
	limit   tokenbucket.Limit
}

// ParseConfig reads the filter's own configuration; ParseRouteConfig a route's, which is of the
// same type and must have a bucket.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) { return parse(d, a, false) }

// ParseRouteConfig reads a route's configuration.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) { return parse(d, a, true) }

func parse(d *xdsresource.Decoder, a *anypb.Any, ofRoute bool) (any, error) {
	m := &localv3.LocalRateLimit{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		StatPrefix: m.GetStatPrefix(), Status: 429, Stage: m.GetStage(), PerConnection: m.GetLocalRateLimitPerDownstreamConnection(),
		Enabled: r.RuntimeFraction("filter_enabled", m.GetFilterEnabled()), Enforced: r.RuntimeFraction("filter_enforced", m.GetFilterEnforced()),
		Headers: m.GetEnableXRatelimitHeaders() == ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03, RetryAfter: m.GetEnableRetryAfterHeader(),
		base: time.Now(),
	}
	if s := int(m.GetStatus().GetCode()); s >= 400 {
		c.Status = s
	}
	if m.GetRateLimitedAsResourceExhausted() {
		c.GRPC = 8
	}
	switch m.GetVhRateLimits() {
	case ratelimitv3.VhRateLimitsOptions_INCLUDE:
		c.VHost = vhostInclude
	case ratelimitv3.VhRateLimitsOptions_IGNORE:
		c.VHost = vhostIgnore
	}
	c.rules = parseRules(r, m, ofRoute)
	add := func(path string, ops []xdsresource.HeaderOp) route.Ops {
		out, err := route.CompileOps(&xdsresource.HeaderOps{Add: ops})
		if err != nil {
			r.Bad(path, "%v", err)
		}
		return out
	}
	c.RequestHeaders = add("request_headers_to_add_when_not_enforced", r.Headers("request_headers_to_add_when_not_enforced", m.GetRequestHeadersToAddWhenNotEnforced()))
	c.ResponseHeaders = add("response_headers_to_add", r.Headers("response_headers_to_add", m.GetResponseHeadersToAdd()))
	for i, l := range m.GetRateLimits() {
		path := fmt.Sprintf("rate_limits[%d]", i)
		if l.GetLimit() != nil {
			r.Bad(path+".limit", "is for rate limit services; limits stand in descriptors")
		}
		if l.GetApplyOnStreamDone() {
			r.Bad(path+".apply_on_stream_done", "is for rate limit services")
		}
		if l.GetHitsAddend().GetIsNegativeHits() {
			r.Bad(path+".hits_addend.is_negative_hits", "is for rate limit services")
		}
	}
	c.Limits = route.ReadRateLimits(r, "rate_limits", r.RateLimits("rate_limits", m.GetRateLimits()))
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c.init(), nil
}

func parseRules(r *xdsresource.FilterReader, m *localv3.LocalRateLimit, ofRoute bool) *rules {
	out := &rules{maxDynamic: 20, alwaysDefault: m.GetAlwaysConsumeDefaultTokenBucket() == nil || m.GetAlwaysConsumeDefaultTokenBucket().GetValue()}
	if n := m.GetMaxDynamicDescriptors(); n != nil {
		out.maxDynamic = int(n.GetValue())
	}
	check := func(path string, l tokenbucket.Limit) tokenbucket.Limit {
		if l.Interval < 50*time.Millisecond {
			r.Bad(path+".fill_interval", "must be at least 50ms")
		}
		return l
	}
	switch {
	case m.GetTokenBucket() != nil:
		l := check("token_bucket", r.TokenBucket("token_bucket", m.GetTokenBucket()))
		out.bucket = &l
	case ofRoute:
		r.Bad("token_bucket", "is required for a route")
	}
	seen := map[string]bool{}
	for i, d := range m.GetDescriptors() {
		path := fmt.Sprintf("descriptors[%d]", i)
		x := rule{shadow: d.GetShadowMode(), limit: check(path+".token_bucket", r.TokenBucket(path+".token_bucket", d.GetTokenBucket()))}
		for _, e := range d.GetEntries() {
			x.entries = append(x.entries, route.DescriptorEntry{Key: e.GetKey(), Value: e.GetValue()})
			x.dynamic = x.dynamic || e.GetValue() == ""
		}
		if k := string(appendKey(nil, x.entries)); seen[k] {
			r.Bad(path, "the same descriptor stands twice")
		} else {
			seen[k] = true
		}
		out.descriptors = append(out.descriptors, x)
	}
	// Who is limited by one descriptor should not use up the tokens of another: the slowest is
	// asked first.
	slices.SortStableFunc(out.descriptors, func(a, b rule) int { return cmp.Compare(a.perSecond(), b.perSecond()) })
	return out
}

func (r *rule) perSecond() float64 { return float64(r.limit.PerFill) / r.limit.Interval.Seconds() }

// Package rbac is the HTTP filter envoy.filters.http.rbac: it refuses requests that the policies
// of its configuration, or of the route's, do not allow.
//
// It judges nothing itself: package rbac of the data path does. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter
package rbac

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.rbac"

// Config is a validated rbac.v3.RBAC of a filter chain or a route.
type Config struct {
	Rules, Shadow             *rbac.Engine // nil: none
	StatPrefix, ShadowPrefix  string
	PerPolicy                 bool // counters of each policy, for what it decided
	shadowPolicy, shadowState string
	policy, state             string   // keys of the dynamic metadata
	details                   []string // of a refusal, by policy
	// names and shadowNames are the policies' as the dynamic metadata takes them, without an allocation for each request.
	names, shadowNames []any
}

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &rbacv3.RBAC{}
	r := d.ReadFilter(Name, a, m)
	return parse(r, "", m)
}

// ParseRouteConfig reads an RBACPerRoute. Without rbac in it, the route is open.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &rbacv3.RBACPerRoute{}
	r := d.ReadFilter(Name, a, m)
	return parse(r, "rbac.", m.GetRbac())
}

func parse(r *xdsresource.FilterReader, path string, m *rbacv3.RBAC) (any, error) {
	rules := r.RBACOrMatcher(path+"rules", m.GetRules(), path+"matcher", m.GetMatcher(), true)
	shadow := r.RBACOrMatcher(path+"shadow_rules", m.GetShadowRules(), path+"shadow_matcher", m.GetShadowMatcher(), true)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		Rules: rbac.New(rules), Shadow: rbac.New(shadow),
		StatPrefix: m.GetRulesStatPrefix(), ShadowPrefix: m.GetShadowRulesStatPrefix(), PerPolicy: m.GetTrackPerRuleStats(),
	}
	c.shadowPolicy, c.shadowState = c.ShadowPrefix+"shadow_effective_policy_id", c.ShadowPrefix+"shadow_engine_result"
	c.policy, c.state = c.StatPrefix+"enforced_effective_policy_id", c.StatPrefix+"enforced_engine_result"
	if c.Rules != nil {
		for _, name := range c.Rules.Policies() {
			c.details, c.names = append(c.details, rbac.Details(name)), append(c.names, name)
		}
	}
	if c.Shadow != nil {
		for _, name := range c.Shadow.Policies() {
			c.shadowNames = append(c.shadowNames, name)
		}
	}
	return c, nil
}

// New returns the factory for a filter chain. scope is the connection manager's, "http.<prefix>.".
func New(cfg any, scope stats.Scope, workers int) httpfilter.Factory {
	c := cfg.(*Config)
	scope = scope.Scope("rbac")
	f := &factory{cfg: c, workers: make([]map[policyVerdict]stats.Counter, workers)}
	f.scopes[allowed] = rbac.HTTPScope(scope, c.StatPrefix)
	f.scopes[denied] = f.scopes[allowed]
	f.scopes[shadowAllowed] = rbac.HTTPScope(scope, c.ShadowPrefix)
	f.scopes[shadowDenied] = f.scopes[shadowAllowed]
	for i, name := range counterNames {
		f.counters[i] = f.scopes[i].Counter(name)
	}
	if c.PerPolicy {
		f.policies, f.shadowPolicies = f.policyCounters(c.Rules, allowed), f.policyCounters(c.Shadow, shadowAllowed)
	}
	return f
}

// Counters, in the order of counterNames.
const (
	allowed = iota
	denied
	shadowAllowed
	shadowDenied
	counters
)

var counterNames = [counters]string{"allowed", "denied", "shadow_allowed", "shadow_denied"}

type factory struct {
	cfg      *Config
	scopes   [counters]stats.Scope
	counters [counters]stats.Counter
	// policies and shadowPolicies are the counters of the filter's own policies, in the order of the engines' Policies.
	policies, shadowPolicies []stats.Counter
	workers                  []map[policyVerdict]stats.Counter // those of routes' policies, by worker
}

// policyVerdict is what is counted of a policy.
type policyVerdict struct {
	policy  string
	counter int
}

// policyCounters makes the counter of each policy for what it decides; yes is what allowing counts as.
func (f *factory) policyCounters(e *rbac.Engine, yes int) []stats.Counter {
	if e == nil {
		return nil
	}
	var out []stats.Counter
	for i, name := range e.Policies() {
		counter := yes
		if !e.Allows(i) {
			counter++
		}
		out = append(out, rbac.PolicyScope(f.scopes[counter], name).Counter(counterNames[counter]))
	}
	return out
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(*eventloop.Loop) httpfilter.Filter { return &filter{factory: f} }

// filter serves one stream at a time; in is here only so that it need not be allocated.
type filter struct {
	*factory
	in rbac.Input
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	c := f.cfg
	if rc, ok := s.FilterConfig().(*Config); ok {
		c = rc
	}
	if c.Rules == nil && c.Shadow == nil {
		return httpfilter.Continue
	}
	info := s.Info()
	f.in.Headers, f.in.Conn, f.in.Stream = h, info.Downstream, info
	defer f.in.Reset()
	if c.Shadow != nil {
		d := c.Shadow.Decide(&f.in)
		f.count(s, c, shadowAllowed, f.shadowPolicies, d)
		note(info, f.cfg.shadowPolicy, f.cfg.shadowState, c.shadowNames, d)
	}
	if c.Rules == nil {
		return httpfilter.Continue
	}
	d := c.Rules.Decide(&f.in)
	if d.Hint != rbac.NoHint {
		info.SetMetadata("envoy.common", "access_log_hint", d.Hint == rbac.DoLog)
	}
	f.count(s, c, allowed, f.policies, d)
	note(info, f.cfg.policy, f.cfg.state, c.names, d)
	if d.Allowed {
		return httpfilter.Continue
	}
	reply := httpfilter.Reply{Code: 403, Body: "RBAC: access denied", Details: rbac.Details("")}
	if d.Matched() {
		reply.Details = c.details[d.Index]
	}
	s.Reply(reply)
	return httpfilter.Stop
}

// note leaves a decision in the dynamic metadata.
func note(info *streaminfo.Info, policyKey, stateKey string, names []any, d rbac.Decision) {
	if d.Matched() {
		info.SetMetadata(Name, policyKey, names[d.Index])
	}
	result := any("denied") // not boxed for each request
	if d.Allowed {
		result = "allowed"
	}
	info.SetMetadata(Name, stateKey, result)
}

// count counts a decision; yes is the counter of an allowed one, behind which stands the other, and own are those of the filter's policies.
func (f *filter) count(s httpfilter.Stream, c *Config, yes int, own []stats.Counter, d rbac.Decision) {
	if !d.Allowed {
		yes++
	}
	shard := s.Shard()
	shard.Inc(f.counters[yes])
	switch {
	case !c.PerPolicy || !d.Matched():
	case c == f.cfg:
		shard.Inc(own[d.Index])
	default:
		shard.Inc(f.routeCounter(s.Loop().ID(), policyVerdict{d.Policy, yes}))
	}
}

// routeCounter finds the counter of a route's policy. The chain does not know what routes bring, so it is registered when it is first met: once for each worker and policy.
func (f *factory) routeCounter(worker int, v policyVerdict) stats.Counter {
	c, ok := f.workers[worker][v]
	if !ok {
		c = rbac.PolicyScope(f.scopes[v.counter], v.policy).Counter(counterNames[v.counter])
		if f.workers[worker] == nil {
			f.workers[worker] = map[policyVerdict]stats.Counter{}
		}
		f.workers[worker][v] = c
	}
	return c
}

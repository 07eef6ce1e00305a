// Package rbac is the HTTP filter envoy.filters.http.rbac: it refuses requests that the policies
// of its configuration, or of the route's, do not allow.
//
// It judges nothing itself: package rbac of the data path does. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter
package rbac

import (
	"strings"

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
	PerPolicy                 bool // statistics for each policy
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
	f := &factory{cfg: c, scope: scope.Scope("rbac"), workers: make([]map[string]stats.Counter, workers)}
	for i, name := range counterNames {
		prefix := c.StatPrefix
		if strings.HasPrefix(name, "shadow_") {
			prefix = c.ShadowPrefix
		}
		f.prefixes[i] = rbac.StatPrefix(prefix)
		f.counters[i] = f.scope.Counter(f.prefixes[i] + name)
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
	scope    stats.Scope
	counters [counters]stats.Counter
	prefixes [counters]string
	workers  []map[string]stats.Counter // statistics of single policies, by worker
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
		f.count(s, c, shadowAllowed, d)
		note(info, f.cfg.shadowPolicy, f.cfg.shadowState, c.shadowNames, d)
	}
	if c.Rules == nil {
		return httpfilter.Continue
	}
	d := c.Rules.Decide(&f.in)
	if d.Hint != rbac.NoHint {
		info.SetMetadata("envoy.common", "access_log_hint", d.Hint == rbac.DoLog)
	}
	f.count(s, c, allowed, d)
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

// count counts a decision; yes is the counter of an allowed one, behind which stands the other.
func (f *filter) count(s httpfilter.Stream, c *Config, yes int, d rbac.Decision) {
	if !d.Allowed {
		yes++
	}
	s.Shard().Inc(f.counters[yes])
	if c.PerPolicy && d.Matched() {
		s.Shard().Inc(f.policyCounter(s.Loop().ID(), d.Policy, yes))
	}
}

// policyCounter finds the statistic of a policy. A route may bring policies that the chain does
// not know, so they are registered when they are first met: once for each worker and policy.
func (f *factory) policyCounter(worker int, policy string, counter int) stats.Counter {
	name := f.prefixes[counter] + "policy." + policy + "." + counterNames[counter]
	c, ok := f.workers[worker][name]
	if !ok {
		c = f.scope.Counter(name)
		if f.workers[worker] == nil {
			f.workers[worker] = map[string]stats.Counter{}
		}
		f.workers[worker][name] = c
	}
	return c
}

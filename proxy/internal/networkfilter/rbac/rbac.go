// Package rbac is the network filter envoy.filters.network.rbac: it closes connections that its
// policies do not allow.
//
// It judges a connection when it is there, which Envoy does at its first byte: who may not speak is
// told before speaking. CONTINUOUS enforcement is refused, since nothing changes a connection's
// attributes later. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/rbac_filter
package rbac

import (
	"slices"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/rbac"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.rbac"

// Config is a validated rbac.v3.RBAC.
type Config struct {
	Rules, Shadow            *rbac.Engine // nil: none
	StatPrefix, ShadowPrefix string
	Delay                    time.Duration // before a refused connection is closed
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &rbacv3.RBAC{}
	r := d.ReadFilter(Name, a, m)
	if m.GetEnforcementType() != rbacv3.RBAC_ONE_TIME_ON_FIRST_BYTE {
		r.Bad("enforcement_type", "%v is not supported", m.GetEnforcementType())
	}
	rules := r.RBACOrMatcher("rules", m.GetRules(), "matcher", m.GetMatcher(), false)
	shadow := r.RBACOrMatcher("shadow_rules", m.GetShadowRules(), "shadow_matcher", m.GetShadowMatcher(), false)
	if readsHeaders(rules) {
		r.Bad("rules", "a connection has no headers that a rule could match")
	}
	if readsHeaders(shadow) {
		r.Bad("shadow_rules", "a connection has no headers that a rule could match")
	}
	delay := r.Duration("delay_deny", m.GetDelayDeny(), 0)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &Config{
		Rules: rbac.New(rules), Shadow: rbac.New(shadow),
		StatPrefix: m.GetStatPrefix(), ShadowPrefix: m.GetShadowRulesStatPrefix(), Delay: delay,
	}, nil
}

// readsHeaders reports whether a rule is about HTTP.
func readsHeaders(c *xdsresource.RBAC) bool {
	var in func(rules []xdsresource.RBACRule) bool
	in = func(rules []xdsresource.RBACRule) bool {
		return slices.ContainsFunc(rules, func(r xdsresource.RBACRule) bool { return r.Kind == xdsresource.RBACHeader || in(r.Rules) })
	}
	return c != nil && slices.ContainsFunc(c.Policies, func(p xdsresource.RBACPolicy) bool { return in(p.Permissions) || in(p.Principals) })
}

type filter struct {
	*Config
	store                                *stats.Store
	allowed, denied, shadowYes, shadowNo stats.Counter
}

// New makes the filter.
func New(cfg any, s *stats.Store) networkfilter.Filter {
	c := cfg.(*Config)
	scope, shadow := rbac.NetworkScope(s, c.StatPrefix), rbac.ShadowPrefix(c.ShadowPrefix)
	return &filter{
		Config: c, store: s, allowed: scope.Counter("allowed"), denied: scope.Counter("denied"),
		shadowYes: scope.Counter(shadow + "shadow_allowed"), shadowNo: scope.Counter(shadow + "shadow_denied"),
	}
}

// OnNewConnection implements networkfilter.Filter.
func (f *filter) OnNewConnection(c *conn.Conn, _ *listener.Context) bool {
	info := c.Info()
	in := rbac.Input{Conn: info}
	shard := f.store.Shard(c.Loop().ID())
	if f.Shadow != nil {
		d := f.Shadow.Decide(&in)
		result, counter := "allowed", f.shadowYes
		if !d.Allowed {
			result, counter = "denied", f.shadowNo
		}
		shard.Inc(counter)
		if d.Matched() {
			info.SetMetadata(Name, f.ShadowPrefix+"shadow_effective_policy_id", d.Policy)
		}
		info.SetMetadata(Name, f.ShadowPrefix+"shadow_engine_result", result)
	}
	if f.Rules == nil {
		return true
	}
	d := f.Rules.Decide(&in)
	if d.Hint != rbac.NoHint {
		info.SetMetadata("envoy.common", "access_log_hint", d.Hint == rbac.DoLog)
	}
	if d.Allowed {
		shard.Inc(f.allowed)
		return true
	}
	shard.Inc(f.denied)
	info.Termination = rbac.Details(d.Policy)
	networkfilter.Refuse(c, f.Delay)
	return false
}

package authorization

import (
	"fmt"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Rules are what one RBAC filter decides by.
type Rules struct {
	// Enforced is nil when all policies of the action are dry runs.
	Enforced *rbacv3.RBAC
	// Shadow holds the dry runs (annotation istio.io/dry-run): it decides nothing and is counted below ShadowPrefix.
	Shadow       *rbacv3.RBAC
	ShadowPrefix string
}

// Protocol is what the filter sees.
type Protocol uint8

// Protocols.
const (
	// Requests are HTTP.
	Requests Protocol = iota
	// Connections are opaque bytes. What a rule asks of a request cannot be asked of them: a rule that allows then allows nothing, and one that denies or
	// audits is taken without the question, so that it denies more, as in Istio.
	Connections
	// GRPC are the calls of a server that decides by gRPC's own RBAC (https://github.com/grpc/proposal/blob/master/A41-xds-rbac.md), which knows no tokens and no templates of
	// paths. As of connections, what cannot be asked is not, so that more is denied and less allowed.
	GRPC
)

// actions are Envoy's, in the order in which Istio has its filters.
var actions = []struct {
	of     security.AuthorizationPolicy_Action
	action rbacv3.RBAC_Action
	shadow string // prefix of statistics of dry runs
}{
	{security.AuthorizationPolicy_AUDIT, rbacv3.RBAC_LOG, ""},
	{security.AuthorizationPolicy_DENY, rbacv3.RBAC_DENY, "istio_dry_run_deny_"},
	{security.AuthorizationPolicy_ALLOW, rbacv3.RBAC_ALLOW, "istio_dry_run_allow_"},
}

// For makes the rules of a workload's policies: at most one for each action, in the order in which they decide (audits, denials, then what is
// allowed). Policies of action CUSTOM are not among them (Asks). trustDomains are the mesh's: its own, then its aliases.
func For(policies []*model.AuthorizationPolicy, proto Protocol, trustDomains []string) []Rules {
	var out []Rules
	for _, a := range actions {
		r := Rules{ShadowPrefix: a.shadow}
		for _, p := range policies {
			if p.Action != a.of {
				continue
			}
			into := &r.Enforced
			if p.DryRun {
				into = &r.Shadow
			}
			if *into == nil {
				*into = &rbacv3.RBAC{Action: a.action, Policies: map[string]*rbacv3.Policy{}}
			}
			(&generator{proto: proto, action: a.of, namespace: p.Namespace, trustDomains: trustDomains}).add((*into).Policies, p)
		}
		if r.Enforced != nil || r.Shadow != nil {
			out = append(out, r)
		}
	}
	return out
}

// ShadowPolicy is the key, after an Ask's Prefix, below which the RBAC filters leave the name of the policy that their shadow rules matched, in the metadata of their own
// names.
const ShadowPolicy = "shadow_effective_policy_id"

// Ask is what one external authorizer is to be asked about.
type Ask struct {
	Provider string
	// Rules match what it is asked about. As shadow rules, with the prefix, they leave a name that begins with Marked.
	Rules          *rbacv3.RBAC
	Prefix, Marked string
}

// Asks are those of the policies of action CUSTOM, by their providers in the order of policies. For one provider the names are Istio's, which knows no more.
func Asks(policies []*model.AuthorizationPolicy, proto Protocol, trustDomains []string) []Ask {
	var out []Ask
	for _, p := range policies {
		if p.Action != security.AuthorizationPolicy_CUSTOM {
			continue
		}
		i := slices.IndexFunc(out, func(a Ask) bool { return a.Provider == p.Provider })
		if i < 0 {
			i = len(out)
			out = append(out, Ask{
				Provider: p.Provider, Prefix: "istio_ext_authz_", Marked: "istio-ext-authz-" + p.Provider + "-",
				Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}},
			})
		}
		made := map[string]*rbacv3.Policy{}
		(&generator{proto: proto, action: p.Action, namespace: p.Namespace, trustDomains: trustDomains}).add(made, p)
		for name, policy := range made {
			out[i].Rules.Policies[out[i].Marked+name] = policy
		}
	}
	if len(out) > 1 {
		for i := range out {
			out[i].Prefix += out[i].Provider + "_"
		}
	}
	return out
}

// generator makes the rules of one policy.
type generator struct {
	proto        Protocol
	action       security.AuthorizationPolicy_Action
	namespace    string // the policy's
	trustDomains []string
}

// PolicyName is how a rule is called in logs, statistics and response details, as in Istio.
func PolicyName(namespace, name string, rule int) string {
	return fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", namespace, name, rule)
}

func (g *generator) add(into map[string]*rbacv3.Policy, p *model.AuthorizationPolicy) {
	if len(p.Rules) == 0 {
		// Nothing matches it. Beside it nothing else is allowed either, which is what an empty ALLOW policy is for.
		into[PolicyName(p.Namespace, p.Name, 0)] = never()
	}
	for i, r := range p.Rules {
		if made := g.policy(r); made != nil {
			into[PolicyName(p.Namespace, p.Name, i)] = made
		}
	}
}

func never() *rbacv3.Policy {
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_NotRule{NotRule: anyPermission()}}},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_NotId{NotId: anyPrincipal()}}},
	}
}

// policy makes a rule: one of its sources, one of its operations, and all of its conditions. Nil: it can match nothing.
func (g *generator) policy(r *security.Rule) *rbacv3.Policy {
	var given terms // by the conditions, for all sources and operations
	for _, c := range r.GetWhen() {
		if !g.term(&given, c.GetKey(), c.GetValues(), c.GetNotValues()) {
			return nil
		}
	}
	out := &rbacv3.Policy{}
	for _, f := range r.GetFrom() {
		t := given.clone()
		if g.source(&t, f.GetSource()) {
			out.Principals = append(out.Principals, t.principal())
		}
	}
	for _, o := range r.GetTo() {
		t := given.clone()
		if g.operation(&t, o.GetOperation()) {
			out.Permissions = append(out.Permissions, t.permission())
		}
	}
	if len(r.GetFrom()) == 0 {
		out.Principals = append(out.Principals, given.principal())
	}
	if len(r.GetTo()) == 0 {
		out.Permissions = append(out.Permissions, given.permission())
	}
	if len(out.Principals) == 0 || len(out.Permissions) == 0 {
		return nil
	}
	return out
}

// source reports whether a client can be it.
func (g *generator) source(t *terms, s *security.Source) bool {
	return g.term(t, "source.ip", s.GetIpBlocks(), s.GetNotIpBlocks()) &&
		g.term(t, "remote.ip", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks()) &&
		g.term(t, "source.namespace", s.GetNamespaces(), s.GetNotNamespaces()) &&
		g.term(t, "source.serviceAccount", s.GetServiceAccounts(), s.GetNotServiceAccounts()) &&
		g.term(t, "source.trustDomain", s.GetTrustDomains(), s.GetNotTrustDomains()) &&
		g.term(t, "request.auth.principal", s.GetRequestPrincipals(), s.GetNotRequestPrincipals()) &&
		g.term(t, "source.principal", s.GetPrincipals(), s.GetNotPrincipals())
}

func (g *generator) operation(t *terms, o *security.Operation) bool {
	return g.term(t, "host", o.GetHosts(), o.GetNotHosts()) &&
		g.term(t, "method", o.GetMethods(), o.GetNotMethods()) &&
		g.term(t, "path", o.GetPaths(), o.GetNotPaths()) &&
		g.term(t, "destination.port", o.GetPorts(), o.GetNotPorts())
}

// term adds what an attribute must be: one of values, and none of not. It reports whether that can be.
func (g *generator) term(t *terms, key string, values, not []string) bool {
	if len(values)+len(not) == 0 {
		return true
	}
	a, ok := g.attribute(key)
	if !ok || a.request && g.proto == Connections || g.proto == GRPC && !a.inGRPC(values, not) {
		// What cannot be asked denies more, and allows less.
		return g.action != security.AuthorizationPolicy_ALLOW
	}
	if a.principal != nil {
		if len(values) > 0 {
			t.principals = append(t.principals, oneOfPrincipals(a.principal, values))
		}
		if len(not) > 0 {
			t.principals = append(t.principals, &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: oneOfPrincipals(a.principal, not)}})
		}
		return true
	}
	if len(values) > 0 {
		t.permissions = append(t.permissions, oneOfPermissions(a.permission, values))
	}
	if len(not) > 0 {
		t.permissions = append(t.permissions, &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: oneOfPermissions(a.permission, not)}})
	}
	return true
}

// terms are conditions that all must hold.
type terms struct {
	principals  []*rbacv3.Principal
	permissions []*rbacv3.Permission
}

func (t terms) clone() terms {
	return terms{principals: t.principals[:len(t.principals):len(t.principals)], permissions: t.permissions[:len(t.permissions):len(t.permissions)]}
}

func (t terms) principal() *rbacv3.Principal {
	ids := t.principals
	if len(ids) == 0 {
		ids = []*rbacv3.Principal{anyPrincipal()}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: ids}}}
}

func (t terms) permission() *rbacv3.Permission {
	rules := t.permissions
	if len(rules) == 0 {
		rules = []*rbacv3.Permission{anyPermission()}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: rules}}}
}

func anyPrincipal() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

func anyPermission() *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
}

func oneOfPrincipals(make func(string) []*rbacv3.Principal, values []string) *rbacv3.Principal {
	var ids []*rbacv3.Principal
	for _, v := range values {
		ids = append(ids, make(v)...)
	}
	if len(ids) == 0 { // no value is one of the attribute's
		ids = []*rbacv3.Principal{{Identifier: &rbacv3.Principal_NotId{NotId: anyPrincipal()}}}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: ids}}}
}

func oneOfPermissions(make func(string) []*rbacv3.Permission, values []string) *rbacv3.Permission {
	var rules []*rbacv3.Permission
	for _, v := range values {
		rules = append(rules, make(v)...)
	}
	if len(rules) == 0 {
		rules = []*rbacv3.Permission{{Rule: &rbacv3.Permission_NotRule{NotRule: anyPermission()}}}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: rules}}}
}

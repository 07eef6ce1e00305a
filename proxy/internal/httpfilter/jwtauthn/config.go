package jwtauthn

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.jwt_authn"

// Config is a validated JwtAuthentication.
type Config struct {
	providers []*provider          // in order of name
	byIssuer  map[string]int       // the first provider of an issuer
	named     map[string]*verifier // requirement_map
	names     string               // of named, for answers
	rules     []rule
	state     string // name of the filter state's object that chooses; "": none
	byState   map[string]*verifier
	sanitize  []header.Key // headers that only this filter may set

	bypassPreflight, strip bool
	statPrefix             string
}

// rule applies to the requests that it matches.
type rule struct {
	match    route.Matcher
	verifier *verifier // nil: nothing is required
}

// RouteConfig is a validated PerRouteConfig.
type RouteConfig struct {
	disabled    bool
	requirement string
}

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &jwtv3.JwtAuthentication{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		byIssuer: map[string]int{}, named: map[string]*verifier{}, byState: map[string]*verifier{},
		bypassPreflight: m.GetBypassCorsPreflight(), strip: m.GetStripFailureResponse(), statPrefix: m.GetStatPrefix(),
	}
	for i, name := range slices.Sorted(maps.Keys(m.GetProviders())) {
		p := parseProvider(r, fmt.Sprintf("providers[%q]", name), name, m.GetProviders()[name])
		if _, ok := c.byIssuer[p.issuer]; !ok {
			c.byIssuer[p.issuer] = i
		}
		c.providers = append(c.providers, p)
	}
	c.sanitize = newExtractor(c.providers...).sanitize
	b := &builder{r: r, c: c}
	names := slices.Sorted(maps.Keys(m.GetRequirementMap()))
	for _, name := range names {
		c.named[name] = b.verifier(fmt.Sprintf("requirement_map[%q]", name), m.GetRequirementMap()[name])
	}
	c.names = strings.Join(names, ",")
	for i, x := range m.GetRules() {
		c.rules = append(c.rules, b.rule(fmt.Sprintf("rules[%d]", i), x))
	}
	if s := m.GetFilterStateRules(); s != nil {
		c.state = s.GetName()
		for _, value := range slices.Sorted(maps.Keys(s.GetRequires())) {
			c.byState[value] = b.verifier(fmt.Sprintf("filter_state_rules.requires[%q]", value), s.GetRequires()[value])
		}
	}
	return c, r.Err()
}

// ParseRouteConfig reads a PerRouteConfig. It returns a *RouteConfig.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &jwtv3.PerRouteConfig{}
	r := d.ReadFilter(Name, a, m)
	return &RouteConfig{disabled: m.GetDisabled(), requirement: m.GetRequirementName()}, r.Err()
}

// Remotes are the servers that the configuration fetches keys from.
func (c *Config) Remotes() []Remote {
	var out []Remote
	for _, p := range c.providers {
		if p.remote != nil {
			out = append(out, *p.remote)
		}
	}
	return out
}

// providerOf returns the index of the provider for an issuer's tokens; -1: there is none.
func (c *Config) providerOf(issuer string) int {
	for _, x := range [...]string{issuer, ""} {
		if i, ok := c.byIssuer[x]; ok {
			return i
		}
	}
	return -1
}

// StatPrefix is the filter's own part of its statistics' names, "" for none.
func (c *Config) StatPrefix() string { return c.statPrefix }

func (b *builder) rule(path string, m *jwtv3.RequirementRule) rule {
	match := m.GetMatch()
	// Envoy looks at none of these here, so that a rule would apply to more than it says.
	for name, there := range map[string]bool{
		"runtime_fraction": match.GetRuntimeFraction() != nil, "grpc": match.GetGrpc() != nil, "tls_context": match.GetTlsContext() != nil,
		"dynamic_metadata": len(match.GetDynamicMetadata()) > 0, "filter_state": len(match.GetFilterState()) > 0, "cookies": len(match.GetCookies()) > 0,
	} {
		if there {
			b.r.Bad(path+".match."+name, "is not supported in a rule of this filter")
		}
	}
	out := rule{match: route.NewMatcher(b.r.RouteMatch(path+".match", match))}
	switch q := m.GetRequirementType().(type) {
	case *jwtv3.RequirementRule_Requires:
		out.verifier = b.verifier(path+".requires", q.Requires)
	case *jwtv3.RequirementRule_RequirementName:
		v, ok := b.c.named[q.RequirementName]
		if !ok {
			b.r.Bad(path+".requirement_name", "%q is none of the requirement_map, which has [%s]", q.RequirementName, b.c.names)
		}
		out.verifier = v
	}
	return out
}

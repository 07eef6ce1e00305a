package xdsresource

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// ScopedRoutes is hcm.v3.ScopedRoutes: a key made of a request's headers says which route configuration serves it.
type ScopedRoutes struct {
	Name   string
	Key    []ScopeFragment
	Source ConfigSource // where the route configurations that have only a name come from
	// FetchTimeout is how long a listener waits for each of them. 0: without end.
	FetchTimeout time.Duration
	Scopes       []RouteScope
	SRDS         *ConfigSource // where the scopes come from; nil: they are Scopes
	// SRDSFetchTimeout is how long a listener waits for the first of those. 0: without end.
	SRDSFetchTimeout time.Duration
}

// ScopeFragment is a piece of the key, taken from the first value of a header.
type ScopeFragment struct {
	Header    string // lower case
	Separator string // between the elements of the value; empty: it is one element
	// ByKey: the element is a key with its value, of which the value is taken; else the element at Index.
	ByKey             bool
	Index             int
	KeySeparator, Key string
}

// RouteScope is route.v3.ScopedRouteConfiguration.
type RouteScope struct {
	Name            string
	Key             []string // one for each fragment
	Routes          *RouteConfig
	RouteConfigName string // where Routes is nil: by RDS
	OnDemand        bool   // RDS is asked when the first request needs it
}

func (p *parser) scopedRoutes(path string, m *hcmv3.ScopedRoutes) *ScopedRoutes {
	out := &ScopedRoutes{Name: m.GetName()}
	for i, f := range m.GetScopeKeyBuilder().GetFragments() {
		out.Key = append(out.Key, p.scopeFragment(at(join(path, "scope_key_builder.fragments"), i)+".header_value_extractor", f.GetHeaderValueExtractor()))
	}
	named := m.GetRdsConfigSource() != nil
	if named {
		out.Source, out.FetchTimeout = p.source(join(path, "rds_config_source"), m.GetRdsConfigSource())
	}
	if s, ok := m.GetConfigSpecifier().(*hcmv3.ScopedRoutes_ScopedRds); ok {
		if !named {
			p.bad(join(path, "rds_config_source"), "is required: scoped_rds may bring scopes that name a route configuration")
		}
		src, fetch := p.source(join(path, "scoped_rds.scoped_rds_config_source"), s.ScopedRds.GetScopedRdsConfigSource())
		out.SRDS, out.SRDSFetchTimeout = &src, fetch
		return out
	}
	list, ok := m.GetConfigSpecifier().(*hcmv3.ScopedRoutes_ScopedRouteConfigurationsList)
	if !ok {
		p.bad(path, "scoped_route_configurations_list or scoped_rds is required")
		return out
	}
	names, keys := map[string]bool{}, map[string]string{}
	for i, c := range list.ScopedRouteConfigurationsList.GetScopedRouteConfigurations() {
		here := at(join(path, "scoped_route_configurations_list.scoped_route_configurations"), i)
		s := p.routeScope(here, c)
		if len(s.Key) != len(out.Key) {
			p.bad(join(here, "key.fragments"), "has %d fragments, scope_key_builder makes %d", len(s.Key), len(out.Key))
		}
		if s.RouteConfigName != "" && !named {
			p.bad(join(here, "route_configuration_name"), "needs rds_config_source, which says where it comes from")
		}
		if s.OnDemand {
			p.bad(join(here, "on_demand"), "is for scopes from scoped_rds; the routes of these are asked for at once")
		}
		if names[s.Name] {
			p.bad(join(here, "name"), "scope %q stands twice", s.Name)
		}
		names[s.Name] = true
		key := strings.Join(s.Key, "\x00")
		if other, ok := keys[key]; ok {
			p.bad(join(here, "key"), "is that of scope %q", other)
		}
		keys[key] = s.Name
		out.Scopes = append(out.Scopes, s)
	}
	return out
}

func (p *parser) scopeFragment(path string, x *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor) ScopeFragment {
	f := ScopeFragment{Header: strings.ToLower(x.GetName()), Separator: x.GetElementSeparator()}
	switch t := x.GetExtractType().(type) {
	case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index:
		f.Index = int(t.Index)
		if f.Separator == "" && f.Index > 0 {
			p.bad(join(path, "index"), "is %d, but without element_separator there is one element only, 0", f.Index)
		}
	case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
		f.ByKey, f.KeySeparator, f.Key = true, t.Element.GetSeparator(), t.Element.GetKey()
	default:
		p.bad(path, "index or element is required")
	}
	return f
}

func (p *parser) routeScope(path string, m *routev3.ScopedRouteConfiguration) RouteScope {
	s := RouteScope{Name: m.GetName(), RouteConfigName: m.GetRouteConfigurationName(), OnDemand: m.GetOnDemand()}
	switch {
	case m.GetRouteConfiguration() != nil && s.RouteConfigName != "":
		p.bad(path, "route_configuration and route_configuration_name exclude each other")
	case m.GetRouteConfiguration() != nil:
		s.Routes = p.routeConfig(join(path, "route_configuration"), m.GetRouteConfiguration())
		p.noVHDS(join(path, "route_configuration"), m.GetRouteConfiguration())
	case s.RouteConfigName == "":
		p.bad(path, "route_configuration or route_configuration_name is required")
	}
	for _, f := range m.GetKey().GetFragments() {
		s.Key = append(s.Key, f.GetStringKey())
	}
	return s
}

// RouteScope validates a scope that came by itself (SRDS).
func (d *Decoder) RouteScope(m *routev3.ScopedRouteConfiguration) (*RouteScope, error) {
	p := &parser{dec: d}
	p.check("", m)
	s := p.routeScope("", m)
	return &s, p.finish("scope", m.GetName())
}

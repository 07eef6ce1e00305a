package admin

import (
	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/server"
)

func (d dumper) routes() *adminv3.RoutesConfigDump {
	out := &adminv3.RoutesConfigDump{}
	d.managers(func(l server.Record, m *hcmv3.HttpConnectionManager) {
		rc := m.GetRouteConfig()
		if rc == nil || !d.keep(rc.GetName()) {
			return
		}
		out.StaticRouteConfigs = append(out.StaticRouteConfigs, &adminv3.RoutesConfigDump_StaticRouteConfig{
			RouteConfig: pack(rc), LastUpdated: updated(l),
		})
	})
	for _, r := range d.view.Routes {
		if !d.keep(r.Name) {
			continue
		}
		out.DynamicRouteConfigs = append(out.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{
			VersionInfo: r.Version, RouteConfig: r.Raw, LastUpdated: updated(r), ErrorState: failure(r), ClientStatus: status(r),
		})
	}
	return out
}

func (d dumper) scopes() *adminv3.ScopedRoutesConfigDump {
	out := &adminv3.ScopedRoutesConfigDump{}
	d.managers(func(l server.Record, m *hcmv3.HttpConnectionManager) {
		s := m.GetScopedRoutes()
		list := s.GetScopedRouteConfigurationsList().GetScopedRouteConfigurations()
		if len(list) == 0 || !d.keep(s.GetName()) {
			return
		}
		in := &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{Name: s.GetName(), LastUpdated: updated(l)}
		for _, c := range list {
			in.ScopedRouteConfigs = append(in.ScopedRouteConfigs, pack(c))
		}
		out.InlineScopedRouteConfigs = append(out.InlineScopedRouteConfigs, in)
	})
	for _, r := range d.view.Scopes {
		if !d.keep(r.Name) {
			continue
		}
		out.DynamicScopedRouteConfigs = append(out.DynamicScopedRouteConfigs, &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{
			Name: r.Name, VersionInfo: r.Version, ScopedRouteConfigs: r.Scopes, LastUpdated: updated(r.Record), ErrorState: failure(r.Record),
			ClientStatus: status(r.Record),
		})
	}
	return out
}

// managers calls f for every connection manager of an active listener.
func (d dumper) managers(f func(l server.Record, m *hcmv3.HttpConnectionManager)) {
	for _, l := range d.view.Listeners {
		var m listenerv3.Listener
		if l.State != server.Active || l.Raw == nil || l.Raw.UnmarshalTo(&m) != nil {
			continue
		}
		chains := m.GetFilterChains()
		if m.GetDefaultFilterChain() != nil {
			chains = append(chains, m.GetDefaultFilterChain())
		}
		for _, fc := range chains {
			for _, nf := range fc.GetFilters() {
				var hcm hcmv3.HttpConnectionManager
				if nf.GetTypedConfig().MessageIs(&hcm) && nf.GetTypedConfig().UnmarshalTo(&hcm) == nil {
					f(l, &hcm)
				}
			}
		}
	}
}

// pack wraps a message that came out of another, and so can be encoded.
func pack(m proto.Message) *anypb.Any {
	raw, err := anypb.New(m)
	if err != nil {
		panic("BUG: admin: " + err.Error())
	}
	return raw
}

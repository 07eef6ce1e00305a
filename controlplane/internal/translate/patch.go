package translate

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/envoyfilter"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// outboundContext is the context of all but what comes in to a sidecar.
func outboundContext(p *model.Proxy) envoyfilter.Context {
	if p.Type == model.Router {
		return envoyfilter.Gateway
	}
	return envoyfilter.Outbound
}

// patchListeners returns the listeners of one context with patches applied; those that none is for as they are.
func patchListeners(s *model.Snapshot, p *model.Proxy, ps *envoyfilter.Patches, c envoyfilter.Context, in []Resource) []Resource {
	key := ps.ListenerKey(c)
	if key == "" {
		return in
	}
	plain := make([]*listenerv3.Listener, 0, len(in))
	from := make(map[*listenerv3.Listener]Resource, len(in))
	for _, r := range in {
		l := r.build().(*listenerv3.Listener)
		plain = append(plain, l)
		from[l] = r
	}
	var out []Resource
	for _, l := range ps.Listeners(c, plain, servicePorts(s, p)) {
		r, same := from[l]
		if !same {
			r = Resource{Name: l.Name, build: func() proto.Message { return l }}
		}
		out = append(out, r)
	}
	return out
}

// servicePorts says which ports of a gateway's Service lead to a route configuration.
func servicePorts(s *model.Snapshot, p *model.Proxy) envoyfilter.Ports {
	return func(name string) []uint32 {
		var out []uint32
		for _, l := range gatewayListeners(s, p) {
			for _, g := range l.servers {
				if g.routeName() == name {
					out = append(out, g.srv.Port)
				}
			}
		}
		return out
	}
}

// patchRoutes returns a route configuration with patches applied; itself when none is for it.
func patchRoutes(s *model.Snapshot, p *model.Proxy, ps *envoyfilter.Patches, r Resource) Resource {
	c := outboundContext(p)
	ports := servicePorts(s, p)
	key := ps.RouteKey(c, r.Name, ports)
	if key == "" {
		return r
	}
	plain := r.build
	r.Key += key
	r.patched = true
	r.build = func() proto.Message { return ps.RouteConfiguration(c, plain().(*routev3.RouteConfiguration), ports) }
	return r
}

// patchClusters returns clusters with patches applied; those that none is for as they are. hosts are those behind inbound clusters, by name.
func patchClusters(ps *envoyfilter.Patches, c envoyfilter.Context, in []Resource, hosts map[string][]string) []Resource {
	if ps == nil {
		return in
	}
	out := make([]Resource, 0, len(in))
	for _, r := range in {
		key, removed := ps.ClusterKey(c, r.Name, hosts[r.Name])
		if removed {
			continue
		}
		if key != "" {
			plain := r.build
			r.Key += key
			r.patched = true
			r.build = func() proto.Message { return ps.Cluster(c, plain().(*clusterv3.Cluster), hosts[r.Name]) }
		}
		out = append(out, r)
	}
	return out
}

// ownClusters are the clusters of the proxy's own workload, those that every proxy has, and those that patches add.
func ownClusters(s *model.Snapshot, p *model.Proxy, ps *envoyfilter.Patches) []Resource {
	out := patchClusters(ps, outboundContext(p), specialClusters(s, p), nil)
	if ps == nil {
		return append(out, inboundClusters(s, p)...)
	}
	hosts := map[string][]string{}
	if p.Type == model.Sidecar {
		for _, sp := range servedPorts(s, p) {
			for _, svc := range sp.services {
				hosts[inboundName(sp.target)] = append(hosts[inboundName(sp.target)], svc.Host)
			}
		}
		out = append(out, patchClusters(ps, envoyfilter.Inbound, inboundClusters(s, p), hosts)...)
		out = addClusters(out, ps.AddedClusters(envoyfilter.Inbound))
	}
	return addClusters(out, ps.AddedClusters(outboundContext(p)))
}

// addClusters adds those that patches add. Of one name the first counts, for there can be only one.
func addClusters(out []Resource, added []envoyfilter.Added[*clusterv3.Cluster]) []Resource {
	for _, a := range added {
		name := a.Message.GetName()
		if !slices.ContainsFunc(out, func(r Resource) bool { return r.Name == name }) {
			out = append(out, Resource{Name: name, Key: a.Key, build: func() proto.Message { return a.Message }})
		}
	}
	return out
}

// Extensions returns the extension configurations with these names: those that patches add.
func Extensions(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	var out []Resource
	for _, a := range envoyfilter.For(s, p).Extensions(names) {
		out = append(out, Resource{Name: a.Message.GetName(), Key: a.Key, build: func() proto.Message { return a.Message }})
	}
	return out
}

// PatchKey is equal for proxies of which PatchEffects says the same: what they are served differs in addresses alone.
func PatchKey(s *model.Snapshot, p *model.Proxy) string {
	k := (&keyHash{}).str(s.Scope(p))
	for _, f := range s.EnvoyFiltersFor(p) {
		k.str(f.Namespace, f.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Metadata)) { // what match.proxy asks for
		if text, ok := p.Metadata[key].(string); ok && key != "NAME" && key != "INSTANCE_IPS" {
			k.str(key, text)
		}
	}
	for _, sp := range servedPorts(s, p) {
		k.num(uint64(sp.target), uint64(sp.protocol()), uint64(sp.mode))
		for _, svc := range sp.services {
			k.str(svc.Key())
			if svc.CalledByPod() {
				k.str(p.IPs...) // it has no listener for its own instance
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
		k.str(key, p.Labels[key])
	}
	return k.str(p.IstioVersion, p.HTTPProxy.String(), p.Bind).String()
}

// PatchEffects tells of each patch of an EnvoyFilter that changes something of a proxy, with the type and name of the resource. It makes all
// that the proxy could have anew, so it is for reports and not for serving.
func PatchEffects(s *model.Snapshot, p *model.Proxy, applied func(e *model.EnvoyPatch, typeURL, resource string)) {
	ps := envoyfilter.For(s, p)
	if ps == nil {
		return
	}
	if p.OnDemand { // what it could ask for counts
		whole := *p
		whole.OnDemand = false
		p = &whole
	}
	as := func(typeURL string) *envoyfilter.Patches {
		return ps.Observe(func(e *model.EnvoyPatch, resource string) { applied(e, typeURL, resource) })
	}
	of := as(ListenerType)
	if p.Type == model.Router {
		patchListeners(s, p, of, envoyfilter.Gateway, listenerResources(buildGatewayListeners(s, p), ""))
	} else {
		patchListeners(s, p, of, envoyfilter.Inbound, inboundListeners(s, p))
		patchListeners(s, p, of, envoyfilter.Outbound, listenerResources(outboundListeners(s, p), ""))
	}
	of = as(ClusterType)
	all := ownClusters(s, p, of)
	for _, svc := range s.ScopeOf(p).Services() {
		all = append(all, patchClusters(of, outboundContext(p), serviceClusters(s, p, svc), nil)...)
	}
	for _, r := range all {
		if r.patched {
			r.build()
		}
	}
	of = as(RouteType)
	for _, name := range RouteNames(s, p) {
		if r, ok := routeConfig(s, p, name); ok {
			if r = patchRoutes(s, p, of, r); r.patched {
				r.build()
			}
		}
	}
	as(ExtensionType).Extensions(ps.ExtensionNames())
	as(BootstrapType).Bootstrap(&bootstrapv3.Bootstrap{})
}

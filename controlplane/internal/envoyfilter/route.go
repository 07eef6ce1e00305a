package envoyfilter

import (
	"slices"
	"strconv"
	"strings"

	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// Ports returns the ports of a gateway's Service that lead to the port of a route configuration, which is what users write; none where no
// Service leads there. It may be nil, for sidecars.
type Ports func(routeConfiguration string) []uint32

var routeKinds = []networking.EnvoyFilter_ApplyTo{
	networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE,
}

// patchRoutes reports whether any patch is for routes of a context.
func (ps *Patches) patchRoutes(c Context) bool {
	return slices.ContainsFunc(routeKinds, func(kind networking.EnvoyFilter_ApplyTo) bool {
		return slices.ContainsFunc(ps.by[kind], func(e *patch) bool { return e.in(c) })
	})
}

// RouteKey names the patches that may change a route configuration, by revision: "" for none, and then RouteConfiguration returns what it is
// given.
func (ps *Patches) RouteKey(c Context, name string, ports Ports) string {
	if ps == nil {
		return ""
	}
	var key strings.Builder
	for _, kind := range routeKinds {
		for _, e := range ps.by[kind] {
			if e.forRoutes(c, name, ports) {
				e.writeKey(&key)
			}
		}
	}
	return key.String()
}

func (e *patch) writeKey(b *strings.Builder) {
	b.WriteByte('#')
	b.WriteString(strconv.FormatUint(e.rev, 10))
	b.WriteByte('.')
	b.WriteString(strconv.Itoa(e.index))
}

// RouteConfiguration applies the patches to a route configuration.
func (ps *Patches) RouteConfiguration(c Context, in *routepb.RouteConfiguration, ports Ports) *routepb.RouteConfiguration {
	if ps.RouteKey(c, in.GetName(), ports) == "" {
		return in
	}
	out := proto.Clone(in).(*routepb.RouteConfiguration)
	ps.routeConfiguration(c, out, ports)
	return out
}

// VirtualHost applies the patches to one virtual host of a route configuration, for proxies that ask for them one by one; nil when it is
// removed. Those that patches add are RouteConfiguration's.
func (ps *Patches) VirtualHost(c Context, routes string, in *routepb.VirtualHost) *routepb.VirtualHost {
	if ps.RouteKey(c, routes, nil) == "" {
		return in
	}
	return ps.virtualHost(c, routes, proto.Clone(in).(*routepb.VirtualHost), nil)
}

func (ps *Patches) routeConfiguration(c Context, rc *routepb.RouteConfiguration, ports Ports) {
	name := rc.GetName() // by which the proxy asks for it: merging does not change it
	for _, e := range ps.by[networking.EnvoyFilter_ROUTE_CONFIGURATION] {
		if e.forRoutes(c, name, ports) {
			ps.note(e, name)
			mergeInto(rc, e)
			rc.Name = name
		}
	}
	kept := rc.VirtualHosts[:0]
	for _, vh := range rc.VirtualHosts {
		if vh = ps.virtualHost(c, name, vh, ports); vh != nil {
			kept = append(kept, vh)
		}
	}
	rc.VirtualHosts = kept
	for _, e := range ps.by[networking.EnvoyFilter_VIRTUAL_HOST] {
		if e.Operation == opAdd && e.forRoutes(c, name, ports) {
			ps.note(e, name)
			rc.VirtualHosts = append(rc.VirtualHosts, cloned[*routepb.VirtualHost](e))
		}
	}
}

// virtualHost changes a virtual host; nil when it is removed.
func (ps *Patches) virtualHost(c Context, name string, vh *routepb.VirtualHost, ports Ports) *routepb.VirtualHost {
	for _, e := range ps.by[networking.EnvoyFilter_VIRTUAL_HOST] {
		if e.Operation == opAdd || !e.forRoutes(c, name, ports) || !e.forVirtualHost(vh) {
			continue
		}
		ps.note(e, name)
		switch e.Operation {
		case opRemove:
			return nil
		case opReplace:
			vh = cloned[*routepb.VirtualHost](e)
		default:
			mergeInto(vh, e)
		}
	}
	ours := func(e *patch) bool { return e.forRoutes(c, name, ports) && e.forVirtualHost(vh) }
	kept := vh.Routes[:0]
	for _, r := range vh.Routes {
		if ps.route(name, r, ours) {
			kept = append(kept, r)
		}
	}
	vh.Routes = kept
	for _, e := range ps.by[networking.EnvoyFilter_HTTP_ROUTE] {
		if e.Operation == opRemove || e.merges() || !ours(e) {
			continue
		}
		named := e.Match.GetRouteConfiguration().GetVhost().GetRoute() != nil
		if e.Operation == opInsertFirst && named && !slices.ContainsFunc(vh.Routes, e.forRoute) {
			continue // "only if the match is met": the route named has to be there
		}
		var applied bool
		if vh.Routes, applied = edit(vh.Routes, e, named, e.forRoute); applied {
			ps.note(e, name)
		}
	}
	return vh
}

// route changes a route; false when it is removed.
func (ps *Patches) route(name string, r *routepb.Route, ours func(*patch) bool) bool {
	for _, e := range ps.by[networking.EnvoyFilter_HTTP_ROUTE] {
		if e.Operation != opRemove && !e.merges() || !ours(e) || !e.forRoute(r) {
			continue
		}
		ps.note(e, name)
		if e.Operation == opRemove {
			return false
		}
		mergeInto(r, e)
	}
	return true
}

// forRoutes reports whether a patch is for a route configuration or something in it. The port of a sidecar's is its name, or stands in it;
// that of a gateway's is a port of its Service, if one leads there.
func (e *patch) forRoutes(c Context, name string, ports Ports) bool {
	if !e.in(c) {
		return false
	}
	m := e.Match.GetRouteConfiguration()
	if m == nil {
		return true
	}
	if m.GetName() != "" && m.GetName() != name {
		return false
	}
	if c != Gateway {
		return m.GetPortNumber() == 0 || m.GetPortNumber() == sidecarPort(name)
	}
	port, portName, gateway := gatewayRoute(name)
	if want := m.GetPortNumber(); want != 0 {
		found := []uint32{port}
		if ports != nil {
			if of := ports(name); len(of) > 0 {
				found = of
			}
		}
		if !slices.Contains(found, want) {
			return false
		}
	}
	return (m.GetPortName() == "" || m.GetPortName() == portName) && (m.GetGateway() == "" || m.GetGateway() == gateway)
}

// sidecarPort is the port of a sidecar's route configuration, "80" or "inbound|8080||"; 0 for one of no port.
func sidecarPort(name string) uint32 {
	if rest, ok := strings.CutPrefix(name, "inbound|"); ok {
		name, _, _ = strings.Cut(rest, "|")
	}
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// gatewayRoute takes the name of a gateway's route configuration apart: "http.8080", or "https.443.PORTNAME.GATEWAY.NAMESPACE". gateway is
// "namespace/name".
func gatewayRoute(name string) (port uint32, portName, gateway string) {
	parts := strings.Split(name, ".")
	if len(parts) < 2 {
		return 0, "", ""
	}
	if n, err := strconv.ParseUint(parts[1], 10, 16); err == nil {
		port = uint32(n)
	}
	if parts[0] == "https" && len(parts) >= 5 {
		portName, gateway = parts[2], parts[4]+"/"+parts[3]
	}
	return port, portName, gateway
}

// forVirtualHost reports whether a patch is for a virtual host or something in it; its route configuration is known to be meant.
func (e *patch) forVirtualHost(vh *routepb.VirtualHost) bool {
	m := e.Match.GetRouteConfiguration().GetVhost()
	if m.GetName() != "" && m.GetName() != vh.GetName() {
		return false
	}
	return m.GetDomainName() == "" || slices.Contains(vh.GetDomains(), m.GetDomainName())
}

// forRoute reports whether a patch is for a route; its virtual host is known to be meant.
func (e *patch) forRoute(r *routepb.Route) bool {
	m := e.Match.GetRouteConfiguration().GetVhost().GetRoute()
	if m.GetName() != "" && m.GetName() != r.GetName() {
		return false
	}
	is := networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ANY
	switch r.GetAction().(type) {
	case *routepb.Route_Route:
		is = networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ROUTE
	case *routepb.Route_Redirect:
		is = networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_REDIRECT
	case *routepb.Route_DirectResponse:
		is = networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_DIRECT_RESPONSE
	}
	return m.GetAction() == networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ANY || m.GetAction() == is
}

package translate

import (
	"slices"
	"sort"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// gatewayHost is a virtual host of a gateway while it is gathered.
type gatewayHost struct {
	host     string
	port     uint32
	sources  []gatewaySource
	redirect bool // httpsRedirect
}

type gatewaySource struct {
	gateway string
	port    uint32
	tls     bool // requests come over TLS
	rules   *model.VirtualService
}

// gatewayHosts gathers the virtual hosts of some servers: each host of a virtual service that
// a server admits, with the rules of all virtual services for it, oldest first.
func gatewayHosts(s *model.Snapshot, p *model.Proxy, servers []gatewayServer) []*gatewayHost {
	found := map[string]*gatewayHost{}
	get := func(host string, port uint32) *gatewayHost {
		h := found[host]
		if h == nil {
			h = &gatewayHost{host: host, port: port}
			found[host] = h
		}
		return h
	}
	for _, g := range servers {
		if g.srv.HTTPSRedirect {
			for _, host := range g.srv.Names() {
				get(host, g.srv.Port).redirect = true
			}
		}
		for _, vs := range s.RulesForGateway(g.gw.Key(), p.Namespace) {
			if len(vs.HTTP) == 0 {
				continue
			}
			for _, vh := range slices.Concat(vs.Hosts, vs.ShortHosts) {
				for _, sh := range g.srv.Hosts {
					host, ok := narrower(vh, sh.Host)
					if !ok || !sh.Admits(vs.Namespace) {
						continue
					}
					h := get(host, g.srv.Port)
					h.redirect = h.redirect || g.srv.HTTPSRedirect
					src := gatewaySource{g.gw.Key(), g.srv.Port, g.srv.TerminatesHTTP(), vs}
					if !hasSource(h.sources, src) {
						h.sources = append(h.sources, src)
					}
				}
			}
		}
	}
	out := make([]*gatewayHost, 0, len(found))
	for _, h := range found {
		// Servers were visited one by one; merged rules are ordered by age.
		sort.SliceStable(h.sources, func(i, j int) bool {
			a, b := h.sources[i].rules, h.sources[j].rules
			return a != b && a.Created.Before(b.Created)
		})
		out = append(out, h)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].host < out[j].host })
	return out
}

func hasSource(list []gatewaySource, src gatewaySource) bool {
	for _, s := range list {
		if s == src {
			return true
		}
	}
	return false
}

// gatewayRouteConfig makes "http.8080" or "https.443.name.gateway.namespace".
func gatewayRouteConfig(s *model.Snapshot, p *model.Proxy, name string) (Resource, bool) {
	var servers []gatewayServer
	for _, l := range gatewayListeners(s, p) {
		if l.plain() {
			if l.servers[0].routeName() == name {
				servers = append(servers, l.servers...)
			}
			continue
		}
		for _, g := range l.servers {
			if g.routeName() == name {
				servers = append(servers, g)
			}
		}
	}
	if len(servers) == 0 {
		return Resource{}, false
	}
	hosts := gatewayHosts(s, p, servers)
	k := (&keyHash{}).str(s.Scope(p), name).num(s.Mesh.Rev)
	for _, g := range servers {
		k.num(g.gw.Rev, uint64(g.srv.Port))
	}
	for _, h := range hosts {
		k.str(h.host).num(uint64(h.port))
		for _, src := range h.sources {
			k.str(src.gateway).num(uint64(src.port))
			rulesKey(k, s, p, src.rules)
		}
	}
	fallback := servers[0].srv.Port
	return Resource{Name: name, Key: k.String(), build: func() proto.Message {
		return gatewayRoutes(s, p, name, hosts, fallback)
	}}, true
}

func gatewayRoutes(s *model.Snapshot, p *model.Proxy, name string, hosts []*gatewayHost, port uint32) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{
		Name: name, ValidateClusters: boolean(false),
		MaxDirectResponseBodySizeBytes: u32(1 << 20), IgnorePortInHostMatching: true,
	}
	for _, h := range hosts {
		vh := &routev3.VirtualHost{Name: hostPort(h.host, h.port), Domains: []string{h.host}, IncludeRequestAttemptCount: countsAttempts(s, p)}
		if h.redirect {
			vh.RequireTls = routev3.VirtualHost_ALL
		}
		for _, src := range h.sources {
			rc := &routeContext{snap: s, proxy: p, gateway: src.gateway, port: src.port, tls: src.tls}
			vh.Routes = append(vh.Routes, rc.httpRoutes(src.rules)...)
		}
		if len(h.sources) > 1 {
			vh.Routes = sortGatewayRoutes(vh.Routes)
		}
		if len(vh.Routes) == 0 && !h.redirect {
			continue // no rule concerns this port
		}
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	if len(out.VirtualHosts) == 0 {
		// Nothing is bound to the port: an empty virtual host, which answers 404.
		out.VirtualHosts = []*routev3.VirtualHost{{Name: hostPort("blackhole", port), Domains: []string{"*"}}}
	}
	return out
}

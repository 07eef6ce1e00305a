package translate

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// gatewayServer is one server of one Gateway object.
type gatewayServer struct {
	gw  *model.Gateway
	srv *model.Server
}

// gatewayListener is one socket of a gateway with all servers that share it.
type gatewayListener struct {
	bind    string
	port    uint32 // that the proxy listens on
	servers []gatewayServer
}

// plain reports whether the socket carries HTTP in the clear; a socket is of the kind of its
// oldest server, and servers of another kind on it are left out.
func (l *gatewayListener) plain() bool { return l.servers[0].srv.Protocol.IsHTTP() }

func plainRouteName(port uint32) string { return "http." + strconv.FormatUint(uint64(port), 10) }

func secureRouteName(g gatewayServer) string {
	return strings.Join([]string{"https", strconv.FormatUint(uint64(g.srv.Port), 10), g.srv.PortName, g.gw.Name, g.gw.Namespace}, ".")
}

// terminates reports whether requests can be read behind the server's TLS.
func (g gatewayServer) terminates() bool {
	return g.srv.Protocol == model.ProtocolHTTPS && g.srv.TLS != nil && g.srv.TLS.Mode != "PASSTHROUGH" && g.srv.TLS.Mode != "AUTO_PASSTHROUGH"
}

func (l *gatewayListener) routeNames() []string {
	if l.plain() {
		return []string{plainRouteName(l.port)}
	}
	var out []string
	for _, g := range l.servers {
		if g.terminates() {
			out = append(out, secureRouteName(g))
		}
	}
	return out
}

// gatewayListeners groups the servers of all gateways that select the proxy, by socket. The
// port that users write is the one of the gateway's Service; the proxy listens on what that
// maps to (C4).
func gatewayListeners(s *model.Snapshot, p *model.Proxy) []*gatewayListener {
	type socket struct {
		bind string
		port uint32
	}
	found := map[socket]*gatewayListener{}
	var out []*gatewayListener
	for _, gw := range s.GatewaysFor(p) {
		for i := range gw.Servers {
			srv := &gw.Servers[i]
			bind := srv.Bind
			if bind == "" {
				bind = p.Bind
			}
			k := socket{bind, gatewayTargetPort(s, p, srv.Port)}
			l := found[k]
			if l == nil {
				l = &gatewayListener{bind: k.bind, port: k.port}
				found[k] = l
				out = append(out, l)
			}
			if len(l.servers) > 0 && l.servers[0].srv.Protocol.IsHTTP() != srv.Protocol.IsHTTP() {
				continue
			}
			l.servers = append(l.servers, gatewayServer{gw, srv})
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].port != out[j].port {
			return out[i].port < out[j].port
		}
		return out[i].bind < out[j].bind
	})
	return out
}

// gatewayTargetPort maps a port through the Services that select the gateway's proxy; without
// one the proxy listens on the port itself.
func gatewayTargetPort(s *model.Snapshot, p *model.Proxy, port uint32) uint32 {
	all, _ := s.ServicesByPort.Get(strconv.FormatUint(uint64(port), 10))
	for _, svc := range all {
		if svc.Namespace != p.Namespace || svc.Selector == nil || !model.LabelsMatch(svc.Selector, p.Labels) {
			continue
		}
		if sp, ok := svc.Port(port); ok {
			if w := s.WorkloadOf(p); w != nil {
				if n, ok := w.Ports[sp.Name]; ok {
					return n
				}
				if n, ok := w.Ports[sp.Named]; ok && sp.Named != "" {
					return n
				}
			}
			return sp.TargetPort()
		}
	}
	return port
}

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
			for _, sh := range g.srv.Hosts {
				_, host, _ := strings.Cut(sh, "/")
				get(host, g.srv.Port).redirect = true
			}
		}
		for _, vs := range s.RulesForGateway(g.gw.Key(), p.Namespace) {
			if len(vs.HTTP) == 0 {
				continue
			}
			for _, vh := range slices.Concat(vs.Hosts, vs.ShortHosts) {
				for _, sh := range g.srv.Hosts {
					ns, serverHost, _ := strings.Cut(sh, "/")
					if ns != "*" && ns != vs.Namespace {
						continue
					}
					host, ok := narrower(vh, serverHost)
					if !ok {
						continue
					}
					h := get(host, g.srv.Port)
					h.redirect = h.redirect || g.srv.HTTPSRedirect
					src := gatewaySource{g.gw.Key(), g.srv.Port, vs}
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

// narrower returns the hosts that two patterns have in common, which is the more specific of
// the two, if they have any.
func narrower(a, b string) (string, bool) {
	switch {
	case covers(b, a):
		return a, true
	case covers(a, b):
		return b, true
	}
	return "", false
}

// covers reports whether every host of narrow is one of wide.
func covers(wide, narrow string) bool {
	if wide == narrow || wide == "*" {
		return true
	}
	suffix, ok := strings.CutPrefix(wide, "*")
	return ok && strings.HasSuffix(narrow, suffix) && len(strings.TrimPrefix(narrow, "*")) >= len(suffix)
}

// gatewayRouteConfig makes "http.8080" or "https.443.name.gateway.namespace".
func gatewayRouteConfig(s *model.Snapshot, p *model.Proxy, name string) (Resource, bool) {
	var servers []gatewayServer
	for _, l := range gatewayListeners(s, p) {
		if l.plain() {
			if plainRouteName(l.port) == name {
				servers = append(servers, l.servers...)
			}
			continue
		}
		for _, g := range l.servers {
			if g.terminates() && secureRouteName(g) == name {
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
		vh := &routev3.VirtualHost{Name: hostPort(h.host, h.port), Domains: []string{h.host}, IncludeRequestAttemptCount: true}
		if h.redirect {
			vh.RequireTls = routev3.VirtualHost_ALL
		}
		for _, src := range h.sources {
			rc := &routeContext{snap: s, proxy: p, gateway: src.gateway, port: src.port}
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

package translate

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// gatewayServer is one server of one Gateway object.
type gatewayServer struct {
	gw   *model.Gateway
	srv  *model.Server
	port uint32 // that the proxy listens on
}

// routeName is the name of the server's route configuration, "" for one without requests.
func (g gatewayServer) routeName() string {
	bind := ""
	if g.srv.Bind != "" {
		bind = "." + g.srv.Bind
	}
	switch {
	case g.srv.Protocol.IsHTTP():
		return "http." + strconv.FormatUint(uint64(g.port), 10) + bind
	case g.srv.TerminatesHTTP():
		return strings.Join([]string{"https", strconv.FormatUint(uint64(g.srv.Port), 10), g.srv.PortName, g.gw.Name, g.gw.Namespace}, ".") + bind
	}
	return ""
}

// gatewayListener is one socket of a gateway with all servers that share it.
type gatewayListener struct {
	bind    string
	port    uint32
	servers []gatewayServer // of one kind: plain HTTP, TLS, or a lone TCP server
}

// plain reports whether the socket carries HTTP in the clear.
func (l *gatewayListener) plain() bool { return l.servers[0].srv.Protocol.IsHTTP() }

// routeNames are the route configurations that the socket's chains refer to.
func (l *gatewayListener) routeNames() []string {
	if l.plain() {
		return []string{l.servers[0].routeName()}
	}
	var out []string
	for _, g := range l.servers {
		if name := g.routeName(); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// admits reports whether a server can be added to those that have the socket: HTTP in the
// clear goes with its like, TLS with TLS, and TCP with nothing. config/analyze reports the
// servers that are turned away, by the same rules.
func (l *gatewayListener) admits(g gatewayServer) bool {
	if len(l.servers) == 0 {
		return true
	}
	if first := l.servers[0].srv; first.TLS == nil {
		return first.Protocol.IsHTTP() && g.srv.Protocol.IsHTTP()
	}
	name := g.routeName()
	return g.srv.TLS != nil && (name == "" || !slices.ContainsFunc(l.servers, func(o gatewayServer) bool { return o.routeName() == name }))
}

// claims are the hosts that servers with TLS settings have on a socket. A server that wants a
// host of an older one's is left out whole, as in Istio: which of two certificates a client would
// see must not depend on anything but age.
type claims map[model.ServerHost]bool

func (c claims) take(srv *model.Server) bool {
	if srv.TLS == nil && !srv.HTTPSRedirect {
		return true
	}
	for _, h := range srv.Hosts {
		if c[h] {
			return false
		}
	}
	for _, h := range srv.Hosts {
		c[h] = true
	}
	return true
}

// gatewayListeners groups the servers of all gateways that select the proxy by socket, oldest
// gateway first. The port that users write is the one of the gateway's Service; the proxy
// listens on what that maps to (C4).
func gatewayListeners(s *model.Snapshot, p *model.Proxy) []*gatewayListener {
	type socket struct {
		bind string
		port uint32
	}
	found := map[socket]*gatewayListener{}
	taken := map[socket]claims{}
	var out []*gatewayListener
	for _, gw := range s.GatewaysFor(p) {
		for i := range gw.Servers {
			g := gatewayServer{gw, &gw.Servers[i], gatewayTargetPort(s, p, gw.Servers[i].Port)}
			if p.Unprivileged && g.port < 1024 {
				continue // the kernel would refuse it, and with it the listener's news
			}
			k := socket{gatewayBind(p, g.srv), g.port}
			l := found[k]
			if l == nil {
				l = &gatewayListener{bind: k.bind, port: k.port}
				found[k], taken[k] = l, claims{}
			}
			if !l.admits(g) || !taken[k].take(g.srv) {
				continue
			}
			if len(l.servers) == 0 {
				out = append(out, l)
			}
			l.servers = append(l.servers, g)
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

// gatewayBind is the address of a server. All addresses mean those that the proxy may use.
func gatewayBind(p *model.Proxy, srv *model.Server) string {
	if srv.Bind == "" || srv.Bind == p.Wildcards()[0] {
		return p.Bind
	}
	return srv.Bind
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
				if n, ok := w.PortNames()[sp.Named]; ok && sp.Named != "" {
					return n
				}
			}
			return sp.TargetPort()
		}
	}
	return port
}

// serves reports whether a virtual service has a host that the server serves for its namespace.
func (g gatewayServer) serves(vs *model.VirtualService) bool {
	for _, sh := range g.srv.Hosts {
		if !sh.Admits(vs.Namespace) {
			continue
		}
		for _, list := range [][]string{vs.Hosts, vs.ShortHosts} {
			if slices.ContainsFunc(list, func(h string) bool { _, ok := narrower(h, sh.Host); return ok }) {
				return true
			}
		}
	}
	return false
}

// admitsName reports whether a virtual service of namespace ns may route a server name.
func (g gatewayServer) admitsName(ns, name string) bool {
	return slices.ContainsFunc(g.srv.Hosts, func(h model.ServerHost) bool { return h.Admits(ns) && covers(h.Host, name) })
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

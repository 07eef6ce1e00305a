package analyze

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// placed is a server of a Gateway object.
type placed struct {
	object *config.Object
	gw     *networking.Gateway
	index  int
	server *networking.Server
}

// gatewayConflicts finds servers that cannot share a port of one proxy, by the rules of the control plane: HTTP in the clear goes with its
// like, TLS with TLS, TCP with nothing, and a host with TLS settings is of the oldest object that has it.
func (a *analyzer) gatewayConflicts() {
	objects := slices.Clone(a.set.List(schema.Gateway))
	slices.SortStableFunc(objects, func(x, y *config.Object) int {
		if c := x.Created.Compare(y.Created); c != 0 {
			return c
		}
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	ports := map[string][]placed{} // by address and number
	for _, o := range objects {
		gw := o.Spec.(*networking.Gateway)
		for i, s := range gw.Servers {
			if s.Port == nil {
				continue
			}
			key := fmt.Sprintf("%s %d", strings.TrimPrefix(s.Bind, "0.0.0.0"), s.Port.Number)
			p := placed{o, gw, i, s}
			if other, text := p.conflict(ports[key]); text != "" {
				a.add(o, ConflictingGateways, Error, indexed("spec.servers", i), "port %d of the same gateway is used by Gateway %s/%s (servers[%d]) as well: %s",
					s.Port.Number, other.object.Namespace, other.object.Name, other.index, text)
				continue // it is left out, so that others need not yield to it
			}
			ports[key] = append(ports[key], p)
		}
	}
}

// conflict returns the first older server that one cannot stand beside, and why.
func (p placed) conflict(older []placed) (placed, string) {
	for _, o := range older {
		if !sameProxies(p.gw.Selector, o.gw.Selector) {
			continue
		}
		x, y := carries(p.server), carries(o.server)
		switch {
		case x != y:
			return o, fmt.Sprintf("%s and %s cannot share a port; use another port for one", p.server.Port.Protocol, o.server.Port.Protocol)
		case x == "tcp":
			return o, "plain TCP connections carry no host name to tell the two apart; use another port for one"
		}
		if p.server.Tls == nil || o.server.Tls == nil {
			continue // the rules of both are merged
		}
		for _, h := range p.server.Hosts {
			for _, g := range o.server.Hosts {
				switch {
				case serverHost(h, p.object.Namespace) == serverHost(g, o.object.Namespace):
					return o, fmt.Sprintf("both serve host %s; only the older one counts", hostOf(h))
				case x == "tls" && hostOf(h) == hostOf(g):
					return o, fmt.Sprintf("both serve host %s, and a client's hello tells no namespaces apart; only the older one counts for it", hostOf(h))
				}
			}
		}
	}
	return placed{}, ""
}

// sameProxies reports whether two selectors choose the same proxies, as far as that can be told: one asks for all that the other does.
func sameProxies(a, b map[string]string) bool { return selects(a, b) || selects(b, a) }

// carries names what is told apart on a port: tls servers by SNI, http servers by Host, tcp ones not at all.
func carries(s *networking.Server) string {
	switch strings.ToUpper(s.Port.Protocol) {
	case "HTTPS", "TLS":
		return "tls"
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY":
		return "http"
	}
	return "tcp"
}

func hostOf(h string) string {
	if _, host, ok := strings.Cut(h, "/"); ok {
		return strings.ToLower(host)
	}
	return strings.ToLower(h)
}

// serverHost is a server's host with the namespace that it is for, "*" for any.
func serverHost(h, own string) string {
	ns, _, ok := strings.Cut(h, "/")
	switch {
	case !ok:
		ns = "*"
	case ns == ".":
		ns = own
	}
	return ns + "/" + hostOf(h)
}

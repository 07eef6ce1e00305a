package translate

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// service returns the virtual host of the service that a host, in lower case and without a port, is a name of, without a walk
// over all services; nil where that takes one. A service always has routes, so none other is looked for behind it.
func (h *Hosts) service(host string) *virtualHost {
	if h.of.explicit || h.of.svc != nil || h.of.egress.Listener() != nil || h.ps != nil {
		return nil
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return nil
	}
	if list, _ := h.s.MeshRules.Get(host); len(list) > 0 && !h.onPort(host) {
		return nil // it may have a virtual host though it is no service
	}
	var best *virtualHost
	for _, full := range fullNames(host, h.p, h.s.Mesh) {
		svc := h.of.egress.Service(full)
		if svc == nil || !slices.ContainsFunc(nameForms(svc, h.p), func(form string) bool { return strings.ToLower(form) == host }) {
			continue
		}
		if svc.Alias != "" || strings.ToLower(svc.Host) != svc.Host {
			return nil
		}
		sp, ok := svc.Port(h.of.port)
		if !ok || !speaksHTTP(sp) {
			continue
		}
		// Of two that claim a name the first by name has it, as in sidecarHosts.
		if v := (&virtualHost{host: svc.Host, port: sp.Number, svc: svc, domains: []string{host}}); best == nil || v.name() < best.name() {
			best = v
		}
	}
	if best != nil {
		rc := &routeContext{snap: h.s, proxy: h.p, gateway: model.MeshGateway, port: best.port}
		best.rules = rc.inForce(h.of.egress.RulesFor(best.host))
	}
	return best
}

// onPort reports whether a host is a service with the port.
func (h *Hosts) onPort(host string) bool {
	svc := h.of.egress.Service(host)
	if svc == nil {
		return false
	}
	_, ok := svc.Port(h.of.port)
	return ok
}

// fullNames are the names that a service may have that a client calls by host: the host itself, and what nameForms shortens to it.
func fullNames(host string, p *model.Proxy, mesh *model.Mesh) []string {
	out := []string{host}
	switch strings.Count(host, ".") {
	case 0:
		out = append(out, host+"."+p.Namespace+".svc."+mesh.Domain)
	case 1:
		out = append(out, host+".svc."+mesh.Domain)
	case 2:
		out = append(out, host+"."+mesh.Domain)
	}
	return out
}

// AnyService is among a virtual host's Reads when any service or rule may change it.
const AnyService = "*"

// reads returns what a virtual host for a host depends on: see HostReads.
func (h *Hosts) reads(host string, found []*virtualHost) []string {
	plain := trimPort(strings.ToLower(host))
	out := []string{plain}
	add := func(host string) {
		if host = strings.ToLower(host); !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	destination := func(host string) {
		const mostHops = 9 // model.Snapshot.Concrete follows fewer
		for range mostHops {
			add(host)
			svc := h.s.ServiceFor(h.p, host)
			if svc == nil || svc.Alias == "" {
				return
			}
			host = svc.Alias
		}
	}
	rules, _ := h.s.MeshRules.Get(plain)
	for _, r := range rules { // the ports on which it is served are those of the other hosts' services (rulePorts)
		for _, other := range r.Hosts {
			if strings.HasPrefix(other, "*") {
				other = AnyService
			}
			add(other)
		}
	}
	for _, full := range fullNames(plain, h.p, h.s.Mesh) { // it may be an alias of what has no such port yet
		if h.s.ServiceFor(h.p, full) != nil {
			destination(full)
		}
	}
	known := false
	for _, v := range found {
		add(v.host)
		if v.svc != nil {
			destination(v.svc.Host)
			// A name of an alias is one of the service's by way of others.
			own := append(nameForms(v.svc, h.p), v.svc.AddressesFor(h.p)...)
			known = known || slices.ContainsFunc(own, func(form string) bool { return strings.ToLower(form) == strings.Trim(plain, "[]") })
		}
		if v.rules != nil {
			for _, d := range v.rules.Destinations() {
				destination(d.Host)
			}
		}
	}
	if !known && (len(found) > 0 || noOriginalDst(h.p)) {
		add(AnyService)
	}
	return out
}

// HostReads returns what a change touches of that which virtual hosts are derived from, as Resource.Reads names it: a virtual host that reads none
// of it is as it was. False: all are touched.
func HostReads(c *model.Change, s *model.Snapshot) ([]string, bool) {
	if c.All || len(c.Sidecars)+len(c.Patches) > 0 {
		return nil, false
	}
	touched := map[string]bool{}
	for _, hosts := range []map[string]bool{c.Hosts, c.RouteHosts} {
		for host := range hosts {
			if strings.HasPrefix(host, "*") {
				return nil, false
			}
			touched[strings.ToLower(host)] = true
			// The shorter names by which a service in the cluster is called.
			if name, rest, ok := strings.Cut(host, "."); ok && strings.HasSuffix(host, ".svc."+s.Mesh.Domain) {
				ns, _, _ := strings.Cut(rest, ".")
				touched[name], touched[name+"."+ns], touched[name+"."+ns+".svc"] = true, true, true
			}
			for _, svc := range s.Services.Prefix(host + "/") {
				if svc.Headless {
					return nil, false // names below it are its pods'
				}
				for _, list := range [][]string{svc.Addresses, svc.Auto} {
					for _, a := range list {
						touched[a], touched["["+a+"]"] = true, true
					}
				}
			}
		}
	}
	if len(touched) == 0 {
		return nil, true
	}
	touched[AnyService] = true
	return slices.Sorted(maps.Keys(touched)), true
}

package analyze

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

func (a *analyzer) virtualService(o *config.Object) {
	vs := o.Spec.(*networking.VirtualService)
	a.gatewayRefs(o, vs)
	for i, r := range vs.Http {
		f := indexed("spec.http", i)
		for j, m := range r.Match {
			a.checkGateways(o, indexed(f+".match", j)+".gateways", m.Gateways)
		}
		for j, d := range r.Route {
			a.destination(o, indexed(f+".route", j)+".destination", d.Destination)
		}
		if r.Mirror != nil {
			a.destination(o, f+".mirror", r.Mirror)
		}
		for j, m := range r.Mirrors {
			a.destination(o, indexed(f+".mirrors", j)+".destination", m.Destination)
		}
		if d := r.Delegate; d != nil {
			ns := d.Namespace
			if ns == "" {
				ns = o.Namespace
			}
			if a.set.Get(schema.VirtualService, ns, d.Name) == nil {
				a.add(o, NotFound, Error, f+".delegate", "there is no VirtualService %s/%s to delegate to", ns, d.Name)
			}
		}
	}
	for i, r := range vs.Tls {
		for j, d := range r.Route {
			a.destination(o, indexed(indexed("spec.tls", i)+".route", j)+".destination", d.Destination)
		}
	}
	for i, r := range vs.Tcp {
		for j, d := range r.Route {
			a.destination(o, indexed(indexed("spec.tcp", i)+".route", j)+".destination", d.Destination)
		}
	}
	a.unreachable(o, vs)
}

// gatewayName resolves a reference to namespace/name.
func gatewayName(ref, namespace string) string {
	switch ns, name, ok := strings.Cut(ref, "/"); {
	case ok && ns == ".":
		return namespace + "/" + name
	case ok:
		return ref
	}
	// Istio's older form name.namespace, or an FQDN.
	if parts := strings.SplitN(ref, ".", 3); len(parts) > 1 {
		return parts[1] + "/" + parts[0]
	}
	return namespace + "/" + ref
}

func (a *analyzer) checkGateways(o *config.Object, field string, refs []string) (found []*config.Object) {
	for i, ref := range refs {
		if ref == "mesh" {
			continue
		}
		name := gatewayName(ref, o.Namespace)
		gw := a.gateways[name]
		if gw == nil && strings.Contains(ref, ".") && !strings.Contains(ref, "/") {
			gw = a.gateways[o.Namespace+"/"+ref] // a gateway may have a dot in its name
		}
		if gw != nil {
			found = append(found, gw)
			continue
		}
		var names []string
		for n := range a.gateways {
			names = append(names, n)
		}
		tip := hint(name, names)
		// The right name in another namespace is the likeliest mistake.
		for _, n := range names {
			if strings.HasSuffix(n, "/"+name[strings.IndexByte(name, '/')+1:]) {
				tip = fmt.Sprintf("; did you mean %s?", n)
			}
		}
		a.add(o, NotFound, Error, indexed(field, i), "there is no Gateway %s, so no request reaches these routes through it%s", name, tip)
	}
	return found
}

func (a *analyzer) gatewayRefs(o *config.Object, vs *networking.VirtualService) {
	found := a.checkGateways(o, "spec.gateways", vs.Gateways)
	if len(found) == 0 {
		return
	}
	for i, h := range vs.Hosts {
		var names []string
		served := false
		for _, gw := range found {
			names = append(names, gw.Namespace+"/"+gw.Name)
			served = served || gatewayServes(gw, h, o.Namespace)
		}
		if !served && !slices.Contains(vs.Gateways, "mesh") {
			a.add(o, HostNotInGateway, Warning, indexed("spec.hosts", i), "gateway %s does not serve host %q, so no request for it reaches these routes; add the host to the gateway's servers",
				strings.Join(names, ", "), h)
		}
	}
}

// gatewayServes reports whether one of the gateway's servers takes the host from the namespace.
func gatewayServes(gw *config.Object, host, namespace string) bool {
	for _, s := range gw.Spec.(*networking.Gateway).Servers {
		for _, pattern := range s.Hosts {
			ns, p, ok := strings.Cut(pattern, "/")
			if !ok {
				ns, p = "*", pattern
			}
			if ns == "." {
				ns = gw.Namespace
			}
			if (ns == "*" || ns == namespace) && (covers(p, host) || covers(host, p)) {
				return true
			}
		}
	}
	return false
}

func (a *analyzer) destination(o *config.Object, field string, d *networking.Destination) {
	if d.GetHost() == "" {
		return
	}
	host := a.resolve(d.Host, o.Namespace)
	s := a.find(host)
	if s == nil {
		tip := hint(d.Host, a.hosts(o.Namespace))
		// name.namespace is no short name in Istio; it is looked up as it stands.
		if full := a.services[host+".svc."+a.opts.Domain]; full != nil {
			tip = "; write " + full.host
		}
		a.add(o, NotFound, Error, field+".host", "there is no service %s%s", host, tip)
	}
	if d.Subset != "" {
		a.subset(o, field+".subset", host, d.Subset)
	}
	if s == nil {
		return
	}
	switch n := d.Port.GetNumber(); {
	case n == 0 && len(s.ports) > 1:
		a.add(o, PortRequired, Error, field+".port", "service %s has the ports %s; say which one is meant", host, portList(s.ports))
	case n != 0 && !slices.Contains(s.ports, n):
		a.add(o, NotFound, Error, field+".port.number", "service %s has no port %d; it has %s", host, n, portList(s.ports))
	}
}

func portList(ports []uint32) string {
	var out []string
	for _, p := range ports {
		out = append(out, fmt.Sprint(p))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// subset reports a subset that no DestinationRule of the host defines. Requests to it would be
// answered with 503, so such a route is refused.
func (a *analyzer) subset(o *config.Object, field, host, name string) {
	rules := a.rulesFor(host)
	if len(rules) == 0 {
		a.add(o, NotFound, Refuse, field, "there is no subset %q, because no DestinationRule is for host %s; apply one that defines it, before or together with this", name, host)
		return
	}
	var known, at []string
	for _, r := range rules {
		for _, s := range r.Spec.(*networking.DestinationRule).Subsets {
			if s.Name == name {
				return
			}
			known = append(known, s.Name)
		}
		at = append(at, r.Namespace+"/"+r.Name)
	}
	sort.Strings(at)
	if len(known) == 0 {
		a.add(o, NotFound, Refuse, field, "there is no subset %q; DestinationRule %s defines none", name, strings.Join(at, ", "))
		return
	}
	a.add(o, NotFound, Refuse, field, "there is no subset %q in DestinationRule %s%s", name, strings.Join(at, ", "), hint(name, known))
}

// unreachable finds routes behind one that takes everything, and matches given before.
func (a *analyzer) unreachable(o *config.Object, vs *networking.VirtualService) {
	catchAll := -1
	type seen struct {
		match *networking.HTTPMatchRequest
		rule  int
	}
	var earlier []seen
	for i, r := range vs.Http {
		f := indexed("spec.http", i)
		if catchAll >= 0 {
			a.add(o, UnreachableRule, Warning, f, "never used: http[%d] takes every request before it; put this route in front of it", catchAll)
			continue
		}
		if len(r.Match) == 0 {
			catchAll = i
			continue
		}
		dead := 0
		for j, m := range r.Match {
			for _, e := range earlier {
				x, y := proto.Clone(m).(*networking.HTTPMatchRequest), proto.Clone(e.match).(*networking.HTTPMatchRequest)
				x.Name, y.Name, x.StatPrefix, y.StatPrefix = "", "", "", ""
				if e.rule != i && proto.Equal(x, y) {
					a.add(o, IneffectiveMatch, Info, indexed(f+".match", j), "never used: http[%d] has the same match", e.rule)
					dead++
					break
				}
			}
			earlier = append(earlier, seen{m, i})
		}
		if dead == len(r.Match) {
			a.add(o, UnreachableRule, Warning, f, "never used: earlier routes have the same matches; remove this one or change its matches")
		}
	}
}

// meshHosts finds hosts that two VirtualServices claim inside the mesh: one of them is not used.
func (a *analyzer) meshHosts() {
	owner := map[string]*config.Object{}
	list := slices.Clone(a.set.List(schema.VirtualService))
	slices.SortStableFunc(list, func(x, y *config.Object) int { return x.Created.Compare(y.Created) })
	for _, o := range list {
		vs := o.Spec.(*networking.VirtualService)
		if len(vs.Gateways) > 0 && !slices.Contains(vs.Gateways, "mesh") {
			continue
		}
		for i, h := range vs.Hosts {
			host := a.resolve(h, o.Namespace)
			other := owner[host]
			if other == nil {
				owner[host] = o
				continue
			}
			if other == o || !seesEachOther(vs, other) {
				continue
			}
			a.add(o, ConflictingHosts, Error, indexed("spec.hosts", i), "VirtualService %s/%s has routes for host %s in the mesh as well; of those with routes for a client only the older one counts. Merge them",
				other.Namespace, other.Name, host)
		}
	}
}

// seesEachOther is false if one of the objects is private to another namespace.
func seesEachOther(vs *networking.VirtualService, other *config.Object) bool {
	private := func(list []string) bool { return len(list) == 1 && (list[0] == "." || list[0] == "~") }
	return !private(vs.ExportTo) && !private(other.Spec.(*networking.VirtualService).ExportTo)
}

package proxyconfig

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// RouteFilter selects route configurations; an empty name selects all.
type RouteFilter struct {
	Name string
	// VirtualHosts adds the column VHOST NAME, which istioctl prints since 1.20.
	VirtualHosts bool
}

func (d *Dump) routes(f RouteFilter) []Resource[*routev3.RouteConfiguration] {
	var out []Resource[*routev3.RouteConfiguration]
	for _, r := range d.Routes {
		if f.Name == "" || f.Name == r.Msg.Name {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Resource[*routev3.RouteConfiguration]) int { return cmp.Compare(a.Msg.Name, b.Msg.Name) })
	return out
}

// RoutesJSON returns the selected route configurations as a JSON array.
func (d *Dump) RoutesJSON(f RouteFilter) (json.RawMessage, error) { return list(d.routes(f)) }

// PrintRoutes writes the route table: a row a route, in the order in which they are tried. Routes to the passthrough cluster are left
// out, as istioctl does: they stand for everything that the mesh does not know.
func (d *Dump) PrintRoutes(w io.Writer, f RouteFilter) error {
	t := table(w, 5)
	row := func(name, host, domains, match, source string) {
		if f.VirtualHosts {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, host, domains, match, source)
		} else {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, domains, match, source)
		}
	}
	row("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE")
	for _, r := range d.routes(f) {
		for _, vh := range r.Msg.GetVirtualHosts() {
			domains := describeDomains(vh.GetDomains())
			if len(vh.GetRoutes()) == 0 {
				row(r.Msg.Name, vh.Name, domains, "/*", "404")
				continue
			}
			for _, route := range vh.GetRoutes() {
				if route.GetRoute().GetCluster() == "PassthroughCluster" {
					continue
				}
				source := configName(route.GetMetadata())
				if code := route.GetDirectResponse().GetStatus(); source == "" && code >= 400 {
					source = fmt.Sprint(code)
				}
				row(r.Msg.Name, vh.Name, domains, describeMatch(route.GetMatch()), source)
			}
		}
	}
	return t.Flush()
}

// describeMatch says which paths a route takes. Headers are not shown: a row a route, in order, tells that there are several.
func describeMatch(m *routev3.RouteMatch) string {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix + "*"
	case *routev3.RouteMatch_Path:
		return p.Path
	case *routev3.RouteMatch_SafeRegex:
		return "regex " + p.SafeRegex.GetRegex()
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return "PathPrefix:" + p.PathSeparatedPrefix
	case *routev3.RouteMatch_ConnectMatcher_:
		return "CONNECT"
	}
	return ""
}

// describeDomains shortens the domains of a virtual host: those with a port and those that only spell out a shorter one are left out,
// and of the rest the first two are named.
func describeDomains(domains []string) string {
	if len(domains) == 1 {
		return domains[0]
	}
	var short []string
	for _, d := range domains {
		if hasPort(d) || spelledOut(d, domains) {
			continue
		}
		short = append(short, d)
	}
	const most = 2
	if len(short) > most {
		return fmt.Sprintf("%s + %d more...", strings.Join(short[:most], ", "), len(short)-most)
	}
	return strings.Join(short, ", ")
}

func hasPort(domain string) bool {
	if _, err := netip.ParseAddrPort(domain); err == nil {
		return true
	}
	return strings.Count(domain, ":") == 1
}

// spelledOut says that the domain is name.ns.svc or name.ns.svc.cluster.local of a name.ns that is listed as well.
func spelledOut(domain string, all []string) bool {
	base, suffix, ok := strings.Cut(domain, ".svc")
	return ok && (suffix == "" || suffix[0] == '.') && slices.Contains(all, base)
}

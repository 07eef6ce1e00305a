package translate

import (
	"sort"
	"strings"
	"sync"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/controlplane/internal/envoyfilter"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// HostType is the type of virtual hosts, which proxies that are OnDemand ask for one by one.
const HostType = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

// maxAsked is the longest host that is answered: a DNS name (RFC 1035, section 2.3.4) and a port.
const maxAsked = 253 + 1 + 5

// Hosts answers which virtual host of a route configuration serves a host that a request named.
// It is made for one snapshot and Scope, and immutable.
type Hosts struct {
	s    *model.Snapshot
	p    *model.Proxy
	ps   *envoyfilter.Patches
	name string // of the route configuration
	of   routes
	// table has all virtual hosts of the route configuration. It is made when a host is asked for that is no service's own
	// name: it costs a walk over all services of the port.
	once  sync.Once
	table hostTable
}

// hostTable finds virtual hosts by domain.
type hostTable struct {
	exact  map[string]*virtualHost // by domain in lower case
	suffix []suffixHost            // of wildcards, the longest first
	rest   []*virtualHost          // for whatever has no other, before unknownHost
}

type suffixHost struct {
	suffix string // "*.example.com" without the star
	host   *virtualHost
}

// HostsOf returns the hosts of a sidecar's route configuration of that name, nil when it may have
// none.
func HostsOf(s *model.Snapshot, p *model.Proxy, routes string) *Hosts {
	if p.Type == model.Router {
		return nil
	}
	of, ok := routesOf(s.ScopeOf(p), routes)
	if !ok {
		return nil
	}
	return &Hosts{s: s, p: p, ps: envoyfilter.For(s, p), name: routes, of: of}
}

// all returns the table of all virtual hosts.
func (h *Hosts) all() *hostTable {
	h.once.Do(func() {
		r := h.of.hosts(h.s, h.p)
		t := &h.table
		t.exact = make(map[string]*virtualHost, len(r.hosts))
		for i := range r.hosts {
			v := &r.hosts[i]
			if r.servesAll(h.p) {
				t.rest = append(t.rest, v)
			}
			for _, d := range v.domains {
				switch d := strings.ToLower(d); {
				case d == "*":
					t.rest = append(t.rest, v)
				case d[0] == '*':
					t.suffix = append(t.suffix, suffixHost{d[1:], v})
				default:
					t.exact[d] = v
				}
			}
		}
		sort.SliceStable(t.suffix, func(i, j int) bool { return len(t.suffix[i].suffix) > len(t.suffix[j].suffix) })
	})
	return &h.table
}

// Host returns the virtual host for one host, as a request names it, with the port if there was
// one: the one that would serve it if the proxy had the whole route configuration, or the one for
// unknown hosts. Its domain is just that host, since the proxy has only what it asked for. False:
// that is no host. Its Reads are filled, and say what can change it (HostReads).
func (h *Hosts) Host(host string) (Resource, bool) {
	if host == "" || len(host) > maxAsked || strings.ContainsAny(host, "/*") {
		return Resource{}, false
	}
	found := h.candidates(strings.ToLower(host))
	name := h.name + "/" + host
	k := (&keyHash{}).str(h.s.Scope(h.p), name).num(h.s.Mesh.Rev)
	if c := h.s.ScopeOf(h.p).Config(); c != nil {
		k.num(c.Rev)
	}
	for _, v := range found {
		v.key(k, h.s, h.p)
	}
	return Resource{Name: name, Key: k.String() + h.ps.RouteKey(envoyfilter.Outbound, h.name, nil), Reads: h.reads(host, found), build: func() proto.Message {
		vh := h.patched(unknownHost(h.s, h.p, h.of.egress))
		for _, v := range found {
			if built := h.patched(v.build(h.s, h.p)); built != nil {
				vh = built
				break
			}
		}
		if vh == nil {
			vh = &routev3.VirtualHost{} // a patch has removed it, and nothing else serves the host
		}
		vh.Name, vh.Domains = host, []string{host}
		return vh
	}}, true
}

// patched is a virtual host, which may be nil, with patches applied; nil when one removes it.
func (h *Hosts) patched(vh *routev3.VirtualHost) *routev3.VirtualHost {
	if vh == nil {
		return nil
	}
	return h.ps.VirtualHost(envoyfilter.Outbound, h.name, vh)
}

// candidates are the virtual hosts that a host fits, the best first; one that turns out to have no
// routes leaves it to the next.
func (h *Hosts) candidates(host string) []*virtualHost {
	if !h.of.explicit {
		host = trimPort(host)
	}
	if v := h.service(host); v != nil {
		return []*virtualHost{v}
	}
	t := h.all()
	var out []*virtualHost
	if v := t.exact[host]; v != nil {
		out = append(out, v)
	}
	for _, s := range t.suffix {
		// A wildcard stands for at least one character.
		if len(s.suffix) < len(host) && strings.HasSuffix(host, s.suffix) {
			out = append(out, s.host)
		}
	}
	return append(out, t.rest...)
}

// trimPort takes the port from a host, which may be an IPv6 address in brackets, or a bare one.
func trimPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 || host[0] != '[' && strings.IndexByte(host, ':') != i {
		return host
	}
	return host[:i]
}

// onDemandRoutes is a route configuration whose virtual hosts the proxy asks for. It has none itself:
// with one for "*" the proxy would never ask. A virtual host is for the host just as a request names
// it, so ports are not ignored.
func onDemandRoutes(name string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name, ValidateClusters: boolean(false), MaxDirectResponseBodySizeBytes: u32(1 << 20),
		Vhds: &routev3.Vhds{ConfigSource: adsSource()},
	}
}

// ClustersIn returns the names of the outbound clusters that a resource leads to, sorted, each once:
// all its text that is such a name, in extensions too.
func ClustersIn(m proto.Message) []string {
	found := map[string]bool{}
	clustersIn(m.ProtoReflect(), found)
	out := make([]string, 0, len(found))
	for name := range found {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

func clustersIn(m protoreflect.Message, found map[string]bool) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		if inner, err := a.UnmarshalNew(); err == nil { // what is no message of ours names no cluster
			clustersIn(inner.ProtoReflect(), found)
		}
		return
	}
	see := func(kind protoreflect.Kind, v protoreflect.Value) {
		switch kind {
		case protoreflect.StringKind:
			if _, _, _, ok := ParseClusterName(v.String()); ok {
				found[v.String()] = true
			}
		case protoreflect.MessageKind:
			clustersIn(v.Message(), found)
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList():
			for i := range v.List().Len() {
				see(f.Kind(), v.List().Get(i))
			}
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				see(f.MapValue().Kind(), v)
				return true
			})
		default:
			see(f.Kind(), v)
		}
		return true
	})
}

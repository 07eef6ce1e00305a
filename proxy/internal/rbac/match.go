package rbac

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/pathtemplate"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// matcher is a compiled permission or principal. String says what it asks for.
type matcher interface {
	match(*Input) bool
	String() string
}

type (
	always struct{}
	all    []matcher
	oneOf  []matcher
	not    struct{ matcher }
	head   struct{ m route.HeaderMatcher }
	path   struct{ m *xdsresource.StringMatch }
	shape  struct{ t *pathtemplate.Pattern }
	sni    struct{ m *xdsresource.StringMatch }
	auth   struct{ m *xdsresource.StringMatch }
	ports  struct{ from, to uint16 }
	addr   struct {
		prefix netip.Prefix
		of     xdsresource.RBACKind
	}
	meta struct {
		m     *xdsresource.MetadataMatcher
		route bool
		slot  int // of Input.values; -1: none
	}
	state struct{ r *xdsresource.RBACRule }
)

// compiler makes matchers of rules. Those of one engine look at the same metadata again and again, such as the claims of a token: values gives each that is
// asked for a number, by which Input keeps it.
type compiler struct{ values map[string]int }

func (c *compiler) compile(r *xdsresource.RBACRule) matcher {
	switch r.Kind {
	case xdsresource.RBACAnd:
		return c.compileAll(r.Rules)
	case xdsresource.RBACOr:
		return c.compileAny(r.Rules)
	case xdsresource.RBACNot:
		return not{c.compile(&r.Rules[0])}
	case xdsresource.RBACHeader:
		return &head{route.NewHeaderMatcher(r.Header)}
	case xdsresource.RBACPath:
		return path{r.String}
	case xdsresource.RBACPathTemplate:
		return shape{r.Template}
	case xdsresource.RBACServerName:
		return sni{r.String}
	case xdsresource.RBACAuthenticated:
		return auth{r.String}
	case xdsresource.RBACDestinationPorts:
		return ports{r.Ports[0], r.Ports[1]}
	case xdsresource.RBACDestinationIP, xdsresource.RBACSourceIP, xdsresource.RBACDirectRemoteIP, xdsresource.RBACRemoteIP:
		return &addr{r.Prefix.Masked(), r.Kind}
	case xdsresource.RBACMetadata, xdsresource.RBACRouteMetadata:
		m := &meta{r.Metadata, r.Kind == xdsresource.RBACRouteMetadata, -1}
		if !m.route {
			m.slot = c.slot(r.Metadata)
		}
		return m
	case xdsresource.RBACFilterState:
		return state{r}
	}
	return always{}
}

// slot numbers the value that a matcher looks at; -1 when there are more than Input keeps.
func (c *compiler) slot(m *xdsresource.MetadataMatcher) int {
	key := claimKey(m)
	n, ok := c.values[key]
	if !ok {
		if n = len(c.values); n == keptValues {
			return -1
		}
		c.values[key] = n
	}
	return n
}

// compileAll is for rules that must all match: those that always do are left out.
func (c *compiler) compileAll(rules []xdsresource.RBACRule) matcher {
	var out all
	for i := range rules {
		if m := c.compile(&rules[i]); m != (always{}) {
			out = append(out, m)
		}
	}
	switch len(out) {
	case 0:
		return always{}
	case 1:
		return out[0]
	}
	return out
}

// compileAny is for alternatives, of which one that always matches is enough.
func (c *compiler) compileAny(rules []xdsresource.RBACRule) matcher {
	var out oneOf
	for i := range rules {
		m := c.compile(&rules[i])
		if m == (always{}) {
			return m
		}
		out = append(out, m)
	}
	if len(out) == 1 {
		return out[0]
	}
	return out
}

func (always) match(*Input) bool { return true }

func (a all) match(in *Input) bool {
	for _, m := range a {
		if !m.match(in) {
			return false
		}
	}
	return true
}

func (a oneOf) match(in *Input) bool { return a.which(in) != nil }

// which returns what of a matcher that matches does: of alternatives the first.
func which(m matcher, in *Input) matcher {
	if a, ok := m.(oneOf); ok {
		return a.which(in)
	}
	return m
}

// which returns the first alternative that matches, nil for none.
func (a oneOf) which(in *Input) matcher {
	for _, m := range a {
		if m.match(in) {
			return m
		}
	}
	return nil
}

func (n not) match(in *Input) bool   { return !n.matcher.match(in) }
func (h *head) match(in *Input) bool { return in.Headers != nil && h.m.MatchEach(in.Headers) }

func (p path) match(in *Input) bool {
	v, ok := in.urlPath()
	return ok && route.MatchString(p.m, v)
}

func (s shape) match(in *Input) bool {
	v, ok := in.urlPath()
	return ok && s.t.Match(v)
}

func (s sni) match(in *Input) bool { return matchText(s.m, in.Conn.SNI) }

func (a auth) match(in *Input) bool {
	switch {
	case in.Conn.TLS == nil:
		return false
	case a.m == nil:
		return true
	}
	names := in.Conn.PeerNames()
	for _, n := range names {
		if matchText(a.m, n) {
			return true
		}
	}
	return len(names) == 0 && matchText(a.m, "") // a client without a certificate has an empty subject
}

func (p ports) match(in *Input) bool {
	d := in.Conn.Destination()
	return d.IsValid() && d.Port() >= p.from && d.Port() <= p.to
}

func (a *addr) match(in *Input) bool {
	var ip netip.Addr
	switch a.of {
	case xdsresource.RBACDestinationIP:
		ip = in.Conn.Destination().Addr()
	case xdsresource.RBACSourceIP:
		ip = in.Conn.RemoteAddr.Addr()
	case xdsresource.RBACDirectRemoteIP:
		ip = in.Conn.DirectRemoteAddr.Addr()
	case xdsresource.RBACRemoteIP:
		ip = in.remote()
	}
	return ip.IsValid() && a.prefix.Contains(plain(ip))
}

// plain is an address as prefixes know it: no prefix contains one with a zone, or one of IPv4 that
// is written as IPv6.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

func (m *meta) match(in *Input) bool {
	if m.route {
		md := in.routeMetadata()
		return md != nil && m.m.Match(md)
	}
	v, ok := in.value(m.m, m.slot)
	return m.m.MatchValue(v, ok)
}

func (s state) match(in *Input) bool {
	o := in.state(s.r.Key)
	if o == nil {
		return false
	}
	if s.r.String != nil {
		return matchText(s.r.String, o.String())
	}
	a, ok := o.(filterstate.IP)
	if !ok {
		return false
	}
	ip := plain(netip.Addr(a))
	for _, p := range s.r.Prefixes {
		if p.Contains(ip) {
			return !s.r.Invert
		}
	}
	return s.r.Invert
}

func matchText(m *xdsresource.StringMatch, s string) bool {
	return route.MatchString(m, unsafe.Slice(unsafe.StringData(s), len(s)))
}

func (always) String() string  { return "anything" }
func (a all) String() string   { return list(a, " and ") }
func (a oneOf) String() string { return list(a, " or ") }
func (n not) String() string   { return "not (" + n.matcher.String() + ")" }
func (h *head) String() string { return h.m.String() }
func (p path) String() string  { return "path " + route.DescribeString(p.m) }
func (s shape) String() string { return "path " + s.t.String() }
func (s sni) String() string   { return "server name " + route.DescribeString(s.m) }

func (a auth) String() string {
	if a.m == nil {
		return "any TLS client"
	}
	return "authenticated as " + route.DescribeString(a.m)
}

func (p ports) String() string {
	if p.from == p.to {
		return "destination port " + strconv.Itoa(int(p.from))
	}
	return fmt.Sprintf("destination ports %d to %d", p.from, p.to)
}

func (a *addr) String() string {
	what := map[xdsresource.RBACKind]string{
		xdsresource.RBACDestinationIP: "destination", xdsresource.RBACSourceIP: "source",
		xdsresource.RBACDirectRemoteIP: "direct remote", xdsresource.RBACRemoteIP: "remote",
	}[a.of]
	return what + " address in " + a.prefix.String()
}

func (m *meta) String() string {
	kind := "dynamic"
	if m.route {
		kind = "route"
	}
	return kind + " metadata " + strings.Join(append([]string{m.m.Filter}, m.m.Path...), ".")
}

func (s state) String() string { return "filter state " + strconv.Quote(s.r.Key) }

func list(ms []matcher, sep string) string {
	switch len(ms) {
	case 0:
		return "nothing"
	case 1:
		return ms[0].String()
	}
	out := make([]string, len(ms))
	for i, m := range ms {
		out[i] = m.String()
	}
	return "(" + strings.Join(out, sep) + ")"
}

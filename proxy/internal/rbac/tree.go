package rbac

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tree is a compiled matcher: it finds the verdict on a request or a connection.
type tree struct {
	branches []branch // of a list, in order
	value    *value   // of a map: what finds the leaf
	exact    map[string]*leaf
	prefix   []prefixLeaf // longest first
	none     *leaf        // nil: nothing
}

type branch struct {
	when matcher
	then *leaf
}

type prefixLeaf struct {
	prefix string
	leaf   *leaf
}

// leaf is another tree, or the number of a verdict.
type leaf struct {
	tree    *tree
	verdict int
}

// newTree compiles a matcher; its verdicts are put behind those that are there.
func (e *Engine) newTree(m *xdsresource.Matcher) *tree {
	t := &tree{value: newValue(m.Input, m.Header)}
	for i := range m.Branches {
		t.branches = append(t.branches, branch{newPredicate(&m.Branches[i].When), e.newLeaf(&m.Branches[i].Then)})
	}
	for _, k := range slices.Sorted(maps.Keys(m.Exact)) {
		if t.exact == nil {
			t.exact = map[string]*leaf{}
		}
		t.exact[k] = e.newLeaf(m.Exact[k])
	}
	for _, k := range slices.Sorted(maps.Keys(m.Prefix)) {
		t.prefix = append(t.prefix, prefixLeaf{k, e.newLeaf(m.Prefix[k])})
	}
	slices.SortStableFunc(t.prefix, func(a, b prefixLeaf) int { return len(b.prefix) - len(a.prefix) })
	if m.NoMatch != nil {
		t.none = e.newLeaf(m.NoMatch)
	}
	return t
}

func (e *Engine) newLeaf(r *xdsresource.MatcherResult) *leaf {
	if r.Matcher != nil {
		return &leaf{tree: e.newTree(r.Matcher)}
	}
	e.verdicts = append(e.verdicts, *r.Verdict)
	e.logs = e.logs || r.Verdict.Action == xdsresource.RBACLog
	return &leaf{verdict: len(e.verdicts) - 1}
}

func newPredicate(m *xdsresource.MatcherPredicate) matcher {
	each := func(in []xdsresource.MatcherPredicate) []matcher {
		var out []matcher
		for i := range in {
			out = append(out, newPredicate(&in[i]))
		}
		return out
	}
	switch {
	case m.All != nil:
		return all(each(m.All))
	case m.Any != nil:
		return oneOf(each(m.Any))
	case m.Not != nil:
		return not{newPredicate(m.Not)}
	case m.Prefixes != nil:
		return &within{m.Input, m.Prefixes}
	}
	return &compared{newValue(m.Input, m.Header), &m.String}
}

// find returns the number of a verdict, -1 for none. What leads nowhere does not end the search.
func (t *tree) find(in *Input) int {
	for i := range t.branches {
		if b := &t.branches[i]; b.when.match(in) {
			if v := b.then.take(in); v >= 0 {
				return v
			}
		}
	}
	if t.exact == nil && t.prefix == nil {
		return t.none.take(in)
	}
	v, ok := t.value.of(in)
	if !ok {
		return t.none.take(in)
	}
	if n := t.exact[string(v)].take(in); n >= 0 {
		return n
	}
	for i := range t.prefix {
		if v, ok = t.value.of(in); !ok || !strings.HasPrefix(text(v), t.prefix[i].prefix) { // what was tried may have used its memory
			continue
		}
		if n := t.prefix[i].leaf.take(in); n >= 0 {
			return n
		}
	}
	return t.none.take(in)
}

func (l *leaf) take(in *Input) int {
	switch {
	case l == nil:
		return -1
	case l.tree != nil:
		return l.tree.find(in)
	}
	return l.verdict
}

// value is what a matcher looks at.
type value struct {
	input xdsresource.MatcherInput
	name  string
	key   header.Key
}

func newValue(input xdsresource.MatcherInput, name string) *value {
	return &value{input, name, header.KeyOf(name)}
}

// of reads the value; false where there is none. It is good until the next one is read.
func (v *value) of(in *Input) ([]byte, bool) {
	switch v.input {
	case xdsresource.InputHeader:
		if in.Headers == nil || in.Headers.Find(v.key, 0) < 0 {
			return nil, false
		}
		return in.Headers.Join(in.scratch[:0], v.key)
	case xdsresource.InputDestinationPort:
		return in.port(in.Conn.Destination())
	case xdsresource.InputSourcePort:
		if in.Stream != nil {
			return in.port(in.Stream.RemoteAddr())
		}
		return in.port(in.Conn.RemoteAddr)
	case xdsresource.InputServerName:
		return present(append(in.scratch[:0], in.Conn.SNI...))
	case xdsresource.InputURISAN, xdsresource.InputDNSSAN, xdsresource.InputSubject:
		return in.names(v.input)
	}
	ip := in.address(v.input)
	if !ip.IsValid() {
		return nil, false
	}
	return ip.AppendTo(in.scratch[:0]), true
}

func present(b []byte) ([]byte, bool) { return b, len(b) > 0 }

func (in *Input) port(a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return nil, false
	}
	return strconv.AppendUint(in.scratch[:0], uint64(a.Port()), 10), true
}

func (in *Input) address(of xdsresource.MatcherInput) netip.Addr {
	switch of {
	case xdsresource.InputDestinationIP:
		return plain(in.Conn.Destination().Addr())
	case xdsresource.InputDirectSourceIP:
		return plain(in.Conn.DirectRemoteAddr.Addr())
	}
	return plain(in.remote())
}

// names are the names of one kind in the client's certificate.
func (in *Input) names(of xdsresource.MatcherInput) ([]byte, bool) {
	if in.Conn.TLS == nil || len(in.Conn.TLS.PeerCertificates) == 0 {
		return nil, false
	}
	leaf, names := in.Conn.TLS.PeerCertificates[0], in.Conn.PeerNames()
	switch n := len(leaf.URIs); of {
	case xdsresource.InputURISAN:
		names = names[:n]
	case xdsresource.InputDNSSAN:
		names = names[n : n+len(leaf.DNSNames)]
	case xdsresource.InputSubject:
		names = names[n+len(leaf.DNSNames):]
	}
	out := in.scratch[:0]
	for i, n := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, n...)
	}
	return present(out)
}

// compared is a text that is compared with a value.
type compared struct {
	of *value
	m  *xdsresource.StringMatch
}

func (c *compared) match(in *Input) bool {
	v, ok := c.of.of(in)
	return ok && route.MatchString(c.m, v)
}

func (c *compared) String() string { return c.of.String() + " " + route.DescribeString(c.m) }

// within is a set of networks in which an address must be.
type within struct {
	of       xdsresource.MatcherInput
	prefixes []netip.Prefix
}

func (w *within) match(in *Input) bool {
	ip := in.address(w.of)
	return ip.IsValid() && slices.ContainsFunc(w.prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func (w *within) String() string {
	nets := make([]string, len(w.prefixes))
	for i, p := range w.prefixes {
		nets[i] = p.String()
	}
	return (&value{input: w.of}).String() + " in " + strings.Join(nets, " or ")
}

func (v *value) String() string {
	switch v.input {
	case xdsresource.InputHeader:
		return "header " + strconv.Quote(v.name)
	case xdsresource.InputDestinationIP:
		return "destination address"
	case xdsresource.InputDestinationPort:
		return "destination port"
	case xdsresource.InputSourceIP:
		return "source address"
	case xdsresource.InputSourcePort:
		return "source port"
	case xdsresource.InputDirectSourceIP:
		return "direct source address"
	case xdsresource.InputServerName:
		return "server name"
	case xdsresource.InputURISAN:
		return "URI SAN"
	case xdsresource.InputDNSSAN:
		return "DNS SAN"
	}
	return "subject"
}

// text is bytes as a string that lives as long as they do.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

package rbac

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/matchtree"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// tree is a compiled matcher: it finds the number of the verdict on a request or a connection.
type tree = matchtree.Tree[*Input, int]

// newTree compiles a matcher; its verdicts are put behind those that are there.
func (e *Engine) newTree(m *xdsresource.Matcher) *tree {
	trees := matchtree.Compiler[*Input, int]{
		Value: func(input xdsresource.MatcherInput, name string) func(*Input) ([]byte, bool) {
			v := &value{input, header.KeyOf(name)}
			return v.of
		},
		Text: route.MatchString,
		Address: func(input xdsresource.MatcherInput) func(*Input) netip.Addr {
			return func(in *Input) netip.Addr { return in.address(input) }
		},
		Leaf: func(r *xdsresource.MatcherResult) (int, error) {
			e.verdicts = append(e.verdicts, *r.Verdict)
			e.logs = e.logs || r.Verdict.Action == xdsresource.RBACLog
			return len(e.verdicts) - 1, nil
		},
	}
	t, err := trees.Compile(m)
	if err != nil {
		panic("BUG: rbac: " + err.Error()) // a verdict is no error
	}
	return t
}

// value is what a matcher looks at.
type value struct {
	input xdsresource.MatcherInput
	key   header.Key // of InputHeader
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

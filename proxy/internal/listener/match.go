package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// criteria is what is known of a connection when its filter chain is chosen.
type criteria struct {
	dst       netip.AddrPort
	sni       string
	transport string // "raw_buffer" or "tls"
	alpn      []string
	directSrc netip.Addr
	src       netip.AddrPort
}

// matcher finds a connection's filter chain. Envoy's order: destination port, destination
// IP, server name, transport protocol, application protocol, directly connected source IP,
// source type, source IP, source port. At each step the most specific entry that fits is
// taken, and never given up for a less specific one when a later step fails
// (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch).
type matcher struct {
	only *chain // a single chain that matches everything
	root byPort
}

type (
	byPort      map[uint16]*byPrefix[*byName]
	byName      map[string]byTransport // "a.b", ".b" for "*.b", "" for any
	byTransport map[string]byALPN
	byALPN      map[string]*byPrefix[*byType]
	byType      [3]*byPrefix[bySrcPort] // by xdsresource.SourceType
	bySrcPort   map[uint16]*chain
)

// byPrefix is a list of prefixes, longest first. The invalid prefix matches every address,
// and what is no IP address at all.
type byPrefix[T any] struct {
	entries []prefixEntry[T]
}

type prefixEntry[T any] struct {
	prefix netip.Prefix
	next   T
}

func (b *byPrefix[T]) find(a netip.Addr) (t T, ok bool) {
	for i := range b.entries {
		if p := b.entries[i].prefix; !p.IsValid() || p.Contains(a) {
			return b.entries[i].next, true
		}
	}
	return t, false
}

// at returns the entry of a prefix, made by mk when new.
func (b *byPrefix[T]) at(p netip.Prefix, mk func() T) T {
	if p.IsValid() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
	}
	for i := range b.entries {
		if b.entries[i].prefix == p {
			return b.entries[i].next
		}
	}
	t := mk()
	b.entries = append(b.entries, prefixEntry[T]{p, t})
	slices.SortStableFunc(b.entries, func(x, y prefixEntry[T]) int { return y.prefix.Bits() - x.prefix.Bits() })
	return t
}

// compileMatcher refuses two chains that match the same connections.
func compileMatcher(chains []*chain) (*matcher, error) {
	m := &matcher{root: byPort{}}
	for _, ch := range chains {
		if err := m.add(ch); err != nil {
			return nil, err
		}
	}
	if len(chains) == 1 && isCatchAll(&chains[0].fc.Match) {
		m.only = chains[0]
	}
	return m, nil
}

func isCatchAll(f *xdsresource.FilterChainMatch) bool {
	return f.DestinationPort == 0 && len(f.PrefixRanges) == 0 && len(f.ServerNames) == 0 && f.TransportProtocol == "" &&
		len(f.ApplicationProtocols) == 0 && len(f.DirectSourcePrefixes) == 0 && len(f.SourcePrefixes) == 0 &&
		len(f.SourcePorts) == 0 && f.SourceType == xdsresource.SourceAny
}

// orAny makes an empty list of alternatives one that matches everything.
func orAny[T any](list []T) []T {
	if len(list) == 0 {
		return make([]T, 1)
	}
	return list
}

func (m *matcher) add(ch *chain) error {
	f := &ch.fc.Match
	ports := m.root[f.DestinationPort]
	if ports == nil {
		ports = &byPrefix[*byName]{}
		m.root[f.DestinationPort] = ports
	}
	for _, dst := range orAny(f.PrefixRanges) {
		names := ports.at(dst, func() *byName { return &byName{} })
		for _, name := range orAny(f.ServerNames) {
			name = strings.TrimPrefix(strings.ToLower(name), "*")
			transports := (*names)[name]
			if transports == nil {
				transports = byTransport{}
				(*names)[name] = transports
			}
			alpns := transports[f.TransportProtocol]
			if alpns == nil {
				alpns = byALPN{}
				transports[f.TransportProtocol] = alpns
			}
			for _, proto := range orAny(f.ApplicationProtocols) {
				if err := addSources(alpns, proto, ch); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func addSources(alpns byALPN, proto string, ch *chain) error {
	f := &ch.fc.Match
	direct := alpns[proto]
	if direct == nil {
		direct = &byPrefix[*byType]{}
		alpns[proto] = direct
	}
	for _, d := range orAny(f.DirectSourcePrefixes) {
		types := direct.at(d, func() *byType { return &byType{} })
		srcs := types[f.SourceType]
		if srcs == nil {
			srcs = &byPrefix[bySrcPort]{}
			types[f.SourceType] = srcs
		}
		for _, s := range orAny(f.SourcePrefixes) {
			ports := srcs.at(s, func() bySrcPort { return bySrcPort{} })
			for _, p := range orAny(f.SourcePorts) {
				if other := ports[p]; other != nil {
					return fmt.Errorf("filter chain %q has the same matching rules as %q", ch.name(), other.name())
				}
				ports[p] = ch
			}
		}
	}
	return nil
}

// find returns the chain of a connection, nil for none.
func (m *matcher) find(c *criteria) *chain {
	if m.only != nil {
		return m.only
	}
	dsts := m.root[c.dst.Port()]
	if dsts == nil {
		if dsts = m.root[0]; dsts == nil {
			return nil
		}
	}
	names, ok := dsts.find(c.dst.Addr())
	if !ok {
		return nil
	}
	transports := findName(*names, c.sni)
	if transports == nil {
		return nil
	}
	alpns := transports[c.transport]
	if alpns == nil {
		alpns = transports[""]
	}
	direct := findALPN(alpns, c.alpn)
	if direct == nil {
		return nil
	}
	types, ok := direct.find(c.directSrc)
	if !ok {
		return nil
	}
	return findSource(types, c)
}

func findName(names byName, sni string) byTransport {
	if sni != "" {
		if t := names[sni]; t != nil {
			return t
		}
		for i := 1; i < len(sni); i++ {
			if sni[i] == '.' {
				if t := names[sni[i:]]; t != nil {
					return t
				}
			}
		}
	}
	return names[""]
}

func findALPN(alpns byALPN, offered []string) *byPrefix[*byType] {
	for _, p := range offered {
		if d := alpns[p]; d != nil {
			return d
		}
	}
	return alpns[""]
}

func findSource(types *byType, c *criteria) *chain {
	local, external := types[xdsresource.SourceSameIPOrLoopback], types[xdsresource.SourceExternal]
	srcs := types[xdsresource.SourceAny]
	if local != nil || external != nil {
		isLocal := !c.src.IsValid() || c.src.Addr().IsLoopback() || c.src.Addr() == c.dst.Addr()
		if isLocal && local != nil {
			srcs = local
		} else if !isLocal && external != nil {
			srcs = external
		}
	}
	if srcs == nil {
		return nil
	}
	ports, ok := srcs.find(c.src.Addr())
	if !ok {
		return nil
	}
	if ch := ports[c.src.Port()]; ch != nil {
		return ch
	}
	return ports[0]
}

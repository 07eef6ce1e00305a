package xdsresource

import (
	"sort"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// PortRanges are ports, as ranges that neither overlap nor touch, in order. Nil: none.
type PortRanges []PortRange

// Has reports whether a port is one of them.
func (r PortRanges) Has(port uint16) bool {
	if r == nil {
		return false
	}
	i := sort.Search(len(r), func(i int) bool { return r[i].Last >= port })
	return i < len(r) && r[i].First <= port
}

// maxPredicateDepth bounds how deep predicates nest.
const maxPredicateDepth = 32

// portPredicate works out for which destination ports a predicate holds; nil for none.
func (p *parser) portPredicate(path string, m *listenerv3.ListenerFilterChainMatchPredicate) PortRanges {
	if m == nil {
		return nil
	}
	var holds portSet
	p.evalPorts(path, m, &holds, 0)
	return holds.ranges()
}

// portSet has a bit for each port.
type portSet [1 << 16 / 64]uint64

// evalPorts sets the bits of the ports for which a predicate holds; into must be empty.
func (p *parser) evalPorts(path string, m *listenerv3.ListenerFilterChainMatchPredicate, into *portSet, depth int) {
	if depth > maxPredicateDepth {
		p.bad(path, "predicates are nested more than %d deep", maxPredicateDepth)
		return
	}
	all := func(path string, rules []*listenerv3.ListenerFilterChainMatchPredicate, join func(into, one *uint64)) {
		if len(rules) < 2 {
			p.bad(path, "needs at least two rules")
		}
		for i, r := range rules {
			var one portSet
			p.evalPorts(at(path, i), r, &one, depth+1)
			for j := range into {
				join(&into[j], &one[j])
			}
		}
	}
	switch t := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		all(join(path, "or_match.rules"), t.OrMatch.GetRules(), func(into, one *uint64) { *into |= *one })
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		into.fill()
		all(join(path, "and_match.rules"), t.AndMatch.GetRules(), func(into, one *uint64) { *into &= *one })
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		p.evalPorts(join(path, "not_match"), t.NotMatch, into, depth+1)
		for i := range into {
			into[i] = ^into[i]
		}
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		if !t.AnyMatch {
			p.bad(join(path, "any_match"), "must be true")
		}
		into.fill()
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		start, end := t.DestinationPortRange.GetStart(), t.DestinationPortRange.GetEnd()
		if start < 0 || end > 1<<16 || start > end {
			p.bad(join(path, "destination_port_range"), "%d to %d is no range of ports", start, end)
			return
		}
		for port := start; port < end; port++ { // the end is not in it
			into[port/64] |= 1 << (port % 64)
		}
	default:
		p.bad(path, "says nothing")
	}
}

func (s *portSet) fill() {
	for i := range s {
		s[i] = ^uint64(0)
	}
}

func (s *portSet) ranges() PortRanges {
	var out PortRanges
	for port := range 1 << 16 {
		if s[port/64]&(1<<(port%64)) == 0 {
			continue
		}
		if n := len(out); n > 0 && int(out[n-1].Last)+1 == port {
			out[n-1].Last = uint16(port)
		} else {
			out = append(out, PortRange{uint16(port), uint16(port)})
		}
	}
	return out
}

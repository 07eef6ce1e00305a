package translate

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// inspectors are the listener filters that the matches of a listener's chains need, each
// disabled for the ports whose chains do not need it: to them a server may speak first, and
// nothing may wait for the client.
func inspectors(chains []*listenerv3.FilterChain) []*listenerv3.ListenerFilter {
	tls, http := map[uint32]bool{}, map[uint32]bool{} // by destination port, 0 for all others
	for _, c := range chains {
		m := c.FilterChainMatch
		port := m.GetDestinationPort().GetValue()
		tls[port] = tls[port] || m.GetTransportProtocol() == "tls" || len(m.GetServerNames()) > 0
		http[port] = http[port] || m.GetTransportProtocol() == "raw_buffer" && len(m.GetApplicationProtocols()) > 0
	}
	// Where ALPN is matched Envoy looks for TLS by itself; better it is said for which ports.
	for port, needed := range http {
		tls[port] = tls[port] || needed
	}
	var out []*listenerv3.ListenerFilter
	if f := inspector(inspectTLS(), tls); f != nil {
		out = append(out, f)
	}
	if f := inspector(inspectHTTP(), http); f != nil {
		out = append(out, f)
	}
	return out
}

// inspector disables a filter where it is not needed; nil when that is everywhere.
func inspector(f *listenerv3.ListenerFilter, needed map[uint32]bool) *listenerv3.ListenerFilter {
	var differ []uint32 // the ports that need what the others do not, or the reverse
	some := false
	for port, is := range needed {
		some = some || is
		if port != 0 && is != needed[0] {
			differ = append(differ, port)
		}
	}
	if !some {
		return nil
	}
	if len(differ) == 0 {
		return f
	}
	slices.Sort(differ)
	f.FilterDisabled = toPorts(differ)
	if !needed[0] {
		f.FilterDisabled = &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_NotMatch{NotMatch: f.FilterDisabled},
		}
	}
	return f
}

// toPorts holds for connections to some ports.
func toPorts(ports []uint32) *listenerv3.ListenerFilterChainMatchPredicate {
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
			DestinationPortRange: &typev3.Int32Range{Start: int32(p), End: int32(p) + 1},
		}})
	}
	if len(rules) == 1 {
		return rules[0]
	}
	return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
		OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
	}}
}

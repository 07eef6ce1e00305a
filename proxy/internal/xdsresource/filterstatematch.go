package xdsresource

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// FilterStateMatcher is type.matcher.v3.FilterStateMatcher. An object that is not there matches
// nothing, not even inverted.
type FilterStateMatcher struct {
	Key      string
	String   *StringMatch   // of the object's serialised form; nil: Prefixes decide
	Prefixes []netip.Prefix // of an object that is an address
	Invert   bool           // of Prefixes
}

func (p *parser) filterStateMatcher(path string, m *matcherv3.FilterStateMatcher) FilterStateMatcher {
	out := FilterStateMatcher{Key: m.GetKey()}
	a := m.GetAddressMatch()
	if a == nil {
		sm := p.stringMatch(join(path, "string_match"), m.GetStringMatch())
		out.String = &sm
		return out
	}
	out.Invert = a.GetInvertMatch()
	out.Prefixes = p.addressRanges(join(path, "address_match"), a)
	return out
}

// addressRanges are the ranges of an address matcher.
func (p *parser) addressRanges(path string, m *matcherv3.AddressMatcher) []netip.Prefix {
	var out []netip.Prefix
	for i, c := range m.GetRanges() {
		out = append(out, p.cidr(at(join(path, "ranges"), i), &corev3.CidrRange{AddressPrefix: c.GetAddressPrefix(), PrefixLen: c.GetPrefixLen()}))
	}
	return out
}

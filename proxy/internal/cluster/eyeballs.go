package cluster

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// connectOrder is the order in which the addresses of a host are tried (RFC 8305, section 4):
// those of the preferred family and of the other in turn. nil: there is but one.
func connectOrder(e *xdsresource.Eyeballs, first xdsresource.Address, more []xdsresource.Address) []xdsresource.Address {
	if len(more) == 0 {
		return nil
	}
	all := append([]xdsresource.Address{first}, more...)
	v4 := first.IP.Unmap().Is4()
	if e.Family != xdsresource.FamilyOfFirst {
		v4 = e.Family == xdsresource.FamilyV4
	}
	var preferred, other []xdsresource.Address
	for _, a := range all {
		if a.IP.Unmap().Is4() == v4 {
			preferred = append(preferred, a)
		} else {
			other = append(other, a)
		}
	}
	out := all[:0]
	for len(preferred) > 0 || len(other) > 0 {
		n := min(int(max(e.Count, 1)), len(preferred))
		out = append(out, preferred[:n]...)
		preferred = preferred[n:]
		if len(other) > 0 {
			out = append(out, other[0])
			other = other[1:]
		}
	}
	return out
}

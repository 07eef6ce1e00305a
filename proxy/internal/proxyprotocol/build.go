package proxyprotocol

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// maxRest is how long everything behind the fixed part of version 2 may be.
const maxRest = 1<<16 - 1

// Append1 appends a header of version 1 for a connection from src to dst. Addresses that are not both of IP are unknown to it.
func Append1(b []byte, src, dst netip.AddrPort) []byte {
	b = append(b, prefix1...)
	src, dst, ok := oneFamily(src, dst)
	switch {
	case !ok:
		return append(b, "UNKNOWN\r\n"...)
	case src.Addr().Is4():
		b = append(b, "TCP4 "...)
	default:
		b = append(b, "TCP6 "...)
	}
	b = append(src.Addr().AppendTo(b), ' ')
	b = append(dst.Addr().AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(src.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(dst.Port()), 10)
	return append(b, "\r\n"...)
}

// Append2 appends a header of version 2 with extensions. whole is false when some of them did not fit, and were left out.
func Append2(b []byte, src, dst netip.AddrPort, tlvs []TLV) (_ []byte, whole bool) {
	b = append(b, signature...)
	src, dst, ok := oneFamily(src, dst)
	at := len(b)
	switch {
	case !ok:
		b = append(b, 0x21, 0x00, 0, 0)
	case src.Addr().Is4():
		b = append(b, 0x21, 0x11, 0, 0)
	default:
		b = append(b, 0x21, 0x21, 0, 0)
	}
	begin := len(b)
	if ok {
		b = append(b, src.Addr().AsSlice()...)
		b = append(b, dst.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, src.Port())
		b = binary.BigEndian.AppendUint16(b, dst.Port())
	}
	whole = true
	for _, t := range tlvs {
		if len(b)-begin+3+len(t.Value) > maxRest {
			whole = false
			continue
		}
		b = append(b, t.Type)
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Value)))
		b = append(b, t.Value...)
	}
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-begin))
	return b, whole
}

// AppendLocal appends the header of version 2 of a connection that nobody stands behind, such as a health check.
func AppendLocal(b []byte) []byte {
	return append(append(b, signature...), 0x20, 0, 0, 0)
}

// oneFamily makes two addresses of one family, as a header must have them: IPv4 within IPv6 where they differ. ok is false where one of
// them is none.
func oneFamily(src, dst netip.AddrPort) (_, _ netip.AddrPort, ok bool) {
	if !src.IsValid() || !dst.IsValid() {
		return src, dst, false
	}
	s, d := src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	if s.Is4() != d.Is4() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return netip.AddrPortFrom(s, src.Port()), netip.AddrPortFrom(d, dst.Port()), true
}

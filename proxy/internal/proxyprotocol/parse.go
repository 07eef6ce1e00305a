// Package proxyprotocol reads and writes the PROXY protocol's header, versions 1 and 2: who a connection
// comes from when a load balancer has passed it on.
//
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt is what is meant by "the document"
// below. It only knows bytes: which connections may have a header, and what becomes of it, is the
// listener's to say, and what stands in one the upstream transport's. xdsresource, listener, conn and
// transportsocket may import it.
package proxyprotocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Header is what a header says.
type Header struct {
	Version int
	// Source and Destination are invalid when the sender speaks for itself (LOCAL), or does not
	// know (UNKNOWN, an address family that is no IP).
	Source, Destination netip.AddrPort
	TLVs                []TLV // of version 2; they refer to the bytes that were parsed
}

// TLV is an extension of version 2.
type TLV struct {
	Type  byte
	Value []byte
}

// Errors of Parse.
var (
	// ErrMore: what is there may be the beginning of a header.
	ErrMore = errors.New("the header is not complete")
	// ErrNone: there is no header.
	ErrNone = errors.New("no PROXY protocol header")
	// ErrV1 and ErrV2: there is one, and it is not valid.
	ErrV1 = errors.New("invalid PROXY protocol header, version 1")
	ErrV2 = errors.New("invalid PROXY protocol header, version 2")
)

const (
	prefix1   = "PROXY "
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	// maxLine is the longest line of version 1 with its end (section 2.1 of the document).
	maxLine = 107
	fixed2  = 16
)

// Parse reads a header at the beginning of b and returns its length.
func Parse(b []byte) (Header, int, error) {
	switch {
	case bytes.HasPrefix(b, []byte(prefix1)):
		return parse1(b)
	case bytes.HasPrefix(b, []byte(signature)):
		return parse2(b)
	case len(b) == 0 || strings.HasPrefix(prefix1, string(b)) || strings.HasPrefix(signature, string(b)):
		return Header{}, 0, ErrMore
	}
	return Header{}, 0, ErrNone
}

func parse1(b []byte) (Header, int, error) {
	h := Header{Version: 1}
	end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
	if end < 0 {
		if len(b) < maxLine {
			return h, 0, ErrMore
		}
		return h, 0, ErrV1
	}
	f := strings.Split(string(b[len(prefix1):end]), " ")
	n := end + 2
	if f[0] == "UNKNOWN" { // whatever follows on the line is to be ignored
		return h, n, nil
	}
	if len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6" {
		return h, 0, ErrV1
	}
	var ok1, ok2 bool
	h.Source, ok1 = address1(f[0], f[1], f[3])
	h.Destination, ok2 = address1(f[0], f[2], f[4])
	if !ok1 || !ok2 {
		return h, 0, ErrV1
	}
	return h, n, nil
}

func address1(family, ip, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	if port == "" || port[0] == '+' || port[0] == '-' || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), err == nil && unicast(a)
}

// unicast reports whether a TCP connection can have an end at the address.
func unicast(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func parse2(b []byte) (Header, int, error) {
	h := Header{Version: 2}
	if len(b) < fixed2 {
		// The version and command can be judged before the rest has come.
		if len(b) > 12 && !known(b[12]) {
			return h, 0, ErrV2
		}
		return h, 0, ErrMore
	}
	if !known(b[12]) {
		return h, 0, ErrV2
	}
	n := fixed2 + int(binary.BigEndian.Uint16(b[14:16]))
	if len(b) < n {
		return h, 0, ErrMore
	}
	rest := b[fixed2:n]
	local := b[12]&15 == 0
	switch b[13] {
	case 0x11, 0x12: // IPv4; datagrams come over no TCP connection, but Envoy takes the addresses too
		if len(rest) < 12 {
			return h, 0, ErrV2
		}
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[0:4])), binary.BigEndian.Uint16(rest[8:10]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[4:8])), binary.BigEndian.Uint16(rest[10:12]))
		rest = rest[12:]
	case 0x21, 0x22: // IPv6
		if len(rest) < 36 {
			return h, 0, ErrV2
		}
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[0:16])).Unmap(), binary.BigEndian.Uint16(rest[32:34]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[16:32])).Unmap(), binary.BigEndian.Uint16(rest[34:36]))
		rest = rest[36:]
	default: // unspecified, or nothing that a TCP connection comes from
		if !local && b[13] != 0 {
			return h, 0, ErrV2
		}
		return h, n, nil
	}
	if local {
		h.Source, h.Destination = netip.AddrPort{}, netip.AddrPort{}
		return h, n, nil
	}
	if !unicast(h.Source.Addr()) || !unicast(h.Destination.Addr()) {
		return h, 0, ErrV2
	}
	var ok bool
	if h.TLVs, ok = tlvs(rest); !ok {
		return h, 0, ErrV2
	}
	return h, n, nil
}

// known reports whether a byte says version 2 with the command LOCAL or PROXY.
func known(c byte) bool { return c == 0x20 || c == 0x21 }

func tlvs(b []byte) ([]TLV, bool) {
	var out []TLV
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, false
		}
		n := int(binary.BigEndian.Uint16(b[1:3]))
		if len(b) < 3+n {
			return nil, false
		}
		out = append(out, TLV{b[0], b[3 : 3+n]})
		b = b[3+n:]
	}
	return out, true
}

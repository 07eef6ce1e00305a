package dnscache

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxName is the longest name that is asked for (RFC 1035, section 2.3.4), and maxLabel the longest part of one.
const (
	maxName  = 253
	maxLabel = 63
)

// AppendName appends the name of a host as caches have it, "host:port" in lower case: authority is a host with or without a port, which
// port stands in for. False: nobody can have such a name, and none is asked for.
func AppendName[T ~string | ~[]byte](b []byte, authority T, port uint16) ([]byte, bool) {
	host, text := cutPort(authority)
	if len(text) > 0 {
		n, ok := parsePort(text)
		if !ok {
			return b, false
		}
		port = n
	}
	if len(host) > 1 && host[0] == '[' {
		ip, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		if err != nil || host[len(host)-1] != ']' || ip.Zone() != "" {
			return b, false
		}
		b = append(b, '[')
		b = ip.AppendTo(b)
		b = append(b, ']')
	} else {
		if !validName(host) {
			return b, false
		}
		for i := range len(host) {
			c := host[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
	}
	b = append(b, ':')
	return strconv.AppendUint(b, uint64(port), 10), true
}

// cutPort takes the port off an authority; text is empty when there is none. A colon that no number follows belongs to the host, which
// then is not valid.
func cutPort[T ~string | ~[]byte](authority T) (host, text T) {
	for i := len(authority) - 1; i >= 0; i-- {
		switch c := authority[i]; {
		case c == ':' && i+1 < len(authority):
			return authority[:i], authority[i+1:]
		case c < '0' || c > '9':
			return authority, text
		}
	}
	return authority, text
}

func parsePort[T ~string | ~[]byte](text T) (port uint16, ok bool) {
	n := 0
	for i := range len(text) {
		if n = n*10 + int(text[i]-'0'); n > 65535 {
			return 0, false
		}
	}
	return uint16(n), n > 0
}

// validName reports whether a host can be a name or an IPv4 address. An underscore is in use, though no letter of names of hosts
// (RFC 8552).
func validName[T ~string | ~[]byte](host T) bool {
	if len(host) == 0 || len(host) > maxName {
		return false
	}
	label := 0
	for i := range len(host) {
		switch c := host[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return true
}

// splitName takes a name that AppendName has made apart. ip is valid where it is an address.
func splitName(name string) (host string, port uint16, ip netip.Addr) {
	i := strings.LastIndexByte(name, ':')
	n, _ := strconv.ParseUint(name[i+1:], 10, 16)
	host = strings.TrimSuffix(strings.TrimPrefix(name[:i], "["), "]")
	ip, _ = netip.ParseAddr(host)
	return host, uint16(n), ip
}

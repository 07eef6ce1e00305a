package rls

import "strings"

// mayAdd reports whether a service may add a header of this name, in lower case: not one that
// frames the message or is for one hop only, and no pseudo-header.
func mayAdd(name string) bool {
	switch name {
	case "", "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return false
	}
	for i := range len(name) { // RFC 9110, 5.1
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return true
}

// sound reports whether a text can be a header's value (RFC 9110, 5.5; RFC 9113, 8.2.1).
func sound(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return strings.Trim(v, " \t") == v
}

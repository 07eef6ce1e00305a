package route

import (
	"bytes"
	"slices"
	"strings"
)

// hosts finds virtual hosts by authority: exact first, then the longest matching suffix
// wildcard, then the longest prefix wildcard, then "*" (config.route.v3.VirtualHost.domains).
type hosts struct {
	exact    map[string]*VirtualHost
	suffix   wildcards // "*.example.com" keyed by ".example.com"
	prefix   wildcards // "web.*" keyed by "web."
	fallback *VirtualHost
}

// wildcards are patterns by their fixed part, and the lengths that occur, longest first.
type wildcards struct {
	byPart  map[string]*VirtualHost
	lengths []int
}

func (w *wildcards) add(part string, v *VirtualHost) bool {
	if w.byPart == nil {
		w.byPart = make(map[string]*VirtualHost)
	}
	if w.byPart[part] != nil {
		return false
	}
	w.byPart[part] = v
	if i, ok := slices.BinarySearchFunc(w.lengths, len(part), func(a, b int) int { return b - a }); !ok {
		w.lengths = slices.Insert(w.lengths, i, len(part))
	}
	return true
}

// add registers a domain; false when another virtual host has it.
func (h *hosts) add(domain string, v *VirtualHost) bool {
	switch {
	case domain == "*":
		if h.fallback != nil {
			return false
		}
		h.fallback = v
		return true
	case strings.HasPrefix(domain, "*"):
		return h.suffix.add(domain[1:], v)
	case strings.HasSuffix(domain, "*"):
		return h.prefix.add(domain[:len(domain)-1], v)
	}
	if h.exact[domain] != nil {
		return false
	}
	h.exact[domain] = v
	return true
}

// find returns the virtual host of an authority, nil when there is none.
func (h *hosts) find(authority []byte, ignorePort bool) *VirtualHost {
	var buf [256]byte
	host := lower(authority, buf[:0])
	if ignorePort {
		host = trimPort(host)
	}
	if v := h.exact[string(host)]; v != nil {
		return v
	}
	// A wildcard stands for at least one character.
	for _, n := range h.suffix.lengths {
		if n < len(host) {
			if v := h.suffix.byPart[string(host[len(host)-n:])]; v != nil {
				return v
			}
		}
	}
	for _, n := range h.prefix.lengths {
		if n < len(host) {
			if v := h.prefix.byPart[string(host[:n])]; v != nil {
				return v
			}
		}
	}
	return h.fallback
}

// lower returns b in lower case: b itself when it is, else a copy in buf.
func lower(b, buf []byte) []byte {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			buf = append(buf, b...)
			for ; i < len(buf); i++ {
				if c := buf[i]; 'A' <= c && c <= 'Z' {
					buf[i] = c + 'a' - 'A'
				}
			}
			return buf
		}
	}
	return b
}

// portStart returns the index of the colon before a port, -1 without one.
func portStart(host []byte) int {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 {
		return -1
	}
	if host[0] != '[' && bytes.IndexByte(host, ':') != i {
		return -1 // a bare IPv6 address
	}
	return i
}

func trimPort(host []byte) []byte {
	if i := portStart(host); i >= 0 {
		return host[:i]
	}
	return host
}

package route

import (
	"bytes"
	"fmt"
	"maps"
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

func newHosts() hosts { return hosts{exact: make(map[string]*VirtualHost)} }

// clone returns a copy that can be changed on its own. The virtual hosts are shared.
func (h *hosts) clone() hosts {
	return hosts{exact: maps.Clone(h.exact), suffix: h.suffix.clone(), prefix: h.prefix.clone(), fallback: h.fallback}
}

// wildcards are patterns by their fixed part, and the lengths that occur, longest first.
type wildcards struct {
	byPart  map[string]*VirtualHost
	lengths []int
	count   []int // of patterns, by the index of their length
}

func (w *wildcards) clone() wildcards {
	return wildcards{maps.Clone(w.byPart), slices.Clone(w.lengths), slices.Clone(w.count)}
}

func (w *wildcards) at(part string) (int, bool) {
	return slices.BinarySearchFunc(w.lengths, len(part), func(a, b int) int { return b - a })
}

func (w *wildcards) set(part string, v *VirtualHost) {
	if w.byPart == nil {
		w.byPart = make(map[string]*VirtualHost)
	}
	w.byPart[part] = v
	i, ok := w.at(part)
	if !ok {
		w.lengths, w.count = slices.Insert(w.lengths, i, len(part)), slices.Insert(w.count, i, 0)
	}
	w.count[i]++
}

func (w *wildcards) remove(part string) {
	delete(w.byPart, part)
	i, _ := w.at(part)
	if w.count[i]--; w.count[i] == 0 {
		w.lengths, w.count = slices.Delete(w.lengths, i, i+1), slices.Delete(w.count, i, i+1)
	}
}

// get returns who has a domain, nil for nobody.
func (h *hosts) get(domain string) *VirtualHost {
	switch {
	case domain == "*":
		return h.fallback
	case strings.HasPrefix(domain, "*"):
		return h.suffix.byPart[domain[1:]]
	case strings.HasSuffix(domain, "*"):
		return h.prefix.byPart[domain[:len(domain)-1]]
	}
	return h.exact[domain]
}

// add registers a virtual host with all of its domains, or none of them where one is taken.
func (h *hosts) add(v *VirtualHost) error {
	for i, d := range v.Domains {
		other := h.get(d)
		if other != nil {
			h.removeDomains(v.Domains[:i])
			return fmt.Errorf("domain %q is already used by virtual host %q", d, other.Name)
		}
		h.set(d, v)
	}
	return nil
}

func (h *hosts) set(domain string, v *VirtualHost) {
	switch {
	case domain == "*":
		h.fallback = v
	case strings.HasPrefix(domain, "*"):
		h.suffix.set(domain[1:], v)
	case strings.HasSuffix(domain, "*"):
		h.prefix.set(domain[:len(domain)-1], v)
	default:
		h.exact[domain] = v
	}
}

// remove takes a virtual host away that add has registered.
func (h *hosts) remove(v *VirtualHost) { h.removeDomains(v.Domains) }

func (h *hosts) removeDomains(domains []string) {
	for _, d := range domains {
		switch {
		case d == "*":
			h.fallback = nil
		case strings.HasPrefix(d, "*"):
			h.suffix.remove(d[1:])
		case strings.HasSuffix(d, "*"):
			h.prefix.remove(d[:len(d)-1])
		default:
			delete(h.exact, d)
		}
	}
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

package hcm

import (
	"bytes"

	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// normalizePath applies normalize_path, merge_slashes and path_with_escaped_slashes_action.
// It returns false when the request was answered. A path that needs nothing is not touched.
func (s *stream) normalizePath() bool {
	cfg := s.w.m.cfg
	full := s.req.Value(header.Path)
	if len(full) == 0 || bytes.IndexByte(full, '#') >= 0 {
		s.refusePath()
		return false
	}
	if full[0] != '/' { // OPTIONS *
		s.w.inc(rqNonRelativePath)
		s.Reply(httpfilter.Reply{Code: 404, Details: "absolute_path_rejected"})
		return false
	}
	path, query := full, []byte(nil)
	if i := bytes.IndexByte(full, '?'); i >= 0 {
		path, query = full[:i], full[i:]
	}
	changed, redirect, ok := normal(cfg, path)
	if !ok {
		s.refusePath()
		return false
	}
	if len(changed) == len(path) && &changed[0] == &path[0] {
		return true
	}
	s.req.SetBuilt(header.Key{ID: header.Path}, append(append(s.req.Build(), changed...), query...))
	if redirect && grpcstatus.Is(s.req.Value(header.ContentType)) { // clients of gRPC follow none
		s.refusePath()
		return false
	}
	if redirect {
		s.w.inc(rqPathRedirected)
		s.Reply(httpfilter.Reply{Code: 307, Details: "path_normalization_failed", Headers: func(h *header.Map) {
			h.Set(header.Location, s.req.Value(header.Path))
		}})
		return false
	}
	return true
}

// normal makes a path, which begins with a slash and has no query, what policies and routes see and the application gets; itself where nothing is to change. It fails where there is no such path.
func normal(cfg *xdsresource.HTTPConnectionManager, path []byte) (changed []byte, redirect, ok bool) {
	changed = path
	if cfg.EscapedSlashes != xdsresource.EscapedSlashesKeep && hasEscapedSlash(path) {
		if cfg.EscapedSlashes == xdsresource.EscapedSlashesReject {
			return nil, false, false
		}
		redirect = cfg.EscapedSlashes == xdsresource.EscapedSlashesUnescapeRedirect
		changed = unescapeSlashes(changed)
	}
	if cfg.NormalizePath && needsNormalizing(changed) {
		if changed, ok = canonical(changed); !ok {
			return nil, false, false
		}
	}
	if cfg.MergeSlashes && bytes.Contains(changed, []byte("//")) {
		changed = mergeSlashes(changed)
	}
	return changed, redirect, true
}

// refusePath answers a path that cannot be made canonical; the client is not trusted further.
func (s *stream) refusePath() {
	s.keepAlive = false
	s.w.inc(rqBadPath)
	s.Reply(httpfilter.Reply{Code: 400, Details: "path_normalization_failed"})
}

func escapedSlash(p []byte, i int) (byte, bool) {
	if p[i] != '%' || i+2 >= len(p) {
		return 0, false
	}
	switch {
	case p[i+1] == '2' && p[i+2]|0x20 == 'f':
		return '/', true
	case p[i+1] == '5' && p[i+2]|0x20 == 'c':
		return '\\', true
	}
	return 0, false
}

func hasEscapedSlash(p []byte) bool {
	for i := range p {
		if _, ok := escapedSlash(p, i); ok {
			return true
		}
	}
	return false
}

func unescapeSlashes(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if c, ok := escapedSlash(p, i); ok {
			out = append(out, c)
			i += 2
			continue
		}
		out = append(out, p[i])
	}
	return out
}

// needsNormalizing looks for what canonical would change.
func needsNormalizing(p []byte) bool {
	for i, c := range p {
		switch c {
		case '\\', '%':
			return true
		case '.':
			if p[i-1] == '/' || p[i-1] == '.' { // p[0] is a slash
				return true
			}
		}
	}
	return false
}

// canonical resolves dot segments (RFC 3986, 5.2.4), written plainly or escaped, makes
// slashes of backslashes and decodes escapes of unreserved characters (6.2.2.2). It fails on
// an escaped NUL. What is decoded makes no new escape, which the application would decode once more
// (%2%65 is no dot): the percent sign before it is escaped, as in Envoy.
func canonical(p []byte) ([]byte, bool) {
	plain := make([]byte, 0, len(p))
	stray := -3 // in plain, the last percent sign that begins no escape
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\':
			c = '/'
		case c == '%' && i+2 < len(p):
			d, ok := unhex(p[i+1], p[i+2])
			if ok && d == 0 {
				return nil, false
			}
			if ok && unreserved(d) {
				plain = append(plain, d)
				i += 2
				if makesEscape(plain, stray, p[i+1:]) {
					plain = append(plain[:stray+1], append([]byte("25"), plain[stray+1:]...)...)
					stray = -3
				}
				continue
			}
			if !ok {
				stray = len(plain)
			}
		case c == '%':
			stray = len(plain)
		}
		plain = append(plain, c)
	}
	out := make([]byte, 0, len(plain))
	for i := 0; i < len(plain); {
		j := bytes.IndexByte(plain[i+1:], '/')
		if j < 0 {
			j = len(plain)
		} else {
			j += i + 1
		}
		seg := plain[i+1 : j]
		last := j == len(plain)
		switch string(seg) {
		case ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			if k := bytes.LastIndexByte(out, '/'); k >= 0 {
				out = out[:k]
			}
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, '/')
			out = append(out, seg...)
		}
		i = j
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out, true
}

// makesEscape reports whether plain ends with an escape that begins at stray, or does so with what comes next.
func makesEscape(plain []byte, stray int, next []byte) bool {
	digits := plain[max(stray, 0)+1:]
	if stray < 0 || len(digits) > 2 {
		return false
	}
	if len(digits) == 1 && len(next) > 0 {
		_, ok := unhex(digits[0], next[0])
		return ok
	}
	if len(digits) < 2 {
		return false
	}
	_, ok := unhex(digits[0], digits[1])
	return ok
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(a, b byte) (byte, bool) {
	h := func(c byte) int { return bytes.IndexByte([]byte("0123456789abcdef"), c|0x20) }
	if '0' <= a && a <= '9' || 'a' <= a|0x20 && a|0x20 <= 'f' {
		if '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' {
			return byte(h(a)<<4 | h(b)), true
		}
	}
	return 0, false
}

func mergeSlashes(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for i, c := range p {
		if c == '/' && i > 0 && p[i-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}

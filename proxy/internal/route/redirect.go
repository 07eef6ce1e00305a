package route

import (
	"bytes"
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// AppendLocation appends the location of a redirect route's answer for a request: scheme,
// host and path of the request, with what the route replaces (Envoy's newUri).
func (e *Entry) AppendLocation(dst []byte, h *header.Map, c *format.Context) []byte {
	r := e.Route.Redirect
	if r == nil { // a fixed answer that names where it is
		r = &xdsresource.RedirectAction{}
	}
	now := h.Value(header.XForwardedProto)
	if len(now) == 0 {
		now = h.Value(header.Scheme)
	}
	start := len(dst)
	switch {
	case r.Scheme != "":
		dst = append(dst, r.Scheme...)
	case r.HTTPS:
		dst = append(dst, "https"...)
	case len(now) > 0:
		dst = append(dst, now...)
	default:
		dst = append(dst, "http"...)
	}
	scheme := dst[start:len(dst):len(dst)]
	dst = append(dst, "://"...)
	if r.Host != "" {
		dst = append(dst, r.Host...)
	} else {
		dst = append(dst, redirectHost(h.Value(header.Authority), scheme, now, r.Port != 0)...)
	}
	if r.Port != 0 {
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(r.Port), 10)
	}
	return e.appendRedirectPath(dst, r, h.Value(header.Path), c)
}

// redirectHost drops the request's port where the redirect names another one, and the
// default port of a scheme that is left.
func redirectHost(host, scheme, now []byte, newPort bool) []byte {
	i := portStart(host)
	if i < 0 {
		return host
	}
	drop := newPort
	if !bytes.Equal(scheme, now) {
		port := string(host[i:])
		drop = drop || string(now) == "https" && port == ":443" || string(now) == "http" && port == ":80"
	}
	if drop {
		return host[:i]
	}
	return host
}

func (e *Entry) appendRedirectPath(dst []byte, r *xdsresource.RedirectAction, path []byte, c *format.Context) []byte {
	start := len(dst)
	only, _ := split(path)
	// slash keeps a path apart from the host before it, as in Envoy.
	slash := func(to string) {
		if to == "" || to[0] != '/' {
			dst = append(dst, '/')
		}
	}
	switch {
	case r.Path != "":
		slash(r.Path)
		dst = append(dst, r.Path...)
		return withQuery(dst, start, r, path)
	case r.HasPrefixRewrite && r.PrefixRewrite != "":
		slash(r.PrefixRewrite)
		dst = append(dst, r.PrefixRewrite...)
		dst = append(dst, only[min(e.matchedLen(only), len(only)):]...)
		dst = append(dst, path[len(only):]...)
	case e.path != nil:
		to := e.path.AppendOrEmpty(nil, c)
		if len(to) == 0 {
			dst = append(dst, path...)
			break
		}
		slash(string(to))
		dst = append(dst, to...)
		return withQuery(dst, start, r, path)
	case r.RegexRewrite != nil:
		to, ok := e.rewrite(nil, path, "", r.RegexRewrite)
		if !ok {
			to = path
		}
		slash(string(to))
		dst = append(dst, to...)
	default:
		dst = append(dst, path...)
	}
	if r.StripQuery {
		if i := bytes.IndexByte(dst[start:], '?'); i >= 0 {
			dst = dst[:start+i]
		}
	}
	return dst
}

// withQuery appends the query of a request's path to a new one, which begins at start. A query that the new one has takes its place and
// is never stripped.
func withQuery(dst []byte, start int, r *xdsresource.RedirectAction, path []byte) []byte {
	if bytes.IndexByte(dst[start:], '?') >= 0 || r.StripQuery {
		return dst
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		dst = append(dst, path[i:]...)
	}
	return dst
}

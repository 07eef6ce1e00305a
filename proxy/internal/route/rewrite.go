package route

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// RewritePath appends what the route makes of a request path, query included: the path to send
// upstream, or the one that a redirect leads to. The flag is false when the route does not rewrite;
// then nothing is appended.
func (e *Entry) RewritePath(dst, path []byte, c *format.Context) ([]byte, bool) {
	if e.path != nil && e.Forward != nil { // that of a redirect shows in its location alone
		return e.formatPath(dst, path, c)
	}
	if f := e.Forward; f != nil && f.TemplateRewrite != nil {
		only, _ := split(path)
		out, ok := f.TemplateRewrite.Append(dst, only)
		if !ok {
			return dst, false // a filter has changed the path since
		}
		return append(out, path[len(only):]...), true
	} else if f != nil {
		return e.rewrite(dst, path, f.PrefixRewrite, f.RegexRewrite)
	}
	if r := e.Redirect; r != nil {
		return e.rewrite(dst, path, r.PrefixRewrite, r.RegexRewrite)
	}
	return dst, false
}

// formatPath is what the route's format prints, with the query of the path; false: it prints nothing.
func (e *Entry) formatPath(dst, path []byte, c *format.Context) ([]byte, bool) {
	only, _ := split(path)
	out := e.path.AppendOrEmpty(dst, c)
	if len(out) == len(dst) {
		return dst, false
	}
	return append(out, path[len(only):]...), true
}

// compileFormat reads a format; "" is none.
func compileFormat(field, text string) (*format.Formatter, error) {
	if text == "" {
		return nil, nil
	}
	f, err := format.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return f, nil
}

// rewrite replaces what the route's match covers of the path by prefix, or what regex
// matches by its substitution. The query is kept.
func (e *Entry) rewrite(dst, path []byte, prefix string, regex *xdsresource.RegexRewrite) ([]byte, bool) {
	only, _ := split(path)
	rest := path[len(only):]
	switch {
	case prefix != "":
		dst = append(dst, prefix...)
		dst = append(dst, only[min(e.matchedLen(only), len(only)):]...)
	case regex != nil:
		to := regex.Regex.ReplaceAll(only, []byte(regex.Substitution))
		if len(to) == 0 { // no path at all; as in Envoy the one that came stays
			return dst, false
		}
		dst = append(dst, to...)
	default:
		return dst, false
	}
	return append(dst, rest...), true
}

// matchedLen is how much of the path the match covers: the prefix, or all of it.
func (e *Entry) matchedLen(path []byte) int {
	switch e.Match.Kind {
	case xdsresource.PathPrefix, xdsresource.PathSeparatedPrefix:
		return len(e.Match.Path)
	}
	return len(path)
}

// RewriteHost returns the authority to send upstream; false leaves it as it is. path is the
// request's before it was rewritten. hostname is the chosen endpoint's, for auto_host_rewrite.
func (e *Entry) RewriteHost(t *Target, h *header.Map, path []byte, hostname string, c *format.Context) (string, bool) {
	if t != nil && t.HostRewrite != "" {
		return t.HostRewrite, true
	}
	if e.Forward == nil {
		return "", false
	}
	w := &e.Forward.HostRewrite
	switch {
	case w.Literal != "":
		return w.Literal, true
	case w.Auto:
		return hostname, hostname != ""
	case w.Header != "":
		v, ok := h.GetName(w.Header)
		return string(v), ok && len(v) > 0
	case w.PathRegex != nil:
		only, _ := split(path)
		v := w.PathRegex.Regex.ReplaceAll(only, []byte(w.PathRegex.Substitution))
		return string(v), len(v) > 0
	case e.host != nil:
		v := e.host.AppendOrEmpty(nil, c)
		return string(v), len(v) > 0
	}
	return "", false
}

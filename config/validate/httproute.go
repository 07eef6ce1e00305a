package validate

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func httpRouteSpec(c *checker, p *field.Path, spec any) {
	s := spec.(*gatewayv1.HTTPRouteSpec)
	c.routeParents(p, &s.CommonRouteSpec)
	c.hostnames(p.Child("hostnames"), s.Hostnames)
	c.count(p.Child("rules"), len(s.Rules), maxRules)
	for i := range s.Rules {
		r, at := &s.Rules[i], p.Child("rules").Index(i)
		c.count(at.Child("matches"), len(r.Matches), maxMatches)
		for j := range r.Matches {
			c.routeMatch(at.Child("matches").Index(j), &r.Matches[j])
		}
		c.httpFilters(at.Child("filters"), r.Filters, r.Matches)
		c.count(at.Child("backendRefs"), len(r.BackendRefs), maxBackends)
		for j := range r.BackendRefs {
			ref := at.Child("backendRefs").Index(j)
			c.backendRef(ref, &r.BackendRefs[j].BackendRef)
			c.httpFilters(ref.Child("filters"), r.BackendRefs[j].Filters, r.Matches)
		}
		for j, f := range r.Filters {
			if f.RequestRedirect != nil && len(r.BackendRefs) > 0 {
				c.add(at.Child("filters").Index(j), "answers by itself; take the backendRefs out")
			}
		}
		if t := r.Timeouts; t != nil {
			c.gatewayDuration(at.Child("timeouts", "request"), t.Request)
			c.gatewayDuration(at.Child("timeouts", "backendRequest"), t.BackendRequest)
		}
		if t := r.Retry; t != nil {
			c.gatewayDuration(at.Child("retry", "backoff"), t.Backoff)
			if t.Attempts != nil && *t.Attempts < 0 {
				c.add(at.Child("retry", "attempts"), "%d is negative; use 0 for none", *t.Attempts)
			}
			for j, code := range t.Codes {
				if code < 400 || code > 599 {
					c.add(at.Child("retry", "codes").Index(j), "%d is no error; use 400 to 599", code)
				}
			}
		}
	}
}

func (c *checker) gatewayDuration(p *field.Path, d *gatewayv1.Duration) {
	if d != nil && !gatewayDuration.MatchString(string(*d)) {
		c.add(p, "%q is not a duration; use one such as 10s or 1m30s", *d)
	}
}

func (c *checker) routeMatch(p *field.Path, m *gatewayv1.HTTPRouteMatch) {
	if m.Path != nil {
		at := p.Child("path")
		typ, path := gatewayv1.PathMatchPathPrefix, "/"
		if m.Path.Type != nil {
			typ = *m.Path.Type
		}
		if m.Path.Value != nil {
			path = *m.Path.Value
		}
		switch typ {
		case gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix:
			c.absolutePath(at.Child("value"), path)
		case gatewayv1.PathMatchRegularExpression:
			c.regex(at.Child("value"), path)
		default:
			c.add(at.Child("type"), "%q is not a type; use Exact, PathPrefix or RegularExpression", typ)
		}
	}
	for i, h := range m.Headers {
		c.namedMatch(p.Child("headers").Index(i), string(h.Name), h.Value, string(value(h.Type)))
	}
	for i, q := range m.QueryParams {
		c.namedMatch(p.Child("queryParams").Index(i), string(q.Name), q.Value, string(value(q.Type)))
	}
	if m.Method != nil {
		switch *m.Method {
		case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		default:
			c.add(p.Child("method"), "%q is not a method that a route can match", *m.Method)
		}
	}
}

// absolutePath refuses what a normalised path never has, so that such a match could never hold.
func (c *checker) absolutePath(p *field.Path, path string) {
	lower := strings.ToLower(path)
	switch {
	case !strings.HasPrefix(path, "/"):
		c.add(p, "%q does not begin with a slash", path)
	case len(path) > 1024:
		c.add(p, "has %d characters, more than 1024", len(path))
	case strings.Contains(path, "//"), strings.Contains(path, "/./"), strings.Contains(path, "/../"), strings.HasSuffix(path, "/."), strings.HasSuffix(path, "/.."),
		strings.Contains(lower, "%2f"), strings.ContainsAny(path, "#?"):
		c.add(p, "%q has //, /./, /../, an encoded slash, ? or #, which paths of requests do not have", path)
	}
}

func (c *checker) namedMatch(p *field.Path, name, val, typ string) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
		c.add(p.Child("name"), "%q is not a name: letters, digits and -, _ and the like", name)
	}
	switch typ {
	case "", "Exact":
		if val == "" {
			c.add(p.Child("value"), "missing")
		}
	case "RegularExpression":
		c.regex(p.Child("value"), val)
	default:
		c.add(p.Child("type"), "%q is not a type; use Exact or RegularExpression", typ)
	}
}

// httpFilters checks a list of filters: each of its type, the types that may stand once, and what goes together.
func (c *checker) httpFilters(p *field.Path, list []gatewayv1.HTTPRouteFilter, matches []gatewayv1.HTTPRouteMatch) {
	c.count(p, len(list), maxFilters)
	seen := map[gatewayv1.HTTPRouteFilterType]int{}
	for i := range list {
		f, at := &list[i], p.Index(i)
		c.httpFilter(at, f, matches)
		repeats := f.Type == gatewayv1.HTTPRouteFilterRequestMirror || f.Type == gatewayv1.HTTPRouteFilterExtensionRef
		if first, dup := seen[f.Type]; dup && !repeats {
			c.add(at.Child("type"), "%s stands at [%d] as well; join the two", f.Type, first)
		}
		seen[f.Type] = i
	}
	_, redirects := seen[gatewayv1.HTTPRouteFilterRequestRedirect]
	if _, rewrites := seen[gatewayv1.HTTPRouteFilterURLRewrite]; redirects && rewrites {
		c.add(p, "has both RequestRedirect and URLRewrite; use one")
	}
}

func (c *checker) httpFilter(p *field.Path, f *gatewayv1.HTTPRouteFilter, matches []gatewayv1.HTTPRouteMatch) {
	parts := []struct {
		typ   gatewayv1.HTTPRouteFilterType
		field string
		set   bool
	}{
		{gatewayv1.HTTPRouteFilterRequestHeaderModifier, "requestHeaderModifier", f.RequestHeaderModifier != nil},
		{gatewayv1.HTTPRouteFilterResponseHeaderModifier, "responseHeaderModifier", f.ResponseHeaderModifier != nil},
		{gatewayv1.HTTPRouteFilterRequestRedirect, "requestRedirect", f.RequestRedirect != nil},
		{gatewayv1.HTTPRouteFilterURLRewrite, "urlRewrite", f.URLRewrite != nil},
		{gatewayv1.HTTPRouteFilterRequestMirror, "requestMirror", f.RequestMirror != nil},
		{gatewayv1.HTTPRouteFilterCORS, "cors", f.CORS != nil},
		{gatewayv1.HTTPRouteFilterExternalAuth, "externalAuth", f.ExternalAuth != nil},
		{gatewayv1.HTTPRouteFilterExtensionRef, "extensionRef", f.ExtensionRef != nil},
	}
	known := false
	for _, part := range parts {
		known = known || part.typ == f.Type
		switch {
		case part.typ == f.Type && !part.set:
			c.add(p.Child(part.field), "missing for type %s", f.Type)
		case part.typ != f.Type && part.set:
			c.add(p.Child(part.field), "does not belong to type %q; take it out or make it a filter of its own", f.Type)
		}
	}
	if !known {
		c.add(p.Child("type"), "%q is not a type of filter", f.Type)
	}
	c.headerFilter(p.Child("requestHeaderModifier"), f.RequestHeaderModifier)
	c.headerFilter(p.Child("responseHeaderModifier"), f.ResponseHeaderModifier)
	if r := f.RequestRedirect; r != nil {
		at := p.Child("requestRedirect")
		if r.Hostname != nil {
			c.hostname(at.Child("hostname"), string(*r.Hostname), false)
		}
		if r.Scheme != nil && *r.Scheme != "http" && *r.Scheme != "https" {
			c.add(at.Child("scheme"), "%q is not a scheme; use http or https", *r.Scheme)
		}
		if r.Port != nil {
			c.port(at.Child("port"), int64(*r.Port), false)
		}
		if r.StatusCode != nil {
			switch *r.StatusCode {
			case 301, 302, 303, 307, 308:
			default:
				c.add(at.Child("statusCode"), "%d is no redirection; use 301, 302, 303, 307 or 308", *r.StatusCode)
			}
		}
		c.pathModifier(at.Child("path"), r.Path, matches)
	}
	if r := f.URLRewrite; r != nil {
		at := p.Child("urlRewrite")
		if r.Hostname != nil {
			c.hostname(at.Child("hostname"), string(*r.Hostname), false)
		}
		c.pathModifier(at.Child("path"), r.Path, matches)
	}
	if m := f.RequestMirror; m != nil {
		at := p.Child("requestMirror")
		c.backendObject(at.Child("backendRef"), &m.BackendRef)
		if m.Percent != nil && m.Fraction != nil {
			c.add(at, "has both percent and fraction; use one")
		}
		if m.Percent != nil {
			c.percent(at.Child("percent"), float64(*m.Percent))
		}
		if fr := m.Fraction; fr != nil {
			of := int32(100)
			if fr.Denominator != nil {
				of = *fr.Denominator
			}
			if of < 1 || fr.Numerator < 0 || fr.Numerator > of {
				c.add(at.Child("fraction"), "%d of %d is not a fraction between 0 and 1", fr.Numerator, of)
			}
		}
	}
}

func (c *checker) headerFilter(p *field.Path, h *gatewayv1.HTTPHeaderFilter) {
	if h == nil {
		return
	}
	for list, headers := range map[string][]gatewayv1.HTTPHeader{"set": h.Set, "add": h.Add} {
		seen := map[string]int{}
		for i, one := range headers {
			at := p.Child(list).Index(i)
			c.header(at.Child("name"), string(one.Name))
			lower := strings.ToLower(string(one.Name))
			if first, dup := seen[lower]; dup {
				c.add(at.Child("name"), "%q is %s[%d] as well; remove one", one.Name, list, first)
			}
			seen[lower] = i
			if strings.ContainsAny(one.Value, "\r\n\x00") {
				c.add(at.Child("value"), "has a line's end or a null byte, which headers cannot hold")
			}
		}
	}
	for i, name := range h.Remove {
		c.header(p.Child("remove").Index(i), name)
	}
}

func (c *checker) pathModifier(p *field.Path, m *gatewayv1.HTTPPathModifier, matches []gatewayv1.HTTPRouteMatch) {
	if m == nil {
		return
	}
	switch m.Type {
	case gatewayv1.FullPathHTTPPathModifier:
		if m.ReplaceFullPath == nil || m.ReplacePrefixMatch != nil {
			c.add(p, "needs replaceFullPath, and that alone, for type %s", m.Type)
		}
	case gatewayv1.PrefixMatchHTTPPathModifier:
		if m.ReplacePrefixMatch == nil || m.ReplaceFullPath != nil {
			c.add(p, "needs replacePrefixMatch, and that alone, for type %s", m.Type)
		}
		for i, match := range matches {
			if match.Path == nil || match.Path.Type == nil || *match.Path.Type == gatewayv1.PathMatchPathPrefix {
				continue
			}
			c.add(p, "replaces the matched prefix, and matches[%d] is by %s; match by PathPrefix", i, *match.Path.Type)
			break
		}
	default:
		c.add(p.Child("type"), "%q is not a type; use ReplaceFullPath or ReplacePrefixMatch", m.Type)
	}
	for _, path := range []*string{m.ReplaceFullPath, m.ReplacePrefixMatch} {
		if path != nil && (len(*path) > 1024 || strings.ContainsAny(*path, " \t\r\n#?")) {
			c.add(p, "%q is not a path", *path)
		}
	}
}

package validate

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are checked as well.

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func virtualService(c *checker, root *field.Path, spec any) {
	vs := spec.(*networking.VirtualService)
	if len(vs.Http)+len(vs.Tls)+len(vs.Tcp) == 0 {
		c.add(root, "no routes; add http, tls or tcp")
	}
	if len(vs.Hosts) == 0 {
		// Istio takes this for a delegate, which other VirtualServices refer to; it must
		// then hold HTTP routes alone and name no gateways.
		if len(vs.Gateways) > 0 || len(vs.Tls)+len(vs.Tcp) > 0 {
			c.add(root.Child("hosts"), "missing; name the hosts that these routes are for")
		}
	}
	mesh := len(vs.Gateways) == 0
	for _, g := range vs.Gateways {
		mesh = mesh || g == "mesh"
	}
	seen := map[string]bool{}
	for i, h := range vs.Hosts {
		at := root.Child("hosts").Index(i)
		c.host(at, h, anyHost)
		if h == "*" && mesh {
			if len(vs.Http) > 0 {
				c.add(at, `"*" is not allowed for the mesh; name the hosts, or name gateways other than mesh`)
			}
		}
		if seen[h] {
			c.add(at, "%q is given twice; remove one", h)
		}
		seen[h] = true
	}
	c.gatewayNames(root.Child("gateways"), vs.Gateways)
	for i, r := range vs.Http {
		c.httpRoute(root.Child("http").Index(i), r, len(vs.Hosts) == 0)
	}
	for i, r := range vs.Tls {
		c.tlsRoute(root.Child("tls").Index(i), r, vs.Hosts)
	}
	for i, r := range vs.Tcp {
		c.tcpRoute(root.Child("tcp").Index(i), r)
	}
	c.exportTo(root.Child("exportTo"), vs.ExportTo)
}

// gatewayNames checks references to gateways: mesh, name, namespace/name.
func (c *checker) gatewayNames(p *field.Path, names []string) {
	for i, g := range names {
		at := p.Index(i)
		ns, name, qualified := strings.Cut(g, "/")
		if !qualified {
			ns, name = "", g
		}
		switch {
		case g == "":
			c.add(at, "empty; name a gateway, or mesh for the sidecars")
		case qualified && ns != "." && !label1123.MatchString(ns):
			c.add(at, "%q: the part before the slash is not a namespace", g)
		case !subdomain.MatchString(name):
			c.add(at, "%q is not the name of a gateway; write name or namespace/name", g)
		}
	}
}

func (c *checker) httpRoute(p *field.Path, r *networking.HTTPRoute, delegate bool) {
	actions := 0
	for _, set := range []bool{len(r.Route) > 0, r.Redirect != nil, r.DirectResponse != nil, r.Delegate != nil} {
		if set {
			actions++
		}
	}
	switch {
	case actions == 0:
		c.add(p, "no destination; add route, redirect, directResponse or delegate")
	case actions > 1:
		c.add(p, "only one of route, redirect, directResponse and delegate can be set")
	}
	if r.Delegate != nil && delegate {
		c.add(p.Child("delegate"), "a VirtualService without hosts is itself a delegate and cannot delegate further")
	}
	if r.Redirect != nil || r.DirectResponse != nil {
		what := "redirect"
		if r.DirectResponse != nil {
			what = "directResponse"
		}
		for name, set := range map[string]bool{"fault": r.Fault != nil && r.DirectResponse == nil, "mirror": r.Mirror != nil, "mirrors": len(r.Mirrors) > 0,
			"retries": r.Retries != nil, "timeout": r.Timeout != nil, "rewrite": r.Rewrite != nil} {
			if set {
				c.add(p.Child(name), "cannot be combined with %s, which asks no destination; remove one", what)
			}
		}
	}
	for i, m := range r.Match {
		c.httpMatch(p.Child("match").Index(i), m)
	}
	c.httpDestinations(p.Child("route"), r.Route)
	if r.Redirect != nil {
		c.redirect(p.Child("redirect"), r.Redirect)
		c.prefixRewrite(p, r)
	}
	if d := r.DirectResponse; d != nil {
		c.status(p.Child("directResponse", "status"), int64(d.Status))
		if n := len(d.Body.GetString_()) + len(d.Body.GetBytes()); n > 1<<20 {
			c.add(p.Child("directResponse", "body"), "the body has %d bytes, the limit is 1048576", n)
		}
	}
	if r.Rewrite != nil {
		c.rewrite(p.Child("rewrite"), r.Rewrite)
	}
	c.duration(p.Child("timeout"), r.Timeout, notNegative)
	if r.Retries != nil {
		c.retries(p.Child("retries"), r.Retries)
	}
	c.fault(p.Child("fault"), r.Fault)
	c.mirrors(p, r)
	if r.CorsPolicy != nil {
		c.cors(p.Child("corsPolicy"), r.CorsPolicy)
	}
	c.headers(p.Child("headers"), r.Headers)
	c.authority(p, r)
}

// prefixRewrite needs a prefix that it takes the place of.
func (c *checker) prefixRewrite(p *field.Path, r *networking.HTTPRoute) {
	if r.Redirect.PrefixRewrite == "" {
		return
	}
	for i, m := range r.Match {
		switch m.GetUri().GetMatchType().(type) {
		case *networking.StringMatch_Exact, *networking.StringMatch_Regex:
			c.add(p.Child("redirect", "prefixRewrite"), "match[%d] has no prefix that could be replaced; match the uri by prefix", i)
		}
	}
}

// authority checks that a rule sets it at one place at most: which counts would be a guess.
func (c *checker) authority(p *field.Path, r *networking.HTTPRoute) {
	found := r.GetRewrite().GetAuthority() != ""
	for _, part := range []struct {
		name string
		list map[string]string
	}{{"set", r.GetHeaders().GetRequest().GetSet()}, {"add", r.GetHeaders().GetRequest().GetAdd()}} {
		for _, name := range sorted(part.list) {
			if !strings.EqualFold(name, "host") && !strings.EqualFold(name, ":authority") {
				continue
			}
			if found {
				c.add(p.Child("headers", "request", part.name, name), "the authority is set elsewhere in this rule; remove one")
			}
			found = true
		}
	}
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func (c *checker) httpDestinations(p *field.Path, list []*networking.HTTPRouteDestination) {
	var sum int64
	for i, d := range list {
		at := p.Index(i)
		c.destination(at.Child("destination"), d.Destination)
		if d.Weight < 0 {
			c.add(at.Child("weight"), "%d is negative; weights are parts of a whole, such as 90 and 10", d.Weight)
		}
		sum += int64(d.Weight)
		c.headers(at.Child("headers"), d.Headers)
	}
	// Weights are relative (Istio since 1.17): 1 and 9 is as good as 10 and 90, and a single
	// destination may have any weight, as Flagger writes it.
	if len(list) > 1 && sum == 0 {
		c.add(p, "the weights add up to 0; give each destination a weight, such as 90 and 10")
	}
}

func (c *checker) destination(p *field.Path, d *networking.Destination) {
	if d == nil {
		c.add(p, "missing; name the service that requests go to")
		return
	}
	if d.Host == "" {
		c.add(p.Child("host"), "missing; name the service that requests go to")
	} else {
		c.host(p.Child("host"), d.Host, plainHost)
	}
	c.subsetName(p.Child("subset"), d.Subset)
	if d.Port != nil {
		c.port(p.Child("port", "number"), int64(d.Port.Number), false)
	}
}

func (c *checker) subsetName(p *field.Path, name string) {
	if name != "" && (len(name) > 63 || !labelName.MatchString(name)) {
		c.add(p, "%q is not a subset's name: letters, digits, '-', '_' and '.', at most 63", name)
	}
}

func (c *checker) httpMatch(p *field.Path, m *networking.HTTPMatchRequest) {
	c.stringMatch(p.Child("uri"), m.Uri)
	c.stringMatch(p.Child("scheme"), m.Scheme)
	c.stringMatch(p.Child("method"), m.Method)
	c.stringMatch(p.Child("authority"), m.Authority)
	for _, part := range []struct {
		name string
		list map[string]*networking.StringMatch
	}{{"headers", m.Headers}, {"withoutHeaders", m.WithoutHeaders}} {
		for name, v := range part.list {
			at := p.Child(part.name, name)
			c.matchedHeader(at, name)
			c.stringMatch(at, v)
		}
	}
	for name, v := range m.QueryParams {
		at := p.Child("queryParams", name)
		if name == "" {
			c.add(at, "a query parameter needs a name")
		}
		c.stringMatch(at, v)
	}
	if _, regex := m.Uri.GetMatchType().(*networking.StringMatch_Regex); regex && m.IgnoreUriCase {
		c.add(p.Child("ignoreUriCase"), "has no meaning for a regex; write (?i) at its beginning instead")
	}
	c.port(p.Child("port"), int64(m.Port), true)
	c.labels(p.Child("sourceLabels"), m.SourceLabels)
	c.gatewayNames(p.Child("gateways"), m.Gateways)
	c.sourceNamespace(p, m.SourceNamespace)
}

// claimPrefix begins the name of a condition on a token's claim, which stands in a header's place:
// @request.auth.claims[group][id], or with dots.
// https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
const claimPrefix = "@request.auth.claims"

func (c *checker) matchedHeader(p *field.Path, name string) {
	if len(name) < len(claimPrefix) || !strings.EqualFold(name[:len(claimPrefix)], claimPrefix) {
		c.header(p, name)
		return
	}
	var claims []string
	switch rest := name[len(claimPrefix):]; {
	case strings.HasPrefix(rest, "."):
		claims = strings.Split(rest[1:], ".")
	case strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]"):
		claims = strings.Split(rest[1:len(rest)-1], "][")
	}
	if len(claims) == 0 || slices.Contains(claims, "") {
		c.add(p, "names no claim; write %s[group][id]", claimPrefix)
	}
}

func (c *checker) sourceNamespace(p *field.Path, ns string) {
	if ns != "" && !label1123.MatchString(ns) {
		c.add(p.Child("sourceNamespace"), "%q is not a namespace", ns)
	}
}

func (c *checker) status(p *field.Path, code int64) {
	if code < 200 || code > 599 {
		c.add(p, "%d is not a status that can be answered; use 200 to 599", code)
	}
}

func (c *checker) redirect(p *field.Path, r *networking.HTTPRedirect) {
	if r.Uri == "" && r.Authority == "" && r.RedirectPort == nil && r.Scheme == "" && r.PrefixRewrite == "" {
		c.add(p, "says nothing; set uri, authority, port or scheme")
	}
	if r.Uri != "" && r.PrefixRewrite != "" {
		c.add(p.Child("prefixRewrite"), "cannot be combined with uri; remove one")
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		c.add(p.Child("scheme"), "%q is not a scheme; use http or https", r.Scheme)
	}
	switch r.RedirectCode {
	case 0, 301, 302, 303, 307, 308:
	default:
		c.add(p.Child("redirectCode"), "%d is not a redirect; use 301, 302, 303, 307 or 308", r.RedirectCode)
	}
	if port, ok := r.RedirectPort.(*networking.HTTPRedirect_Port); ok {
		c.port(p.Child("port"), int64(port.Port), false)
	}
}

func (c *checker) rewrite(p *field.Path, r *networking.HTTPRewrite) {
	if r.Uri == "" && r.Authority == "" && r.UriRegexRewrite == nil {
		c.add(p, "says nothing; set uri, uriRegexRewrite or authority")
	}
	if r.UriRegexRewrite == nil {
		return
	}
	at := p.Child("uriRegexRewrite")
	if r.Uri != "" {
		c.add(at, "cannot be combined with uri; remove one")
	}
	before := len(c.problems)
	c.regex(at.Child("match"), r.UriRegexRewrite.Match)
	if len(c.problems) > before {
		return
	}
	// \N refers to a group of the expression (RE2's Rewrite).
	groups := regexp.MustCompile(r.UriRegexRewrite.Match).NumSubexp()
	for rest := r.UriRegexRewrite.Rewrite; ; {
		i := strings.IndexByte(rest, '\\')
		if i < 0 {
			return
		}
		if i+1 == len(rest) {
			c.add(at.Child("rewrite"), `ends with a backslash; write \\ for one`)
			return
		}
		switch d := rest[i+1]; {
		case d == '\\':
		case d < '0' || d > '9':
			c.add(at.Child("rewrite"), `\%c means nothing here; use \0 to \9 for groups, \\ for a backslash`, d)
			return
		case int(d-'0') > groups:
			c.add(at.Child("rewrite"), `\%c refers to a group that match does not have; it has %d`, d, groups)
			return
		}
		rest = rest[i+2:]
	}
}

func (c *checker) fault(p *field.Path, f *networking.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil {
		c.add(p, "says nothing; set delay or abort")
	}
	if d := f.Delay; d != nil {
		at := p.Child("delay")
		switch t := d.HttpDelayType.(type) {
		case nil:
			c.add(at.Child("fixedDelay"), "missing; say how long, such as 5s")
		case *networking.HTTPFaultInjection_Delay_FixedDelay:
			c.duration(at.Child("fixedDelay"), t.FixedDelay, atLeastMillisecond)
		case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
			c.duration(at.Child("exponentialDelay"), t.ExponentialDelay, atLeastMillisecond)
		}
		c.percent(at.Child("percent"), float64(d.Percent))
		c.percentage(at.Child("percentage"), d.Percentage)
	}
	if a := f.Abort; a != nil {
		at := p.Child("abort")
		switch t := a.ErrorType.(type) {
		case nil:
			c.add(at, "no error; set httpStatus or grpcStatus")
		case *networking.HTTPFaultInjection_Abort_HttpStatus:
			c.status(at.Child("httpStatus"), int64(t.HttpStatus))
		case *networking.HTTPFaultInjection_Abort_GrpcStatus:
			if !grpcStatus[t.GrpcStatus] {
				c.add(at.Child("grpcStatus"), "%q is not a gRPC status; use a name such as UNAVAILABLE", t.GrpcStatus)
			}
		case *networking.HTTPFaultInjection_Abort_Http2Error:
			if t.Http2Error == "" {
				c.add(at.Child("http2Error"), "empty; name an HTTP/2 error")
			}
		}
		c.percentage(at.Child("percentage"), a.Percentage)
	}
}

// grpcStatus holds the names of https://grpc.io/docs/guides/status-codes/.
var grpcStatus = map[string]bool{
	"OK": true, "CANCELLED": true, "UNKNOWN": true, "INVALID_ARGUMENT": true, "DEADLINE_EXCEEDED": true, "NOT_FOUND": true,
	"ALREADY_EXISTS": true, "PERMISSION_DENIED": true, "RESOURCE_EXHAUSTED": true, "FAILED_PRECONDITION": true, "ABORTED": true,
	"OUT_OF_RANGE": true, "UNIMPLEMENTED": true, "INTERNAL": true, "UNAVAILABLE": true, "DATA_LOSS": true, "UNAUTHENTICATED": true,
}

func (c *checker) mirrors(p *field.Path, r *networking.HTTPRoute) {
	if r.Mirror != nil {
		c.destination(p.Child("mirror"), r.Mirror)
		if len(r.Mirrors) > 0 {
			c.add(p.Child("mirrors"), "set either mirror or mirrors")
		}
	}
	if r.MirrorPercent != nil {
		c.percent(p.Child("mirrorPercent"), float64(r.MirrorPercent.Value))
		if r.MirrorPercentage != nil {
			c.add(p.Child("mirrorPercent"), "set either mirrorPercent or mirrorPercentage")
		}
	}
	c.percentage(p.Child("mirrorPercentage"), r.MirrorPercentage)
	if r.Mirror == nil && r.MirrorPercentage != nil {
		c.add(p.Child("mirrorPercentage"), "there is no mirror; add one, or remove this")
	}
	for i, m := range r.Mirrors {
		at := p.Child("mirrors").Index(i)
		c.destination(at.Child("destination"), m.Destination)
		c.percentage(at.Child("percentage"), m.Percentage)
	}
}

func (c *checker) cors(p *field.Path, cp *networking.CorsPolicy) {
	for i, o := range cp.AllowOrigins {
		c.stringMatch(p.Child("allowOrigins").Index(i), o)
		if o.GetMatchType() == nil {
			c.add(p.Child("allowOrigins").Index(i), "says nothing; set exact, prefix or regex")
		}
	}
	for i, m := range cp.AllowMethods {
		if m != "*" && (m == "" || strings.ToUpper(m) != m) {
			c.add(p.Child("allowMethods").Index(i), "%q is not a method; write it in capitals, such as GET", m)
		}
	}
	for i, h := range cp.AllowHeaders {
		if h != "*" {
			c.header(p.Child("allowHeaders").Index(i), h)
		}
	}
	for i, h := range cp.ExposeHeaders {
		if h != "*" {
			c.header(p.Child("exposeHeaders").Index(i), h)
		}
	}
	c.duration(p.Child("maxAge"), cp.MaxAge, notNegative)
	if cp.MaxAge != nil && cp.MaxAge.AsDuration()%1e9 != 0 {
		c.add(p.Child("maxAge"), "%s is no whole number of seconds", cp.MaxAge.AsDuration())
	}
}

func (c *checker) headers(p *field.Path, h *networking.Headers) {
	for _, side := range []struct {
		name string
		ops  *networking.Headers_HeaderOperations
	}{{"request", h.GetRequest()}, {"response", h.GetResponse()}} {
		if side.ops == nil {
			continue
		}
		at := p.Child(side.name)
		for name := range side.ops.Set {
			c.header(at.Child("set", name), name)
		}
		for name := range side.ops.Add {
			c.header(at.Child("add", name), name)
		}
		for i, name := range side.ops.Remove {
			c.header(at.Child("remove").Index(i), name)
			if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
				c.add(at.Child("remove").Index(i), "%s cannot be removed", name)
			}
		}
	}
}

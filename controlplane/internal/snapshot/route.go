package snapshot

//lint:file-ignore SA1019 Istio still serves its deprecated fields, so they are read as well.

import (
	"sort"
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// host resolves a short name in the object's namespace. Istio resolves only names without a
// dot; "catalog.shop" stays as it is. "localhost" is no short name: it means this machine wherever
// it is said (RFC 6761, 6.3), and a gateway on a laptop is asked for by it.
func (b *Builder) host(name, ns string) string {
	name = strings.ToLower(name)
	if name == "" || name == "*" || name == "localhost" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + ns + ".svc." + b.mesh.Domain
}

// gatewayNames resolves gateway references to "namespace/name"; none means the mesh.
func gatewayNames(list []string, ns string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, 0, len(list))
	for _, g := range list {
		switch {
		case g == model.MeshGateway:
			out = append(out, g)
		case strings.HasPrefix(g, "./"):
			out = append(out, ns+g[1:])
		case strings.Contains(g, "/"):
			out = append(out, g)
		case strings.Contains(g, "."):
			// The deprecated form "name.namespace" or an FQDN: first two labels.
			parts := strings.SplitN(g, ".", 3)
			out = append(out, parts[1]+"/"+parts[0])
		default:
			out = append(out, ns+"/"+g)
		}
	}
	return out
}

// virtualService converts a VirtualService.
func (b *Builder) virtualService(o object, v *networking.VirtualService, p *problems) *model.VirtualService {
	out := &model.VirtualService{
		Namespace: o.Namespace, Name: o.Name, Gateways: gatewayNames(v.Gateways, o.Namespace),
		ExportTo: exportTo(v.ExportTo, b.mesh.VirtualServiceExportTo, o.Namespace),
		Created:  o.Created, Origin: o.origin(),
	}
	if out.Gateways == nil {
		out.Gateways = []string{model.MeshGateway}
	}
	for _, h := range v.Hosts {
		host := b.host(h, o.Namespace)
		if written := strings.ToLower(h); written != host {
			out.ShortHosts = append(out.ShortHosts, written)
		}
		out.Hosts = append(out.Hosts, host)
	}
	if len(v.Hosts) == 0 {
		p.add("spec.hosts", "is empty: delegate virtual services are not supported yet; the object has no effect")
	}
	for i, r := range v.Http {
		if r == nil {
			continue
		}
		field := indexed("spec.http", i)
		if r.Delegate != nil {
			p.add(field+".delegate", "is not supported yet; the rule is left out")
			continue
		}
		if rule, ok := b.httpRoute(o, r, field, p); ok {
			out.HTTP = append(out.HTTP, rule)
		}
	}
	for i, r := range v.Tls {
		if r == nil {
			continue
		}
		field := indexed("spec.tls", i)
		t := model.TLSRoute{Destinations: b.l4Destinations(o, r.Route), Origin: o.at(field)}
		for j, m := range r.Match {
			if m == nil || unsupportedSubnets(p, indexed(field+".match", j), m.DestinationSubnets, "") {
				continue
			}
			t.Matches = append(t.Matches, model.L4Match{SNIHosts: lower(m.SniHosts), Port: m.Port, SourceLabels: cloneMap(m.SourceLabels),
				SourceNamespace: m.SourceNamespace, Gateways: gatewayNames(m.Gateways, o.Namespace)})
		}
		if len(t.Matches) == 0 {
			continue // nothing is left that it could match
		}
		out.TLS = append(out.TLS, t)
	}
	for i, r := range v.Tcp {
		if r == nil {
			continue
		}
		field := indexed("spec.tcp", i)
		t := model.TCPRoute{Destinations: b.l4Destinations(o, r.Route), Origin: o.at(field)}
		for j, m := range r.Match {
			if m == nil || unsupportedSubnets(p, indexed(field+".match", j), m.DestinationSubnets, m.SourceSubnet) {
				continue
			}
			t.Matches = append(t.Matches, model.L4Match{Port: m.Port, SourceLabels: cloneMap(m.SourceLabels),
				SourceNamespace: m.SourceNamespace, Gateways: gatewayNames(m.Gateways, o.Namespace)})
		}
		if len(r.Match) > 0 && len(t.Matches) == 0 {
			continue // nothing is left that it could match
		}
		out.TCP = append(out.TCP, t)
	}
	return out
}

// unsupportedSubnets reports conditions on addresses, with which a match takes nothing.
func unsupportedSubnets(p *problems, field string, destination []string, source string) bool {
	if len(destination) > 0 {
		p.add(field+".destinationSubnets", "is not supported yet; the match takes no connection")
	}
	if source != "" {
		p.add(field+".sourceSubnet", "is not supported yet; the match takes no connection")
	}
	return len(destination) > 0 || source != ""
}

// claims is how Istio names conditions on a token's claims, in place of a header.
const claims = "@request.auth.claims"

// httpRoute converts one rule. The second result is false when no request can match it.
func (b *Builder) httpRoute(o object, r *networking.HTTPRoute, field string, p *problems) (model.HTTPRoute, bool) {
	out := model.HTTPRoute{Name: r.Name, Timeout: duration(r.Timeout), Headers: headers(r.Headers), Origin: o.at(field)}
	for i, m := range r.Match {
		if m == nil {
			m = &networking.HTTPMatchRequest{}
		}
		if name, ok := claimMatch(m); ok {
			p.add(indexed(field+".match", i), "conditions on %s are not supported yet; the match takes no request", name)
			continue
		}
		out.Matches = append(out.Matches, model.HTTPMatch{
			Name: m.Name, URI: stringMatch(m.Uri), Scheme: stringMatch(m.Scheme), Method: stringMatch(m.Method),
			Authority: stringMatch(m.Authority), Headers: namedMatches(m.Headers), WithoutHeaders: namedMatches(m.WithoutHeaders),
			Query: namedMatches(m.QueryParams), Port: m.Port, SourceLabels: cloneMap(m.SourceLabels), SourceNamespace: m.SourceNamespace,
			Gateways: gatewayNames(m.Gateways, o.Namespace), IgnoreURICase: m.IgnoreUriCase, StatPrefix: m.StatPrefix,
			Origin: o.at(indexed(field+".match", i)),
		})
	}
	if len(r.Match) > 0 && len(out.Matches) == 0 {
		return model.HTTPRoute{}, false
	}
	for _, d := range r.Route {
		if d == nil {
			continue
		}
		out.Destinations = append(out.Destinations, model.HTTPDestination{
			Destination: b.destination(d.Destination, o.Namespace), Weight: uint32(max(d.Weight, 0)), Headers: headers(d.Headers)})
	}
	if rd := r.Redirect; rd != nil {
		m := &model.Redirect{URI: rd.Uri, Authority: rd.Authority, Scheme: rd.Scheme, Code: rd.RedirectCode}
		if pre, ok := strings.CutPrefix(rd.Uri, "%PREFIX()%"); ok {
			m.URI, m.PrefixURI = "", pre
		}
		if rd.PrefixRewrite != "" {
			m.URI, m.PrefixURI = "", rd.PrefixRewrite
		}
		switch rp := rd.RedirectPort.(type) {
		case *networking.HTTPRedirect_Port:
			m.Port = rp.Port
		case *networking.HTTPRedirect_DerivePort:
			m.PortFromReq = rp.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT
			m.PortDefault = rp.DerivePort == networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT
		}
		out.Redirect = m
	}
	if d := r.DirectResponse; d != nil {
		out.Direct = &model.DirectResponse{Status: d.Status}
		switch body := d.Body.GetSpecifier().(type) {
		case *networking.HTTPBody_String_:
			out.Direct.Body = []byte(body.String_)
		case *networking.HTTPBody_Bytes:
			out.Direct.Body = body.Bytes
		}
	}
	if rw := r.Rewrite; rw != nil {
		out.Rewrite = &model.Rewrite{URI: rw.Uri, Authority: rw.Authority, Regex: rw.UriRegexRewrite.GetMatch(), Replacement: rw.UriRegexRewrite.GetRewrite()}
	}
	if r.Retries != nil {
		out.Retries = retries(r.Retries)
		if r.Retries.RetryRemoteLocalities.GetValue() {
			p.add(field+".retries.retryRemoteLocalities", "is not supported yet; retries stay in the chosen priority")
		}
	}
	out.Fault = b.fault(r.Fault, field+".fault", p)
	if r.Mirror != nil {
		m := model.Mirror{Destination: b.destination(r.Mirror, o.Namespace), Percent: 100}
		switch {
		case r.MirrorPercentage != nil:
			m.Percent, m.Explicit = model.Percent(r.MirrorPercentage.Value), true
		case r.MirrorPercent != nil:
			m.Percent, m.Explicit = model.Percent(r.MirrorPercent.Value), true
		}
		out.Mirrors = append(out.Mirrors, m)
	}
	for _, mp := range r.Mirrors {
		if mp == nil {
			continue
		}
		m := model.Mirror{Destination: b.destination(mp.Destination, o.Namespace), Percent: 100}
		if mp.Percentage != nil {
			m.Percent, m.Explicit = model.Percent(mp.Percentage.Value), true
		}
		out.Mirrors = append(out.Mirrors, m)
	}
	if c := r.CorsPolicy; c != nil {
		m := &model.CORS{AllowMethods: c.AllowMethods, AllowHeaders: c.AllowHeaders, ExposeHeaders: c.ExposeHeaders,
			MaxAge: duration(c.MaxAge), MaxAgeSet: c.MaxAge != nil}
		for _, s := range c.AllowOrigins {
			m.AllowOrigins = append(m.AllowOrigins, stringMatch(s))
		}
		for _, s := range c.AllowOrigin { // deprecated form
			m.AllowOrigins = append(m.AllowOrigins, model.StringMatch{Kind: model.MatchExact, Value: s})
		}
		if c.AllowCredentials != nil {
			m.AllowCredentials = ptr(c.AllowCredentials.Value)
		}
		switch c.UnmatchedPreflights {
		case networking.CorsPolicy_FORWARD:
			m.ForwardNotMatching = ptr(true)
		case networking.CorsPolicy_IGNORE:
			m.ForwardNotMatching = ptr(false)
		}
		out.CORS = m
	}
	return out, true
}

func claimMatch(m *networking.HTTPMatchRequest) (string, bool) {
	for _, headers := range []map[string]*networking.StringMatch{m.Headers, m.WithoutHeaders} {
		for name := range headers {
			if strings.HasPrefix(name, claims) {
				return claims, true
			}
		}
	}
	return "", false
}

func (b *Builder) fault(f *networking.HTTPFaultInjection, field string, p *problems) *model.Fault {
	if f == nil {
		return nil
	}
	out := &model.Fault{}
	if d := f.Delay; d != nil {
		switch t := d.HttpDelayType.(type) {
		case *networking.HTTPFaultInjection_Delay_FixedDelay:
			out.Delay = duration(t.FixedDelay)
		case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
			p.add(field+".delay.exponentialDelay", "is not supported; no delay is injected")
		}
		out.DelayPercent = model.Percent(d.Percent)
		if d.Percentage != nil {
			out.DelayPercent = model.Percent(d.Percentage.Value)
		}
	}
	if a := f.Abort; a != nil {
		switch t := a.ErrorType.(type) {
		case *networking.HTTPFaultInjection_Abort_HttpStatus:
			out.Abort = uint32(max(t.HttpStatus, 0))
		case *networking.HTTPFaultInjection_Abort_GrpcStatus:
			out.AbortGRPC = t.GrpcStatus
		case *networking.HTTPFaultInjection_Abort_Http2Error:
			p.add(field+".abort.http2Error", "is not supported; no request is aborted")
		}
		if a.Percentage != nil {
			out.AbortPercent = model.Percent(a.Percentage.Value)
		}
	}
	return out
}

// retries converts a policy. Digits in retryOn are status codes, as in Istio.
func retries(r *networking.HTTPRetry) *model.Retries {
	out := &model.Retries{
		Attempts: r.Attempts, PerTryTimeout: duration(r.PerTryTimeout), DefaultRetryOn: r.RetryOn == "",
		BackOff: duration(r.Backoff), IgnorePreviousHosts: true,
	}
	if r.RetryIgnorePreviousHosts != nil {
		out.IgnorePreviousHosts = r.RetryIgnorePreviousHosts.Value
	}
	var on []string
	hasCodes := false
	for _, t := range strings.Split(r.RetryOn, ",") {
		t = strings.TrimSpace(t)
		if t == "" {
			continue
		}
		if n, err := strconv.Atoi(t); err == nil {
			if n >= 100 && n < 600 {
				out.RetriableStatusCodes = append(out.RetriableStatusCodes, uint32(n))
			}
			continue
		}
		hasCodes = hasCodes || t == "retriable-status-codes"
		on = append(on, t)
	}
	if len(out.RetriableStatusCodes) > 0 && !hasCodes {
		on = append(on, "retriable-status-codes")
	}
	out.RetryOn = strings.Join(on, ",")
	return out
}

func (b *Builder) destination(d *networking.Destination, ns string) model.Destination {
	if d == nil {
		return model.Destination{}
	}
	return model.Destination{Host: b.host(d.Host, ns), Subset: d.Subset, Port: d.Port.GetNumber()}
}

func (b *Builder) l4Destinations(o object, list []*networking.RouteDestination) []model.L4Destination {
	var out []model.L4Destination
	for _, d := range list {
		if d != nil {
			out = append(out, model.L4Destination{Destination: b.destination(d.Destination, o.Namespace), Weight: uint32(max(d.Weight, 0))})
		}
	}
	return out
}

func stringMatch(m *networking.StringMatch) model.StringMatch {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return model.StringMatch{Kind: model.MatchExact, Value: t.Exact}
	case *networking.StringMatch_Prefix:
		return model.StringMatch{Kind: model.MatchPrefix, Value: t.Prefix}
	case *networking.StringMatch_Regex:
		return model.StringMatch{Kind: model.MatchRegex, Value: t.Regex}
	}
	return model.StringMatch{}
}

func namedMatches(m map[string]*networking.StringMatch) []model.NamedMatch {
	if len(m) == 0 {
		return nil
	}
	out := make([]model.NamedMatch, 0, len(m))
	for name, s := range m {
		out = append(out, model.NamedMatch{Name: name, Match: stringMatch(s)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func headers(h *networking.Headers) model.Headers {
	return model.Headers{Request: headerChanges(h.GetRequest()), Response: headerChanges(h.GetResponse())}
}

func headerChanges(h *networking.Headers_HeaderOperations) model.HeaderChanges {
	if h == nil {
		return model.HeaderChanges{}
	}
	values := func(m map[string]string) []model.HeaderValue {
		var out []model.HeaderValue
		for k, v := range m {
			out = append(out, model.HeaderValue{Name: k, Value: v})
		}
		sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
		return out
	}
	out := model.HeaderChanges{Set: values(h.Set), Add: values(h.Add)}
	out.Remove = append(out.Remove, h.Remove...)
	return out
}

func duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return max(d.AsDuration(), 0)
}

func lower(in []string) []string {
	var out []string
	for _, s := range in {
		out = append(out, strings.ToLower(s))
	}
	return out
}

func ptr[T any](v T) *T { return &v }

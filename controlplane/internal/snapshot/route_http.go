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

// httpRoute converts one rule.
func (b *Builder) httpRoute(o object, r *networking.HTTPRoute, field string, p *problems) model.HTTPRoute {
	out := model.HTTPRoute{Name: r.Name, Timeout: duration(r.Timeout), Headers: headers(r.Headers), Origin: o.at(field)}
	for i, m := range r.Match {
		if m == nil {
			m = &networking.HTTPMatchRequest{}
		}
		out.Matches = append(out.Matches, model.HTTPMatch{
			Name: m.Name, URI: uriMatch(o, m.Uri), Scheme: stringMatch(m.Scheme), Method: stringMatch(m.Method),
			Authority: stringMatch(m.Authority), Headers: namedMatches(m.Headers), WithoutHeaders: namedMatches(m.WithoutHeaders),
			Query: namedMatches(m.QueryParams), Port: m.Port, SourceLabels: cloneMap(m.SourceLabels), SourceNamespace: m.SourceNamespace,
			Gateways: gatewayNames(m.Gateways, o.Namespace), IgnoreURICase: m.IgnoreUriCase, StatPrefix: m.StatPrefix,
			Origin: o.at(indexed(field+".match", i)),
		})
	}
	for _, d := range r.Route {
		if d == nil {
			continue
		}
		out.Destinations = append(out.Destinations, model.HTTPDestination{
			Destination: b.destination(d.Destination, o.Namespace), Weight: uint32(max(d.Weight, 0)), Headers: headers(d.Headers)})
	}
	out.Redirect, out.Direct = httpRedirect(r.Redirect), directResponse(r.DirectResponse)
	if rw := r.Rewrite; rw != nil {
		out.Rewrite = &model.Rewrite{URI: rw.Uri, Authority: rw.Authority, Regex: rw.UriRegexRewrite.GetMatch(), Replacement: rw.UriRegexRewrite.GetRewrite()}
	}
	if r.Retries != nil {
		out.Retries = retries(r.Retries)
	}
	out.Fault = b.fault(r.Fault, field+".fault", p)
	out.Mirrors = b.mirrors(o, r)
	out.CORS = cors(r.CorsPolicy)
	return out
}

func httpRedirect(r *networking.HTTPRedirect) *model.Redirect {
	if r == nil {
		return nil
	}
	out := &model.Redirect{URI: r.Uri, PrefixURI: r.PrefixRewrite, Authority: r.Authority, Scheme: r.Scheme, Code: r.RedirectCode}
	// The form in which Istio's Gateway API controller says it; taken from users as well, since
	// nobody means it literally.
	if prefix, ok := strings.CutPrefix(r.Uri, "%PREFIX()%"); ok {
		out.URI, out.PrefixURI = "", prefix
	}
	switch p := r.RedirectPort.(type) {
	case *networking.HTTPRedirect_Port:
		out.Port = p.Port
	case *networking.HTTPRedirect_DerivePort:
		out.PortFromReq = p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT
		out.PortDefault = p.DerivePort == networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT
	}
	return out
}

func directResponse(d *networking.HTTPDirectResponse) *model.DirectResponse {
	if d == nil {
		return nil
	}
	out := &model.DirectResponse{Status: d.Status}
	switch body := d.Body.GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Text = body.String_
	case *networking.HTTPBody_Bytes:
		out.Bytes = body.Bytes
	}
	return out
}

// mirrors joins the older field, mirror, and the newer one, mirrors.
func (b *Builder) mirrors(o object, r *networking.HTTPRoute) []model.Mirror {
	var out []model.Mirror
	if r.Mirror != nil {
		m := model.Mirror{Destination: b.destination(r.Mirror, o.Namespace), Percent: 100}
		switch {
		case r.MirrorPercentage != nil:
			m.Percent, m.Explicit = model.Percent(r.MirrorPercentage.Value), true
		case r.MirrorPercent != nil:
			m.Percent = model.Percent(r.MirrorPercent.Value)
		}
		out = append(out, m)
	}
	for _, mp := range r.Mirrors {
		if mp.GetDestination() == nil {
			continue
		}
		m := model.Mirror{Destination: b.destination(mp.Destination, o.Namespace), Percent: 100}
		if mp.Percentage != nil {
			m.Percent, m.Explicit = model.Percent(mp.Percentage.Value), true
		}
		out = append(out, m)
	}
	return out
}

func cors(c *networking.CorsPolicy) *model.CORS {
	if c == nil {
		return nil
	}
	out := &model.CORS{
		AllowMethods: c.AllowMethods, AllowHeaders: c.AllowHeaders, ExposeHeaders: c.ExposeHeaders,
		MaxAge: duration(c.MaxAge), MaxAgeSet: c.MaxAge != nil,
		// What is not given is FORWARD.
		IgnoreNotMatching: c.UnmatchedPreflights == networking.CorsPolicy_IGNORE,
	}
	for _, s := range c.AllowOrigins {
		out.AllowOrigins = append(out.AllowOrigins, stringMatch(s))
	}
	if c.AllowOrigins == nil {
		for _, s := range c.AllowOrigin { // the deprecated form
			out.AllowOrigins = append(out.AllowOrigins, model.StringMatch{Kind: model.MatchExact, Value: s})
		}
	}
	if c.AllowCredentials != nil {
		out.AllowCredentials = ptr(c.AllowCredentials.Value)
	}
	return out
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
		BackOff: duration(r.Backoff), IgnorePreviousHosts: r.RetryIgnorePreviousHosts.GetValue(),
		PreviousHostsGiven: r.RetryIgnorePreviousHosts != nil, RemoteLocalities: r.RetryRemoteLocalities.GetValue(),
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

// uriMatch reads a match of the path. In what was made of the Gateway API or of Ingresses a prefix is one of whole elements, unless it ends with a slash.
func uriMatch(o object, m *networking.StringMatch) model.StringMatch {
	out := stringMatch(m)
	if o.made && out.Kind == model.MatchPrefix && !strings.HasSuffix(out.Value, "/") {
		out.Kind = model.MatchPathPrefix
	}
	return out
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

func ptr[T any](v T) *T { return &v }

package gatewayapi

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// filters puts the filters of a rule, or of a backend, into a rule of Istio's.
type filters struct {
	c         *conversion
	r         *route
	out       *networking.HTTPRoute
	prefix    string // of the match's path, without its last slash
	ofBackend bool
	toRoot    bool // a redirect replaces the prefix by nothing
}

func (f *filters) add(in *gatewayv1.HTTPRouteFilter, field string) *refError {
	supported := in.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier || in.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier
	if f.ofBackend && !supported {
		return &refError{gatewayv1.RouteReasonUnsupportedValue, fmt.Sprintf("%s: %s is not supported on a backend; put it on the rule", field, in.Type)}
	}
	out := f.out
	switch in.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		headersOf(out).Request = headerOperations(in.RequestHeaderModifier)
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		headersOf(out).Response = headerOperations(in.ResponseHeaderModifier)
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		f.redirect(in.RequestRedirect)
	case gatewayv1.HTTPRouteFilterURLRewrite:
		out.Rewrite = f.rewrite(in.URLRewrite)
	case gatewayv1.HTTPRouteFilterRequestMirror:
		to, err := f.c.backend(f.r.object, &in.RequestMirror.BackendRef)
		if err != nil {
			f.r.unresolved = first(f.r.unresolved, err) // requests go on without the copy
			return nil
		}
		m := &networking.HTTPMirrorPolicy{Destination: to}
		switch {
		case in.RequestMirror.Percent != nil:
			m.Percentage = &networking.Percent{Value: float64(*in.RequestMirror.Percent)}
		case in.RequestMirror.Fraction != nil:
			of := value(in.RequestMirror.Fraction.Denominator, 100)
			m.Percentage = &networking.Percent{Value: 100 * float64(in.RequestMirror.Fraction.Numerator) / float64(of)}
		}
		out.Mirrors = append(out.Mirrors, m)
	case gatewayv1.HTTPRouteFilterCORS:
		out.CorsPolicy = cors(in.CORS)
	default:
		return &refError{gatewayv1.RouteReasonUnsupportedValue, fmt.Sprintf("%s: filters of type %s are not supported", field, in.Type)}
	}
	return nil
}

func headersOf(r *networking.HTTPRoute) *networking.Headers {
	if r.Headers == nil {
		r.Headers = &networking.Headers{}
	}
	return r.Headers
}

func headerOperations(in *gatewayv1.HTTPHeaderFilter) *networking.Headers_HeaderOperations {
	out := &networking.Headers_HeaderOperations{Remove: in.Remove}
	for _, h := range in.Set {
		put(&out.Set, string(h.Name), h.Value)
	}
	for _, h := range in.Add {
		put(&out.Add, string(h.Name), h.Value)
	}
	return out
}

// redirect converts a redirection. Without a port it goes to that of its scheme, and without a scheme to the listener's.
func (f *filters) redirect(in *gatewayv1.HTTPRequestRedirectFilter) {
	out := &networking.HTTPRedirect{
		Scheme: value(in.Scheme, ""), Authority: string(value(in.Hostname, "")), RedirectCode: uint32(value(in.StatusCode, 302)),
	}
	switch {
	case in.Port != nil:
		out.RedirectPort = &networking.HTTPRedirect_Port{Port: uint32(*in.Port)}
	case in.Scheme != nil:
		out.RedirectPort = &networking.HTTPRedirect_DerivePort{DerivePort: networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT}
	default:
		out.RedirectPort = &networking.HTTPRedirect_DerivePort{DerivePort: networking.HTTPRedirect_FROM_REQUEST_PORT}
	}
	if p := in.Path; p != nil {
		if p.Type == gatewayv1.FullPathHTTPPathModifier {
			out.Uri = value(p.ReplaceFullPath, "/")
		} else {
			by := strings.TrimSuffix(value(p.ReplacePrefixMatch, ""), "/")
			switch {
			case f.prefix == "" && by == "": // the path stays
			case f.prefix == "":
				out.PrefixRewrite = by + "/" // what is matched is the slash
			case by == "":
				f.toRoot = true
			default:
				out.PrefixRewrite = by
			}
		}
	}
	f.out.Redirect = out
}

// redirects are the rules of a redirection: two where a prefix is replaced by nothing, because the slash behind it stays only if there is one.
func (f *filters) redirects(m *networking.HTTPMatchRequest) []*networking.HTTPRoute {
	if !f.toRoot {
		return []*networking.HTTPRoute{f.out}
	}
	exact, below := f.out, proto.Clone(f.out).(*networking.HTTPRoute)
	exact.Redirect.Uri, below.Redirect.PrefixRewrite = "/", "/"
	match := func(uri *networking.StringMatch) []*networking.HTTPMatchRequest {
		out := proto.Clone(m).(*networking.HTTPMatchRequest)
		out.Uri = uri
		return []*networking.HTTPMatchRequest{out}
	}
	exact.Match = match(stringMatch("Exact", f.prefix))
	below.Match = match(&networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: f.prefix + "/"}})
	return []*networking.HTTPRoute{exact, below}
}

// rewrite converts a rewrite of host and path.
func (f *filters) rewrite(in *gatewayv1.HTTPURLRewriteFilter) *networking.HTTPRewrite {
	out := &networking.HTTPRewrite{Authority: string(value(in.Hostname, ""))}
	if in.Path == nil {
		return out
	}
	regex := func(match, by string) *networking.RegexRewrite {
		return &networking.RegexRewrite{Match: match, Rewrite: strings.ReplaceAll(by, `\`, `\\`)}
	}
	if in.Path.Type == gatewayv1.FullPathHTTPPathModifier {
		out.UriRegexRewrite = regex("^/.*$", value(in.Path.ReplaceFullPath, "/"))
		return out
	}
	by := strings.TrimSuffix(value(in.Path.ReplacePrefixMatch, ""), "/")
	switch {
	case f.prefix == "" && by == "":
	case f.prefix == "":
		out.Uri = by + "/" // what is matched is the slash
	case by == "":
		out.UriRegexRewrite = &networking.RegexRewrite{Match: "^" + regexp.QuoteMeta(f.prefix) + "/?(.*)$", Rewrite: `/\1`}
	default:
		out.Uri = by
	}
	return out
}

func cors(in *gatewayv1.HTTPCORSFilter) *networking.CorsPolicy {
	out := &networking.CorsPolicy{MaxAge: durationpb.New(corsAge(in.MaxAge)), UnmatchedPreflights: networking.CorsPolicy_IGNORE}
	for _, o := range in.AllowOrigins {
		// "*" is any origin; one within a name is any number of labels.
		m := stringMatch("Exact", string(o))
		if pattern := string(o); pattern != "*" && strings.Contains(pattern, "*") {
			m = stringMatch("RegularExpression", strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^/:]+`))
		}
		out.AllowOrigins = append(out.AllowOrigins, m)
	}
	for _, m := range in.AllowMethods {
		out.AllowMethods = append(out.AllowMethods, string(m))
	}
	for _, h := range in.AllowHeaders {
		out.AllowHeaders = append(out.AllowHeaders, string(h))
	}
	for _, h := range in.ExposeHeaders {
		out.ExposeHeaders = append(out.ExposeHeaders, string(h))
	}
	if in.AllowCredentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*in.AllowCredentials)
	}
	return out
}

// corsAge is how long an answer to a preflight is good; the specification's default is 5 s.
func corsAge(seconds int32) time.Duration {
	if seconds == 0 {
		seconds = 5
	}
	return time.Duration(seconds) * time.Second
}

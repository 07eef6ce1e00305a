package gatewayapi

import (
	"fmt"
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// grpcRules converts the rules of a GRPCRoute, whose calls are requests of a known form: POST /SERVICE/METHOD.
func (c *conversion) grpcRules(r *route, spec *gatewayv1.GRPCRouteSpec) {
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		as := &gatewayv1.HTTPRouteRule{Filters: grpcFilters(rule.Filters)}
		var backends []backend
		for _, b := range rule.BackendRefs {
			backends = append(backends, backend{b.BackendRef, grpcFilters(b.Filters)})
		}
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.GRPCRouteMatch{{}}
		}
		for j := range matches {
			m := grpcMatch(&matches[j])
			for _, out := range c.httpRule(r, as, field, backends, "", m) {
				out.Name = r.ruleName(i)
				if !everything(m) {
					out.Match = []*networking.HTTPMatchRequest{m}
				}
				r.http = append(r.http, ranked(httpEntry{route: out, order: len(r.http)}, m))
			}
		}
	}
}

func grpcFilters(in []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	var out []gatewayv1.HTTPRouteFilter
	for _, f := range in {
		out = append(out, gatewayv1.HTTPRouteFilter{
			Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier, ResponseHeaderModifier: f.ResponseHeaderModifier,
			RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		})
	}
	return out
}

func grpcMatch(in *gatewayv1.GRPCRouteMatch) *networking.HTTPMatchRequest {
	out := &networking.HTTPMatchRequest{}
	if m := in.Method; m != nil {
		service, method := value(m.Service, ""), value(m.Method, "")
		regular := value(m.Type, gatewayv1.GRPCMethodMatchExact) == gatewayv1.GRPCMethodMatchRegularExpression
		switch {
		case regular || service == "":
			const any = "[^/]+"
			if service == "" {
				service = any
			}
			if method == "" {
				method = any
			} else if !regular {
				method = regexp.QuoteMeta(method)
			}
			out.Uri = stringMatch("RegularExpression", "/"+service+"/"+method)
		case method == "":
			out.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/" + service}}
		default:
			out.Uri = stringMatch("Exact", "/"+service+"/"+method)
		}
	}
	for _, h := range in.Headers {
		name := strings.ToLower(string(h.Name))
		if out.Headers[name] == nil {
			put(&out.Headers, name, stringMatch(string(value(h.Type, gatewayv1.GRPCHeaderMatchExact)), h.Value))
		}
	}
	return out
}
